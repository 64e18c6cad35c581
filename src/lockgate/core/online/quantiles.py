"""An interval of a quantile at any look: its rank in n independent values is a sum of coin tosses.

For requests that follow each other use `latency_blocks`: they are not independent.

Source: Howard and Ramdas 2022, Sequential estimation of quantiles, Bernoulli 28(3) (quantiles through the binomial
martingale; here with its beta-binomial mixture, Robbins 1970).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence


def ranks(n: int, quantile: float, alpha: float, *, tuned_for: int) -> tuple[int, int]:
    """Return the ranks, from 1, of two of n sorted independent values that hold the quantile at all looks at once.

    The number of values at or below the quantile has mean n q; kept are those k with
    B(k + a q, n - k + a (1 - q)) / (B(a q, a (1 - q)) q^k (1 - q)^(n - k)) < 1 / alpha.

    Args:
        n: Values so far.
        quantile: q, in 0..1.
        alpha: Error over all looks, in 0..1.
        tuned_for: The number at which the interval is to be narrow; declared before the start. Gives a.

    Returns:
        Rank 0 is minus infinity and rank n + 1 infinity: that side has no bound yet.

    Source: Robbins 1970; Howard and Ramdas 2022, section 3; a = tuned_for / (-2 log alpha + log(1 - 2 log alpha)), the
    normal mixture's, whose prior variance q (1 - q) / a it matches.

    >>> ranks(10, 0.5, 0.05, tuned_for=100)
    (0, 11)
    >>> ranks(1000, 0.5, 0.05, tuned_for=1000)  # 500 -+ 47, 3.0 standard deviations of sqrt(250), as in `means`
    (453, 548)
    """
    if n <= 0:
        return 0, 1
    half = -2.0 * math.log(alpha)
    a = tuned_for / (half + math.log1p(half))

    def kept(k: int) -> bool:
        mixture = _log_beta(k + a * quantile, n - k + a * (1.0 - quantile)) - _log_beta(
            a * quantile, a * (1.0 - quantile)
        )
        return mixture - k * math.log(quantile) - (n - k) * math.log1p(-quantile) < math.log(1.0 / alpha)

    middle = min(max(round(n * quantile), 0), n)  # the log ratio is convex in k and least near here
    fewest = _first(kept, 0, middle)
    most = n - _first(lambda missing: kept(n - missing), 0, n - middle)
    return fewest, most + 1


def quantile_interval(
    ordered: Sequence[float], quantile: float, alpha: float, *, tuned_for: int
) -> tuple[float, float]:
    """Return an interval for a quantile from independent sorted values, at all looks at once.

    Args:
        ordered: Sorted ascending; no NaN. Any bound on each value may stand for it, such as the edge of its bin.
        quantile: In 0..1.
        alpha: As in `ranks`.
        tuned_for: As in `ranks`.

    Returns:
        Infinite on a side without a bound.

    Source: as `ranks`.

    >>> quantile_interval([float(i) for i in range(1, 1001)], 0.5, 0.05, tuned_for=1000)
    (453.0, 548.0)
    """
    low, high = ranks(len(ordered), quantile, alpha, tuned_for=tuned_for)
    return ordered[low - 1] if low > 0 else -math.inf, ordered[high - 1] if high <= len(ordered) else math.inf


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first whole number of low..high at which a condition holds that, once true, stays true up to high."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
