"""Columns of a request -> the graph's tensors, checked against the contract; knows no transport and no ONNX.

Always refused, with the column and row named: a wrong type, unequal lengths, a number beyond float32, too many rows.
By the contract's `RequestPolicy` refused, clipped, or answered and flagged: a number outside the trained range, an
unknown category, an unexpected null, an absent or an additional column.

Two ways lead to the same tensors: `encode` for any request, and `encode_row` with `bounds` for the commonest one, a
single row of JSON values, which is cheap alone and is checked together with the rows it shares a run with. Where many
such rows have their columns in one order, `in_order` is cheaper still.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import InputColumn, ModelContract, Policy
from lockgate.serving.model import column_faults as faults
from lockgate.serving.model.column_values import (
    EXTRA_COLUMN,
    MISSING_COLUMN,
    CodedStrings,
    Columns,
    Flag,
    Flags,
    Matrix,
    MatrixColumns,
    Texts,
    Values,
)
from lockgate.serving.model.number_bounds import NumberBounds
from lockgate.serving.model.row import EncodedRow, Picked, RowOrder
from lockgate.serving.model.text_columns import TextColumn
from lockgate.serving.refusals import Reason, refuse

__all__ = ["CodedStrings", "Columns", "Encoded", "EncodedRow", "Flag", "Flags", "InputEncoder", "Values"]


_FEW: Final = 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request in the graph's form.

    Attributes:
        numbers: float32 [rows, k + coded], NaN for null; of no columns where the graph takes no numbers.
        texts: object (str) [rows, c]; None where the graph takes no strings.
        rows: How many rows.
        flags: What does not keep to the contract.
    """

    numbers: Matrix
    texts: Texts | None
    rows: int
    flags: Flags


