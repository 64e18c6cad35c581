"""Before the start: will sub-populations and days be able to say what a promotion asks of them, in such traffic?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockgate.core.online.day_effects import spread
from lockgate.core.online.means import FEWEST, Effect
from lockgate.core.rollout.conditions import population_name
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.steps import Course, StepKind, course_of
from lockgate.core.rollout.tally_populations import REST, declared_values, error_parts, most_of, value_in
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.core.spec_sections.rollout_conditions import SubpopulationSection
from lockgate.stages.planned_looks import Slot, slots
from lockgate.stages.recent_traffic import Floats, NewEntities, recent_traffic
from lockgate.stages.rollout_forecast import RolloutForecast, minutes

Told: TypeAlias = "tuple[float | None, str]"
_POINTS: Final = 500
_NAMED: Final = 5  # populations that a sentence names


def with_conditions(found: RolloutForecast, section: RolloutSection, live: Sequence[Observation]) -> RolloutForecast:
    """Return a forecast with what it sees of sub-populations and days, and warnings where that is not enough.

    Args:
        found: What was forecast without them.
        section: The spec's `rollout`.
        live: Recent live requests, oldest first, with the values of the declared columns.
    """
    recent = recent_traffic(live)
    if recent is None or not found.steps or not (section.subpopulations or section.stability):
        return found
    course, new = course_of(section, sd=found.sd), recent[1]
    told = population_forecasts(section, course, live, new)
    tests = {population_name(each.column): error_parts(each) for each in section.subpopulations}
    guardrails = tuple(
        each
        if each.guardrail not in told
        else replace(
            each,
            from_s=told[each.guardrail][0],
            sees=told[each.guardrail][1],
            e_value=tests[each.guardrail] / each.alpha,
        )
        for each in found.guardrails
    )
    lacking = tuple(
        f"guardrail {name} will not be clear, and promotion needs every guardrail clear: {sees}"
        for name, (from_s, sees) in told.items()
        if from_s is None
    )
    return replace(found, guardrails=guardrails, warnings=(*found.warnings, *lacking, *stability_warnings(course, new)))


def population_forecasts(
    section: RolloutSection, course: Course, live: Sequence[Observation], new: NewEntities
) -> Mapping[str, Told]:
    """Return, by guardrail, from when on its sub-populations can be told, in seconds, and a sentence.

    Args:
        section: The spec's `rollout`.
        course: The course.
        live: Recent live requests, with the values of the declared columns.
        new: How new entities come.
    """
    times = np.linspace(0.0, course.max_duration_s, _POINTS)
    smaller = _smaller_arm(slots(course), new, times)
    return {
        population_name(each.column): _forecast(each, _shares(each, live), times, smaller)
        for each in section.subpopulations
    }


def stability_warnings(course: Course, new: NewEntities) -> tuple[str, ...]:
    """Return what will keep the days from being told alike; a day is taken as every other.

    An equal challenger whose days are alike has daily figures that vary by their own error alone; the bound for a day
    to come is then some t times that, which the margin must hold.
    """
    rule, plan = course.stability, course.plan
    if rule is None or plan is None:
        return ()
    days = int(course.max_duration_s // rule.day_s) - 1
    effective = _effective_in_days(course, new, rule.day_s)[: max(days, 0)]
    told = [each for each in effective if each > 0]
    if len(told) < rule.days:
        said = (
            f"stability: {len(told)} whole days will have {FEWEST} new entities of either arm and {rule.days} are "
            "asked for, so nothing will be promoted; raise rollout.max_duration_s, or find whether the same entities "
            "come again every day"
        )
        return (said,)
    alike = spread(
        [Effect(value=0.0, se=plan.sd / math.sqrt(each), effective=each) for each in told], rule.day_within
    ).to_come
    if alike <= plan.margin:
        return ()
    said = (
        f"stability: even where all {len(told)} days are alike, one to come is only bounded by {alike:.3g} and "
        f"rollout.plan.margin is {plan.margin:g}, so nothing will be promoted; add days, traffic or margin"
    )
    return (said,)


def _forecast(section: SubpopulationSection, shares: Mapping[str, float], times: Floats, smaller: Floats) -> Told:
    if not shares:
        return None, f"nothing: no recent request has a {section.column}, or its values are not logged"
    reached = {value: _first(times, smaller * share >= section.fewest) for value, share in shares.items()}
    late = [value for value, at in reached.items() if at is None]
    waits = max((at for at in reached.values() if at is not None), default=None)
    said = f"{len(shares)} populations, each with a part of the error, told from {section.fewest} entities of an arm on"
    if not late:
        return waits, f"{said}; the rarest has them after {minutes(waits or 0.0)}"
    ends = float(smaller[-1])
    named = ", ".join(f"{value} ({ends * shares[value]:.3g})" for value in late[:_NAMED])
    named += f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
    if section.may_be_small and waits is not None:
        return waits, f"{said}; too small to the end, and passed by: {named}"
    return None, f"{said}; too small to the end: {named}; lower fewest, name values, or allow it with may_be_small"


def _shares(section: SubpopulationSection, live: Sequence[Observation]) -> dict[str, float]:
    """Return the share of entities that have requests of each population, those that are told apart."""
    entities = {seen.entity or f"\0{index}" for index, seen in enumerate(live)}
    met = {
        (value_in(section, seen.slices.get(section.column)), seen.entity or f"\0{index}")
        for index, seen in enumerate(live)
    }
    counted = Counter(value for value, _ in met)
    declared = declared_values(section)
    if declared:
        return {value: counted[value] / len(entities) for value in declared} if entities else {}
    kept = counted.most_common(most_of(section) - 1)
    rest = sum(counted.values()) - sum(n for _, n in kept)
    return {value: n / len(entities) for value, n in [*kept, *([(REST, rest)] if rest else [])]}


def _smaller_arm(held: Sequence[Slot], new: NewEntities, times: Floats) -> Floats:
    """Return how many entities the arm with fewer has met by some times."""
    both = [np.zeros_like(times), np.zeros_like(times)]
    for slot in held:
        met = new.by(np.clip(times, slot.starts_s, slot.ends_s)) - new.by(np.array([slot.starts_s]))[0]
        for index, arm in enumerate(slot.arms(met)):
            both[index] = both[index] + arm
    return np.minimum(*both)


def _effective_in_days(course: Course, new: NewEntities, day_s: float) -> list[float]:
    """Return the effective entities of each day of a course, which begins with a day; 0 for one that cannot count."""
    found = []
    for day in range(course.most_days):
        effective = 0.0
        for slot in slots(course):
            low, high = (min(max(at, slot.starts_s), slot.ends_s) for at in (day * day_s, (day + 1) * day_s))
            seen = new.by(np.array([low, high]))
            one, other = slot.arms(np.array([seen[1] - seen[0]]))
            if slot.step.kind is not StepKind.SHADOW and min(one[0], other[0]) >= FEWEST:
                effective += float(one[0] * other[0] / (one[0] + other[0]))
        found.append(effective)
    return found


def _first(times: Floats, holds: NDArray[np.bool_]) -> float | None:
    return float(times[int(np.argmax(holds))]) if bool(holds.any()) else None
