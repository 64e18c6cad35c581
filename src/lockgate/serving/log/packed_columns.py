"""Columns of large requests in a line of the prediction log: base64 of an array, instead of a text a number.

Inputs of still larger ones lie outside the line, see `binary_columns`.

    {"dtype": "<f4", "base64": "..."}                                numbers, one a row; NaN is null
    {"dtype": "<f4", "base64": "...", "width": 3}                    so many numbers a row, row by row
    {"dtype": "|i1", "base64": "...", "values": ["red", "blue"]}     strings: indices of `values`, -1 is null

`dtype` is numpy's name of it, the smallest that holds the very same numbers: whole ones of floats may be written as
integers of one or two bytes, bit by bit the same once they are floats again. Columns that came as lists stay lists.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeGuard, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from lockgate.serving.model.column_values import CodedStrings, Labels

PACKED_ROWS: Final = 32  # ours: a request with more has its arrays packed; below, a text is as cheap and can be read
PIECE_BYTES: Final = 96 << 10  # about 0.1 ms of base64; a multiple of three, so that pieces of it can be joined

Packable: TypeAlias = CodedStrings | npt.NDArray[Any]
Dtype: TypeAlias = Literal["<f2", "<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"]
_STARTS: Final = {np.dtype(name): b'{"dtype":"%b","base64":"' % name.encode() for name in get_args(Dtype)}
DTYPES: Final = frozenset(_STARTS)
_KINDS: Final = frozenset(dtype.kind for dtype in _STARTS)
_ONE_BYTE: Final = np.dtype("|i1")
_TWO_BYTES: Final = np.dtype("<i2")
_SHORT: Final = 1 << 15  # one more than the largest number of two bytes


class PackedColumn(msgspec.Struct, frozen=True, gc=False):
    """A column as a line holds it.

    Attributes:
        dtype: Of the array.
        base64: Its bytes.
        values: What the array's numbers are indices of; None: they are the values.
        width: How many numbers are one row's; None: one is, and rows are no lists.
        begin: Where its bytes lie in the file beside the segment, see `binary_columns`; None: they are here.
        step: Bytes from one value to the next there; None: they lie side by side.
    """

    dtype: Dtype
    base64: bytes = b""
    values: tuple[str, ...] | None = None
    width: Annotated[int, msgspec.Meta(ge=1)] | None = None
    begin: int | None = msgspec.field(default=None, name="from")
    step: int | None = None

    def __len__(self) -> int:
        """Return the rows."""
        return len(self.base64) // self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * (self.width or 1)

    @property
    def is_sound(self) -> bool:
        """Whether its bytes are so many whole rows, and every index is one of a value."""
        if len(self.base64) % self._row_bytes:
            return False
        if self.values is None or not self.base64:
            return True
        codes = self.array()
        return codes.ndim == 1 and codes.dtype.kind == "i" and codes.min() >= -1 and codes.max() < len(self.values)

    def array(self) -> npt.NDArray[Any]:
        """Return the numbers, or the indices of a column of strings, [rows] or [rows, width]."""
        found: npt.NDArray[Any] = np.frombuffer(self.base64, self.dtype)
        return found if self.width is None else found.reshape(-1, self.width)

    def tolist(self) -> list[Any]:
        """Return the values as a line of text would have had them: float32 in its shortest form, None for null."""
        if self.values is None:
            listed: list[Any] = orjson.loads(orjson.dumps(self.array(), option=orjson.OPT_SERIALIZE_NUMPY))
            return listed
        values = (*self.values, None)
        return [values[code] for code in self.array().tolist()]


LoggedValues: TypeAlias = list[Any] | PackedColumn
"""A column of a line, in either form."""


def listed(column: LoggedValues) -> list[Any]:
    """Return the values of a column of a line, None for null."""
    return column.tolist() if isinstance(column, PackedColumn) else column


def is_packable(column: object) -> TypeGuard[Packable]:
    """Tell whether a column of a large request is one that can be packed."""
    if isinstance(column, np.ndarray):
        return column.dtype.kind in _KINDS and column.dtype.itemsize <= 8 and 1 <= column.ndim <= 2
    return isinstance(column, CodedStrings)


def packed(column: Packable) -> Iterable[bytes]:
    """Return the JSON of a column in pieces, none of more than `PIECE_BYTES` of it but for the values of strings."""
    end = b'"}'
    if isinstance(column, CodedStrings):
        array, values = used_codes(column)
        end = b'","values":%b}' % orjson.dumps(values)
    else:
        array = smallest(column)
        if array.ndim > 1:
            end = b'","width":%d}' % array.shape[1]
    start = _STARTS[array.dtype]
    if array.nbytes <= PIECE_BYTES:
        return (start + binascii.b2a_base64(array.data, newline=False) + end,)
    return chain((start,), _pieces(array), (end,))


def packed_labels(labels: Labels) -> Iterable[bytes]:
    """Return the same of labels as of the column that they are; where every class has a row, with less work."""
    if len(labels) <= PIECE_BYTES and len(labels.classes) <= 1 << 7:
        codes = labels.codes.astype(_ONE_BYTE).tobytes()
        if all(each in codes for each in range(len(labels.classes))):
            values = orjson.dumps(labels.classes.tolist())
            return (_STARTS[_ONE_BYTE] + binascii.b2a_base64(codes, newline=False) + b'","values":%b}' % values,)
    return packed(labels.coded)


def _pieces(array: npt.NDArray[Any]) -> Iterator[bytes]:
    octets = array.reshape(-1).view(np.uint8)
    for at in range(0, len(octets), PIECE_BYTES):
        yield binascii.b2a_base64(octets[at : at + PIECE_BYTES].data, newline=False)


def smallest(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the same numbers in fewer bytes, where they are whole and small; contiguous, little endian."""
    dtype = numbers.dtype
    if dtype not in _STARTS:
        dtype = dtype.newbyteorder("<")
    numbers = np.ascontiguousarray(numbers, dtype)
    if dtype.itemsize == 1 or not numbers.size or not -_SHORT <= (first := numbers.item(0)) < _SHORT or first % 1:
        return numbers  # by its first number it is not worth looking at all of them
    with np.errstate(all="ignore"):  # whether a cast kept every bit is looked at afterwards
        short = numbers.astype(_TWO_BYTES)
    if short.astype(dtype).tobytes() != numbers.tobytes():
        return numbers
    tiny = short.astype(_ONE_BYTE)
    return tiny if tiny.astype(_TWO_BYTES).tobytes() == short.tobytes() else short


def used_codes(column: CodedStrings) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Return indices and values, of these only what a row has: what no row holds was not asked about."""
    codes, values = column.codes, column.values
    seen = np.zeros(len(values) + 1, np.bool_)
    seen[codes] = True  # -1, null, is the last one
    if not seen[:-1].all():
        kept = np.flatnonzero(seen[:-1])
        renamed = np.full(len(values) + 1, -1, np.int32)
        renamed[kept] = np.arange(len(kept))
        codes, values = renamed[codes], tuple(values[at] for at in kept.tolist())
    dtype = _ONE_BYTE if len(values) <= 1 << 7 else _TWO_BYTES if len(values) <= _SHORT else np.dtype("<i4")
    return np.ascontiguousarray(codes, dtype), values
