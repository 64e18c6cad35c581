"""Looks at an Arrow IPC stream before anything of it is decoded: how many rows, and how large it would become.

https://arrow.apache.org/docs/format/Columnar.html (serialization and IPC): a stream is messages; the metadata of a
record batch is a FlatBuffers table that tells its rows and where each of its buffers lies in the body, and a compressed
buffer begins with its size before compression. A few kilobytes can so ask for gigabytes, which no reader of pyarrow's
bounds; the few fields that say so are read here, from metadata that pyarrow has verified. The reader that is given back
has read the schema and nothing else, so that nothing is decoded twice.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockgate.serving.protocols.arrow_columns import is_taken, wrong_type
from lockgate.serving.refusals import Reason, refuse

if TYPE_CHECKING:  # a server that is never sent Arrow never loads it
    from pyarrow import Message, RecordBatchStreamReader, Schema  # type: ignore[import-untyped]  # no stubs published

MOST_MESSAGES: Final = 1024  # ours: of 10,000 rows at most, more than a few parts mean that rows are sent one by one
MOST_COLUMNS: Final = 10_000  # ours: far above any model, far below what makes reading a schema slow
REMEMBERED: Final = 64  # ours: schemas
LONGEST_REMEMBERED: Final = 16 << 10  # bytes of one: a hundred columns
CELL_BYTES: Final = 8
_FILE: Final = b"ARROW1"
_HEADER = 2  # of Message; this and the next are numbers of fields
_DATA = 1  # of DictionaryBatch
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # of RecordBatch
_NOT_COMPRESSED: Final = -1
_KNOWN: Final[dict[bytes, int]] = {}
"""Columns by a schema's metadata, where all of them are taken."""
_UINT16, _UINT32 = struct.Struct("<H"), struct.Struct("<I")
_INT16, _INT32, _INT64 = struct.Struct("<h"), struct.Struct("<i"), struct.Struct("<q")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a stream may hold.

    Attributes:
        rows: Rows in all.
        decoded_bytes: Bytes in all, once nothing is compressed any more and every cell is a number or a code.
    """

    rows: int
    decoded_bytes: int


def open_checked(body: bytes, bounds: Bounds) -> tuple[RecordBatchStreamReader, int]:
    """Look at every message of a stream.

    Returns:
        A reader of its batches, and how many bytes they will be.

    Raises:
        RequestRefused: It holds what no model takes, or more than the bounds allow.
        pyarrow.ArrowException: It is no Arrow stream; likewise OSError, and StopIteration where it is empty.
    """
    import pyarrow as pa

    if body.startswith(_FILE):
        raise refuse(
            Reason.MALFORMED, "the body is of Arrow's file form; send its stream form (pyarrow.ipc.new_stream)"
        )
    buffer = pa.py_buffer(body)
    source = pa.BufferReader(buffer)
    messages = pa.ipc.MessageReader.open_stream(source)
    first = messages.read_next_message()
    if first.type != "schema":  # pyarrow's own reader of schemas does not look, and ends the process
        raise refuse(
            Reason.MALFORMED, f"the body is not an Arrow stream: it begins with a message of type {first.type}"
        )
    reader = pa.ipc.open_stream(buffer, options=pa.ipc.IpcReadOptions(use_threads=False))
    columns = _columns(first.metadata.to_pybytes(), reader)
    rows = decoded = 0
    for number, message in enumerate(messages):
        if number >= MOST_MESSAGES:
            raise refuse(
                Reason.TOO_MANY_ROWS, f"the stream has more than {MOST_MESSAGES} parts; send fewer, larger ones"
            )
        batch, kind = Table.root(message.metadata.to_pybytes()).table(_HEADER), message.type
        if kind == "dictionary":
            batch = batch.table(_DATA)
        elif kind == "record batch":
            rows += batch.int64(_LENGTH)
        else:
            raise refuse(Reason.MALFORMED, f"the body is not an Arrow stream: a message of type {kind} is in it")
        decoded += _decoded_bytes(batch, message)
        _check_size(rows, max(decoded, rows * columns * CELL_BYTES), bounds)
    left = len(body) - source.tell()
    if left:  # rows perhaps, which must not be lost without a word
        raise refuse(Reason.MALFORMED, f"{left} bytes follow the end of the Arrow stream; send one stream a request")
    return reader, max(decoded, rows * columns * CELL_BYTES)


def _columns(metadata: bytes, reader: RecordBatchStreamReader) -> int:
    """Return how many columns a stream has, after a look at each one's type; callers send the same ones over and over.

    Raises:
        RequestRefused: There are too many, or one is of a type that no model takes.
    """
    known = _KNOWN.get(metadata)
    if known is None:
        known = _check_schema(reader.schema)
        if len(metadata) <= LONGEST_REMEMBERED:
            if len(_KNOWN) >= REMEMBERED:
                _KNOWN.clear()
            _KNOWN[metadata] = known
    return known


def _check_schema(schema: Schema) -> int:
    """Return how many columns there are, likewise."""
    if len(schema) > MOST_COLUMNS:
        raise refuse(Reason.BODY_TOO_LARGE, f"the stream has {len(schema)} columns, at most {MOST_COLUMNS} are read")
    for at, kind in enumerate(schema.types):
        if not is_taken(kind):
            raise wrong_type(schema.names[at], kind)
    return len(schema)


def _check_size(rows: int, decoded: int, bounds: Bounds) -> None:
    if rows > bounds.rows:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds {rows} rows, at most {bounds.rows} are taken; send them in parts"
        )
    if decoded > bounds.decoded_bytes:
        raise refuse(
            Reason.BODY_TOO_LARGE,
            f"the stream unfolds to {decoded} bytes, at most {bounds.decoded_bytes} are taken; send it in parts",
        )


def _decoded_bytes(batch: Table, message: Message) -> int:
    """Return the size of a batch's buffers once nothing is compressed."""
    buffers = batch.pairs(_BUFFERS)
    if not batch.has(_COMPRESSION):
        return sum(buffers[1::2])
    octets = memoryview(b"" if message.body is None else message.body)
    return sum(_decoded(octets, offset, length) for offset, length in zip(buffers[::2], buffers[1::2], strict=True))


