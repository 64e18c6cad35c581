"""What the numbers of a request must keep to: within the trained range, null only where the contract allows it.

By the contract's `RequestPolicy` what does not is refused, clipped or flagged; infinity is always refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import InputColumn, Policy, RangePolicy, RequestPolicy
from lockgate.serving.model import column_faults as faults
from lockgate.serving.model.column_values import CLIPPED, NULL, OUT_OF_RANGE, Flag, Flags, Matrix

_BLOCK_ROWS: Final = 64  # ours: numpy compares rows of some two dozen numbers at a quarter of its pace


class NumberBounds:
    """The bounds of one contract's numbers, in the order of the graph's matrix."""

    def __init__(self, numeric: Sequence[InputColumn], codes: int, policy: RequestPolicy) -> None:
        """Take the numeric columns, how many columns of codes follow them, and what is done with what is outside.

        Codes always keep to the contract, they were looked up. float32, like the data: a bound and an equal value
        round to the same number.
        """
        self._numeric, self._policy = numeric, policy
        largest = np.finfo(np.float32).max
        least = [-largest if column.minimum is None else column.minimum for column in numeric]
        most = [largest if column.maximum is None else column.maximum for column in numeric]
        nullable = [column.nullable for column in numeric] + [True] * codes
        self._least = np.array(least + [-largest] * codes, np.float32)
        self._most = np.array(most + [largest] * codes, np.float32)
        self._nullable = np.array(nullable, np.bool_)
        self._each = list(zip(self._least.tolist(), self._most.tolist(), strict=True))
        self._block_least = np.tile(self._least, _BLOCK_ROWS)
        self._block_most = np.tile(self._most, _BLOCK_ROWS)
        self._block_nullable = np.tile(self._nullable, _BLOCK_ROWS)

    def keeps(self, numbers: Sequence[Any]) -> bool:
        """Return whether one row surely keeps to the bounds; False for a null and for what needs a second look.

        As doubles, before they are rounded to float32: what is not above a bound, which is a float32, is not above it
        afterwards.
        """
        try:
            for number, (least, most) in zip(numbers, self._each, strict=True):
                if not least <= number <= most:
                    return False
        except TypeError:  # a null
            return False
        return True

    def check(self, numbers: Matrix) -> npt.NDArray[np.bool_] | None:
        """Return which numbers need a second look, bool like `numbers`; None: none, which is the common answer."""
        if len(numbers) < _BLOCK_ROWS or not numbers.flags.c_contiguous:
            return _check(numbers, self._least, self._most, self._nullable)
        rows = len(numbers)
        blocks = slice(0, rows - rows % _BLOCK_ROWS), slice(rows - _BLOCK_ROWS, rows)  # the last may overlap
        found = [(some, self._check_blocks(numbers[some])) for some in blocks]
        if all(doubtful is None for _, doubtful in found):
            return None
        whole = np.zeros(numbers.shape, np.bool_)
        for some, doubtful in found:
            if doubtful is not None:
                whole[some] = doubtful
        return whole

    def _check_blocks(self, numbers: Matrix) -> npt.NDArray[np.bool_] | None:
        """Return the same of whole blocks of rows."""
        blocks = numbers.reshape(-1, _BLOCK_ROWS * numbers.shape[1])
        doubtful = _check(blocks, self._block_least, self._block_most, self._block_nullable)
        return None if doubtful is None else doubtful.reshape(numbers.shape)

    def settle(self, numbers: Matrix, doubtful: npt.NDArray[np.bool_], lacking: frozenset[str]) -> Flags:
        """Refuse, clip (in place) or flag the doubtful numbers of one request.

        Args:
            numbers: float32 [rows, k + coded]; changed where the policy clips.
            doubtful: From `check`, for these rows.
            lacking: Columns already flagged as absent.

        Raises:
            RequestRefused: The policy refuses one of them, or it is beyond float32; names column and row.
        """
        flags: list[Flag] = []
        for at in np.flatnonzero(doubtful.any(axis=0)).tolist():
            column, values = self._numeric[at], numbers[:, at]
            rows = np.flatnonzero(doubtful[:, at])
            null = rows[np.isnan(values[rows])]
            if null.size and column.name not in lacking:
                if self._policy.null is Policy.REFUSE:
                    raise faults.null_refused(column, int(null[0]))
                flags.append(Flag(NULL, column.name, tuple(null.tolist())))
            outside = rows[~np.isnan(values[rows])]
            if outside.size:
                flags.append(self._outside(column, at, values, outside))
        return tuple(flags)

    def _outside(self, column: InputColumn, at: int, values: Matrix, rows: npt.NDArray[np.intp]) -> Flag:
        infinite = rows[np.isinf(values[rows])]
        if infinite.size:
            raise faults.beyond_float32(column, int(infinite[0]))
        match self._policy.out_of_range:
            case RangePolicy.REFUSE:
                raise faults.out_of_range(column, int(rows[0]), float(values[rows[0]]))
            case RangePolicy.CLIP:
                values[rows] = values[rows].clip(self._least[at], self._most[at])
                return Flag(CLIPPED, column.name, tuple(rows.tolist()))
            case RangePolicy.FLAG:
                return Flag(OUT_OF_RANGE, column.name, tuple(rows.tolist()))


def _check(
    numbers: Matrix, least: Matrix, most: Matrix, nullable: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_] | None:
    """Return which numbers are not within their column's bounds, and not null where that is allowed; None: none."""
    kept: npt.NDArray[np.bool_] = numbers >= least
    kept &= numbers <= most
    if np.count_nonzero(kept) == kept.size:  # `all` takes four times as long for so few
        return None
    kept |= np.isnan(numbers) & nullable
    return None if np.count_nonzero(kept) == kept.size else ~kept
