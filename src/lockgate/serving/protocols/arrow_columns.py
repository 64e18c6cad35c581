"""Arrow record batches -> columns, with no Python loop over rows: numbers stay arrays, strings become codes.

Nothing here reads a stream; whoever took a batch from a caller has validated it (`arrow.py`).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lockgate.serving.model.columns import CodedStrings, Columns, Values
from lockgate.serving.refusals import Reason, RequestRefused, refuse

if TYPE_CHECKING:  # a server that is never sent Arrow never loads it
    from pyarrow import Array, DataType, RecordBatch  # type: ignore[import-untyped]  # no stubs published

_WHOLE: Final = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_PANDAS_INDEX: Final = re.compile(r"__index_level_\d+__")


def columns_of(batch: RecordBatch) -> Columns:
    """Return the columns of a batch.

    Integers, decimals and booleans become float64 [rows], floats keep their width (half becomes float32); NaN for null.
    Strings and dictionaries of strings become `CodedStrings`. A column of type null is a list of None, which both kinds
    of column take. Columns that pandas adds for its index are left out.

    Args:
        batch: A valid batch. A table is given as its batches, or combined into one.

    Raises:
        RequestRefused: Two columns share a name, or one is of a type that no model takes; names it.
    """
    columns: dict[str, Values] = {}
    ready = _kinds().ready
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if name.startswith("__index_level_") and _PANDAS_INDEX.fullmatch(name):
            continue
        if name in columns:
            raise refuse(Reason.MALFORMED, f"column {name!r} is sent twice")
        columns[name] = array.to_numpy(zero_copy_only=False) if array.type.id in ready else _values(name, array)
    return columns


def is_taken(kind: DataType) -> bool:
    """Tell whether a column of this Arrow type can become a model's."""
    known = _kinds()
    if kind.id == known.dictionary:
        kind = kind.value_type
        return kind.id in known.texts or _is_number(kind)
    return kind.id in known.texts or kind.id == known.null or _is_number(kind)


def wrong_type(name: str, kind: DataType) -> RequestRefused:
    """Return the refusal of a column whose type no model takes."""
    return refuse(
        Reason.WRONG_TYPE,
        f"column {name!r} is of Arrow type {str(kind)[:80]}; a model takes numbers, booleans, strings and "
        "dictionaries of them: cast it",
    )


class _Kinds(NamedTuple):
    """Ids of Arrow types; `ready` are those that numpy has as well and a model takes as they are."""

    ready: frozenset[int]
    half: int
    whole: frozenset[int]
    decimals: frozenset[int]
    texts: frozenset[int]
    dictionary: int
    null: int


@functools.cache
def _kinds() -> _Kinds:
    import pyarrow as pa

    return _Kinds(
        frozenset((pa.float32().id, pa.float64().id)),
        pa.float16().id,
        frozenset(pa.type_for_alias(name).id for name in _WHOLE),
        frozenset(kind.id for kind in (pa.decimal32(1), pa.decimal64(1), pa.decimal128(1), pa.decimal256(1))),
        frozenset(kind.id for kind in (pa.string(), pa.large_string(), pa.string_view())),
        pa.dictionary(pa.int32(), pa.string()).id,
        pa.null().id,
    )


def _is_number(kind: DataType) -> bool:
    known = _kinds()
    if kind.id in known.decimals:  # one of an absurd scale is valid to pyarrow, whose cast then ends the process
        return bool(abs(kind.scale) <= kind.precision)
    return kind.id in known.ready or kind.id in known.whole or kind.id == known.half


def _values(name: str, array: Array) -> Values:
    known, kind = _kinds(), array.type
    if not is_taken(kind):
        raise wrong_type(name, kind)
    if kind.id == known.null:
        return [None] * len(array)
    if kind.id == known.dictionary:
        return _coded(array) if kind.value_type.id in known.texts else _numbers(array.dictionary_decode())
    return _coded(array.dictionary_encode()) if kind.id in known.texts else _numbers(array)


def _numbers(array: Array) -> npt.NDArray[Any]:
    import pyarrow as pa

    known, kind = _kinds(), array.type.id
    if kind == known.half:
        array = array.cast(pa.float32())
    elif kind not in known.ready:
        array = array.cast(pa.float64(), safe=False)  # an integer beyond 2^53 is rounded, as JSON's would be
    numbers: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _coded(array: Array) -> CodedStrings:
    """Return a dictionary array of strings with as many values as its rows use, at most."""
    codes, dictionary = _indices(array), array.dictionary
    if len(dictionary) > len(codes):  # of a dictionary larger than the batch, only what is used is made into strings
        used, codes = np.unique(codes, return_inverse=True)
        null = int(used.size > 0 and used[0] < 0)
        dictionary, codes = dictionary.take(_integers(used[null:])), codes - null
    values: list[str | None] = dictionary.to_pylist()
    if None in values:  # a null may also stand in the dictionary
        codes = np.where(np.array([value is None for value in values])[codes] & (codes >= 0), -1, codes)
        values = ["" if value is None else value for value in values]
    return CodedStrings(codes.astype(np.int32, copy=False), tuple(values))  # type: ignore[arg-type]  # None was taken out above


def _indices(array: Array) -> npt.NDArray[Any]:
    """Return the indices of a dictionary array, -1 for null."""
    indices = array.indices
    if array.null_count:
        import pyarrow as pa

        indices = indices.cast(pa.int64()).fill_null(-1)
    found: npt.NDArray[Any] = indices.to_numpy(zero_copy_only=False)
    return found


def _integers(numbers: npt.NDArray[Any]) -> Array:
    import pyarrow as pa

    return pa.array(numbers)
