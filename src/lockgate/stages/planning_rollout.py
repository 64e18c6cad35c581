"""Before a rollout starts: what will its steps, its guardrails and its plan see of the traffic there is, and when?

Everything follows from the rule that will decide (`core.online`) and from recent traffic; nothing is asked of anybody.
A rollout whose bakes cannot see the harm that its spec names is refused, with what it would take.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final

import numpy as np

from lockgate.core.online.detection import Bake, Traffic, times_to_detect
from lockgate.core.online.planner import Wanted, forecast
from lockgate.core.rollout.steps import Course, Step, StepKind, course_of
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.stages.planned_guardrails import GuardrailForecast, guardrail_forecasts
from lockgate.stages.planned_looks import Slot, Spread, blind_fraction, look_forecasts, look_s_needed, needed_s, slots
from lockgate.stages.recent_traffic import NewEntities, RecentTraffic
from lockgate.stages.rollout_forecast import RolloutForecast, StepForecast, minutes

_RUNS: Final = 1000  # simulated rollouts: a chance of 0.8 is known to 0.025
_ROUGH_RUNS: Final = 200  # for each of the failure shares that are tried
_RATIO: Final = 1.25  # between two failure shares that are tried
_SMALLEST: Final = 0.001
_FEW: Final = 0.01  # ours: a drill's or a probe's requests name nobody, and change nothing
_BLIND: Final = 0.005  # ours: a rollout in two hundred may end for nothing
STALE_S: Final = 3600.0
"""Ours: traffic an hour ago says little of the next hour."""
_NO_TRAFFIC: Final = (
    "production's log holds no request of this model, so nothing can be said of what the rollout would see; wait for "
    "traffic, or make some: lockgate simulate"
)
_NO_BAKE: Final = "no step bakes, so nothing is seen before a person resumes; give the steps a bake_s"


def forecast_rollout(  # noqa: PLR0913 - what is planned, and on what; half are keywords
    section: RolloutSection,
    recent: tuple[RecentTraffic, NewEntities] | None,
    spread: Spread,
    *,
    labels: Spread,
    now: float,
    seed: int,
) -> RolloutForecast:
    """Return what a rollout of a section will see of traffic such as the recent.

    Args:
        section: The spec's `rollout`.
        recent: Recent traffic, see `recent_traffic`; None where there is none.
        spread: Standard deviation of the plan's metric, and how it becomes known.
        labels: How labels come, for the quality guardrail.
        now: Seconds since the epoch.
        seed: Of the simulations.

    Raises:
        ConfigError: The section cannot be carried out; names the key.
    """
    course = course_of(section, sd=spread.sd)
    declared = _declared(section, course)
    if not course.steps:
        return declared
    if recent is None:
        named = tuple(
            GuardrailForecast(guardrail=name, alpha=alpha, e_value=1.0 / alpha, from_s=None, sees="")
            for name, alpha in course.guardrails.items()
        )
        return replace(declared, steps=_bare(course), guardrails=named, refusals=(_NO_TRAFFIC,))
    traffic, new = recent
    promotes = _promotion(declared, course, new, spread)
    watched = replace(
        promotes,
        traffic=traffic,
        guardrails=guardrail_forecasts(section.guardrails, course, traffic, new, labels),
    )
    seen = _harm_seen(watched, course, traffic, new, seed)
    told = (*_warnings(seen, now), *_untimed(section, course), *_blindness(course, traffic), *promotes.warnings)
    return replace(seen, warnings=told)


def _declared(section: RolloutSection, course: Course) -> RolloutForecast:
    return RolloutForecast(
        strategy=section.strategy.value,
        traffic=None,
        steps=(),
        harm=section.plan.harm,
        harm_power=section.plan.harm_power,
        alpha=section.guardrails.alpha,
        max_duration_s=course.max_duration_s,
    )


def _promotion(declared: RolloutForecast, course: Course, new: NewEntities, spread: Spread) -> RolloutForecast:
    """Add when the plan looks, and whether the longest duration is enough for it."""
    plan = course.plan
    if plan is None:
        return declared
    looks = look_forecasts(course, new, spread)
    made = [each.promoted_fraction for each in looks if each.at_s is not None]
    warnings: tuple[str, ...] = ()
    if looks[-1].at_s is None:
        needed = needed_s(course, new, spread)
        takes = "more entities than there are" if needed is None else f"about {minutes(needed)}"
        told = (
            f"the plan's last look needs {takes} and the rollout ends after {minutes(course.max_duration_s)}: an equal "
            f"challenger is promoted with chance {max(made, default=0.0):.2f}, wanted {plan.power:.2f}; raise "
            "rollout.max_duration_s or the last share, or accept a wider rollout.plan.margin"
        )
        warnings = (told,)
    return replace(
        declared,
        metric=course.metric,
        truth=course.truth,
        margin=plan.margin,
        sd=plan.sd,
        sd_from=spread.source if spread.sd == plan.sd else "rollout.plan.sd" if spread.sd else "the margin alone",
        looks=looks,
        promoted_fraction=max(made, default=0.0),
        warnings=warnings,
    )


def _harm_seen(
    declared: RolloutForecast, course: Course, traffic: RecentTraffic, new: NewEntities, seed: int
) -> RolloutForecast:
    """Add which failures are seen, how soon and with what power; refuse where those of the spec are not."""
    bakes = [_bake(step) for step in course.steps if step.bake_s > 0]
    alpha, now = course.guardrails["errors"], _traffic(traffic)
    if not bakes:
        return replace(declared, steps=_bare(course), refusals=(_NO_BAKE,))
    if declared.harm <= traffic.failure_fraction:
        told = (
            f"{traffic.failure_fraction:.3g} of entities see a failure in a minute now, and rollout.plan.harm is "
            f"{declared.harm:.3g}: a challenger that is no worse would be harm; mend the champion or raise "
            "rollout.plan.harm"
        )
        return replace(declared, steps=_bare(course), refusals=(told,))
    wanted = Wanted(failure_fraction=declared.harm, power=declared.harm_power)
    found = forecast(now, bakes, wanted, alpha=alpha, runs=_RUNS, seed=seed)
    least = _least_harm(now, bakes, declared.harm_power, alpha, seed)
    power = iter(zip(found.power_by_step, least, strict=True))
    median_s = found.median_s if math.isfinite(found.median_s) else None
    return replace(
        declared,
        guardrails=_with_errors(declared, found.power_by_step[-1], median_s),
        steps=tuple(
            replace(step, power=seen[0], least_harm=seen[1]) if step.bake_s > 0 and (seen := next(power)) else step
            for step in _steps(course, traffic, new)
        ),
        power=found.power_by_step[-1],
        median_s=median_s,
        ninety_s=found.ninety_s if math.isfinite(found.ninety_s) else None,
        refusals=found.refusals,
    )


def _with_errors(declared: RolloutForecast, power: float, median_s: float | None) -> tuple[GuardrailForecast, ...]:
    """Say of the failure guardrail what was simulated."""
    said = f"{declared.harm:.3g} of requests failing, with chance {power:.2f} before the last bake is over"
    said += "" if median_s is None else f", half of such within {minutes(median_s)}"
    return tuple(replace(each, sees=said) if each.guardrail == "errors" else each for each in declared.guardrails)


def _least_harm(
    traffic: Traffic, bakes: Sequence[Bake], power: float, alpha: float, seed: int
) -> tuple[float | None, ...]:
    """Return the smallest of some failure shares that is seen with a power by the end of each bake."""
    ends = np.cumsum([bake.bake_s for bake in bakes])
    first = max(traffic.failure_fraction * _RATIO, _SMALLEST)
    tried = [*(first * _RATIO**k for k in range(int(math.log(1.0 / first) / math.log(_RATIO)) + 1)), 1.0]

    @functools.cache
    def seen(index: int) -> tuple[float, ...]:
        times = times_to_detect(traffic, bakes, tried[index], alpha=alpha, runs=_ROUGH_RUNS, seed=seed)
        return tuple(float((times <= end).mean()) for end in ends)

    def least(step: int) -> float | None:
        index = bisect.bisect_left(range(len(tried)), power, key=lambda each: seen(each)[step])  # grows with the harm
        return tried[index] if index < len(tried) else None

    return tuple(least(step) for step in range(len(bakes)))


def _steps(course: Course, traffic: RecentTraffic, new: NewEntities) -> tuple[StepForecast, ...]:
    told = iter(slots(course))
    return tuple(_filled(step, next(told), traffic, new) if step.bake_s > 0 else step for step in _bare(course))


def _filled(step: StepForecast, slot: Slot, traffic: RecentTraffic, new: NewEntities) -> StepForecast:
    """Add who is seen in a step."""
    low, high = new.by(np.array([slot.starts_s, slot.ends_s]))
    one, other = slot.arms(np.array([high - low]))
    return replace(
        step,
        requests=traffic.requests_per_minute / 60.0 * step.bake_s * step.share,
        challenger_entities=float(one[0]),
        champion_entities=float(other[0]),
    )


def _bare(course: Course) -> tuple[StepForecast, ...]:
    ends = accumulate(step.bake_s for step in course.steps)
    return tuple(
        StepForecast(kind=step.kind, share=step.share, bake_s=step.bake_s, ends_s=end)
        for step, end in zip(course.steps, ends, strict=True)
    )


def _bake(step: Step) -> Bake:
    """Return a step as the failure guardrail counts it: a shadow's pairs tell by the one of two arms that failed."""
    if step.kind is StepKind.SHADOW:
        return Bake(share=0.5, bake_s=step.bake_s, exposure=2.0 * step.share)
    return Bake(share=step.share, bake_s=step.bake_s)


