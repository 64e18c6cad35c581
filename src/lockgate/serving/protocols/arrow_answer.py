"""Outputs -> an Arrow IPC stream of one batch, its metadata written by hand: a fifth of what pyarrow's objects cost.

https://arrow.apache.org/docs/format/Columnar.html (serialization and IPC): after the schema a message whose metadata
is two FlatBuffers tables, which say only how many rows there are and where buffers lie. The schema is pyarrow's own,
made once for an arm with a stand-in where each answer has its own id.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.serving.model.column_values import Labels, joined

REMEMBERED: Final = 256  # ours: arms come and go with bundles
_CONTINUATION: Final = 0xFFFFFFFF
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream: a message of no bytes
_ALIGNED: Final = 8
_STAND_IN: Final = "\x7f"  # in no name
_ID, _FLAGS = "prediction_id", "flags"
# the root's place, Message's fields and Message, RecordBatch's fields and RecordBatch, its vectors: see `_metadata`
_FORMAT: Final = "<Ii I6H iIqhBx 5H2x iIqI I{nodes}q 4xI{buffers}q"
_BATCH: Final = 3  # of Message's header_type
_V5: Final = 4
_Buffers = list[bytes]
_SCHEMAS: Final[dict[tuple[object, ...], tuple[bytes, bytes]]] = {}


def stream(outputs: Mapping[str, Any], said: Mapping[str, str]) -> bytes:
    """Return outputs as a stream.

    Args:
        outputs: By name, see `dataplane.Answer`.
        said: The schema's metadata, `prediction_id` among it.
    """
    nodes: list[int] = []
    buffers: _Buffers = []
    for data in outputs.values():
        _add(data, nodes, buffers)
    before, after = _schema(outputs, said)
    body = [buffer + bytes(-len(buffer) % _ALIGNED) for buffer in buffers]
    metadata = _metadata(nodes[0], nodes, buffers, sum(map(len, body)))
    return b"".join((before, said[_ID].encode(), after, metadata, *body, _END))


def _add(data: Any, nodes: list[int], buffers: _Buffers) -> None:  # noqa: ANN401 - any output
    """Add an output's rows and nulls, and its buffers; nothing is null, so there is no validity."""
    nodes += (len(data), 0)
    if isinstance(data, Labels):
        texts = [str(each).encode() for each in data.classes]
        offsets = np.zeros(len(data) + 1, np.int32)
        np.cumsum(np.array([len(text) for text in texts], np.int32).take(data.codes), out=offsets[1:])
        buffers += (b"", offsets.tobytes(), joined(texts, data.codes))
    elif isinstance(data, list):
        texts = [text.encode() for text in data]
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        buffers += (b"", offsets.tobytes(), b"".join(texts))
    elif data.ndim == 1:
        buffers += (b"", _floats(data))
    else:
        nodes += (data.size, 0)
        buffers += (b"", b"", _floats(data))


def _floats(data: npt.NDArray[np.float32]) -> bytes:
    return data.astype("<f4", copy=False).tobytes()


def _schema(outputs: Mapping[str, Any], said: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return the schema's message, what stands before the answer's id in it and what behind."""
    kinds = tuple((name, 0 if isinstance(data, Labels | list) else data.shape[1:]) for name, data in outputs.items())
    if _FLAGS in said:  # what they say is hardly ever said again
        return _written(kinds, said)
    key = (kinds, len(said[_ID]), *((name, value) for name, value in said.items() if name != _ID))
    found = _SCHEMAS.get(key)
    if found is None:
        if len(_SCHEMAS) >= REMEMBERED:
            _SCHEMAS.clear()
        found = _SCHEMAS[key] = _written(kinds, said)
    return found


def _written(kinds: Sequence[tuple[str, Any]], said: Mapping[str, str]) -> tuple[bytes, bytes]:
    import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

    stand_in = _STAND_IN * len(said[_ID])
    fields = [
        (name, pa.string() if shape == 0 else pa.list_(pa.float32(), shape[0]) if shape else pa.float32())
        for name, shape in kinds
    ]
    message = pa.schema(fields, {**said, _ID: stand_in}).serialize().to_pybytes()
    before, _, after = message.partition(stand_in.encode())
    return before, after


def _metadata(rows: int, nodes: Sequence[int], buffers: _Buffers, body_bytes: int) -> bytes:
    """Return a batch's message but for its body, a multiple of eight bytes; places count from the root's.

        0 root   4 fields of Message   16 Message   36 fields of RecordBatch   48 RecordBatch   68 nodes, then buffers

    A table begins with how far before it its fields are listed: the size of the list and of the table, then where in
    the table each field lies. Vectors begin with their length; their elements lie at multiples of eight.
    """
    places: list[int] = []
    at = 0
    for buffer in buffers:
        places += (at, len(buffer))
        at += len(buffer) + -len(buffer) % _ALIGNED
    packing = struct.Struct(_FORMAT.format(nodes=len(nodes), buffers=len(places)))
    vector = 76 + 8 * len(nodes)  # of buffers
    return packing.pack(
        *(_CONTINUATION, packing.size - _ALIGNED, 16),
        *(12, 20, 16, 18, 4, 8),  # Message: version, header_type, header, bodyLength
        *(16 - 4, 48 - 20, body_bytes, _V5, _BATCH),
        *(10, 20, 8, 4, 16),  # RecordBatch: length, nodes, buffers
        *(48 - 36, 68 - 52, rows, vector - 64),
        *(len(nodes) // 2, *nodes, len(places) // 2, *places),
    )
