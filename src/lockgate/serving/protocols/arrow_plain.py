"""The commonest Arrow stream -> columns, as views of its bytes: one uncompressed batch of floats and coded strings.

https://arrow.apache.org/docs/format/Columnar.html (serialization and IPC). pyarrow makes a dozen objects a column
before a number can be looked at; here what a message says is read once and remembered by its bytes, because callers
send the same ones over and over. Every offset is held against the body, every code against its dictionary, every
string is decoded. Whatever is unusual about a stream, or wrong with it, is left to `arrow_stream`, which finds the
words for it: a schema is known here only after pyarrow has read a whole stream of it.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lockgate.serving.model.columns import CodedStrings, Columns, Values
from lockgate.serving.protocols.arrow_stream import CELL_BYTES, Bounds, Table

if TYPE_CHECKING:  # a server that is never sent Arrow never loads it
    from pyarrow import Schema  # type: ignore[import-untyped]  # no stubs published

REMEMBERED: Final = 256  # ours: schemas, batches and dictionaries each; a caller's own are few
LONGEST_REMEMBERED: Final = 8 << 10  # bytes of one: two hundred columns
_FRAME: Final = struct.Struct("<Ii")
_CONTINUATION: Final = 0xFFFFFFFF
_END: Final = _FRAME.pack(_CONTINUATION, 0)
_V5: Final = 4
_ALIGNED: Final = 8
_MOST_ROWS: Final = 1 << 24
_DICTIONARY, _BATCH = 2, 3  # of Message's header_type
_BUFFERS_A_FIELD: Final = 2
_BUFFERS_OF_TEXT: Final = 3
_NATIVE: Final[dict[str, np.dtype[Any]]] = {"float": np.dtype("<f4"), "double": np.dtype("<f8")}
_CODES: Final[dict[str, np.dtype[Any]]] = {"int8": np.dtype("|i1"), "int16": np.dtype("<i2"), "int32": np.dtype("<i4")}
_WHOLE: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class _Field(NamedTuple):
    """One column of a schema: its name, what its buffer holds, and the dictionary of its codes, if there is one."""

    name: str
    dtype: np.dtype[Any]
    dictionary: int | None


class _Message(NamedTuple):
    """What the metadata of a batch says: where its buffers lie in the body, two numbers a buffer and a field."""

    rows: int
    nodes: tuple[int, ...]
    buffers: tuple[int, ...]
    dictionary: int | None
    body_bytes: int


_SCHEMAS: Final[dict[bytes, tuple[_Field, ...]]] = {}
_MESSAGES: Final[dict[bytes, _Message]] = {}
_DICTIONARIES: Final[dict[bytes, tuple[str, ...]]] = {}


class _Unusual(Exception):
    """The stream is not of the commonest form."""


def learn(body: bytes, schema: Schema) -> None:
    """Take a schema that streams of the commonest form may have.

    Args:
        body: A whole stream of it, which pyarrow has read and found nothing wrong with.
        schema: What pyarrow has made of its first message.
    """
    try:
        metadata, _ = _framed(body, 0)
    except _Unusual:  # as it was written before 2019
        return
    fields = _fields(Table.root(metadata).table(2), schema)
    if fields is not None:
        _keep(_SCHEMAS, metadata, fields)


def _fields(said: Table, schema: Schema) -> tuple[_Field, ...] | None:
    """Return the columns of a schema; None where one is of another type, or what pandas adds."""
    if said.int16(0) or len(set(schema.names)) < len(schema.names):  # of big endian numbers
        return None
    fields = []
    for name, kind, field in zip(schema.names, schema.types, said.tables(1), strict=True):
        encoding = field.maybe_table(4)
        dtype: np.dtype[Any] | None = _NATIVE.get(str(kind))
        if encoding is not None and str(kind.value_type) == "string":
            dtype = _CODES.get(str(kind.index_type))
        if dtype is None or name.startswith("__index_level_"):
            return None
        fields.append(_Field(name, dtype, None if encoding is None else encoding.int64(0)))
    return tuple(fields)


def read_plain(body: bytes, bounds: Bounds) -> Columns | None:
    """Return the columns of a stream of the commonest form, None where `arrow_stream` must look at it.

    float32 and float64 [rows] with NaN for null, and `CodedStrings`; views of the body where nothing is null.
    """
    try:
        return _read(body, bounds)
    except (_Unusual, struct.error, ValueError, LookupError, OSError, StopIteration):  # refused there, and said why
        return None


def _read(body: bytes, bounds: Bounds) -> Columns | None:
    metadata, at = _framed(body, 0)
    fields = _SCHEMAS.get(metadata)
    if fields is None:
        return None
    dictionaries: dict[int, tuple[str, ...]] = {}
    while True:
        begin = at
        metadata, at = _framed(body, begin)
        message = _MESSAGES.get(metadata)
        if message is None:
            message = _message(_verified(body, begin))
            _keep(_MESSAGES, metadata, message)
        end = at + message.body_bytes
        if end > len(body):
            raise _Unusual
        if message.dictionary is None:
            break
        if message.dictionary in dictionaries or len(dictionaries) == len(fields) or message.rows > bounds.rows:
            raise _Unusual
        dictionaries[message.dictionary] = _dictionary(body, at, metadata, message)
        at = end
    if end != len(body) and body[end:] != _END:
        raise _Unusual
    if not 0 < message.rows <= bounds.rows or message.rows * len(fields) * CELL_BYTES > bounds.decoded_bytes:
        raise _Unusual
    return _columns(body, at, message, fields, dictionaries)


def _framed(body: bytes, at: int) -> tuple[bytes, int]:
    """Return the metadata of the message that begins there, and where its own body does."""
    begins, size = _FRAME.unpack_from(body, at)
    start = at + _FRAME.size
    if begins != _CONTINUATION or not 0 < size <= len(body) - start:
        raise _Unusual
    return body[start : start + size], start + size


def _verified(body: bytes, begin: int) -> bytes:
    """Return the metadata of a message after pyarrow has verified its tables, which nothing here does."""
    import pyarrow as pa

    octets = pa.py_buffer(memoryview(body)[begin:])
    metadata: bytes = pa.ipc.MessageReader.open_stream(octets).read_next_message().metadata.to_pybytes()
    return metadata


def _message(metadata: bytes) -> _Message:
    root = Table.root(metadata)
    kind, body_bytes, batch, dictionary = root.uint8(1), root.int64(3), root.table(2), None
    if root.int16(0) != _V5 or kind not in (_DICTIONARY, _BATCH) or not 0 <= body_bytes < 1 << 40:
        raise _Unusual
    if kind == _DICTIONARY:
        if batch.has(2):  # a part of one
            raise _Unusual
        dictionary, batch = batch.int64(0), batch.table(1)
    rows, nodes, buffers = batch.int64(0), batch.pairs(1), batch.pairs(2)
    if batch.has(3) or batch.has(4):  # compressed, or of views
        raise _Unusual
    if not 0 < rows < _MOST_ROWS or any(length != rows for length in nodes[::2]) or min(buffers, default=0) < 0:
        raise _Unusual
    for offset, size in zip(buffers[::2], buffers[1::2], strict=True):
        if offset % _ALIGNED or offset + size > body_bytes:
            raise _Unusual
    if dictionary is not None and (nodes != (rows, 0) or len(buffers) != 2 * _BUFFERS_OF_TEXT):
        raise _Unusual
    return _Message(rows, nodes, buffers, dictionary, body_bytes)


def _dictionary(body: bytes, at: int, metadata: bytes, message: _Message) -> tuple[str, ...]:
    """Return the strings of a dictionary."""
    said = body[at : at + message.body_bytes]
    key = metadata + said
    found = _DICTIONARIES.get(key)
    if found is None:
        _, no_validity, offsets_at, offsets_bytes, text_at, text_bytes = message.buffers
        offsets = struct.unpack_from(f"<{message.rows + 1}i", said, offsets_at)
        if no_validity or offsets_bytes < 4 * len(offsets) or offsets[0] < 0 or offsets[-1] > text_bytes:
            raise _Unusual
        if any(first > last for first, last in pairwise(offsets)):
            raise _Unusual
        text = said[text_at : text_at + text_bytes]
        found = tuple(text[first:last].decode() for first, last in pairwise(offsets))
        _keep(_DICTIONARIES, key, found)
    return found


def _columns(
    body: bytes, at: int, message: _Message, fields: tuple[_Field, ...], dictionaries: dict[int, tuple[str, ...]]
) -> Columns:
    rows, nodes, buffers = message.rows, message.nodes, message.buffers
    if len(nodes) != 2 * len(fields) or len(buffers) != 2 * _BUFFERS_A_FIELD * len(fields):
        raise _Unusual
    columns: dict[str, Values] = {}
    place = 0
    for (name, dtype, dictionary), nulls in zip(fields, nodes[1::2], strict=True):
        validity_at, validity_bytes, data_at, data_bytes = buffers[place : place + 4]
        place += 4
        if data_bytes < rows * dtype.itemsize or bool(nulls) != bool(validity_bytes):
            raise _Unusual
        values: npt.NDArray[Any] = np.frombuffer(body, dtype, rows, at + data_at)
        valid = None
        if nulls:
            if validity_bytes * 8 < rows:
                raise _Unusual
            octets = np.frombuffer(body, np.uint8, validity_bytes, at + validity_at)
            valid = np.unpackbits(octets, count=rows, bitorder="little").view(np.bool_)
            if rows - np.count_nonzero(valid) != nulls:
                raise _Unusual
        if dictionary is None:
            columns[name] = values if valid is None else np.where(valid, values, dtype.type(np.nan))
        else:
            columns[name] = _coded(values, valid, dictionaries[dictionary])
    return columns


def _coded(codes: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None, values: tuple[str, ...]) -> CodedStrings:
    """Return a column of strings; as an unsigned number, a negative code is beyond every dictionary."""
    if valid is not None:
        codes = np.where(valid, codes, codes.dtype.type(0))
    if len(values) > len(codes) or codes.view(_WHOLE[codes.dtype.itemsize]).max() >= len(values):
        raise _Unusual
    codes = codes.astype(np.int32, copy=False)
    return CodedStrings(codes if valid is None else np.where(valid, codes, np.int32(-1)), values)


def _keep(where: dict[bytes, Any], key: bytes, found: object) -> None:
    if len(key) <= LONGEST_REMEMBERED:
        if len(where) >= REMEMBERED:
            where.clear()
        where[key] = found
