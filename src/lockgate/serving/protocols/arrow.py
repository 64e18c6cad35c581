"""Arrow IPC streams over HTTP: record batches in, outputs out.

pyarrow is loaded by the first such request, in a thread; a server that is never sent Arrow never has it in memory.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from typing import TYPE_CHECKING, Final, overload

import orjson

from lockgate.serving.http.handling import ARROW, Headers, Request, Response
from lockgate.serving.model.columns import Columns
from lockgate.serving.options import Limits
from lockgate.serving.protocols.arrow_answer import stream
from lockgate.serving.protocols.arrow_columns import columns_of
from lockgate.serving.protocols.arrow_plain import learn, read_plain
from lockgate.serving.protocols.arrow_stream import Bounds, open_checked
from lockgate.serving.protocols.asking import plain_row
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Prediction

if TYPE_CHECKING:
    from pyarrow import RecordBatch, RecordBatchStreamReader  # type: ignore[import-untyped]  # no stubs published

ARROW_TAKEN: Final = {ARROW.decode(): "An Arrow IPC stream, one field a column."}
ARROW_GIVEN: Final = {
    ARROW.decode(): "To an Arrow stream, unless `Accept` names JSON and not Arrow: one field an output; the answer's "
    "parameters are the schema's metadata."
}
_TOLD: Final = len("application/vnd.apache.arrow")  # whether it is worth a closer look
INLINE_BYTES: Final = 256 << 10  # ours: looked at, and where it unfolds to not much more, read, in 0.3 ms
INLINE_DECODED_BYTES: Final = 1 << 20
UNFOLDED: Final = 4  # ours: how many times the largest body a stream may become once it is decoded


def is_arrow(request: Request) -> bool:
    """Tell whether a request's body is an Arrow stream."""
    given = request.headers.get(b"content-type")
    return given is not None and given[:_TOLD].lower() == ARROW[:_TOLD] and request.media_type == ARROW.decode()


def wants_arrow(request: Request) -> bool:
    """Tell whether the answer to an Arrow stream is to be one: always, unless `Accept` names JSON and not Arrow."""
    accepted = request.headers.get(b"accept", ARROW).lower()
    return ARROW in accepted or b"application/json" not in accepted


async def read_columns(request: Request, limits: Limits) -> Columns:
    """Return the columns of a request that is an Arrow stream.

    Raises:
        RequestRefused: It is none, is cut short, holds what no model takes, or is above a limit.
    """
    bounds = Bounds(limits.rows, UNFOLDED * limits.body_bytes)
    if len(request.body) > INLINE_BYTES or "pyarrow.ipc" not in sys.modules:
        return await asyncio.to_thread(read_stream, request.body, bounds)
    columns = read_stream(request.body, bounds, at_most=INLINE_DECODED_BYTES)
    return await asyncio.to_thread(read_stream, request.body, bounds) if columns is None else columns


@overload
def read_stream(body: bytes, bounds: Bounds) -> Columns: ...
@overload
def read_stream(body: bytes, bounds: Bounds, *, at_most: int) -> Columns | None: ...
def read_stream(body: bytes, bounds: Bounds, *, at_most: int | None = None) -> Columns | None:
    """Return the columns of an Arrow stream; None where they would be more bytes than `at_most`.

    Raises:
        RequestRefused: See `read_columns`.
    """
    columns = read_plain(body, bounds)
    if columns is not None:
        return plain_row(columns)
    import pyarrow as pa

    try:
        reader, size = open_checked(body, bounds)
        if at_most is not None and size > at_most:
            return None
        batch = _only_batch(reader)
        columns = columns_of(batch)
        learn(body, reader.schema)
        return columns if batch.num_rows != 1 else plain_row(_whole(columns, batch))
    except (pa.ArrowException, OSError, ValueError, StopIteration, struct.error) as broken:
        said = str(broken).splitlines()[0][:200] if str(broken) else "it is empty"
        raise refuse(Reason.MALFORMED, f"the body is not an Arrow stream: {said}") from broken


def _only_batch(reader: RecordBatchStreamReader) -> RecordBatch:
    """Return all rows of a stream as one valid batch."""
    import pyarrow as pa

    batches = list(reader)
    for batch in batches:
        batch.validate(full=True)  # offsets and codes within their buffers, UTF-8 in strings: nothing proved them yet
    if len(batches) == 1:
        return batches[0]
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=reader.schema)
    (whole,) = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches() or batches[:1]
    return whole


def _whole(columns: Columns, batch: RecordBatch) -> Columns:
    """Return the columns of a single row, integers as such: of an entity's key the very text counts, as in JSON."""
    import pyarrow as pa

    whole = {
        name: batch.column(name).to_pylist()
        for name in columns
        if pa.types.is_integer(kind := batch.schema.field(name).type)
        or (pa.types.is_dictionary(kind) and pa.types.is_integer(kind.value_type))
    }
    return {**columns, **whole}


def arrow_response(prediction: Prediction, headers: Headers) -> Response:
    """Return an answer as an Arrow stream of one batch; what the protocols say beside outputs is in its metadata."""
    arm, answer = prediction.arm, prediction.answer
    said = {
        "model": arm.model.contract.model,
        "release_digest": arm.model.digest,
        "arm": arm.name,
        "prediction_id": prediction.id,
    }
    if answer.flags:
        said["flags"] = orjson.dumps(answer.flags).decode()
    if prediction.fallback:
        said["fallback"] = "true"
    return Response(200, stream(answer.outputs, said), ARROW, headers)
