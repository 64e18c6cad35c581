"""Days of a rollout: which one a moment is in, and what was counted of those that are over.

A day is that of the log's clock: a request that is read after the first one of a new day belongs to the new one. An
entity belongs to the day in which it was first seen, with all that labels tell of it later.
"""

from __future__ import annotations

import math

from lockgate.core.online.day_effects import Day, Days
from lockgate.core.online.means import Contrast
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_counted import metric_steps
from lockgate.core.rollout.tally_strata import Strata, Stratum
from lockgate.core.spec_sections.rollout import GuardrailsSection, Metric
from lockgate.core.spec_sections.rollout_conditions import StabilitySection


def day_of(time: float, section: StabilitySection) -> int:
    """Return the number of the day that a time, in seconds since the epoch, is in.

    >>> utc, new_york = StabilitySection(), StabilitySection(begins_s=18000.0)
    >>> day_of(86400.0 + 3600.0, utc), day_of(86400.0 + 3600.0, new_york)
    (1, 0)
    """
    return math.floor((time - section.begins_s) / section.day_s)


def day_ends(day: int, section: StabilitySection) -> float:
    """Return when a day ends, in seconds since the epoch."""
    return (day + 1) * section.day_s + section.begins_s


def days_counted(course: Course, guardrails: GuardrailsSection, strata: Strata) -> Days | None:
    """Return the plan's metric by day; None where days are not told apart."""
    rule, plan, metric = course.stability, course.plan, course.metric
    if rule is None or plan is None or metric is None:
        return None
    by_day: dict[int, list[Stratum]] = {}
    for each in strata.live():
        if strata.day is not None and each.day < strata.day:
            by_day.setdefault(each.day, []).append(each)
    found = [
        Day(number=day, contrast=Contrast(steps=tuple(metric_steps(metric, guardrails, told))))
        for day, told in sorted(by_day.items())
    ]
    return Days(
        is_rate=metric is Metric.ERRORS,
        margin=plan.margin,
        sd=plan.sd,
        fewest=rule.days,
        most=course.most_days,
        day_within=rule.day_within,
        days=tuple(day for day in found if day.contrast.steps),
    )
