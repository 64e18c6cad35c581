"""The difference of two rates for a plan's looks: its standard error as it would be at the margin, not as it happened.

The plain standard error of a rate falls when the rate happens to be low, which is when one would promote: with a small
arm the error grows (simulated: 4 % promoted at the margin for 2.5 % declared, weights 5, 20, 50 %). The score test asks
how uncertain the difference is if it truly equals the margin, and keeps the error.

Source: Miettinen and Nurminen 1985; Farrington and Manning 1990 (the same without their n / (n - 1)).
"""

from __future__ import annotations

import math

from lockgate.core.online.means import FEWEST, Contrast, Effect, StepSums


def rate_effect(contrast: Contrast, margin: float) -> Effect:
    """Return the challenger's rate less the champion's, with its standard error if that were the margin.

    Args:
        contrast: Sums of zeros and ones by step (so `squares` equals `total`); steps with fewer than `means.FEWEST`
            entities in either arm are left out. Steps are weighted as in `means.difference_effect`.
        margin: The difference under H0, in -1..1.

    Returns:
        NaN where no step is left, a sum is not one of zeros and ones, or the margin is impossible.

    Source: the module's docstring; rates under H0 are the likeliest pair that differs by the margin.

    >>> from lockgate.core.online.means import Sums
    >>> ones = lambda n, x: Sums(n=n, total=float(x), squares=float(x))
    >>> found = rate_effect(Contrast(steps=(StepSums(challenger=ones(100, 20), champion=ones(100, 20)),)), 0.0)
    >>> found.value, round(found.se, 6)  # sqrt(2 * .2 * .8 / 100)
    (0.0, 0.056569)
    """
    told = [step for step in contrast.steps if min(step.challenger.n, step.champion.n) >= FEWEST]
    if not told or not -1 < margin < 1 or not all(_is_rate(step) for step in told):
        return Effect(value=math.nan, se=math.nan, effective=0.0)
    weights, values, spreads = [], [], []
    for step in told:
        one, other = step.challenger, step.champion
        weight = one.n * other.n / (one.n + other.n)
        rate = _champion_rate(step, margin)
        above = rate + margin
        weights.append(weight)
        values.append(weight * (one.total / one.n - other.total / other.n))
        spreads.append(weight**2 * (above * (1.0 - above) / one.n + rate * (1.0 - rate) / other.n))
    whole = math.fsum(weights)
    return Effect(value=math.fsum(values) / whole, se=math.sqrt(math.fsum(spreads)) / whole, effective=whole)


def _champion_rate(step: StepSums, margin: float) -> float:
    """Return the likeliest champion's rate if the challenger's is that plus the margin."""
    one, other = step.challenger, step.champion
    low, high = max(0.0, -margin), min(1.0, 1.0 - margin)
    while high - low > 1e-12:
        middle = (low + high) / 2
        above = middle + margin
        # the derivative of the log likelihood, times what is positive; it falls in the rate
        rising = (one.total - one.n * above) / (above * (1.0 - above)) + (other.total - other.n * middle) / (
            middle * (1.0 - middle)
        )
        low, high = (middle, high) if rising > 0 else (low, middle)
    return (low + high) / 2


def _is_rate(step: StepSums) -> bool:
    return all(sums.total == sums.squares and 0 <= sums.total <= sums.n for sums in (step.challenger, step.champion))
