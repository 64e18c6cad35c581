"""Slices of rows: how much worse than it should be is the loss in each, with its uncertainty by block.

What a slice *should* cost differs from slice to slice (some are harder for any model), so the raw loss ranks slices
wrongly. The excess over a reference on the same rows is what is judged:

    reference      loss of the champion on the same rows, where there is one
                   else, for probabilities, the loss the answers themselves expect (their entropy)
                   else, for values, the mean loss of all rows
    excess_s       mean over the slice of (loss - reference)
                   minus, without a champion, the same mean over the rest: one shift of every slice is no slice's fault
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]  # no stubs installed

from lockgate.core.block_statistics import block_sums
from lockgate.core.intervals import CONFIDENCE, Estimate, t_quantile
from lockgate.core.metrics import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceExcess:
    """One slice.

    Attributes:
        rows: Rows in it.
        blocks: Blocks it appears in.
        loss: Mean loss in it; NaN when empty.
        excess: Mean excess loss, with its interval; NaN bounds with fewer than three blocks.
    """

    rows: int
    blocks: int
    loss: float
    excess: Estimate


def slice_excess(  # noqa: PLR0913 - the rows, their slices and their blocks; the last are keywords
    loss: Floats,
    reference: Floats,
    member: Ints,
    slices: int,
    *,
    block: Ints,
    blocks: int,
    against_rest: bool,
    confidence: float = CONFIDENCE,
) -> tuple[SliceExcess, ...]:
    """Return every slice of one column.

    Args:
        loss: Loss of each row, shape [n]; finite.
        reference: What the row should cost, shape [n]; finite.
        member: Slice index of each row, shape [n]; -1 for rows that no slice holds.
        slices: How many slices.
        block: Block index of each row, shape [n].
        blocks: How many blocks.
        against_rest: Whether the mean excess over the rows outside the slice is taken off; nothing for all rows.
        confidence: Two-sided, in 0..1.

    Standard errors leave out one block at a time, over the blocks a slice appears in (Efron and Tibshirani 1993,
    eq. 11.5); intervals take Student's t with one degree of freedom fewer than those blocks.
    """
    inside = member >= 0
    place = member[inside] * blocks + block[inside]
    difference = loss - reference
    rows, lost, over = (
        block_sums(each[inside], place, slices * blocks).reshape(slices, blocks)
        for each in (np.ones(len(loss)), loss, difference)
    )
    whole = Table(
        rows=block_sums(np.ones(len(loss)), block, blocks)[None], over=block_sums(difference, block, blocks)[None]
    )
    found = excess(Table(rows=rows, over=over), whole if against_rest else None)
    return tuple(
        SliceExcess(
            rows=int(rows[k].sum()),
            blocks=int(found.blocks[k]),
            loss=float(lost[k].sum() / rows[k].sum()) if rows[k].sum() else float("nan"),
            excess=estimated(float(found.value[k]), float(found.se[k]), int(found.blocks[k]), confidence),
        )
        for k in range(slices)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Sums by slice and block.

    Attributes:
        rows: Rows, shape [slices, blocks].
        over: Summed loss above the reference, shape [slices, blocks].
    """

    rows: Floats
    over: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Excesses:
    """The mean excess of many slices.

    Attributes:
        value: Mean excess, shape [slices]; NaN where a slice is empty.
        se: Standard error by block, shape [slices]; NaN with fewer than three blocks.
        blocks: Blocks each slice appears in, shape [slices].
    """

    value: Floats
    se: Floats
    blocks: Ints


def excess(inside: Table, whole: Table | None) -> Excesses:
    """Return the mean excess of each slice with its standard error, leaving out one block at a time.

    Args:
        inside: The slices.
        whole: All rows, shape [1, blocks]: the mean excess of those outside the slice is taken off. None: nothing is.

    >>> found = excess(Table(rows=np.ones((1, 3)), over=np.array([[1.0, 2.0, 3.0]])), None)
    >>> found.value.tolist(), found.se.round(4).tolist()  # the mean 2, and 1 / sqrt(3)
    ([2.0], [0.5774])
    """
    value, left = _leave_one_out(inside)
    if whole is not None:
        rest = Table(rows=whole.rows - inside.rows, over=whole.over - inside.over)
        rest_value, rest_left = _leave_one_out(rest)
        alone = rest.rows.sum(axis=1) == 0
        value = value - np.where(alone, 0.0, rest_value)
        left = left - np.where(alone[:, None], 0.0, rest_left)
    return Excesses(
        value=value,
        se=standard_error(value, left, inside.rows > 0),
        blocks=(inside.rows > 0).sum(axis=1).astype(np.int64),
    )


