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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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
    whole, left = _leave_one_out(over, rows)
    if against_rest:
        all_over, all_rows = (block_sums(each, block, blocks)[None] for each in (difference, np.ones(len(loss))))
        rest_whole, rest_left = _leave_one_out(all_over - over, all_rows - rows)
        alone = (all_rows - rows).sum(axis=1) == 0
        whole = whole - np.where(alone, 0.0, rest_whole)
        left = left - np.where(alone[:, None], 0.0, rest_left)
    there = rows > 0
    return tuple(
        SliceExcess(
            rows=int(rows[k].sum()),
            blocks=int(there[k].sum()),
            loss=float(lost[k].sum() / rows[k].sum()) if rows[k].sum() else float("nan"),
            excess=_estimate(float(whole[k]), left[k][there[k]], confidence),
        )
        for k in range(slices)
    )


def _leave_one_out(over: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Return the mean of each slice, shape [slices], and without each block, shape [slices, blocks]."""
    total, count = over.sum(axis=1), rows.sum(axis=1)
    whole = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    rest = count[:, None] - rows
    left = np.divide(total[:, None] - over, rest, out=np.full(over.shape, np.nan), where=rest > 0)
    return whole, left


def _estimate(value: float, left: Floats, confidence: float) -> Estimate:
    blocks = len(left)
    if blocks < 3 or not np.isfinite(value) or not np.isfinite(left).all():
        return Estimate(value=value, low=float("nan"), high=float("nan"), se=float("nan"))
    se = float(np.sqrt((blocks - 1) / blocks * ((left - left.mean()) ** 2).sum()))
    if se <= 1e-12 * max(1.0, abs(value)):  # the same loss in every block: see `intervals.block_interval`
        return Estimate(value=value, low=value, high=value, se=0.0)
    wide = t_quantile((1.0 + confidence) / 2, blocks - 1) * se
    return Estimate(value=value, low=value - wide, high=value + wide, se=se)


def worse_than(excess: float, se: float, blocks: int, bound: float) -> float:
    """Return the p-value of "the excess is at most `bound`" against "it is more": one-sided t, blocks - 1.

    >>> round(worse_than(excess=2.0, se=1.0, blocks=21, bound=0.0), 4)  # P(t20 > 2)
    0.0296
    >>> worse_than(excess=0.0, se=0.0, blocks=21, bound=0.0)
    1.0
    """
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
    order = np.argsort(p_values)
    scaled = np.asarray(p_values)[order] * tests / np.arange(1, tests + 1)
    monotone = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    found = np.empty(tests)
    found[order] = monotone
    return tuple(float(each) for each in found)
