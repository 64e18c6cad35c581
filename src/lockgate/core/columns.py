"""A column of strings as codes: what millions of rows are held as, where an object a value would not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MISSING_STRING = "__missing__"
"""What a model's graph takes for a null string (`contract.GraphForm.missing_string`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """Strings by their place in a list of values.

    Attributes:
        codes: Shape (n,), whole numbers; -1 is missing, any other an index into `values`.
        values: The distinct values; never `MISSING_STRING`, which is missing.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.codes)

    def counts(self) -> NDArray[np.int64]:
        """Return the rows of each value, in the order of `values`."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values)).astype(np.int64)

    def among(self, kept: Sequence[str]) -> NDArray[np.int64]:
        """Return each row's place in `kept`; len(kept) for any other value, -1 for a missing one.

        >>> Coded(codes=np.array([0, 1, -1], dtype=np.int32), values=("a", "b")).among(["b"]).tolist()
        [1, 0, -1]
        """
        place = {value: index for index, value in enumerate(kept)}
        of_value = np.array([*(place.get(value, len(kept)) for value in self.values), -1], dtype=np.int64)
        return of_value[self.codes]


Column: TypeAlias = "NDArray[np.generic] | Coded"
"""Numbers (NaN is missing), strings as objects (None, NaN and `MISSING_STRING` are missing), or strings as codes."""


def coded(values: NDArray[np.generic]) -> Coded:
    """Code an array of strings; values in their order as text.

    >>> found = coded(np.array(["b", None, "a", "b"], dtype=object))
    >>> found.codes.tolist(), found.values
    ([1, -1, 0, 1], ('a', 'b'))
    """
    missing = missing_values(values)
    found, places = np.unique(values[~missing].astype(str), return_inverse=True)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[~missing] = places
    return Coded(codes=codes, values=tuple(found.tolist()))


def is_number(values: Column) -> bool:
    """Tell whether a column holds numbers; anything else is taken as categories."""
    return not isinstance(values, Coded) and values.dtype.kind in "fiub"


def missing_values(values: Column) -> NDArray[np.bool_]:
    """Tell which values are missing: NaN, None, or the marker that stands for a null string at a model's input."""
    if isinstance(values, Coded):
        return np.asarray(values.codes < 0, dtype=np.bool_)
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values), dtype=np.bool_)
    if values.dtype.kind in "iub":
        return np.zeros(len(values), dtype=np.bool_)
    gone = (each is None or each != each or each == MISSING_STRING for each in values)  # noqa: PLR0124 - NaN alone differs from itself
    return np.fromiter(gone, dtype=np.bool_, count=len(values))
