"""From the spec's section to the course of a rollout: the steps that are carried out, the errors that are declared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lockgate.core.ids import ReleaseId
from lockgate.core.online.alpha import allocate
from lockgate.core.online.plan import Plan
from lockgate.core.rollout.conditions import population_weights, stability_of
from lockgate.core.rollout.proxy import Truth, as_tested, truth_of
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.rollout.several_rules import refuse_unless_split
from lockgate.core.rollout.step_list import Step, StepKind, refusal, steps_of
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    Metric,
    PlanSection,
    RolloutSection,
)
from lockgate.core.spec_sections.rollout_conditions import StabilitySection

__all__ = ["Course", "Step", "StepKind", "course_of", "in_order", "rate_sd"]

ARRIVALS_WEIGHT = 0.5
"""Part of `guardrails.alpha` for the check that entities arrive as the split says. Ours: a broken split is gross."""
PAUSE_S = 86_400.0
"""What a step that waits for a person adds to the longest duration, where the spec names none. Ours: a day to come."""
SHORTEST_S = 60.0
"""Least longest duration where the spec names none; see `RolloutSection.max_duration_s`."""
_ORDER = ("errors", "latency", "score", "contract", "quality", "kpi", "population", "arrivals")
"""Of guardrails: what stops a rollout is said of the first that shows harm; a record of them has no order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Everything that is declared before a rollout starts.

    Attributes:
        steps: In order; none for a switch alone.
        guardrails: The error of each guardrail by name: errors, latency, score, contract, quality, kpi:NAME,
            population:COLUMN, arrivals.
        metric: What the plan compares; None with `plan`.
        plan: What promotes; None where there are no steps.
        look_s: Seconds from one look to the next.
        lease_s: A challenger's traffic ends so long after the controller was last heard of, in seconds.
        max_duration_s: A rollout that has not decided by then is inconclusive.
        patience: How many looks in a row may be blind.
        floor: Least share of either arm of a bandit.
        discount: What a period takes off older rewards.
        arm: What the server calls the challenger.
        beside: Releases whose challengers are beside the champion with it; see `several`.
        attempt: Which try of this bundle at this champion, see `attempts`; 0: of old, when none was counted.
        stability: How alike its days must be; None: days are not told apart.
        truth: What `metric` is a proxy for; None: it is what is meant.
    """

    steps: tuple[Step, ...]
    guardrails: Mapping[str, float]
    metric: Metric | None
    plan: Plan | None
    look_s: float
    lease_s: float
    max_duration_s: float
    patience: int
    floor: float
    discount: float
    arm: str = CHALLENGER
    beside: tuple[ReleaseId, ...] = ()
    attempt: int = 0
    stability: StabilitySection | None = None
    truth: Truth | None = None

    @property
    def most_days(self) -> int:
        """How many days it may touch; 1 where days are not told apart."""
        return 1 if self.stability is None else math.ceil(self.max_duration_s / self.stability.day_s) + 1

    @property
    def is_shadow_alone(self) -> bool:
        """Whether nobody ever sees an answer of the challenger before it is promoted."""
        return bool(self.steps) and all(step.kind in (StepKind.SHADOW, StepKind.PAUSE) for step in self.steps)

    @property
    def times_copies(self) -> bool:
        """Whether a copy's time is held against the live answer's, which is not alike.

        A live answer's runs from its headers: reading, waiting for its turn, the model. A copy's is its part of a batch
        in the model alone. A challenger several times as slow may look quicker, so a release never judges by it. Drills
        do, whose planted slowness is gross, and so did rollouts that were begun before this was so.
        """
        return self.is_shadow_alone and "latency" in self.guardrails


def course_of(section: RolloutSection, *, sd: float | None, times_copies: bool = False) -> Course:
    """Return the course that a spec's section asks for.

    Args:
        section: The spec's `rollout`.
        sd: Standard deviation of the plan's metric between entities, from recent traffic (of a rate: `rate_sd`);
            `plan.sd` of the spec wins over it. None: nothing is known; a rate is then taken at the margin above 0.
        times_copies: Whether shadow steps alone are judged by latency, too; see `Course.times_copies`.

    Raises:
        ConfigError: The section cannot be carried out; names the key.

    >>> from lockgate.core.spec_sections.rollout import RolloutStrategy
    >>> course = course_of(RolloutSection(strategy=RolloutStrategy.CANARY), sd=None)
    >>> [(step.share, step.bake_s) for step in course.steps], course.max_duration_s
    ([(0.05, 300.0), (0.2, 300.0), (0.5, 300.0)], 1800.0)
    """
    steps = steps_of(section)
    truth, section = truth_of(section, steps), replace(section, plan=as_tested(section.plan))
    if section.challengers > 1:
        refuse_unless_split(section, section.challengers)
    shadow_alone = bool(steps) and all(step.kind in (StepKind.SHADOW, StepKind.PAUSE) for step in steps)
    key = "rollout.plan" if truth is None else "rollout.plan.proxy"
    metric = _metric(section, steps, key, shadow_alone=shadow_alone) if steps else None
    max_duration_s = _max_duration_s(section, steps)
    rails = replace(section.guardrails, latency=None) if shadow_alone and not times_copies else section.guardrails
    return Course(
        steps=steps,
        guardrails=_guardrails(rails, population_weights(section), shadow_alone=shadow_alone),
        metric=metric,
        plan=None if metric is None else _plan(section.plan, metric, sd, key),
        look_s=section.look_s,
        lease_s=section.lease_s,
        max_duration_s=max_duration_s,
        patience=section.guardrails.patience,
        floor=section.bandit.floor,
        discount=section.bandit.discount,
        stability=stability_of(section, steps, metric, max_duration_s) if steps else None,
        truth=truth,
    )


def in_order(guardrails: Mapping[str, float]) -> Mapping[str, float]:
    """Return guardrails in their one order; those of the business by name.

    >>> list(in_order({"arrivals": 0.1, "kpi:b": 0.1, "kpi:a": 0.1, "errors": 0.1}))
    ['errors', 'kpi:a', 'kpi:b', 'arrivals']
    """

    def place(name: str) -> tuple[int, str]:
        kind = name.partition(":")[0]
        return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), name)

    return {name: guardrails[name] for name in sorted(guardrails, key=place)}


def rate_sd(past: float, margin: float) -> float:
    """Return the standard deviation of a rate as a plan wants it: where the rate would be at the margin.

    Args:
        past: The rate in recent traffic, 0..1.
        margin: How much worse is still acceptable.

    Returns:
        Above 0, at most 0.5.

    >>> round(rate_sd(0.0, 0.02), 3)  # sqrt(.02 * .98)
    0.14
    """
    rate = min(max(past, 0.0) + margin, 0.5)  # the variance is largest at a half; beyond it the half is the safe side
    return math.sqrt(rate * (1.0 - rate))


def _metric(section: RolloutSection, steps: Sequence[Step], key: str, *, shadow_alone: bool) -> Metric:
    asked = section.plan.metric
    if asked is None:
        return Metric.DISAGREEMENT if shadow_alone else Metric.ERRORS
    shadowed = any(step.kind is StepKind.SHADOW for step in steps)
    if asked is Metric.DISAGREEMENT and not shadowed:
        raise refusal(f"{key}.metric", "is disagreement, which shadow steps alone measure; use errors")
    if asked in (Metric.ERRORS, Metric.KPI) and shadow_alone:
        told = f"is {asked.value}, and no step shows users an answer of the challenger; use disagreement or loss"
        raise refusal(f"{key}.metric", told)
    if asked is Metric.KPI and not section.guardrails.kpi:
        raise refusal(f"{key}.metric", "is kpi, and rollout.guardrails.kpi is empty; declare it there")
    return asked


def _plan(section: PlanSection, metric: Metric, sd: float | None, key: str) -> Plan:
    is_rate = metric in (Metric.ERRORS, Metric.DISAGREEMENT)
    looks = (0.0, *section.looks)
    if looks[-1] != 1.0 or any(after <= before for before, after in pairwise(looks)):
        raise refusal("rollout.plan.looks", f"is {list(section.looks)}; looks increase from above 0 to 1")
    if is_rate and section.margin >= 1:
        raise refusal(f"{key}.margin", f"is {section.margin:g}, and {metric.value} is a share; it must be below 1")
    spread = section.sd if section.sd is not None else sd
    if spread is None and is_rate:
        spread = rate_sd(0.0, section.margin)
    if spread is None:
        told = f"is not given, and recent traffic does not tell that of {metric.value}; say how much it varies"
        raise refusal(f"{key}.sd", told)
    if not 0 < spread < math.inf:
        raise refusal(f"{key}.sd", f"is {spread}; it must be above 0 and finite")
    return Plan(
        margin=section.margin,
        sd=spread,
        fractions=section.looks,
        alpha=section.alpha,
        power=section.power,
        futility=section.futility,
    )


def _guardrails(
    section: GuardrailsSection, populations: Mapping[str, float], *, shadow_alone: bool
) -> Mapping[str, float]:
    weights = {"errors": section.errors.weight}
    for name, one in (
        ("latency", section.latency),
        ("score", section.score),
        ("contract", section.contract),
        ("quality", section.quality),
    ):
        if one is not None:
            weights[name] = one.weight
    for index, kpi in enumerate(section.kpi):
        key = f"rollout.guardrails.kpi[{index}]"
        if f"kpi:{kpi.name}" in weights:
            raise refusal(f"{key}.name", f"is {kpi.name}, as another's; each needs its own")
        if shadow_alone:
            raise refusal(key, f"({kpi.name}) cannot follow from answers that nobody sees; leave it out")
        weights[f"kpi:{kpi.name}"] = kpi.weight
    return in_order(allocate(section.alpha, {**weights, **populations, "arrivals": ARRIVALS_WEIGHT}).shares)


def _max_duration_s(section: RolloutSection, steps: Sequence[Step]) -> float:
    baked_s = math.fsum(step.bake_s for step in steps)
    pauses = sum(step.kind is StepKind.PAUSE for step in steps)
    if section.max_duration_s is None:
        return max(2.0 * baked_s + PAUSE_S * pauses, SHORTEST_S)
    if section.max_duration_s <= baked_s:
        told = f"is {section.max_duration_s:g} and the bakes take {baked_s:g}; it must be longer, best twice as long"
        raise refusal("rollout.max_duration_s", told)
    return section.max_duration_s
