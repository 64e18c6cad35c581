"""Arrow IPC streams over HTTP: record batches in, outputs out.

pyarrow is loaded by the first such request, in a thread; a server that is never sent Arrow never has it in memory.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson

from lockgate.serving.http.handling import ARROW, Headers, Request, Response
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import Output
from lockgate.serving.options import Limits
from lockgate.serving.protocols.arrow_columns import columns_of
from lockgate.serving.protocols.arrow_stream import Bounds, check_stream
from lockgate.serving.protocols.asking import plain_row
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Prediction

if TYPE_CHECKING:
    from pyarrow import Array  # type: ignore[import-untyped]  # no stubs published

ARROW_TAKEN: Final = {ARROW.decode(): "An Arrow IPC stream, one field a column."}
ARROW_GIVEN: Final = {
    ARROW.decode(): "To an Arrow stream, unless `Accept` names JSON and not Arrow: one field an output; the answer's "
    "parameters are the schema's metadata."
}
INLINE_BYTES: Final = 32 << 10  # ours: read in less time than a thread is handed the work
UNFOLDED: Final = 4  # ours: how many times the largest body a stream may become once it is decoded


def is_arrow(request: Request) -> bool:
    """Tell whether a request's body is an Arrow stream."""
    given = request.headers.get(b"content-type")
    return given is not None and given.startswith(ARROW) and request.media_type == ARROW.decode()


def wants_arrow(request: Request) -> bool:
    """Tell whether the answer to an Arrow stream is to be one: always, unless `Accept` names JSON and not Arrow."""
    accepted = request.headers.get(b"accept", ARROW)
    return ARROW in accepted or b"application/json" not in accepted


async def read_columns(request: Request, limits: Limits) -> Columns:
    """Return the columns of a request that is an Arrow stream.

    Raises:
        RequestRefused: It is none, is cut short, holds what no model takes, or is above a limit.
    """
    bounds = Bounds(limits.rows, UNFOLDED * limits.body_bytes)
    if len(request.body) <= INLINE_BYTES and "pyarrow.ipc" in sys.modules:
        return read_stream(request.body, bounds)
    return await asyncio.to_thread(read_stream, request.body, bounds)


def read_stream(body: bytes, bounds: Bounds) -> Columns:
    """Return the columns of an Arrow stream.

    Raises:
        RequestRefused: See `read_columns`.
    """
    import pyarrow as pa

    try:
        check_stream(body, bounds)
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)  # offsets and codes within their buffers, UTF-8 in strings: nothing proved them yet
        whole = table.unify_dictionaries().combine_chunks().to_batches()
        batch = whole[0] if whole else pa.RecordBatch.from_pylist([], schema=table.schema)
        return plain_row(columns_of(batch))
    except (pa.ArrowException, OSError, ValueError, StopIteration) as broken:
        said = str(broken).splitlines()[0][:200] if str(broken) else "it is empty"
        raise refuse(Reason.MALFORMED, f"the body is not an Arrow stream: {said}") from broken


def arrow_response(prediction: Prediction, headers: Headers) -> Response:
    """Return an answer as an Arrow stream of one batch; what the protocols say beside outputs is in its metadata."""
    import pyarrow as pa

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
    arrays = {name: _array(data) for name, data in answer.outputs.items()}
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays)).replace_schema_metadata(said)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Response(200, sink.getvalue().to_pybytes(), ARROW, headers)


def _array(data: Output) -> Array:
    """Return an output as an Arrow array: strings, float32, or lists of as many float32 as there are classes."""
    import pyarrow as pa

    numbers: Any = data
    if type(data) is list or numbers.ndim == 1:
        return pa.array(data)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), numbers.shape[1])
