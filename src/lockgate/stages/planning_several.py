"""Before several challengers go beside one champion: what each of them can be shown of, and what it costs to be many.

Each is planned as a rollout of its own on that part of the traffic that meets it or the champion, at its part of the
declared errors; the rest of the entities meets the others, and tells nothing of it.
"""

from __future__ import annotations

from dataclasses import replace

from lockgate.core.ids import ReleaseId
from lockgate.core.rollout.several import arm_name, champion_share, course_beside, pair_share
from lockgate.core.rollout.step_list import StepKind
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.spec_sections.rollout import RolloutSection, StepSection
from lockgate.stages.planned_looks import Spread, look_forecasts
from lockgate.stages.planning_rollout import forecast_rollout
from lockgate.stages.recent_traffic import NewEntities, RecentTraffic
from lockgate.stages.rollout_forecast import RolloutForecast, StepForecast, minutes


def forecast_several(  # noqa: PLR0913 - what is planned, and on what; half are keywords
    section: RolloutSection,
    recent: tuple[RecentTraffic, NewEntities] | None,
    spread: Spread,
    *,
    labels: Spread,
    now: float,
    seed: int,
    challengers: int,
) -> RolloutForecast:
    """Return what the rollout of one of several challengers will see of traffic such as the recent.

    Args:
        section: The spec's `rollout`.
        recent: Recent traffic, see `recent_traffic`; None where there is none.
        spread: Standard deviation of the plan's metric, and how it becomes known.
        labels: How labels come, for the quality guardrail.
        now: Seconds since the epoch.
        seed: Of the simulations.
        challengers: How many there are; one is planned as `forecast_rollout` does.

    Raises:
        ConfigError: The section cannot be carried out; names the key.
    """
    alone = replace(section, challengers=1)
    if challengers == 1:
        return forecast_rollout(alone, recent, spread, labels=labels, now=now, seed=seed)
    others = tuple(ReleaseId(arm_name(place)) for place in range(2, challengers + 1))
    course = course_beside(section, sd=spread.sd, arm=arm_name(1), beside=others)
    pair = _as_pair(section, course, challengers)
    thinned = None if recent is None else _thinned(*recent, course, challengers)
    found = forecast_rollout(pair, thinned, spread, labels=labels, now=now, seed=seed)
    steps = tuple(_told(step, course.steps[0].share) for step in found.steps)
    costs = _costs(alone, course, found, recent, spread)
    traffic = None if recent is None else recent[0]
    return replace(found, steps=steps, traffic=traffic, challengers=challengers, warnings=(costs, *found.warnings))


def _as_pair(section: RolloutSection, course: Course, many: int) -> RolloutSection:
    """Return the section of a comparison of one challenger with the champion, among those who meet either."""
    steps = tuple(
        StepSection(pause=step.reason)
        if step.kind is StepKind.PAUSE
        else StepSection(set_weight=pair_share(step.share, many), bake_s=step.bake_s)
        for step in course.steps
    )
    rails, plan = section.guardrails, section.plan
    return replace(
        section,
        challengers=1,
        steps=steps,
        guardrails=replace(rails, alpha=rails.alpha / many),
        plan=replace(plan, alpha=plan.alpha / many),
    )


def _thinned(traffic: RecentTraffic, new: NewEntities, course: Course, many: int) -> tuple[RecentTraffic, NewEntities]:
    """Return the part of the traffic that meets one challenger or the champion."""
    share = course.steps[0].share
    part = share + champion_share(share, many)
    fewer = replace(
        traffic,
        requests_per_minute=traffic.requests_per_minute * part,
        entities_per_minute=traffic.entities_per_minute * part,
        population=traffic.population * part,
    )
    return fewer, replace(new, seen=new.seen * part, population=new.population * part, per_s=new.per_s * part)


def _told(step: StepForecast, share: float) -> StepForecast:
    return replace(step, share=share)


def _costs(
    alone: RolloutSection,
    course: Course,
    found: RolloutForecast,
    recent: tuple[RecentTraffic, NewEntities] | None,
    spread: Spread,
) -> str:
    """Say what being one of several costs: a smaller share, smaller errors, a later last look of the plan."""
    many, share = len(course.beside) + 1, course.steps[0].share
    meets = f"each of {many} challengers meets {100 * share:.3g} % of entities"
    told = f"{meets} and is judged at 1/{many} of the declared errors"
    if recent is None or not found.looks:
        return told
    by_itself = look_forecasts(course_of(alone, sd=spread.sd), recent[1], spread)[-1].at_s
    then, single = (
        "not before it ends" if at_s is None else f"after {minutes(at_s)}" for at_s in (found.looks[-1].at_s, by_itself)
    )
    return f"{told}: the plan's last look comes {then}; one challenger alone has it {single}"