def beyond_parents(first: Table, second: Table, both: Table, whole: Table) -> Excesses:
    """Return by how much rows that two slices share are worse than the two slices together explain.

    The contrast of four disjoint parts, both - only the first - only the second + neither, is 0 where the two add up
    (Cox 1984, Interaction). Every table has shape [k, blocks]. NaN where one of the parts is empty.

    >>> one = lambda over: Table(rows=np.full((1, 4), 2.0), over=np.full((1, 4), over))
    >>> everything = Table(rows=np.full((1, 4), 4.0), over=np.full((1, 4), 4.0))
    >>> both = Table(rows=np.ones((1, 4)), over=np.full((1, 4), 3.0))
    >>> beyond_parents(one(3.0), one(3.0), both, everything).value.tolist()  # 3 - 0 - 0 + 1
    [4.0]
    """
    only_first = Table(rows=first.rows - both.rows, over=first.over - both.over)
    only_second = Table(rows=second.rows - both.rows, over=second.over - both.over)
    neither = Table(rows=whole.rows - only_first.rows - second.rows, over=whole.over - only_first.over - second.over)
    signed = [(1.0, both), (-1.0, only_first), (-1.0, only_second), (1.0, neither)]
    parts = [(sign, _leave_one_out(part)) for sign, part in signed]
    value = np.asarray(sum(sign * mean for sign, (mean, _) in parts))
    left = np.asarray(sum(sign * means for sign, (_, means) in parts))
    there = both.rows > 0
    return Excesses(value=value, se=standard_error(value, left, there), blocks=there.sum(axis=1).astype(np.int64))


def standard_error(value: Floats, left: Floats, there: NDArray[np.bool_]) -> Floats:
    """Return the jackknife standard error over the blocks that are there.

    Args:
        value: Shape [k]; says what a difference of rounding is.
        left: The statistic without each block, shape [k, blocks].
        there: Which blocks count, shape [k, blocks].

    Returns:
        Shape [k]; NaN with fewer than three blocks or where a value is not finite, 0 where no block differs.

    Source: Efron and Tibshirani 1993, eq. 11.5.
    """
    count = there.sum(axis=1)
    kept = np.where(there, left, 0.0)
    centre = kept.sum(axis=1) / np.maximum(count, 1)
    spread = np.where(there, left - centre[:, None], 0.0)
    se = np.sqrt((count - 1.0).clip(min=0.0) / np.maximum(count, 1) * (spread**2).sum(axis=1))
    # the same loss in every block: see `intervals.block_interval`
    se = np.where(se <= 1e-12 * np.maximum(1.0, np.abs(value)), 0.0, se)
    return np.asarray(np.where((count >= 3) & np.isfinite(value), se, np.nan))


def _leave_one_out(table: Table) -> tuple[Floats, Floats]:
    """Return the mean of each slice, shape [slices], and without each block, shape [slices, blocks]."""
    total, count = table.over.sum(axis=1), table.rows.sum(axis=1)
    whole = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    rest = count[:, None] - table.rows
    left = np.divide(total[:, None] - table.over, rest, out=np.full(table.over.shape, np.nan), where=rest > 0)
    return whole, left


def estimated(value: float, se: float, blocks: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return a value with its t interval of blocks - 1 degrees of freedom; NaN bounds without a standard error."""
    if not np.isfinite(se):
        return Estimate(value=value, low=float("nan"), high=float("nan"), se=float("nan"))
    wide = t_quantile((1.0 + confidence) / 2, blocks - 1) * se if se else 0.0
    return Estimate(value=value, low=value - wide, high=value + wide, se=se)


def worse_than(excess: float, se: float, blocks: int, bound: float) -> float:
    """Return the p-value of "the excess is at most `bound`" against "it is more": one-sided t, blocks - 1.

    >>> round(worse_than(excess=2.0, se=1.0, blocks=21, bound=0.0), 4)  # P(t20 > 2)
    0.0296
    >>> worse_than(excess=0.0, se=0.0, blocks=21, bound=0.0), worse_than(1.0, float("nan"), 2, 0.0)
    (1.0, 1.0)
    """
    if math.isnan(se):
        return 1.0
    if se == 0.0:
        return 0.0 if excess > bound else 1.0
    return float(special.stdtr(blocks - 1, -(excess - bound) / se))


def adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return Benjamini-Hochberg adjusted p-values: reject where at most q to hold the false discovery rate at q.

    Source: Benjamini and Hochberg 1995; holds also for the positively dependent tests of overlapping slices
    (Benjamini and Yekutieli 2001).

    >>> [round(p, 3) for p in adjusted([0.01, 0.04, 0.03])]  # 3 * .01; 3 / 3 * .04; 3 / 2 * .03, monotone from the top
    [0.03, 0.04, 0.04]
    """
    tests = len(p_values)
    if not tests:
        return ()
    order = np.argsort(p_values)
    scaled = np.asarray(p_values)[order] * tests / np.arange(1, tests + 1)
    monotone = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    found = np.empty(tests)
    found[order] = monotone
    return tuple(float(each) for each in found)
