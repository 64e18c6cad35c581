"""Confidence intervals whose unit is the block, not the row.

Leave out one block at a time (jackknife), take Student's t with G - 1 degrees of freedom, and widen the side towards
which the blocks are skewed:

    low  = estimate - SE * max(t, t - c)        SE, skewness g: of the G pseudo-values
    high = estimate + SE * max(t, t + c)        c = g (2 t^2 + 1) / (6 sqrt(G))

Source: Efron and Tibshirani 1993, ch. 11 (jackknife); Johnson 1978 and Hall 1992, 3.10 (skewness). Nothing is drawn, so
nothing needs a seed and anyone gets the same digits.

Why not a bootstrap: asked for 95 % over 20 blocks, a percentile bootstrap of blocks covered 89 to 93 % in simulation,
the studentised one 92 to 96 %, this 95 to 96 %, and 93 to 96 % where a few blocks are far off (storm days); over 60
blocks 95 % in every case. `tests/unit/judgement/test_coverage.py` holds the simulation (4,000 holdouts each).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockgate.core.block_statistics import Metric, Statistic
from lockgate.core.ids import Json
from lockgate.core.metrics import Floats, Ints

CONFIDENCE = 0.95
"""Two-sided; each pessimistic bound is then one-sided at 2.5 %, as ICH E9 asks of non-inferiority."""

MOST_GROUPS = 100
"""Ours: more blocks than this are joined, neighbour with neighbour. Joining keeps independence between groups, and at
100 the t quantile is within 2 % of the normal one, so nothing is lost but time and memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: The point estimate.
        low: Lower bound of the two-sided interval.
        high: Upper bound.
        se: Standard error, by the jackknife over blocks.
    """

    value: float
    low: float
    high: float
    se: float

    def to_json(self) -> dict[str, Json]:
        """Return the numbers to ten significant digits: what differs below that is the order of a sum."""
        return {
            "estimate": rounded(self.value),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "se": rounded(self.se),
        }


def rounded(value: float, digits: int = 10) -> float:
    """Return a number to so many significant digits, so that machines which sum in another order agree on it.

    >>> rounded(0.1 + 0.2), rounded(float("nan"))
    (0.3, nan)
    """
    return float(f"{value:.{digits}g}")


def group_blocks(block: Ints, blocks: int) -> tuple[Ints, int]:
    """Return the group of each row and the number of groups: the blocks themselves, or neighbours joined.

    Args:
        block: Block index of each row, 0..blocks-1, in an order where neighbours belong together (time).
        blocks: How many blocks.
    """
    if blocks <= MOST_GROUPS:
        return block, blocks
    return block * MOST_GROUPS // blocks, MOST_GROUPS


def block_interval(
    statistic: Statistic,
    blocks: int,
    *,
    confidence: float = CONFIDENCE,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> Estimate:
    """Return a statistic with its interval, clustered by block.

    Args:
        statistic: See `block_statistics`; smooth in the weights.
        blocks: How many blocks it has, G.
        confidence: Two-sided, in 0..1.
        lowest: The statistic cannot be less; bounds are cut there.
        highest: The statistic cannot be more.

    Returns:
        Bounds and SE are NaN with fewer than three blocks, or where leaving one out leaves the statistic undefined.
        Where blocks do not differ at all (two identical models) the interval has width 0.

    >>> from lockgate.core.block_statistics import ratio
    >>> found = block_interval(ratio(np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)), 4)
    >>> round(found.se, 6), round(found.high, 4)  # sqrt(1.6667 / 4); 2.5 + t(.975, 3) * 0.645497, no skew
    (0.645497, 4.5543)
    """
    value = float(statistic(np.ones((1, blocks)))[0]) if blocks else float("nan")
    left = statistic(1.0 - np.eye(blocks)) if blocks > 2 else np.empty(0)
    if not len(left) or not np.isfinite(value) or not np.isfinite(left).all():
        return Estimate(value=value, low=float("nan"), high=float("nan"), se=float("nan"))
    pseudo = blocks * value - (blocks - 1) * left
    se = float(pseudo.std(ddof=1) / np.sqrt(blocks))
    if se <= 1e-12 * max(1.0, abs(value)):  # below what a float64 sum of this size resolves
        return Estimate(value=value, low=value, high=value, se=0.0)
    t = t_quantile((1.0 + confidence) / 2, blocks - 1)
    skew = _skewness(pseudo) * (2 * t * t + 1) / (6 * np.sqrt(blocks))
    return Estimate(
        value=value,
        low=float(max(lowest, value - se * max(t, t - skew))),
        high=float(min(highest, value + se * max(t, t + skew))),
        se=se,
    )


def metric_interval(metric: Metric, blocks: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return a metric with its interval, cut where the metric cannot be; see `block_interval`."""
    return block_interval(metric.statistic, blocks, confidence=confidence, lowest=metric.lowest, highest=metric.highest)


def detectable(se: float, blocks: int, *, confidence: float = CONFIDENCE, power: float = 0.8) -> float:
    """Return the smallest true difference that would be shown with the given power at this standard error.

    Source: Bloom 1995, minimum detectable effects: SE * (t(1 - alpha / 2) + t(power)), blocks - 1 degrees of freedom.

    >>> round(detectable(1.0, 21), 3)  # t(.975, 20) + t(.8, 20) = 2.086 + 0.860
    2.946
    """
    if blocks < 2:
        return float("nan")
    return se * (t_quantile((1.0 + confidence) / 2, blocks - 1) + t_quantile(power, blocks - 1))


def t_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t."""
    # here, because a rollback imports this module and has two seconds in all; a tenth of the import of scipy.stats
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    return float(special.stdtrit(degrees, probability))


def _skewness(values: Floats) -> float:
    """Return the sample skewness, corrected for its bias at few values (Joanes and Gill 1998, G1)."""
    n = len(values)
    centred = values - values.mean()
    plain = (centred**3).mean() / (centred**2).mean() ** 1.5
    return float(plain * np.sqrt(n * (n - 1)) / (n - 2))
