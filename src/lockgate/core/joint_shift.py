"""Can anything tell rows of now from rows of the reference? The interval of a classifier that tries to.

A classifier two-sample test (Lopez-Paz and Oquab 2017): out of fold, its AUC is 0.5 where both samples are of one law,
whatever the columns' joint law is. The unit is the block (a day): rows of one day share weather and congestion, and an
interval by row would call any two days different.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.core.block_statistics import auc
from lockgate.core.intervals import Estimate, block_interval, group_blocks

MIN_BLOCKS = 10
"""Fewer blocks on either side say nothing: ours, because with 5 folds that is two blocks of a side in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Which block each row stands in.

    Attributes:
        block: Shape (n,), 0..blocks-1, in the order of time.
        blocks: How many there are.
        of_now: Blocks that hold rows of now.
        of_reference: Blocks that hold rows of the reference.
    """

    block: NDArray[np.int64]
    blocks: int
    of_now: int
    of_reference: int

    @property
    def enough(self) -> bool:
        """Whether both sides have the blocks for an interval."""
        return min(self.of_now, self.of_reference) >= MIN_BLOCKS


def placed(day: NDArray[np.int64], now: NDArray[np.bool_]) -> Placed:
    """Number the days of both samples.

    Args:
        day: Any whole number that names each row's block, growing with time, shape (n,).
        now: Whether the row is of now (else of the reference), shape (n,).

    >>> found = placed(np.array([15706, 15706, 15800]), np.array([False, False, True]))
    >>> found.block.tolist(), found.blocks, found.of_now, found.of_reference
    ([0, 0, 1], 2, 1, 1)
    """
    days, block = np.unique(day, return_inverse=True)
    return Placed(
        block=np.asarray(block, dtype=np.int64),
        blocks=len(days),
        of_now=len(np.unique(day[now])),
        of_reference=len(np.unique(day[~now])),
    )


def told_apart(now: NDArray[np.bool_], score: NDArray[np.float64], where: Placed) -> Estimate:
    """Return the AUC of out-of-fold scores with its interval by block.

    Args:
        now: Whether the row is of now, shape (n,).
        score: The classifier's out-of-fold probability that it is, shape (n,).
        where: From `placed`.

    Returns:
        Bounds are NaN with fewer than three blocks.
    """
    block, blocks = group_blocks(where.block, where.blocks)
    statistic = auc(now.astype(np.int64), score, block, blocks)
    return block_interval(statistic, blocks, lowest=0.0, highest=1.0)
