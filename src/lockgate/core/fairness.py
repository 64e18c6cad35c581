"""Rates of groups, how far they are apart, and how surely.

Definitions are fairlearn's (`MetricFrame`, Bird et al. 2020): a difference is the highest value of a group minus the
lowest, a ratio the lowest over the highest; "to overall" compares each group with all rows and takes the worst. Theirs
are point estimates; the intervals are ours:

    one group     by block (`intervals.block_interval`), never narrower than independent rows would make it
    difference    over all pairs of groups: max |d| - t SE .. max |d| + t SE, t at alpha / (2 x pairs) (Bonferroni), so
                  that it covers the widest gap there is, whichever pair it is between
    ratio         the same over all pairs, each by Fieller's theorem

Why never narrower than independent rows: a group that is answered right on every day so far has no spread by block,
and is not sure to be answered right.

Sources: Agresti and Coull 1998 (the error of a rate, two successes and two failures added); Fieller 1954; Miller 1981,
Simultaneous Statistical Inference, ch. 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.block_statistics import block_sums, ratio
from lockgate.core.intervals import CONFIDENCE, Estimate, block_interval, detectable, t_quantile
from lockgate.core.metrics import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A mean by group: sum of the numerator over sum of the denominator.

    Attributes:
        numerator: Sums by group and block, shape [groups, blocks].
        denominator: Rows it is a mean of, shape [groups, blocks].
        is_share: Whether it is a share of rows, in 0..1.
        has_ratio: Whether a ratio of two groups means anything (not for an error that can be negative).
        unit: "fraction", "nat", or a unit of the value.
    """

    numerator: Floats
    denominator: Floats
    is_share: bool = True
    has_ratio: bool = True
    unit: str = "fraction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """One rate of every group.

    Attributes:
        value: Shape [groups]; NaN for a group without a row that counts.
        se: Standard error by block, at least that of independent rows; shape [groups].
        covariance: Of the values, by the jackknife over blocks, shape [groups, groups].
        least: Variance of independent rows, shape [groups]; 0 for what is no share.
        n: Rows that count, shape [groups].
        blocks: Blocks with such a row, shape [groups].
    """

    value: Floats
    se: Floats
    covariance: Floats
    least: Floats
    n: Ints
    blocks: Ints


def group_sums(values: Floats, member: Ints, groups: int, block: Ints, blocks: int) -> Floats:
    """Return the sum of row values by group and block, shape [groups, blocks]; rows of group -1 are in none.

    >>> group_sums(np.array([1.0, 2.0, 4.0]), np.array([0, 0, -1]), 2, np.array([0, 1, 1]), 2).tolist()
    [[1.0, 2.0], [0.0, 0.0]]
    """
    inside = member >= 0
    place = member[inside] * blocks + block[inside]
    return block_sums(values[inside], place, groups * blocks).reshape(groups, blocks)


def measure_groups(rate: Rate) -> Groups:
    """Return one rate of every group, with what is needed to compare groups.

    >>> found = measure_groups(Rate(numerator=np.array([[1.0, 3.0, 2.0]]), denominator=np.full((1, 3), 4.0)))
    >>> found.value.tolist(), found.n.tolist(), found.blocks.tolist()
    ([0.5], [12], [3])
    >>> found.se.round(4).tolist()  # by block sqrt(1/48) = .1443; independent rows sqrt(.5 * .5 / 16) = .125
    [0.1443]
    """
    blocks = rate.numerator.shape[1]
    total, n = rate.numerator.sum(axis=1), rate.denominator.sum(axis=1)
    value = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    rest = n[:, None] - rate.denominator
    left = np.divide(total[:, None] - rate.numerator, rest, out=np.full(rest.shape, np.nan), where=rest > 0)
    spread = left - left.mean(axis=1, keepdims=True)
    covariance = spread @ spread.T * (blocks - 1) / max(blocks, 1)
    least = np.zeros(len(n))
    if rate.is_share:
        share = (total + 2) / (n + 4)
        least = share * (1 - share) / (n + 4)
    return Groups(
        value=value,
        se=np.sqrt(np.maximum(np.diagonal(covariance), least)),
        covariance=covariance,
        least=least,
        n=n.astype(np.int64),
        blocks=(rate.denominator > 0).sum(axis=1).astype(np.int64),
    )


def group_estimate(rate: Rate, group: int, found: Groups, confidence: float = CONFIDENCE) -> Estimate:
    """Return the rate of one group with its interval, over the blocks it has rows in.

    Args:
        rate: Sums by group and block.
        group: Which.
        found: From `measure_groups`; its standard error is the least that the interval is made with.
        confidence: Two-sided.

    Returns:
        Bounds of a share lie in 0..1; they are NaN with fewer than three blocks.
    """
    there = rate.denominator[group] > 0
    count, least = int(there.sum()), float(found.se[group])
    lowest, highest = (0.0, 1.0) if rate.is_share else (-np.inf, np.inf)
    plain = block_interval(
        ratio(rate.numerator[group][there], rate.denominator[group][there]), count, confidence=confidence
    )
    if not np.isfinite(plain.low):
        return plain
    wide = t_quantile((1 + confidence) / 2, count - 1) * least
    return Estimate(
        value=plain.value,
        low=max(lowest, min(plain.low, plain.value - wide)),
        high=min(highest, max(plain.high, plain.value + wide)),
        se=max(plain.se, least),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far the groups are apart in one rate.

    Attributes:
        difference: Highest minus lowest; the interval covers the widest gap.
        ratio: Lowest over highest, in 0..1 unless undefined; NaN where the highest is 0. Its `se` is NaN: none exists.
        detectable: The difference between its two ends that would have been shown (80 % power).
    """

    difference: Estimate
    ratio: Estimate
    detectable: float


