"""When a promotion plan will look, on traffic such as the recent, and what it will have promoted by then."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lockgate.core.online.means import FEWEST
from lockgate.core.online.plan import design
from lockgate.core.rollout.steps import Course, Step, StepKind
from lockgate.core.spec_sections.rollout import Metric
from lockgate.stages.looking import PATIENT_LOOKS
from lockgate.stages.recent_traffic import Floats, NewEntities

_ENOUGH = 5.0  # requests an arm and look: one look in 150 is blind then, three in a row as good as never
_POINTS = 2000  # times at which information is reckoned: a look's time is exact to a 2000th of the longest duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What is known of the plan's metric before the start.

    Attributes:
        sd: Its standard deviation between entities; None: nothing is known.
        source: Where that comes from, for a reader.
        coverage: Share of answers whose value is ever known; 1 where it does not wait for labels.
        delay_s: How long after the answer, in the median.
    """

    sd: float | None
    source: str
    coverage: float = 1.0
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LookForecast:
    """One declared look of the plan.

    Attributes:
        fraction: Information at it over all of it.
        at_s: When it is expected, in seconds after the start, pauses not counted; None: not by the longest duration.
        promoted_fraction: Chance that a truly equal challenger is promoted by then.
    """

    fraction: float
    at_s: float | None
    promoted_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A stretch of a rollout with one share: a step, or what is left after the last one.

    Attributes:
        step: The step that is held.
        starts_s: When, in seconds after the start of the rollout.
        ends_s: Until when.
    """

    step: Step
    starts_s: float
    ends_s: float

    def arms(self, new: Floats) -> tuple[Floats, Floats]:
        """Split entities that are new in it into the challenger's and the champion's; a shadow shows both some."""
        if self.step.kind is StepKind.SHADOW:
            return new * self.step.share, new * self.step.share
        return new * self.step.share, new * (1.0 - self.step.share)


def slots(course: Course) -> tuple[Slot, ...]:
    """Return the stretches of a course until its longest duration: the last step is held until a decision.

    A pause counts nothing: nobody knows how long it takes, and it holds what the step before it does.
    """
    baked = [step for step in course.steps if step.bake_s > 0]
    ends = list(accumulate(step.bake_s for step in baked))
    starts = [0.0, *ends]
    found = [Slot(step=step, starts_s=at, ends_s=end) for step, at, end in zip(baked, starts, ends, strict=False)]
    if found and found[-1].ends_s < course.max_duration_s:
        found.append(replace(found[-1], starts_s=found[-1].ends_s, ends_s=course.max_duration_s))
    return tuple(found)


def look_forecasts(course: Course, new: NewEntities, spread: Spread) -> tuple[LookForecast, ...]:
    """Return the looks of a course's plan; none where it has no plan."""
    if course.plan is None or course.metric is None:
        return ()
    found = design(course.plan)
    times, effective = information(course, course.metric, new, spread)
    return tuple(
        LookForecast(
            fraction=fraction,
            at_s=_first(times, effective >= fraction * found.effective),
            promoted_fraction=promoted,
        )
        for fraction, promoted in zip(course.plan.fractions, found.promoted_by, strict=True)
    )


def needed_s(course: Course, new: NewEntities, spread: Spread) -> float | None:
    """Return how long the plan needs for its last look if the last step is held; None where no time is enough."""
    if course.plan is None or course.metric is None:
        return None
    wanted, last = design(course.plan).effective, course.max_duration_s
    for _ in range(12):  # at most some 4000 times as long
        longer = replace(course, max_duration_s=last)
        times, effective = information(longer, course.metric, new, spread)
        reached = _first(times, effective >= wanted)
        if reached is not None:
            return reached
        last *= 2.0
    return None


def blind_fraction(course: Course, requests_per_minute: float) -> float:
    """Return the chance that sparse traffic alone ends a rollout: so many looks in a row without a request of an arm.

    Requests are taken as Poisson, and the last bake's end as the rollout's. A look that would find nobody waits for
    `PATIENT_LOOKS` times as long, so only then is it blind.

    >>> from lockgate.core.rollout.steps import course_of
    >>> from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy
    >>> course = course_of(RolloutSection(strategy=RolloutStrategy.CANARY), sd=None)
    >>> round(blind_fraction(course, 100.0), 3), blind_fraction(course, 300.0) < 1e-6  # 10 looks, exp(-2.5)^3 each
    (0.004, True)
    """
    in_a_row = [1.0, *(0.0 for _ in range(course.patience - 1))]  # chance of so many blind looks until now
    ended = 0.0
    for step in course.steps:
        share = step.share if step.kind is StepKind.SHADOW else min(step.share, 1.0 - step.share)
        waited_s = PATIENT_LOOKS * course.look_s
        blind = math.exp(-requests_per_minute / 60.0 * waited_s * share) if share > 0 else 0.0
        for _ in range(int(step.bake_s // waited_s)):
            ended += in_a_row[-1] * blind
            in_a_row = [(1.0 - blind) * math.fsum(in_a_row), *(each * blind for each in in_a_row[:-1])]
    return ended


def look_s_needed(course: Course, requests_per_minute: float) -> float:
    """Return how far looks must be apart, in seconds, for five requests of the smaller arm between two of them."""
    shares = [
        step.share if step.kind is StepKind.SHADOW else min(step.share, 1.0 - step.share)
        for step in course.steps
        if step.bake_s > 0
    ]
    least = min((share for share in shares if share > 0), default=1.0)
    return _ENOUGH * 60.0 / (requests_per_minute * least * PATIENT_LOOKS)


def information(course: Course, metric: Metric, new: NewEntities, spread: Spread) -> tuple[Floats, Floats]:
    """Return times after the start, in seconds, and the effective entities that the plan's metric has by then.

    An entity counts once, in the step where it is first seen. A difference of arms is worth n1 n0 / (n1 + n0) a step,
    from `FEWEST` entities of either arm on; pairs are worth their number. What waits for labels comes later, and only
    the labelled share of it.
    """
    times = np.linspace(0.0, course.max_duration_s, _POINTS)
    met = new.by(np.maximum(times - spread.delay_s, 0.0)) * spread.coverage
    whole = np.zeros(_POINTS)
    for slot in _merged(slots(course)):
        at = np.array([slot.starts_s, slot.ends_s])
        low, high = new.by(at) * spread.coverage
        one, other = slot.arms(np.clip(met, low, high) - low)
        if metric is Metric.DISAGREEMENT or (course.is_shadow_alone and metric is Metric.LOSS):
            whole += np.where(one >= FEWEST, one, 0.0) if slot.step.kind is StepKind.SHADOW else 0.0
        elif slot.step.kind is not StepKind.SHADOW:
            told = np.minimum(one, other) >= FEWEST
            whole += np.where(told, one * other / np.maximum(one + other, 1e-9), 0.0)
    return times, whole


def _merged(found: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Return the slots with the last one's prolongation in it: to the tests it is one step."""
    if len(found) > 1 and found[-1].step is found[-2].step:
        return (*found[:-2], replace(found[-2], ends_s=found[-1].ends_s))
    return found


def _first(times: Floats, holds: NDArray[np.bool_]) -> float | None:
    return float(times[int(np.argmax(holds))]) if bool(holds.any()) else None
