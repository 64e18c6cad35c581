"""One string column -> what the graph takes of it: its code, or the string itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import InputColumn, Policy, RequestPolicy
from lockgate.serving.model import column_faults as faults
from lockgate.serving.model.column_values import NULL, UNKNOWN_CATEGORY, CodedStrings, Flag, Flags, Values

_NAN: Final = float("nan")
_REMEMBERED: Final = 32  # ours: of values in the order of one caller's dictionary


@dataclass(frozen=True, slots=True, kw_only=True)
class TextColumn:
    """How one column is read.

    Attributes:
        column: The column.
        known: What a value needs no second look for, and what the graph takes of it; holds None where null is allowed.
        codes: The graph's number by value; None where it takes the strings themselves.
        absent: What the graph takes for null.
        categories: What training saw; None: any string will do.
        policy: What is done with other values.
        seen: By dictionaries of known values that came before, what the graph takes of each and, last, of null.
    """

    column: InputColumn
    known: Mapping[Any, Any]
    codes: Mapping[str, float] | None
    absent: float | str
    categories: frozenset[str] | None
    policy: RequestPolicy
    seen: dict[tuple[str, ...], npt.NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def coded(cls, column: InputColumn, values: Sequence[str], missing: str, policy: RequestPolicy) -> TextColumn:
        """Return a column that the graph takes as codes, see `contract.CodedColumn`."""
        codes = {value: float(code) for code, value in enumerate(values) if value != missing}
        known = {value: codes.get(value, _NAN) for value in (codes if column.categories is None else column.categories)}
        return cls._of(column, known, codes, _NAN, policy)

    @classmethod
    def plain(cls, column: InputColumn, missing: str, policy: RequestPolicy) -> TextColumn:
        """Return a column that the graph takes as strings."""
        known = {value: value for value in column.categories or ()}
        return cls._of(column, known, None, missing, policy)

    @classmethod
    def _of(
        cls,
        column: InputColumn,
        known: Mapping[str, float | str],
        codes: Mapping[str, float] | None,
        absent: float | str,
        policy: RequestPolicy,
    ) -> TextColumn:
        categories = None if column.categories is None else frozenset(column.categories)
        with_null: dict[str | None, float | str] = dict(known.items())
        if column.nullable:
            with_null[None] = absent
        return cls(column=column, known=with_null, codes=codes, absent=absent, categories=categories, policy=policy)

    def encode(self, values: Values, lacking: frozenset[str]) -> tuple[npt.NDArray[Any], Flags]:
        """Return what the graph takes, float32 codes or object strings [rows], and what does not keep to the contract.

        Args:
            values: The column.
            lacking: Columns already flagged as absent.

        Raises:
            RequestRefused: A value is no string, or the policy refuses it; names column and row.
        """
        if isinstance(values, np.ndarray):
            raise faults.wrong_type(self.column, str(values.dtype))
        if not isinstance(values, CodedStrings):
            try:
                return self._array([self.known[value] for value in values]), ()
            except (KeyError, TypeError):  # a value the tables do not hold, or none that could be in them
                values = self._indexed(values)
        taken = self.seen.get(values.values)
        if taken is not None:
            return taken.take(values.codes), tuple(self._null(values, lacking))  # -1, null, is the last one
        flags = (*self._null(values, lacking), *self._unknown(values))
        taken = self._array([*map(self._taken, values.values), self.absent])
        if len(values.values) <= len(self.known) and all(value in self.known for value in values.values):
            if len(self.seen) >= _REMEMBERED:
                self.seen.clear()
            self.seen[values.values] = taken
        return taken.take(values.codes), flags

    def _taken(self, value: str) -> float | str:
        return value if self.codes is None else self.codes.get(value, _NAN)

    def _array(self, values: list[Any]) -> npt.NDArray[Any]:
        return np.array(values, object if self.codes is None else np.float32)

    def _indexed(self, values: Sequence[object]) -> CodedStrings:
        if not faults.STRINGS.issuperset(map(type, values)):
            raise faults.wrong_value(self.column, values, faults.STRINGS)
        index: dict[Any, int] = {None: -1}
        codes = np.array([index.setdefault(value, len(index) - 1) for value in values], np.int32)
        return CodedStrings(codes, tuple(index)[1:])

    def _null(self, values: CodedStrings, lacking: frozenset[str]) -> Iterable[Flag]:
        if self.column.nullable or self.column.name in lacking:
            return
        null = np.flatnonzero(values.codes < 0)
        if null.size:
            if self.policy.null is Policy.REFUSE:
                raise faults.null_refused(self.column, int(null[0]))
            yield Flag(NULL, self.column.name, tuple(null.tolist()))

    def _unknown(self, values: CodedStrings) -> Iterable[Flag]:
        categories = self.categories
        if categories is None:
            return
        unknown = [value not in categories for value in values.values]
        if True not in unknown:
            return
        rows = np.flatnonzero(np.array([*unknown, False])[values.codes])
        if rows.size:
            if self.policy.unknown_category is Policy.REFUSE:
                raise faults.unknown_category(self.column, int(rows[0]), values.values[values.codes[rows[0]]])
            yield Flag(UNKNOWN_CATEGORY, self.column.name, tuple(rows.tolist()))