class InputEncoder:
    """Encodes requests for one contract; made once a bundle, used by every request."""

    def __init__(self, contract: ModelContract) -> None:
        graph = contract.graph
        self._model = contract.model
        self._policy = contract.requests
        self.by_name: Final[Mapping[str, InputColumn]] = {column.name: column for column in contract.inputs}
        self.names: Final = tuple(self.by_name)
        self._expected = frozenset(self.names)
        self._with_entity = self._expected | ({contract.entity} if contract.entity else set())
        self._numeric = [self.by_name[name] for name in graph.numeric_columns]
        missing = graph.missing_string
        self._coded = [
            TextColumn.coded(self.by_name[each.name], each.values, missing, self._policy) for each in graph.coded
        ]
        self._strings = [TextColumn.plain(self.by_name[name], missing, self._policy) for name in graph.string_columns]
        self._codes = [each.known for each in self._coded]
        self._texts = [each.known for each in self._strings]
        self._pick_numbers = _picker(graph.numeric_columns)
        self._pick_coded = _picker([each.name for each in graph.coded])
        self._pick_strings = _picker(graph.string_columns)
        self._picked = (
            Picked([each.name for each in graph.coded], self._codes),
            Picked(graph.string_columns, self._texts),
        )
        self.width: Final = len(self._numeric) + len(self._coded)
        self._matrix = graph.numeric_columns if set(graph.numeric_columns) == self._expected else ()
        self.bounds: Final = NumberBounds(self._numeric, len(self._coded), self._policy)

    # -- one row -----------------------------------------------------------------------------------------------------

    def encode_row(self, columns: Columns) -> EncodedRow | None:
        """Encode a request of one row of JSON values, or return None where `encode` must look closer.

        Raises:
            RequestRefused: A column is absent or unknown.
        """
        flags: Flags = ()
        lacking: frozenset[str] = frozenset()
        keys = columns.keys()
        if keys not in (self._expected, self._with_entity):
            columns, flags, lacking = self._fit_names(columns, 1)
            if len(lacking) == len(self.names):
                return None  # not one column says how many rows these are
        try:
            numbers = _only_row(self._pick_numbers(columns))
            if not faults.NUMBERS.issuperset(map(type, numbers)):
                return None
            coded = _only_row(self._pick_coded(columns))
            numbers += [known[value] for known, value in zip(self._codes, coded, strict=True)]
            strings = _only_row(self._pick_strings(columns))
            texts = [known[value] for known, value in zip(self._texts, strings, strict=True)]
        except (KeyError, TypeError, ValueError):  # a value out of the tables, or not of one row
            return None
        return EncodedRow(numbers, texts, flags, lacking)

    def in_order(self, names: Sequence[str]) -> RowOrder | None:
        """Return what encodes rows of these columns in this order; None where they are not just the contract's."""
        given = frozenset(names)
        if len(given) != len(names) or given not in (self._expected, self._with_entity):
            return None
        return RowOrder(names, [column.name for column in self._numeric], *self._picked)

    @staticmethod
    def bounded(row: EncodedRow) -> EncodedRow:
        """Return the row with infinity for numbers that no double holds, for `NumberBounds.check` to find."""
        return EncodedRow([_as_double(value) for value in row.numbers], row.texts, row.flags, row.lacking)

    # -- any request -------------------------------------------------------------------------------------------------

    def encode(self, columns: Columns, max_rows: int) -> Encoded:
        """Check a request and bring it into the graph's form.

        Args:
            columns: Values by column name, see `Values`.
            max_rows: More rows are refused.

        Raises:
            RequestRefused: See the module's docstring; names the column, and the row where there is one.
        """
        if isinstance(columns, MatrixColumns) and columns.names == self._matrix:
            return self._encode_matrix(columns.matrix, max_rows)
        rows = self._rows(columns, max_rows)
        flags: Flags = ()
        lacking: frozenset[str] = frozenset()
        keys = columns.keys()
        if keys not in (self._expected, self._with_entity):
            columns, flags, lacking = self._fit_names(columns, rows)
        numbers = self._numbers(columns, rows)
        for at, text in enumerate(self._coded, len(self._numeric)):
            numbers[:, at], found = text.encode(columns[text.column.name], lacking)
            flags += found
        numbers = np.ascontiguousarray(numbers)
        doubtful = self.bounds.check(numbers)
        if doubtful is not None:
            flags += self.bounds.settle(numbers, doubtful, lacking)
        texts = None
        if self._strings:
            texts = np.empty((rows, len(self._strings)), object)
            for at, text in enumerate(self._strings):
                texts[:, at], found = text.encode(columns[text.column.name], lacking)
                flags += found
        return Encoded(numbers, texts, rows, flags)

    def _encode_matrix(self, given: npt.NDArray[Any], max_rows: int) -> Encoded:
        """Return a matrix that is the graph's own but for its type; a copy of it only where something is changed."""
        _check_rows(len(given), max_rows)
        numbers: Matrix = given
        if given.dtype != np.float32:
            with np.errstate(over="ignore", invalid="ignore"):  # looked for by the bounds, which name the column
                numbers = given.astype(np.float32)
        doubtful = self.bounds.check(numbers)
        if doubtful is None:
            return Encoded(numbers, None, len(numbers), ())
        numbers = numbers.copy()  # the caller's bytes, which a policy may not clip
        return Encoded(numbers, None, len(numbers), self.bounds.settle(numbers, doubtful, frozenset()))

    def _rows(self, columns: Columns, max_rows: int) -> int:
        """Return the number of rows, after looking that all columns agree on it."""
        first = next((name for name in self.names if name in columns), None)
        if first is None:
            raise self._missing_column(self.names[0])
        rows = len(columns[first])
        for name, values in columns.items():
            if len(values) != rows:
                raise refuse(
                    Reason.UNEQUAL_LENGTHS,
                    f"column {name!r} has {len(values)} values, column {first!r} has {rows}; "
                    "all columns need one value a row",
                )
        _check_rows(rows, max_rows)
        return rows

    def _fit_names(self, columns: Columns, rows: int) -> tuple[Columns, Flags, frozenset[str]]:
        """Return the columns the contract names, flags for what was not as it names them, and what was absent."""
        flags = []
        lacking = [name for name in self.names if name not in columns]
        for name in lacking:
            if self._policy.missing_column is Policy.REFUSE:
                raise self._missing_column(name)
            flags.append(Flag(MISSING_COLUMN, name, tuple(range(rows))))
        for name in columns:
            if name not in self._with_entity:
                if self._policy.extra_column is Policy.REFUSE:
                    raise refuse(
                        Reason.UNKNOWN_COLUMN,
                        f"column {name!r} is not an input of model {self._model!r}; it takes {', '.join(self.names)}",
                    )
                flags.append(Flag(EXTRA_COLUMN, faults.shortened(name), tuple(range(rows))))
        absent: Values = [None] * rows
        return {name: columns.get(name, absent) for name in self.names}, tuple(flags), frozenset(lacking)

    def _missing_column(self, name: str) -> Exception:
        return refuse(
            Reason.MISSING_COLUMN,
            f"column {name!r} is missing; model {self._model!r} takes every one of {', '.join(self.names)}"
            + (", with null for what is not known" if self.by_name[name].nullable else ""),
        )

    def _numbers(self, columns: Columns, rows: int) -> Matrix:
        """Return float32 [rows, k + coded], the codes still empty, NaN for null, infinite beyond float32."""
        # columns side by side are written faster; many are worth turning the whole afterwards
        matrix = np.empty((self.width, rows), np.float32).T if rows > _FEW else np.empty((rows, self.width), np.float32)
        lists: list[Any] = []  # looked at below: numbers, None and arrays of them
        for column in self._numeric:
            values = columns[column.name]
            if isinstance(values, CodedStrings) or (isinstance(values, np.ndarray) and values.dtype.kind not in "fiu"):
                raise faults.wrong_type(column, "strings" if isinstance(values, CodedStrings) else str(values.dtype))
            if not isinstance(values, np.ndarray) and not faults.NUMBERS.issuperset(map(type, values)):
                raise faults.wrong_value(column, values, faults.NUMBERS)
            lists.append(values)
        if all(isinstance(values, np.ndarray) and values.dtype == np.float32 for values in lists):
            _fill(matrix, lists)
        else:
            with np.errstate(over="ignore", invalid="ignore"):  # looked for by the bounds, which name the column
                _fill(matrix, lists)
        return matrix