def gap(found: Groups, kept: Sequence[int], confidence: float = CONFIDENCE) -> Gap:
    """Return how far some groups are apart.

    Args:
        found: One rate of every group.
        kept: Which groups to compare; at least two, each in three blocks or more.
        confidence: Simultaneous over all pairs, two-sided.

    >>> sums = np.array([[8.0, 8.0, 9.0, 7.0], [4.0, 4.0, 5.0, 3.0]])
    >>> apart = gap(measure_groups(Rate(numerator=sums, denominator=np.full((2, 4), 10.0))), [0, 1])
    >>> round(apart.difference.value, 4), round(apart.ratio.value, 4)  # .8 - .4 and .4 / .8
    (0.4, 0.5)
    """
    first, second = (np.asarray(kept)[each] for each in np.triu_indices(len(kept), k=1))
    swap = found.value[first] < found.value[second]
    high, low = np.where(swap, second, first), np.where(swap, first, second)
    degrees = int(found.blocks[np.asarray(kept)].min()) - 1
    t = t_quantile(1 - (1 - confidence) / 2 / len(first), degrees)
    difference = found.value[high] - found.value[low]
    variance = found.se[high] ** 2 + found.se[low] ** 2 - 2 * _shared(found, high, low)
    se = np.sqrt(np.maximum(variance, found.least[high] + found.least[low]))
    widest = int(difference.argmax())
    return Gap(
        difference=Estimate(
            value=float(difference[widest]),
            low=max(0.0, float((difference - t * se).max())),
            high=float((difference + t * se).max()),
            se=float(se[widest]),
        ),
        ratio=_ratio(found, high, low, t),
        detectable=detectable(float(se[widest]), degrees + 1, confidence=confidence),
    )


def _shared(found: Groups, high: Ints, low: Ints) -> Floats:
    """Return the covariance of pairs, 0 where either error is that of independent rows."""
    own = np.diagonal(found.covariance)
    by_block = (own[high] >= found.least[high]) & (own[low] >= found.least[low])
    return np.where(by_block, found.covariance[high, low], 0.0)


def _ratio(found: Groups, high: Ints, low: Ints, t: float) -> Estimate:
    """Return the least ratio of two groups with Fieller's bounds, cut to 0..1."""
    top, bottom = found.value[high], found.value[low]
    values = np.divide(bottom, top, out=np.full(len(top), np.nan), where=top > 0)
    if np.isnan(values).all() or (bottom < 0).any():
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), se=float("nan"))
    square = top**2 - t * t * found.se[high] ** 2
    cross = top * bottom - t * t * _shared(found, high, low)
    rest = bottom**2 - t * t * found.se[low] ** 2
    root = np.sqrt(np.maximum(cross**2 - square * rest, 0.0))
    known = square > 0  # else the highest cannot be told from 0, and any ratio is possible
    lows = np.divide(cross - root, square, out=np.zeros(len(top)), where=known)
    highs = np.divide(cross + root, square, out=np.ones(len(top)), where=known)
    return Estimate(
        value=float(np.nanmin(values)),
        low=float(np.clip(lows.min(), 0.0, 1.0)),
        high=float(np.clip(highs.min(), 0.0, 1.0)),
        se=float("nan"),
    )


def to_overall(found: Groups, overall: float, kept: Sequence[int]) -> tuple[float, float]:
    """Return the widest difference and the least ratio of a group to all rows.

    Source: fairlearn, `MetricFrame.difference` and `.ratio` with `method="to_overall"`.

    >>> sums = np.array([[8.0, 8.0, 8.0], [4.0, 4.0, 4.0]])
    >>> found = measure_groups(Rate(numerator=sums, denominator=np.full((2, 3), 10.0)))
    >>> [round(each, 4) for each in to_overall(found, 0.6, [0, 1])]  # .2, and the least of .6 / .8 and .4 / .6
    [0.2, 0.6667]
    """
    value = found.value[np.asarray(kept)]
    if overall <= 0 or (value < 0).any():
        return float(np.abs(value - overall).max()), float("nan")
    shares = value / overall
    return float(np.abs(value - overall).max()), float(
        np.minimum(shares, np.divide(1.0, shares, out=np.full(len(shares), np.inf), where=shares > 0)).min()
    )
