"""Looks at an Arrow IPC stream before anything of it is decoded: how many rows, and how large it would become.

https://arrow.apache.org/docs/format/Columnar.html (serialization and IPC): a stream is messages; the metadata of a
record batch is a FlatBuffers table that tells its rows and where each of its buffers lies in the body, and a compressed
buffer begins with its size before compression. A few kilobytes can so ask for gigabytes, which no reader of pyarrow's
bounds; the few fields that say so are read here, from metadata that pyarrow has verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.serving.protocols.arrow_columns import is_taken, wrong_type
from lockgate.serving.refusals import Reason, refuse

if TYPE_CHECKING:  # a server that is never sent Arrow never loads it
    from pyarrow import Buffer, Schema  # type: ignore[import-untyped]  # no stubs published

MOST_MESSAGES: Final = 1024  # ours: of 10,000 rows at most, more than a few parts mean that rows are sent one by one
MOST_COLUMNS: Final = 10_000  # ours: far above any model, far below what makes reading a schema slow
CELL_BYTES: Final = 8
_HEADER = 2  # of Message; this and the next are numbers of fields
_DATA = 1  # of DictionaryBatch
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3  # of RecordBatch
_NOT_COMPRESSED: Final = -1


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a stream may hold.

    Attributes:
        rows: Rows in all.
        decoded_bytes: Bytes in all, once nothing is compressed any more and every cell is a number or a code.
    """

    rows: int
    decoded_bytes: int


def check_stream(body: bytes, bounds: Bounds) -> None:
    """Look at every message of a stream.

    Raises:
        RequestRefused: It holds what no model takes, or more than the bounds allow.
        pyarrow.ArrowException: It is no Arrow stream; likewise OSError.
    """
    import pyarrow as pa

    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    first = messages.read_next_message()
    if first.type != "schema":  # pyarrow's own reader of schemas does not look, and ends the process
        raise refuse(
            Reason.MALFORMED, f"the body is not an Arrow stream: it begins with a message of type {first.type}"
        )
    schema = pa.ipc.read_schema(first)
    _check_schema(schema)
    rows = decoded = 0
    for number, message in enumerate(messages):
        if number >= MOST_MESSAGES:
            raise refuse(
                Reason.TOO_MANY_ROWS, f"the stream has more than {MOST_MESSAGES} parts; send fewer, larger ones"
            )
        batch = Table.root(message.metadata).table(_HEADER)
        match message.type:
            case "dictionary":
                batch = batch.table(_DATA)
            case "record batch":
                rows += batch.int64(_LENGTH)
            case other:
                raise refuse(Reason.MALFORMED, f"the body is not an Arrow stream: a message of type {other} is in it")
        decoded += _decoded_bytes(batch, message.body)
        _check_size(rows, max(decoded, rows * len(schema) * CELL_BYTES), bounds)


def _check_schema(schema: Schema) -> None:
    if len(schema) > MOST_COLUMNS:
        raise refuse(Reason.BODY_TOO_LARGE, f"the stream has {len(schema)} columns, at most {MOST_COLUMNS} are read")
    for field in schema:
        if not is_taken(field.type):
            raise wrong_type(field.name, field.type)


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


def _decoded_bytes(batch: Table, body: Buffer | None) -> int:
    """Return the size of a batch's buffers once nothing is compressed."""
    buffers = batch.pairs(_BUFFERS)
    offsets, lengths = buffers[:, 0], buffers[:, 1]
    if not batch.has(_COMPRESSION):
        return int(lengths.sum())
    there = lengths > 0
    offsets, lengths = offsets[there], lengths[there]
    octets = np.frombuffer(b"" if body is None else body, np.uint8)
    if offsets.size and (offsets.min() < 0 or (offsets > octets.size - CELL_BYTES).any()):
        raise refuse(Reason.MALFORMED, "the body is not an Arrow stream: a buffer lies outside of it")
    sizes = octets[offsets[:, None] + np.arange(CELL_BYTES)].view("<i8").ravel()
    sizes = np.where(sizes == _NOT_COMPRESSED, lengths, sizes)
    if sizes.size and sizes.min() < 0:
        raise refuse(Reason.MALFORMED, "the body is not an Arrow stream: a buffer's size is negative")
    return sum(sizes.tolist())  # in Python: eight of them may be more than 64 bits hold


class Table:
    """A FlatBuffers table, https://flatbuffers.dev/internals/; fields are found by their number in the schema."""

    def __init__(self, data: Buffer, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - self._int(at, "<i4")
        self._size = self._int(self._vtable, "<u2")

    @classmethod
    def root(cls, data: Buffer) -> Table:
        """Return the table that a buffer holds."""
        return cls(data, int(np.frombuffer(data, "<u4", 1)[0]))

    def _int(self, at: int, kind: str) -> int:
        return int(np.frombuffer(self._data, kind, 1, at)[0])

    def _field(self, number: int) -> int | None:
        """Return where a field lies, None where it is absent."""
        entry = 4 + 2 * number
        offset = self._int(self._vtable + entry, "<u2") if entry < self._size else 0
        return self._at + offset if offset else None

    def has(self, number: int) -> bool:
        """Tell whether a field is there."""
        return self._field(number) is not None

    def int64(self, number: int) -> int:
        """Return a field of eight bytes; its default is 0."""
        at = self._field(number)
        return 0 if at is None else self._int(at, "<i8")

    def table(self, number: int) -> Table:
        """Return the table that a field refers to; ValueError where there is none."""
        at = self._field(number)
        if at is None:
            raise ValueError(f"no field {number}")
        return Table(self._data, at + self._int(at, "<u4"))

    def pairs(self, number: int) -> npt.NDArray[np.int64]:
        """Return a vector of pairs of int64, [n, 2]; none where it is absent."""
        at = self._field(number)
        if at is None:
            return np.empty((0, 2), np.int64)
        vector = at + self._int(at, "<u4")
        found: npt.NDArray[Any] = np.frombuffer(self._data, "<i8", 2 * self._int(vector, "<u4"), vector + 4)
        return found.reshape(-1, 2)
