"""One look of a plan: has non-inferiority been shown, may it still be, or is the plan over?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lockgate.core.online.boundaries import upper_bounds
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.online.means import Effect
from lockgate.core.online.plan import Design, Plan, futility_bounds, increments

LEAST_ADDED = 0.01
"""Of the planned information, that a look must add to count. Ours: the integral is exact down to 0.005 (to 1e-9)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLook:
    """What a plan says at a look: PROMOTE, CONTINUE or INCONCLUSIVE.

    Attributes:
        verdict: The verdict.
        z: The statistic; NaN where there is none.
        bound: What it must reach; NaN where no look was made.
        fraction: Information so far over the planned whole, may exceed 1.
        reason: One sentence.
    """

    verdict: RolloutVerdict
    z: float
    bound: float
    fraction: float
    reason: str


def judge(plan: Plan, found: Design, effects: Sequence[Effect]) -> PlanLook:
    """Return what the plan says after some of its looks.

    Args:
        plan: The plan.
        found: Its `design`.
        effects: "Challenger worse by" at each declared look so far, oldest first. One that could not be estimated, does
            not vary, or adds less than `LEAST_ADDED` is a look that was missed.

    Returns:
        PROMOTE if any look reached its bound, INCONCLUSIVE after the last declared look or at the futility bound,
        CONTINUE before. Never raises for effects of any kind.

    Source: the docstring of `plan`.

    >>> from lockgate.core.online.plan import design
    >>> plan = Plan(margin=0.1, sd=1.0, fractions=(0.5, 1.0))
    >>> found = design(plan)
    >>> equal = Effect(value=0.0, se=1.0 / math.sqrt(found.effective / 2), effective=found.effective / 2)
    >>> said = judge(plan, found, [equal])
    >>> round(said.z, 2), round(said.bound, 2), said.verdict.value  # 3.37 / sqrt(2); published 2.9626
    (2.38, 2.96, 'continue')
    """
    added = LEAST_ADDED * found.effective
    told = [effect for effect in effects if effect.se > 0 and math.isfinite(effect.value) and effect.effective > 0]
    told = [each for k, each in enumerate(told) if all(each.effective >= past.effective + added for past in told[:k])]
    over = len(effects) >= len(plan.fractions) or bool(told and told[-1].effective >= found.effective)
    if not told or told[-1] is not effects[-1]:
        verdict = RolloutVerdict.INCONCLUSIVE if over else RolloutVerdict.CONTINUE
        reason = "no new information at this look" + ("; it was the last" if over else "")
        return PlanLook(verdict=verdict, z=math.nan, bound=math.nan, fraction=0.0, reason=reason)
    times = [effect.effective for effect in told]
    fractions = [min(time / found.effective, 1.0) for time in times]
    if over:
        fractions[-1] = 1.0
    upper = upper_bounds(times, increments(plan, fractions, plan.alpha))
    zs = [(plan.margin - effect.value) / effect.se for effect in told]
    said = PlanLook(
        verdict=RolloutVerdict.CONTINUE,
        z=zs[-1],
        bound=upper[-1],
        fraction=times[-1] / found.effective,
        reason=f"z {zs[-1]:.3g} of {upper[-1]:.3g} at {times[-1] / found.effective:.0%} of the planned information",
    )
    if any(z >= bound for z, bound in zip(zs, upper, strict=True)):
        return replace(said, verdict=RolloutVerdict.PROMOTE)
    if over:
        return replace(said, verdict=RolloutVerdict.INCONCLUSIVE, reason=f"{said.reason}; it was the last look")
    if plan.futility and zs[-1] <= _futility_now(plan, found, times, upper):
        return replace(said, verdict=RolloutVerdict.INCONCLUSIVE, reason=f"{said.reason}; promotion is unlikely now")
    return said


def _futility_now(plan: Plan, found: Design, times: Sequence[float], upper: Sequence[float]) -> float:
    """Return the futility bound of the latest look, as if one more look at the full information followed."""
    whole = [*times, found.effective]
    bounds = futility_bounds(plan, [time / found.effective for time in whole], [*upper, math.inf], found.drift)
    return bounds[len(times) - 1]
