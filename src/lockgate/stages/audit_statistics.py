"""Are a look's statistics those that the course and the spec declared: which guardrails, errors and tolerances?"""

from __future__ import annotations

from collections.abc import Iterator

from lockgate.core.online.findings import Evidence
from lockgate.core.rollout.conditions import STABILITY
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_counted import SCORE, SCORE_SIDES, TUNED_FOR, Counted, evidence_names
from lockgate.core.rollout.tally_kpis import value_name
from lockgate.core.spec_sections.rollout import Metric, RolloutSection
from lockgate.stages.audit_conditions import unlike_conditions


def unlike_the_course(course: Course, section: RolloutSection | None, counted: Counted) -> Iterator[str]:
    """Yield, in one sentence each, what a look's statistics are not as declared.

    Args:
        course: What was declared.
        section: The spec's `rollout`, for what is tolerated; None: that is not compared.
        counted: The statistics.
    """
    told, wanted = tuple(each.guardrail for each in counted.evidence), evidence_names(course)
    if told != wanted:
        yield f"it measured {', '.join(told) or 'nothing'}; declared were {', '.join(wanted)}"
    alphas = declared_alphas(course)
    for each in counted.evidence:
        if each.alpha != alphas.get(each.guardrail):
            yield f"{each.guardrail} was judged at an error of {each.alpha}, declared was {alphas.get(each.guardrail)}"
        if (each.challenger_entities, each.champion_entities) != _entities(counted):
            yield f"{each.guardrail} has other entities than the look"
        if each.arrivals is None and each.p_before != 1.0:
            yield f"{each.guardrail} has a p-value of the look before, which arrivals alone have"
        if section is not None:
            yield from _unlike_the_spec(section, each)
    yield from _contradicting(course, counted)
    yield from unlike_conditions(course, section, counted)
    if min(counted.challenger_requests, counted.champion_requests, *_entities(counted)) < 0:
        yield "a count is negative"
    if counted.coverage is not None and not 0 <= counted.coverage <= 1:
        yield f"a coverage of {counted.coverage} is outside 0..1"


def declared_alphas(course: Course) -> dict[str, float]:
    """Return the error of each piece of evidence; the score's two sides have half of the guardrail's each.

    That of the days' stability is none of harm: it only keeps from promoting.
    """
    found = {
        side: alpha / 2.0 if name == SCORE else alpha
        for name, alpha in course.guardrails.items()
        for side in (SCORE_SIDES if name == SCORE else (name,))
    }
    return found if course.stability is None else {**found, STABILITY: course.stability.worst_alpha}


def _entities(counted: Counted) -> tuple[int, int]:
    return counted.challenger_entities, counted.champion_entities


def _contradicting(course: Course, counted: Counted) -> Iterator[str]:
    """Yield what two statistics tell differently of the same entities."""
    arrivals = next((each.arrivals for each in counted.evidence if each.arrivals is not None), None)
    if arrivals is None:
        return
    split = [step.entities for step in arrivals.steps if len(step.entities) == 2]
    pairs = sum(step.entities[0] for step in arrivals.steps if len(step.entities) == 1)
    if (sum(one for one, _ in split) + pairs, sum(other for _, other in split) + pairs) != _entities(counted):
        yield "other entities arrived than were counted"
    if course.metric is not Metric.ERRORS or counted.contrast is None:
        return
    both = [(step.challenger, step.champion) for step in counted.contrast.steps]
    if [(one.n, other.n) for one, other in both] != [pair for pair in split if any(pair)]:
        yield "the plan compares other entities than arrived"
    if any(not 0 <= sums.total == sums.squares <= sums.n for pair in both for sums in pair):
        yield "the plan compares errors that are no count"


def _unlike_the_spec(section: RolloutSection, evidence: Evidence) -> Iterator[str]:
    name, rails = evidence.guardrail, section.guardrails
    tolerated = {value_name(kpi.name): kpi.tolerated for kpi in rails.kpi}
    if rails.score is not None:
        tolerated |= dict.fromkeys(SCORE_SIDES, rails.score.tolerated)
    if rails.quality is not None:
        tolerated["quality"] = rails.quality.tolerated
    if evidence.tolerated != tolerated.get(name, 0.0):
        yield f"{name} tolerated {evidence.tolerated}; the spec says {tolerated.get(name, 0.0)}"
    if evidence.tuned_for != TUNED_FOR:
        yield f"{name} was tuned for {evidence.tuned_for}, not {TUNED_FOR}"
    if evidence.blocks is not None and rails.latency is not None and evidence.blocks.quantile != rails.latency.quantile:
        yield f"{name} compared quantile {evidence.blocks.quantile}; the spec says {rails.latency.quantile}"
