"""Arrow record batches -> columns, with no Python loop over rows: numbers stay arrays, strings become codes.

Nothing here reads a stream; whoever took a batch from a caller has validated it (`http_arrow.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.serving.model.columns import CodedStrings, Columns, Values
from lockgate.serving.refusals import Reason, RequestRefused, refuse

if TYPE_CHECKING:  # a server that is never sent Arrow never loads it
    from pyarrow import Array, DataType, RecordBatch  # type: ignore[import-untyped]  # no stubs published

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
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        if _PANDAS_INDEX.fullmatch(name):
            continue
        if name in columns:
            raise refuse(Reason.MALFORMED, f"column {name!r} is sent twice")
        columns[name] = _values(name, array)
    return columns


def is_taken(kind: DataType) -> bool:
    """Tell whether a column of this Arrow type can become a model's."""
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_text(kind.value_type) or _is_number(kind.value_type)
    return _is_text(kind) or _is_number(kind) or types.is_null(kind)


def wrong_type(name: str, kind: DataType) -> RequestRefused:
    """Return the refusal of a column whose type no model takes."""
    return refuse(
        Reason.WRONG_TYPE,
        f"column {name!r} is of Arrow type {str(kind)[:80]}; a model takes numbers, booleans, strings and "
        "dictionaries of them: cast it",
    )


def _is_number(kind: DataType) -> bool:
    from pyarrow import types

    if types.is_decimal(kind):  # one of an absurd scale is valid to pyarrow, whose cast then ends the process
        return bool(abs(kind.scale) <= kind.precision)
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_text(kind: DataType) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _values(name: str, array: Array) -> Values:
    from pyarrow import types

    kind = array.type
    if not is_taken(kind):
        raise wrong_type(name, kind)
    if types.is_null(kind):
        return [None] * len(array)
    if types.is_dictionary(kind):
        return _coded(array) if _is_text(kind.value_type) else _numbers(array.dictionary_decode())
    return _coded(array.dictionary_encode()) if _is_text(kind) else _numbers(array)


def _numbers(array: Array) -> npt.NDArray[Any]:
    import pyarrow as pa

    kind = array.type
    if not pa.types.is_floating(kind):
        array = array.cast(pa.float64(), safe=False)  # an integer beyond 2^53 is rounded, as JSON's would be
    elif pa.types.is_float16(kind):
        array = array.cast(pa.float32())
    numbers: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return numbers


def _coded(array: Array) -> CodedStrings:
    """Return a dictionary array of strings with as many values as its rows use, at most."""
    import pyarrow as pa

    indices = array.indices.cast(pa.int64()).fill_null(-1) if array.null_count else array.indices
    codes: npt.NDArray[Any] = indices.to_numpy(zero_copy_only=False)
    dictionary = array.dictionary
    if len(dictionary) > len(codes):  # of a dictionary larger than the batch, only what is used is made into strings
        used, codes = np.unique(codes, return_inverse=True)
        null = int(used.size > 0 and used[0] < 0)
        dictionary, codes = dictionary.take(pa.array(used[null:])), codes - null
    values: list[str | None] = dictionary.to_pylist()
    if None in values:  # a null may also stand in the dictionary
        codes = np.where(np.array([value is None for value in values])[codes] & (codes >= 0), -1, codes)
        values = ["" if value is None else value for value in values]
    return CodedStrings(codes.astype(np.int32, copy=False), tuple(values))  # type: ignore[arg-type]  # None was taken out above
