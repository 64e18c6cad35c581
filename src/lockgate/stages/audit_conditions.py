"""Are a look's sub-populations and days those that the course and the spec declared?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lockgate.core.online.day_effects import Days
from lockgate.core.online.findings import Evidence
from lockgate.core.online.means import Contrast
from lockgate.core.online.populations import Population
from lockgate.core.rollout.conditions import POPULATION, STABILITY, population_name
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_counted import Counted
from lockgate.core.rollout.tally_populations import declared_values, most_of
from lockgate.core.spec_sections.rollout import Metric, RolloutSection


def unlike_conditions(course: Course, section: RolloutSection | None, counted: Counted) -> Iterator[str]:
    """Yield, in one sentence each, what sub-populations and days are not as declared.

    Args:
        course: What was declared.
        section: The spec's `rollout`; None: populations are not compared with it.
        counted: The look's statistics.
    """
    yield from _other_labels(course, counted)
    for each in counted.evidence:
        if (each.populations is not None) != each.guardrail.startswith(POPULATION):
            yield f"{each.guardrail} has other statistics than a guardrail of its name"
        elif each.populations is not None and section is not None:
            yield from _other_populations(section, each)
        if (each.days is not None) != (each.guardrail == STABILITY):
            yield f"{each.guardrail} has other statistics than evidence of its name"
        elif each.days is not None:
            yield from _other_days(course, counted, each.days)


def _other_labels(course: Course, counted: Counted) -> Iterator[str]:
    told = counted.labels
    if (told is not None) != (course.truth is not None):
        yield "it counts labels for a proxy's truth, which was not declared, or does not and it was"
    elif told is not None and not (
        0 <= told.champion_labelled <= told.champion_answered
        and 0 <= told.challenger_labelled <= told.challenger_answered
    ):
        yield "it counts more labels than answers, or a count is negative"


def _other_populations(section: RolloutSection, evidence: Evidence) -> Iterator[str]:
    told, name = evidence.populations, evidence.guardrail
    asked = next((each for each in section.subpopulations if population_name(each.column) == name), None)
    if asked is None or told is None or told.column != asked.column:
        yield f"{name} is of no sub-populations that the spec declares"
        return
    rule = (told.most, told.fewest, told.may_be_small, told.score_tolerated, told.loss_tolerated)
    if rule != (most_of(asked), asked.fewest, asked.may_be_small, asked.score_tolerated, asked.loss_tolerated):
        yield f"{name} was judged by other rules than the spec's"
    values, declared = [each.value for each in told.values], declared_values(asked)
    if len(set(values)) < len(values) or (declared and tuple(values) != declared):
        yield f"{name} has other populations than the spec's"
    if any(min(each.challenger, each.champion) < 0 for each in told.values):
        yield f"{name} has a count that is negative"
    if any(_more_than_entities(each) for each in told.values):
        yield f"{name} has more values than entities"


def _more_than_entities(population: Population) -> bool:
    """Tell whether more entities of an arm have a score or a loss than there are."""
    told = (_entities([each]) for each in (population.score, population.loss))
    return any(one > population.challenger or other > population.champion for one, other in told)


def _other_days(course: Course, counted: Counted, days: Days) -> Iterator[str]:
    rule, plan = course.stability, course.plan
    if rule is None or plan is None:
        yield "days were told apart, which was not declared"
        return
    told = (days.is_rate, days.margin, days.sd, days.fewest, days.most, days.day_within)
    if told != (course.metric is Metric.ERRORS, plan.margin, plan.sd, rule.days, course.most_days, rule.day_within):
        yield "its days were judged by other rules than declared"
    numbers = [day.number for day in days.days]
    if numbers != sorted(set(numbers)):
        yield "its days are not in order, each once"
    whole, by_day = _entities([counted.contrast]), _entities([day.contrast for day in days.days])
    if any(part > all_of_it for part, all_of_it in zip(by_day, whole, strict=True)):
        yield "its days hold more entities than the plan compares"


def _entities(contrasts: Sequence[Contrast | None]) -> tuple[int, int]:
    """Return how many entities of the challenger and of the champion some contrasts hold."""
    steps = [step for each in contrasts if each is not None for step in each.steps]
    return sum(step.challenger.n for step in steps), sum(step.champion.n for step in steps)
