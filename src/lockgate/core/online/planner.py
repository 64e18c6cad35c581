"""Before the start: which harm can this traffic show, how soon, and with what power? From the rule that will decide.

A bake that cannot see what the spec wants to see is refused, with what it would take.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lockgate.core.online import failures
from lockgate.core.online.detection import Bake, Traffic, left, times_to_detect


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the rollout is to see.

    Attributes:
        failure_fraction: Failures of a challenger that must not pass, 0..1.
        power: Chance to see it before the last bake ends.
        within_s: In the median; None: no such wish.
    """

    failure_fraction: float
    power: float = 0.8
    within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What can be seen.

    Attributes:
        median_s: Time after which half of such challengers are rolled back; inf if fewer ever are.
        ninety_s: The same for 90 %.
        power_by_step: Chance to have seen the harm by the end of each bake.
        detectable: Relative risk that about half the time shows by the end of each bake.
        refusals: Why this plan cannot see what is wanted; empty if it can.
    """

    median_s: float
    ninety_s: float
    power_by_step: tuple[float, ...]
    detectable: tuple[float, ...]
    refusals: tuple[str, ...]


def forecast(  # noqa: PLR0913 - the facts of a plan; all but three are keywords
    traffic: Traffic, steps: Sequence[Bake], wanted: Wanted, *, alpha: float, runs: int = 2000, seed: int
) -> Forecast:
    """Return what a rollout of these steps can see of the wanted harm.

    Args:
        traffic: Recent traffic.
        steps: Shares and bakes, in order.
        wanted: The harm.
        alpha: The failure guardrail's share of the error.
        runs: Simulated rollouts.
        seed: Of the simulation.

    Raises:
        ValueError: A number is impossible; a plan on nonsense is none.

    Source: simulation of `failures.log_e`; `detectable` by `failures.detectable` at the expected counts.

    >>> traffic = Traffic(requests_per_minute=300, entities_per_minute=300, failure_fraction=0.01)
    >>> found = forecast(traffic, [Bake(share=0.1, bake_s=600)], Wanted(failure_fraction=0.03), alpha=0.01, seed=1)
    >>> round(found.detectable[0], 1), "an error rate of 3 % is seen with power" in found.refusals[0]
    (3.7, True)
    """
    _refuse_nonsense(traffic, steps, wanted, alpha)
    times = times_to_detect(traffic, steps, wanted.failure_fraction, alpha=alpha, runs=runs, seed=seed)
    ends = np.cumsum([step.bake_s for step in steps])
    median, ninety = (float(np.quantile(times, level, method="higher")) for level in (0.5, 0.9))
    power = tuple(float((times <= end).mean()) for end in ends)
    expected = [_champion_failures(traffic, steps[: k + 1]) for k in range(len(steps))]
    rates = (
        f"{traffic.requests_per_minute:.3g} requests a minute an error rate of {100 * wanted.failure_fraction:.3g} %"
    )
    harm, refusals = f"at {rates}", []
    if power[-1] < wanted.power:
        longer = [*steps[:-1], replace(steps[-1], bake_s=20 * float(ends[-1]))]
        needed = times_to_detect(traffic, longer, wanted.failure_fraction, alpha=alpha, runs=runs, seed=seed)
        refusals.append(
            f"{harm} is seen with power {power[-1]:.2f} in {_minutes(float(ends[-1]))}; for {wanted.power:.2f} bake "
            f"until {_minutes(float(np.quantile(needed, wanted.power, method='higher')))} or raise the last share"
        )
    if wanted.within_s is not None and median > wanted.within_s:
        refusals.append(
            f"{harm} is seen after {_minutes(median)} in the median, wanted {_minutes(wanted.within_s)}; "
            "raise the share of the first step"
        )
    return Forecast(
        median_s=median,
        ninety_s=ninety,
        power_by_step=power,
        detectable=tuple(failures.detectable(counts, alpha) for counts in expected),
        refusals=tuple(refusals),
    )


def _minutes(time_s: float) -> str:
    return f"{time_s / 60:.3g} minutes" if math.isfinite(time_s) else "long after all bakes"


def _champion_failures(traffic: Traffic, steps: Sequence[Bake]) -> failures.FailureCounts:
    found, now = [], 0.0
    for step in steps:
        rate = traffic.entities_per_minute / 60 * left(traffic, now + step.bake_s / 2) * step.exposure
        expected = rate * step.bake_s * (1.0 - step.share) * traffic.failure_fraction
        found.append(failures.StepFailures(share=step.share, challenger=0, champion=round(expected)))
        now += step.bake_s
    return failures.FailureCounts(steps=tuple(found))


def _refuse_nonsense(traffic: Traffic, steps: Sequence[Bake], wanted: Wanted, alpha: float) -> None:
    if not steps or not all(0 <= step.share <= 1 and step.bake_s > 0 for step in steps):
        raise ValueError(f"steps must have a share in 0..1 and a bake above 0 s: {list(steps)}")
    if not (math.isfinite(traffic.entities_per_minute) and traffic.entities_per_minute > 0 and traffic.entities > 0):
        raise ValueError("recent traffic has no entities; nothing can be planned on it, so wait for traffic")
    rates = (traffic.failure_fraction, wanted.failure_fraction, wanted.power, alpha)
    if not all(0 <= rate <= 1 for rate in rates) or wanted.failure_fraction <= traffic.failure_fraction or alpha == 0:
        raise ValueError(
            f"failures {traffic.failure_fraction} now and {wanted.failure_fraction} to be seen, alpha {alpha}: "
            "the second must be above the first, all in 0..1"
        )
