"""Are the days of a rollout alike? The effect by day, its variance between days beyond what a day's own error explains.

A difference over all entities takes them as independent. Entities of one day share its weather, its campaign, its
outage; where the effect itself differs from day to day, that difference is surer of itself than it may be. So days are
taken as a random sample of days (a random-effects meta-analysis with a day as a study):

    Q      = sum w_i (y_i - y)^2,  w_i = 1 / s_i^2              chi-square, k - 1 degrees of freedom, if all are alike
    tau^2  = max(0, (Q - (k - 1)) / (sum w_i - sum w_i^2 / sum w_i))
    I^2    = max(0, (Q - (k - 1)) / Q)                          share of the daily figures' variance between days
    mu     = sum v_i y_i / sum v_i,  v_i = 1 / (s_i^2 + tau^2)
    se^2   = max(1, sum v_i (y_i - mu)^2 / (k - 1)) / sum v_i
    a day to come lies below   mu + t(k - 2, chance) sqrt(tau^2 + se^2)

Source: Cochran 1954 (Q); DerSimonian and Laird 1986 (tau^2); Higgins and Thompson 2002 (I^2); Hartung and Knapp 2001,
not below the usual error (Roever, Knapp and Friede 2015); Higgins, Thompson and Spiegelhalter 2009 (prediction).
With few days such an interval covers too little where days differ (Partlett and Riley 2017): it is asked for beside the
plan, never in its place, and can only keep a challenger from being promoted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lockgate.core.online.guardrails import Finding, State
from lockgate.core.online.means import FEWEST, Contrast, Effect, StepSums, difference_effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day that is over.

    Attributes:
        number: Which, counted from the epoch.
        contrast: The plan's metric of entities that were first seen in it, by step.
    """

    number: int
    contrast: Contrast


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The sufficient statistic.

    Attributes:
        is_rate: Whether values are zeros and ones.
        margin: How much worse is still acceptable, in the metric's unit.
        sd: Stands in where nothing varies within a day; the plan's.
        fewest: Days that must count.
        most: Days that a rollout may last; `alpha` of the evidence is split over so many.
        day_within: Chance with which a day to come must lie within the margin.
        days: In order.
    """

    is_rate: bool
    margin: float
    sd: float
    fewest: int
    most: int
    day_within: float
    days: tuple[Day, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How daily effects lie.

    Attributes:
        mean: Of the days, in the metric's unit.
        se: Its standard error over days.
        tau: Standard deviation of the effect between days.
        share: I^2, share of the variance of daily figures that is between days, in 0..1.
        to_come: The bound below which the effect of a day to come is expected.
    """

    mean: float
    se: float
    tau: float
    share: float
    to_come: float


def daily_effects(days: Days) -> list[tuple[int, Effect]]:
    """Return number and effect of each day that has `FEWEST` entities of either arm in a step.

    A rate's error is that of the rate of all days and both arms together, with half a failure added, so that a day
    without failures is not sure of itself.
    """
    if not days.is_rate:
        found = [(day.number, difference_effect(day.contrast)) for day in days.days]
        return [(number, _varied(effect, days.sd)) for number, effect in found if not math.isnan(effect.value)]
    arms = [sums for day in days.days for step in day.contrast.steps for sums in (step.challenger, step.champion)]
    failed, whole = math.fsum(sums.total for sums in arms), sum(sums.n for sums in arms)
    rate = min(max((failed + 0.5) / (whole + 1.0), 0.0), 1.0)
    told = ((day.number, _rate(day.contrast.steps, math.sqrt(rate * (1.0 - rate)))) for day in days.days)
    return [(number, effect) for number, effect in told if not math.isnan(effect.value)]


