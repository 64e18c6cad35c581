"""What is kept of a part after one reading: hashes of its rows, and the times it spans. No row, no key.

Three hashes a row: of its key; of everything but its key (a row that was copied under another key); of its features,
numbers to within 1 in 4,096, and its label (a twin, whatever its key and time).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.columns import Coded, Column
from lockgate.core.contract import TaskKind
from lockgate.core.duplicates import Hashes
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.feature_columns import coded_series, feature_columns

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 250_000
"""Rows hashed at a time: pandas makes an object of each string for it, 30 MB at a time instead of a gigabyte."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NEAR_BITS = 12
"""Bits dropped from a float32's 23: numbers within 1 in 4,096 are near, and whole ones to 4,096 stay apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFacts:
    """One part of a split.

    Attributes:
        rows: How many.
        keys: Hash of each row's key.
        copies: Hash of each row's time, features and label.
        twins: Hash of each row's features, rounded, and label.
        groups: Hash of the column that the split keeps together; None when it keeps none.
        entities: Hash of the spec's entity; None when the rows do not hold it.
        first: The oldest time; None without rows.
        last: The newest.
    """

    rows: int
    keys: Hashes
    copies: Hashes
    twins: Hashes
    groups: Hashes | None
    entities: Hashes | None
    first: pd.Timestamp | None
    last: pd.Timestamp | None


def columns_of(spec: ReleaseSpec) -> tuple[str, ...]:
    """Return the columns that `facts_of` needs, each once."""
    named = [*spec.data.key, spec.data.time, spec.data.label, *spec.data.features]
    named += [spec.split.group] if spec.split.group else []
    return tuple(dict.fromkeys(named))


def facts_of(spec: ReleaseSpec, part: pd.DataFrame) -> PartFacts:
    """Read a part once.

    Args:
        spec: Names the columns.
        part: Rows with at least `columns_of(spec)`, in the order of time.
    """
    time = part[spec.data.time]
    label = _label(spec, part)
    exact, near = _of_column(label), _of_column(label, near=spec.task.kind is TaskKind.REGRESSION)
    exact = _mixed(exact, _of_column(time.to_numpy(dtype="datetime64[us]").view(np.int64)))
    for values in feature_columns(part, spec).values():
        exact, near = _mixed(exact, _of_column(values)), _mixed(near, _of_column(values, near=True))
    group, entity = spec.split.group, spec.data.entity
    return PartFacts(
        rows=len(part),
        keys=key_hashes(part[list(spec.data.key)]),
        copies=exact,
        twins=near,
        groups=None if group is None else key_hashes(part[[group]]),
        entities=None if entity is None or entity not in part else key_hashes(part[[entity]]),
        first=time.min() if len(part) else None,
        last=time.max() if len(part) else None,
    )


def key_hashes(columns: pd.DataFrame) -> Hashes:
    """Return a 64-bit hash of each row, the same in every part and process."""
    import pandas as pd

    found = np.empty(len(columns), dtype=np.uint64)
    for start in range(0, len(columns), _CHUNK):
        piece = columns.iloc[start : start + _CHUNK]
        found[start : start + _CHUNK] = pd.util.hash_pandas_object(piece, index=False, categorize=False).to_numpy()
    return found


def _label(spec: ReleaseSpec, part: pd.DataFrame) -> Column:
    label = part[spec.data.label]
    if spec.task.kind is TaskKind.REGRESSION:
        return np.asarray(label.to_numpy(dtype=np.float64, na_value=np.nan))
    return coded_series(label.astype("str"))


def _of_column(values: Column, *, near: bool = False) -> Hashes:
    """Return a hash of each value: by its text, by its bits, or by its leading bits."""
    from pandas.util import hash_array

    if isinstance(values, Coded):
        of_value = hash_array(np.array([*values.values, ""], dtype=object), categorize=False)  # noqa: PD011 - not a frame's
        return np.asarray(of_value[values.codes], dtype=np.uint64)
    if values.dtype.kind != "f":
        return np.asarray(hash_array(values), dtype=np.uint64)
    floats = values.astype(np.float64, copy=False)
    numbers = np.where(np.isnan(floats), np.nan, floats + 0.0)  # one NaN, one zero
    return np.asarray(hash_array(_leading(numbers) if near else numbers), dtype=np.uint64)


def _leading(numbers: NDArray[np.float64]) -> NDArray[np.uint32]:
    with np.errstate(over="ignore"):  # beyond float32 is infinite to the model too
        bits = numbers.astype(np.float32).view(np.uint32)
    half, kept = np.uint32(1 << (_NEAR_BITS - 1)), np.uint32(0xFFFFFFFF ^ ((1 << _NEAR_BITS) - 1))
    return np.asarray((bits + half) & kept, dtype=np.uint32)


def _mixed(total: Hashes, part: Hashes) -> Hashes:
    """Join the hashes of two columns, order of columns included (boost's hash_combine)."""
    return np.asarray(total ^ (part + _GOLDEN + (total << np.uint64(6)) + (total >> np.uint64(2))), dtype=np.uint64)
