"""Columns of a request -> the graph's tensors, checked against the contract; knows no transport and no ONNX.

Refused, with the column and row named: an unknown or absent column, a wrong type, a null where the contract has none,
a number beyond float32, unequal lengths, too many rows. Answered and flagged: an unknown category, a number outside
the range seen in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import ColumnType, InputColumn, ModelContract
from lockgate.serving.refusals import Reason, refuse

Columns = Mapping[str, Sequence[object]]
Feeds = dict[str, npt.NDArray[Any]]

UNKNOWN_CATEGORY: Final = "unknown_category"
OUT_OF_RANGE: Final = "out_of_range"
_NUMBERS: Final[frozenset[type]] = frozenset((float, int, type(None)))
_STRINGS: Final[frozenset[type]] = frozenset((str, type(None)))


@dataclass(frozen=True, slots=True)
class Flag:
    """Says that some rows lie outside the domain the model was trained on.

    Attributes:
        flag: `unknown_category` or `out_of_range`.
        column: The input that does.
        rows: Their indices in the request, ascending.
    """

    flag: str
    column: str
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request in the graph's form.

    Attributes:
        feeds: Graph input name to its tensor: float32 [rows, k], NaN for null; object (str) [rows, c].
        rows: How many rows.
        flags: What lies outside the trained domain.
    """

    feeds: Feeds
    rows: int
    flags: tuple[Flag, ...]