def _decoded(octets: memoryview, offset: int, length: int) -> int:
    """Return the size of a buffer that may be compressed."""
    if length <= 0:
        return 0
    if not 0 <= offset <= len(octets) - CELL_BYTES:
        raise refuse(Reason.MALFORMED, "the body is not an Arrow stream: a buffer lies outside of it")
    size: int = _INT64.unpack_from(octets, offset)[0]
    if size == _NOT_COMPRESSED:
        return length
    if size < 0:
        raise refuse(Reason.MALFORMED, "the body is not an Arrow stream: a buffer's size is negative")
    return size


class Table:
    """A FlatBuffers table, https://flatbuffers.dev/internals/; fields are found by their number in the schema."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - _INT32.unpack_from(data, at)[0]
        self._size = _UINT16.unpack_from(data, self._vtable)[0]

    @classmethod
    def root(cls, data: bytes) -> Table:
        """Return the table that a buffer holds."""
        return cls(data, _UINT32.unpack_from(data, 0)[0])

    def _field(self, number: int) -> int | None:
        """Return where a field lies, None where it is absent."""
        entry = 4 + 2 * number
        offset: int = _UINT16.unpack_from(self._data, self._vtable + entry)[0] if entry < self._size else 0
        return self._at + offset if offset else None

    def has(self, number: int) -> bool:
        """Tell whether a field is there."""
        return self._field(number) is not None

    def uint8(self, number: int) -> int:
        """Return a field of one byte; its default is 0."""
        at = self._field(number)
        return 0 if at is None else self._data[at]

    def int16(self, number: int) -> int:
        """Return a field of two bytes; its default is 0."""
        at = self._field(number)
        return 0 if at is None else int(_INT16.unpack_from(self._data, at)[0])

    def int64(self, number: int) -> int:
        """Return a field of eight bytes; its default is 0."""
        at = self._field(number)
        return 0 if at is None else int(_INT64.unpack_from(self._data, at)[0])

    def table(self, number: int) -> Table:
        """Return the table that a field refers to; ValueError where there is none."""
        at = self._field(number)
        if at is None:
            raise ValueError(f"no field {number}")
        return Table(self._data, at + _UINT32.unpack_from(self._data, at)[0])

    def maybe_table(self, number: int) -> Table | None:
        """Return the table that a field refers to, None where there is none."""
        return self.table(number) if self.has(number) else None

    def tables(self, number: int) -> list[Table]:
        """Return the tables of a vector; none where it is absent."""
        at = self._field(number)
        if at is None:
            return []
        vector = at + _UINT32.unpack_from(self._data, at)[0]
        count = _UINT32.unpack_from(self._data, vector)[0]
        if count > len(self._data) // _UINT32.size:
            raise ValueError(f"a vector of {count} tables in {len(self._data)} bytes")
        places = range(vector + 4, vector + 4 + 4 * count, 4)
        return [Table(self._data, place + _UINT32.unpack_from(self._data, place)[0]) for place in places]

    def pairs(self, number: int) -> tuple[int, ...]:
        """Return a vector of pairs of int64, one after the other; none where it is absent."""
        at = self._field(number)
        if at is None:
            return ()
        vector = at + _UINT32.unpack_from(self._data, at)[0]
        numbers = 2 * _UINT32.unpack_from(self._data, vector)[0]
        if numbers > len(self._data) // CELL_BYTES:
            raise ValueError(f"a vector of {numbers} numbers in {len(self._data)} bytes")
        return struct.unpack_from(f"<{numbers}q", self._data, vector + 4)
