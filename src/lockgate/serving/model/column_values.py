"""What a request's columns and the graph's tensors are made of, and what may be said of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, overload

import numpy as np
import numpy.typing as npt

Matrix: TypeAlias = npt.NDArray[np.float32]
Texts: TypeAlias = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class CodedStrings:
    """A string column as a dictionary and indices into it, as Arrow brings it; decoded once a value, not once a row.

    Attributes:
        codes: int32 [rows], -1 for null.
        values: What the codes stand for.
    """

    codes: npt.NDArray[np.int32]
    values: tuple[str, ...]

    def __len__(self) -> int:
        """Return the rows."""
        return len(self.codes)


class Labels(Sequence[str]):
    """The class of each of many rows: a list of strings that is not made before somebody wants strings.

    Attributes:
        codes: Index of each row's class, int [rows].
        classes: What the codes stand for, object (str) [classes].
    """

    __slots__ = ("classes", "codes")

    def __init__(self, codes: npt.NDArray[np.intp], classes: Texts) -> None:
        """Take the codes and what they stand for."""
        self.codes, self.classes = codes, classes

    def __len__(self) -> int:
        """Return the rows."""
        return len(self.codes)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> list[str]: ...
    def __getitem__(self, at: int | slice) -> str | list[str]:
        """Return the class of a row, or of several."""
        if isinstance(at, slice):
            return Labels(self.codes[at], self.classes).tolist()
        label: str = self.classes[self.codes[at]]
        return label

    def __iter__(self) -> Iterator[str]:
        """Return each row's class."""
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is the same labels, as a list or like these."""
        return isinstance(other, Labels | list) and self.tolist() == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def tolist(self) -> list[str]:
        """Return each row's class."""
        labels: list[str] = self.classes.take(self.codes).tolist()
        return labels

    @property
    def coded(self) -> CodedStrings:
        """The same as a column."""
        return CodedStrings(self.codes.astype(np.int32), tuple(self.classes.tolist()))


def joined(texts: Sequence[bytes], codes: npt.NDArray[np.intp]) -> bytes:
    """Return the texts that codes stand for, one after the other, with no Python object a row.

    >>> joined((b"no", b"yes"), np.array([1, 0, 1]))
    b'yesnoyes'
    """
    padded, kept = _padded(tuple(texts))
    octets = padded.take(codes, axis=0)
    return octets.tobytes() if kept is None else octets[kept.take(codes, axis=0)].tobytes()


@functools.lru_cache(maxsize=64)
def _padded(texts: tuple[bytes, ...]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_] | None]:
    """Return texts as uint8 [texts, longest], and which of it is theirs; None: all of it."""
    lengths = np.array([len(text) for text in texts])
    width = int(lengths.max(initial=0))
    padded = np.frombuffer(b"".join(text.ljust(width) for text in texts), np.uint8).reshape(len(texts), width)
    kept = np.arange(width) < lengths[:, None]
    return padded, None if kept.all() else kept


Values: TypeAlias = Sequence[object] | npt.NDArray[Any] | CodedStrings
"""One column: a sequence of JSON values (None for null), a numeric array [rows] (NaN for null), or coded strings."""
Columns: TypeAlias = Mapping[str, Values]


class RowColumns(Mapping[str, Values]):
    """One row of JSON values as columns of one value each, which are not made until somebody looks at them.

    Some two dozen small objects a request, kept until the log has written them, would cost Python's garbage collector
    more than the rest of the reading.
    """

    __slots__ = ("_names", "_row")

    def __init__(self, names: Sequence[str], row: Sequence[object]) -> None:
        """Take the columns' names, all different, and their values in the same order; neither is ever changed."""
        self._names, self._row = names, row

    def __getitem__(self, name: str) -> Values:
        """Return a column."""
        try:
            return (self._row[self._names.index(name)],)
        except ValueError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._names)

    def to_dict(self) -> dict[str, Values]:
        """Return all columns."""
        return dict(zip(self._names, zip(self._row, strict=True), strict=True))


class MatrixColumns(Mapping[str, Values]):
    """Many rows of numbers that came as one matrix, as the columns of it.

    Attributes:
        names: The columns' names, all different.
        matrix: Numbers [rows, columns], never changed.
    """

    __slots__ = ("_at", "matrix", "names")

    def __init__(self, names: tuple[str, ...], matrix: npt.NDArray[Any]) -> None:
        """Take the names and what stands below them."""
        self.names, self.matrix = names, matrix
        self._at: Mapping[str, int] | None = None

    def __getitem__(self, name: str) -> Values:
        """Return a column, a view."""
        if self._at is None:
            self._at = {each: at for at, each in enumerate(self.names)}
        column: npt.NDArray[Any] = self.matrix[:, self._at[name]]
        return column

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self.names)

    def contiguous(self) -> dict[str, Values]:
        """Return all columns as arrays of their own, for which the matrix is turned once."""
        return dict(zip(self.names, np.ascontiguousarray(self.matrix.T), strict=True))


def rows_of(columns: Columns) -> int:
    """Return the rows of a request, by its first column."""
    return len(columns.matrix) if isinstance(columns, MatrixColumns) else len(next(iter(columns.values()), ()))


UNKNOWN_CATEGORY: Final = "unknown_category"
OUT_OF_RANGE: Final = "out_of_range"
CLIPPED: Final = "clipped"
NULL: Final = "null"
MISSING_COLUMN: Final = "missing_column"
EXTRA_COLUMN: Final = "extra_column"
FLAGS: Final = (UNKNOWN_CATEGORY, OUT_OF_RANGE, CLIPPED, NULL, MISSING_COLUMN, EXTRA_COLUMN)


@dataclass(frozen=True, slots=True)
class Flag:
    """Says that some rows do not keep to the contract.

    Attributes:
        flag: One of `FLAGS`.
        column: The column that does not.
        rows: The rows' indices in the request, ascending.
    """

    flag: str
    column: str
    rows: tuple[int, ...]


Flags: TypeAlias = tuple[Flag, ...]