class InputEncoder:
    """Encodes requests for one contract; made once a bundle, used by every request."""

    def __init__(self, contract: ModelContract) -> None:
        graph = contract.graph
        self._model = contract.model
        self.by_name: Final[Mapping[str, InputColumn]] = {column.name: column for column in contract.inputs}
        self.names: Final = tuple(self.by_name)
        self._expected = frozenset(self.names)
        self._entity = contract.entity if contract.entity not in self._expected else None
        self._numeric_input, self._string_input = graph.numeric_input, graph.string_input
        self._numeric = [self.by_name[name] for name in graph.numeric_columns]
        self._strings = [self.by_name[name] for name in graph.string_columns]
        self._missing = graph.missing_string
        # in float32, like the data: a bound and an equal value round to the same number
        self._least = np.array([-np.inf if c.minimum is None else c.minimum for c in self._numeric], np.float32)[
            :, None
        ]
        self._most = np.array([np.inf if c.maximum is None else c.maximum for c in self._numeric], np.float32)[:, None]
        self._known = [self._known_values(column) for column in self._strings]

    @staticmethod
    def _known_values(column: InputColumn) -> frozenset[object] | None:
        """Return the values that need no second look; None where every string is known."""
        if column.categories is None:
            return None
        return frozenset((*column.categories, None)) if column.nullable else frozenset(column.categories)

    def encode(self, columns: Columns, max_rows: int) -> Encoded:
        """Check a request and bring it into the graph's form.

        Args:
            columns: Values by column name; a null is None, a number an int or float (NaN counts as null).
            max_rows: More rows are refused.

        Raises:
            RequestRefused: See the module's docstring; names the column, and the row where there is one.
        """
        rows = self._rows(columns, max_rows)
        feeds: Feeds = {}
        flags: list[Flag] = []
        if self._numeric_input is not None:
            matrix = self._numbers(columns)
            feeds[self._numeric_input] = np.ascontiguousarray(matrix.T)
            outside = (matrix < self._least) | (matrix > self._most)  # NaN is neither
            if outside.any():
                flags += self._out_of_range(outside)
        if self._string_input is not None:
            feeds[self._string_input] = self._texts(columns, flags)
        return Encoded(feeds, rows, tuple(flags))

    def _rows(self, columns: Columns, max_rows: int) -> int:
        if columns.keys() != self._expected:
            self._check_names(columns)
        rows = len(columns[self.names[0]])
        for name, values in columns.items():
            if len(values) != rows:
                raise refuse(
                    Reason.UNEQUAL_LENGTHS,
                    f"column {name!r} has {len(values)} values, column {self.names[0]!r} has {rows}; "
                    "all columns need one value a row",
                )
        if rows == 0:
            raise refuse(Reason.NO_ROWS, "the request holds no rows")
        if rows > max_rows:
            raise refuse(
                Reason.TOO_MANY_ROWS, f"the request holds {rows} rows, at most {max_rows} are taken; send them in parts"
            )
        return rows

    def _check_names(self, columns: Columns) -> None:
        for name in self.names:
            if name not in columns:
                raise refuse(
                    Reason.MISSING_COLUMN,
                    f"column {name!r} is missing; model {self._model!r} takes every one of {', '.join(self.names)}"
                    + (", with null for what is not known" if self.by_name[name].nullable else ""),
                )
        for name in columns:
            if name not in self._expected and name != self._entity:
                raise refuse(
                    Reason.UNKNOWN_COLUMN,
                    f"column {name!r} is not an input of model {self._model!r}; it takes {', '.join(self.names)}",
                )

    def _numbers(self, columns: Columns) -> npt.NDArray[np.float32]:
        """Return the numeric columns as float32 [k, rows], NaN for null."""
        lists = [columns[column.name] for column in self._numeric]
        for column, values in zip(self._numeric, lists, strict=True):
            if not _NUMBERS.issuperset(map(type, values)):
                _wrong_type(column, values, _NUMBERS)
        try:
            with np.errstate(over="ignore"):  # looked for below, where the column can be named
                matrix = np.array(lists, np.float32)
        except OverflowError:  # an integer that not even a double holds
            matrix = np.array([[_as_double(value) for value in values] for values in lists], np.float32)
        if not np.isfinite(matrix).all():
            self._check_not_finite(matrix)
        return matrix

    def _check_not_finite(self, matrix: npt.NDArray[np.float32]) -> None:
        for column, values in zip(self._numeric, matrix, strict=True):
            infinite = np.isinf(values)
            if infinite.any():
                raise refuse(
                    Reason.OUT_OF_FLOAT32,
                    f"column {column.name!r}, row {int(infinite.argmax())}: the number is too large for float32",
                )
            null = np.isnan(values)
            if not column.nullable and null.any():
                raise _null_refused(column, int(null.argmax()))

    def _out_of_range(self, outside: npt.NDArray[np.bool_]) -> list[Flag]:
        return [
            Flag(OUT_OF_RANGE, column.name, tuple(np.flatnonzero(rows).tolist()))
            for column, rows in zip(self._numeric, outside, strict=True)
            if rows.any()
        ]

    def _texts(self, columns: Columns, flags: list[Flag]) -> npt.NDArray[np.object_]:
        """Return the string columns as object [rows, c], the contract's marker for null."""
        lists: list[Sequence[object]] = []
        for column, known in zip(self._strings, self._known, strict=True):
            values = columns[column.name]
            if not _STRINGS.issuperset(map(type, values)):
                _wrong_type(column, values, _STRINGS)
            if known is not None and not known.issuperset(values):
                flags.append(self._unknown(column, known, values))
            if None in values:
                if not column.nullable:
                    raise _null_refused(column, values.index(None))
                values = [self._missing if value is None else value for value in values]
            lists.append(values)
        return np.ascontiguousarray(np.array(lists, object).T)

    @staticmethod
    def _unknown(column: InputColumn, known: frozenset[object], values: Sequence[object]) -> Flag:
        if not column.nullable and None in values:
            raise _null_refused(column, values.index(None))
        return Flag(UNKNOWN_CATEGORY, column.name, tuple(row for row, value in enumerate(values) if value not in known))


def _as_double(value: object) -> float:
    """Return a number that was checked to be one, or None, as a double; too large an integer is infinite."""
    if value is None:
        return np.nan
    try:
        return float(value)  # type: ignore[arg-type]  # only int and float come here
    except OverflowError:
        return np.inf


def _wrong_type(column: InputColumn, values: Sequence[object], allowed: frozenset[type]) -> NoReturn:
    row = next(index for index, value in enumerate(values) if type(value) not in allowed)
    wanted = "a number" if column.type is ColumnType.NUMBER else "a string"
    raise refuse(
        Reason.WRONG_TYPE,
        f"column {column.name!r}, row {row}: expected {wanted}{' or null' if column.nullable else ''}, "
        f"got {_JSON_NAMES.get(type(values[row]), 'something else')}",
    )


_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def _null_refused(column: InputColumn, row: int) -> Exception:
    return refuse(
        Reason.NULL_NOT_ALLOWED,
        f"column {column.name!r}, row {row}: null, but the model was trained without missing values of it",
    )
