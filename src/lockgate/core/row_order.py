"""Brings rows that take the same ways through a model's trees next to each other; changes no answer, only its cost.

What a tree costs is mostly branches that the processor guessed wrong, and it guesses by what the rows before did. Many
rows in an order in which neighbours agree on the commonest splits cost less: a thousand rows of 72 trees 28 % less,
eight thousand half (docs/benchmarks.md). The order is by sixteen bits a row, one a split, as ranks of a Gray code: two
neighbours that differ in an early bit then agree on the later ones.

Which splits is chosen where a graph is made (`models.split_choice`) and kept in its metadata under `KEY`, so that a
server needs nothing but the graph.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from lockgate.errors import IntegrityError

KEY: Final = "lockgate.row_order"
"""Of the graph's metadata; its value is JSON, a list of [column of the matrix, threshold]."""
BITS: Final = 16  # of a key that numpy sorts by radix, in linear time
WORTHWHILE_ROWS: Final = 256  # ours: half as many save 40 us of 276 and pay as much for the order (docs/benchmarks.md)
BLOCK_ROWS: Final = 8192  # ours: a block of the matrix stays in the processor's cache while its bits are made

Split = tuple[int, float]
"""A column of the matrix and a threshold on it."""


class RowOrder:
    """By which splits rows are ordered.

    Attributes:
        splits: The most telling one first; at least one, at most `BITS`.
    """

    __slots__ = ("_columns", "_thresholds", "splits")

    def __init__(self, splits: Sequence[Split]) -> None:
        """Take the splits.

        Raises:
            ValueError: There are none, or more than `BITS`.
        """
        if not 0 < len(splits) <= BITS:
            raise ValueError(f"{len(splits)} splits; an order needs 1 to {BITS}")
        self.splits: Final = tuple(splits)
        filled = [*self.splits, *[self.splits[-1]] * (BITS - len(splits))]  # the same bit again orders nothing more
        self._columns = np.array([column for column, _ in filled])
        self._thresholds = np.array([threshold for _, threshold in filled], np.float32)

    def of(self, numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
        """Return the indices that bring the rows of float32 [rows, columns] into order; NaN is above any threshold."""
        ranks = np.empty(len(numbers), np.uint16)
        for at in range(0, len(numbers), BLOCK_ROWS):
            below = numbers[at : at + BLOCK_ROWS].take(self._columns, axis=1) < self._thresholds
            ranks[at : at + BLOCK_ROWS] = np.packbits(below).view(">u2")
        for shift in (8, 4, 2, 1):  # F. Gray, US patent 2632058 (1953): the inverse is the exclusive or of all prefixes
            ranks ^= ranks >> shift
        return ranks.argsort(kind="stable")

    def text(self) -> str:
        """Return the order as the graph's metadata hold it."""
        return json.dumps(self.splits)


def parse(text: str, width: int) -> RowOrder:
    """Read an order from a graph's metadata.

    Args:
        text: From `RowOrder.text`.
        width: Columns of the graph's matrix.

    Raises:
        IntegrityError: It is of another form, or names a column that the matrix does not have.
    """
    try:
        found = json.loads(text)
        splits = [(column, float(threshold)) for column, threshold in found]
        order = RowOrder(splits)
    except (ValueError, TypeError, OverflowError) as broken:
        raise IntegrityError(f"metadata {KEY}: not a list of [column, threshold]: {broken}") from broken
    for column, threshold in splits:
        if type(column) is not int or not 0 <= column < width or math.isnan(threshold):
            raise IntegrityError(f"metadata {KEY}: [{column}, {threshold}] is no split of a matrix of {width} columns")
    return order