def _traffic(recent: RecentTraffic) -> Traffic:
    return Traffic(
        requests_per_minute=recent.requests_per_minute,
        entities_per_minute=recent.entities_per_minute,
        failure_fraction=recent.failure_fraction,
        entities=recent.population,
    )


def _untimed(section: RolloutSection, course: Course) -> tuple[str, ...]:
    """Say that latency is not judged where nobody but copies meets the challenger."""
    if section.guardrails.latency is None or not course.is_shadow_alone or course.times_copies:
        return ()
    told = (
        "latency is not judged: a copy is timed in the model alone, a live answer from its headers; add a step with "
        "set_weight to see what the challenger takes"
    )
    return (told,)


def _blindness(course: Course, traffic: RecentTraffic) -> tuple[str, ...]:
    chance = blind_fraction(course, traffic.requests_per_minute)
    if chance < _BLIND:
        return ()
    told = (
        f"with chance {chance:.2g} {course.patience} looks in a row find no request of an arm, and the rollout ends "
        f"inconclusive; raise rollout.look_s to {look_s_needed(course, traffic.requests_per_minute):.2g} or "
        "rollout.guardrails.patience"
    )
    return (told,)


def _warnings(declared: RolloutForecast, now: float) -> tuple[str, ...]:
    found = []
    traffic = declared.traffic
    if traffic is not None and now - traffic.until > STALE_S:
        found.append(f"the newest request is {minutes(now - traffic.until)} old; is there traffic at all now?")
    if traffic is not None and traffic.named_fraction < 1.0 - _FEW:
        found.append(
            f"{1.0 - traffic.named_fraction:.0%} of requests name no entity: each counts as one of its own, and its "
            "callers see either arm from request to request"
        )
    found += [
        f"guardrail {each.guardrail} will have no data, and promotion needs every guardrail clear: {each.sees}"
        for each in declared.guardrails
        if each.from_s is None
    ]
    if any(step.kind is StepKind.PAUSE for step in declared.steps):
        found.append("a pause is held until `lockgate rollout resume`; times here do not count it")
    if any(step.kind is StepKind.ADAPT for step in declared.steps):
        found.append("a bandit's shares follow rewards; reckoned here at the share of its start")
    return tuple(found)
