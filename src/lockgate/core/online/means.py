"""Means by arm, looked at any time: asymptotic confidence sequences for a mean and for a difference of means.

For what has no bound: latency, score, reward, loss. One value an entity, fixed once it counts (its first answer, or the
mean over its first minutes), so that sums only grow; a paired loss (both models on one request) is a mean of
differences. Values in [0, 1] have an exact interval in `betting`.

Arms are compared *within* a step and steps are then averaged with weights n1 n0 / (n1 + n0): a pooled mean would mix up
arm and hour while the challenger's weight grows.

Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Time-uniform central limit theory and asymptotic
confidence sequences, theorem 2.2 (two-sided) and appendix B (one-sided). Asymptotic: like a z interval it needs a
first look at some values (`FEWEST`), and holds at all looks after.

What skew does to it, simulated at 5 % declared: differences between arms 1 % (see `difference_effect`); paired
differences of equal models, which are symmetric however skewed the losses, 3 %; but *one* sample with its long tail on
the good side 12 % (lognormal, sigma 1), for which `betting` is there if the values have bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FEWEST = 50
"""Entities that either arm needs in a step before it counts. Ours: the simulated errors above are from here on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The sufficient statistic of one arm.

    Attributes:
        n: Entities.
        total: Sum of their values.
        squares: Sum of their squares.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSums:
    """Both arms while one share was in force; an entity counts in the step and arm it was first seen in.

    Attributes:
        challenger: Its entities.
        champion: Its entities.
    """

    challenger: Sums
    champion: Sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """The sufficient statistic of a difference: one entry a step, whose order does not matter."""

    steps: tuple[StepSums, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An estimate with its standard error.

    Attributes:
        value: Estimate; NaN where nothing can be estimated.
        se: Standard error, at least 0; NaN with `value`.
        effective: How many entities it is worth: n for a mean, sum of n1 n0 / (n1 + n0) for a difference.
    """

    value: float
    se: float
    effective: float


def mean_effect(sums: Sums) -> Effect:
    """Return the mean of one sample, such as paired differences of loss.

    Returns:
        NaN below `FEWEST` values and where a sum is not finite or impossible.

    Source: sample mean and its standard error, variance over n - 1.

    >>> found = mean_effect(Sums(n=100, total=50.0, squares=50.0))  # fifty ones: variance 25/99
    >>> found.value, round(found.se, 6)
    (0.5, 0.050252)
    """
    mean, variance = _moments(sums)
    if sums.n < FEWEST or math.isnan(variance):
        return Effect(value=math.nan, se=math.nan, effective=0.0)
    return Effect(value=mean, se=math.sqrt(variance / sums.n), effective=float(sums.n))


def difference_effect(contrast: Contrast) -> Effect:
    """Return the challenger's mean less the champion's, stratified by step.

    Args:
        contrast: Sums by step; steps with fewer than `FEWEST` entities in either arm are left out.

    Returns:
        NaN where no step is left, or where a sum is not finite or impossible.

    Source: Cochran 1954 (weights n1 n0 / (n1 + n0), which do not depend on the values); variance by step (Welch), but
    the smaller arm's at least the larger arm's. Ours: a small skewed sample that lacks its rare values looks different
    and sure of it at once (lognormal, sigma 1, a tenth of traffic: 2.8 % false alarms for 1 % without this).

    >>> some, more = Sums(n=100, total=50.0, squares=50.0), Sums(n=100, total=60.0, squares=60.0)
    >>> found = difference_effect(Contrast(steps=(StepSums(challenger=more, champion=some),)))
    >>> round(found.value, 12), round(found.se, 6), found.effective  # 25/99/100 + 24/99/100 = .0049495
    (0.1, 0.070353, 50.0)
    """
    parts = []
    for step in contrast.steps:
        one, other = step.challenger, step.champion
        if min(one.n, other.n) >= FEWEST:
            weight = one.n * other.n / (one.n + other.n)
            (mean, variance), (mean_other, variance_other) = _moments(one), _moments(other)
            if one.n < other.n:
                variance = max(variance, variance_other)
            elif other.n < one.n:
                variance_other = max(variance_other, variance)
            spread = weight**2 * (variance / one.n + variance_other / other.n)
            parts.append((weight, weight * (mean - mean_other), spread))
    weight = math.fsum(part[0] for part in parts)
    value, spread = math.fsum(part[1] for part in parts), math.fsum(part[2] for part in parts)
    if not parts or math.isnan(value) or math.isnan(spread):
        return Effect(value=math.nan, se=math.nan, effective=0.0)
    return Effect(value=value / weight, se=math.sqrt(spread) / weight, effective=weight)


def interval(effect: Effect, alpha: float, *, tuned_for: float) -> tuple[float, float]:
    """Return an interval that holds at all looks at once with probability 1 - alpha.

        value +- se sqrt(2 (t r + 1) / (t r) log(sqrt(t r + 1) / alpha)),   t = effective,
        r = (-2 log alpha + log(1 - 2 log alpha)) / tuned_for

    Args:
        effect: What was estimated.
        alpha: Two-sided error over all looks, in 0..1.
        tuned_for: The effective number at which the interval is to be narrowest; declared before the start.

    Returns:
        Infinite bounds where nothing can be estimated; width 0 at an SE of 0.

    Source: theorem 2.2 and equation 10 of the paper above.

    >>> low, high = interval(Effect(value=0.0, se=1.0, effective=100.0), 0.05, tuned_for=100.0)
    >>> round(high, 2), low == -high  # t r = 5.991 + 1.945 = 7.936; sqrt(2 * 1.126 * log(2.989 / .05)) = sqrt(9.213)
    (3.04, True)
    """
    if math.isnan(effect.value) or math.isnan(effect.se):
        return -math.inf, math.inf
    scaled = effect.effective * _tuning(alpha, tuned_for)
    width = effect.se * math.sqrt(2.0 * (scaled + 1.0) / scaled * math.log(math.sqrt(scaled + 1.0) / alpha))
    return effect.value - width, effect.value + width


def lower(effect: Effect, alpha: float, *, tuned_for: float) -> float:
    """Return a bound that the truth is above, at all looks at once, with probability 1 - alpha.

    As `interval`, with log(1 + sqrt(t r + 1) / (2 alpha)), tuned at 2 alpha.

    Args:
        effect: What was estimated.
        alpha: One-sided error over all looks, in 0..0.5.
        tuned_for: As in `interval`.

    Returns:
        -inf where nothing can be estimated.

    Source: appendix B of the paper above. For it 2 exp(u^2 / 2) Phi(u) >= 2 exp(u^2 / 2) - 1 at u >= 0, which puts
    the half-normal mixture of exp(a S - a^2 t / 2) above 1 / alpha outside the bound.

    >>> round(lower(Effect(value=0.0, se=1.0, effective=100.0), 0.025, tuned_for=100.0), 2)  # log(60.78): sqrt(9.250)
    -3.04
    """
    if math.isnan(effect.value) or math.isnan(effect.se):
        return -math.inf
    scaled = effect.effective * _tuning(2.0 * alpha, tuned_for)
    bound = math.log1p(math.sqrt(scaled + 1.0) / (2.0 * alpha))
    return effect.value - effect.se * math.sqrt(2.0 * (scaled + 1.0) / scaled * bound)


def _tuning(alpha: float, tuned_for: float) -> float:
    half = -2.0 * math.log(alpha)
    return (half + math.log1p(half)) / tuned_for


def _moments(sums: Sums) -> tuple[float, float]:
    """Return mean and variance; NaN where they cannot be, such as squares below what the total alone implies."""
    if sums.n < 2 or not math.isfinite(sums.total) or not math.isfinite(sums.squares):
        return math.nan, math.nan
    mean = sums.total / sums.n
    around = sums.squares - sums.total * mean
    slack = 1e-9 * max(sums.squares, 0.0)  # what a float64 sum may lose
    if around < -slack:
        return math.nan, math.nan
    return mean, max(around, 0.0) / (sums.n - 1)