def _fill(matrix: Matrix, lists: Sequence[Any]) -> None:
    """Write columns into a matrix; numbers beyond float32 become infinite."""
    for at, values in enumerate(lists):
        try:
            matrix[:, at] = values
        except OverflowError:  # an integer that not even a double holds
            matrix[:, at] = [_as_double(value) for value in values]


def _check_rows(rows: int, max_rows: int) -> None:
    if rows == 0:
        raise refuse(Reason.NO_ROWS, "the request holds no rows")
    if rows > max_rows:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds {rows} rows, at most {max_rows} are taken; send them in parts"
        )


def _picker(names: Sequence[str]) -> Callable[[Columns], tuple[Any, ...]]:
    """Return a function that takes these columns out of a request, in order; the fastest there is."""
    match len(names):
        case 0:
            return lambda _: ()
        case 1:
            return lambda columns: (columns[names[0]],)
        case _:
            return operator.itemgetter(*names)


def _only_row(lists: tuple[Any, ...]) -> list[Any]:
    """Return the first value of each; ValueError where one of them holds none, or more."""
    if not lists:
        return []
    (row,) = zip(*lists, strict=True)
    return list(row)


def _as_double(value: object) -> float:
    """Return a number that was checked to be one, or None, as a double; too large an integer is infinite."""
    if value is None:
        return np.nan
    try:
        return float(value)  # type: ignore[arg-type]  # only int and float come here
    except OverflowError:
        return np.inf