def spread(effects: Sequence[Effect], day_within: float) -> Spread:
    """Return how the effects of at least three days lie.

    Source: the module's docstring.

    >>> alike = spread([Effect(value=0.0, se=0.1, effective=1.0)] * 5, 0.9)
    >>> alike.tau, alike.share, round(alike.to_come, 4)  # t(3, .9) = 1.6377, times .1 / sqrt(5)
    (0.0, 0.0, 0.0732)
    >>> apart = spread([Effect(value=each, se=0.1, effective=1.0) for each in (-0.3, 0.3, -0.3, 0.3)], 0.9)
    >>> round(apart.tau, 4), round(apart.share, 4)  # Q = 36; tau^2 = (36 - 3) / (400 - 100) = .11; I^2 = 33 / 36
    (0.3317, 0.9167)
    """
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    k, weights = len(effects), [1.0 / effect.se**2 for effect in effects]
    whole, values = math.fsum(weights), [effect.value for effect in effects]
    middle = math.fsum(w * y for w, y in zip(weights, values, strict=True)) / whole
    q = math.fsum(w * (y - middle) ** 2 for w, y in zip(weights, values, strict=True))
    excess = max(q - (k - 1), 0.0)
    between = excess / (whole - math.fsum(w * w for w in weights) / whole)
    weights = [1.0 / (effect.se**2 + between) for effect in effects]
    whole = math.fsum(weights)
    mean = math.fsum(w * y for w, y in zip(weights, values, strict=True)) / whole
    seen = math.fsum(w * (y - mean) ** 2 for w, y in zip(weights, values, strict=True)) / (k - 1)
    variance = max(seen, 1.0) / whole
    reach = float(special.stdtrit(k - 2, day_within)) * math.sqrt(between + variance)
    share = excess / q if q > 0 else 0.0
    return Spread(mean=mean, se=math.sqrt(variance), tau=math.sqrt(between), share=share, to_come=mean + reach)


def day_finding(name: str, days: Days, alpha: float) -> Finding:
    """Return whether the days are alike enough; never harm, which the guardrails see sooner.

    Args:
        name: The evidence's.
        days: What was counted.
        alpha: Chance that any day of the rollout is called worse than the margin where none is.

    Returns:
        UNMET while days are too few, one was worse than the margin, or one to come may be; else CLEAR. BROKEN for
        numbers that make no sense. `observed` is the bound for a day to come, compared with the margin.
    """
    if not _sound(days):
        return _said(name, State.BROKEN, math.nan, days, "what was declared of the days, or a sum, makes no sense")
    effects = daily_effects(days)
    if len(effects) < max(days.fewest, 3):
        told = f"{len(effects)} of {days.fewest} days are over and have {FEWEST} entities of either arm"
        return _said(name, State.UNMET, math.nan, days, told)
    found = spread([effect for _, effect in effects], days.day_within)
    told = (
        f"{len(effects)} days, worse by {found.mean:.3g} on average, {found.tau:.3g} between days ({found.share:.0%} "
        f"of the variance of daily figures); with chance {days.day_within:g} a day to come is below "
        f"{found.to_come:.3g}, asked is {days.margin:g}"
    )
    worst = _worst(effects, days, alpha)
    if worst is not None:
        return _said(name, State.UNMET, found.to_come, days, f"{worst}; {told}")
    alike = found.to_come <= days.margin
    return _said(name, State.CLEAR if alike else State.UNMET, found.to_come, days, told)


def _worst(effects: Sequence[tuple[int, Effect]], days: Days, alpha: float) -> str | None:
    """Return what is said of the worst day that is shown to be beyond the margin; None where there is none."""
    from scipy import special

    z = -float(special.ndtri(alpha / days.most))
    bounds = [(effect.value - z * effect.se, number) for number, effect in effects]
    low, number = max(bounds)
    if not low > days.margin:
        return None
    return f"day {[each for each, _ in effects].index(number) + 1} was worse by at least {low:.3g}"


def _sound(days: Days) -> bool:
    declared = 0 < days.margin < math.inf and 0 < days.sd < math.inf and 0 < days.day_within < 1
    sums = [sums for day in days.days for step in day.contrast.steps for sums in (step.challenger, step.champion)]
    counted = all(each.n >= 0 and math.isfinite(each.total) and math.isfinite(each.squares) for each in sums)
    rates = not days.is_rate or all(each.total == each.squares and 0 <= each.total <= each.n for each in sums)
    return declared and days.most >= max(len(days.days), 1) and counted and rates


def _rate(steps: Sequence[StepSums], sd: float) -> Effect:
    told = [(s.challenger, s.champion) for s in steps if min(s.challenger.n, s.champion.n) >= FEWEST]
    weights = [one.n * other.n / (one.n + other.n) for one, other in told]
    whole = math.fsum(weights)
    if not whole:
        return Effect(value=math.nan, se=math.nan, effective=0.0)
    value = math.fsum(
        weight * (one.total / one.n - other.total / other.n) for weight, (one, other) in zip(weights, told, strict=True)
    )
    return Effect(value=value / whole, se=sd / math.sqrt(whole), effective=whole)


def _varied(effect: Effect, sd: float) -> Effect:
    if effect.se > 0:
        return effect
    return Effect(value=effect.value, se=sd / math.sqrt(effect.effective), effective=effect.effective)


def _said(name: str, state: State, observed: float, days: Days, reason: str) -> Finding:
    return Finding(guardrail=name, state=state, observed=observed, threshold=days.margin, reason=reason)
