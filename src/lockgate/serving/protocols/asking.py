"""What every protocol does with the headers of a request before and after the model answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from msgspec import structs

from lockgate.serving.http.handling import Headers, Request, caller_request_id, caller_trace
from lockgate.serving.model.column_values import rows_of
from lockgate.serving.model.columns import CodedStrings, Columns, Values
from lockgate.serving.routing.router import Choice
from lockgate.serving.routing.sticky import entity_of_header
from lockgate.serving.service import Prediction, Service

ENTITY_HEADER: Final = b"x-lockgate-entity"
ARM_HEADER: Final = b"x-lockgate-arm"
PROBE_HEADER: Final = b"x-lockgate-probe"
FALLBACK_HEADER: Final[Headers] = ((b"x-lockgate-fallback", b"true"),)
READ: Final[Mapping[str, str]] = {
    "x-lockgate-entity": "Keys sticky routing; goes before the contract's entity column.",
    "x-lockgate-arm": "Forces the arm of this name or tag; needs the admin token, and is never counted.",
    "x-lockgate-probe": "Any value: answered as any other and never counted; needs the admin token.",
    "authorization": "`Bearer` and the admin token, for a forced arm or version, or a probe, alone.",
    "x-request-id": "The caller's own id; answered and logged when it is at most 128 printable ASCII characters.",
    "traceparent": "W3C trace context; answered and logged as it came.",
}
"""Request headers that every route which answers rows reads, with what each means."""
WRITTEN: Final[Mapping[str, str]] = {
    "x-lockgate-model": "The model that answered.",
    "x-lockgate-release-digest": "The bundle that answered.",
    "x-lockgate-arm": "The arm that answered.",
    "x-lockgate-prediction-id": "Unique; the answer's row in the prediction log carries it, and its label names it.",
}
"""Headers that every such answer carries."""
SOMETIMES_WRITTEN: Final[Mapping[str, str]] = {
    "x-lockgate-fallback": "`true` where something else than the chosen arm answered, because that one failed.",
}
"""Headers that it may carry."""


def authorize(service: Service, request: Request) -> None:
    """Refuse a request that forces an arm or a version, or is a probe, without the admin token; before it is read.

    Raises:
        RequestRefused: It does.
    """
    if ARM_HEADER in request.headers or "version" in request.params:
        service.authorize(request.header(b"authorization"), "a forced arm or version")
    if PROBE_HEADER in request.headers:
        service.authorize(request.header(b"authorization"), "a probe")


def choose(service: Service, request: Request, model: str | None, columns: Columns) -> Choice:
    """Return what answers a request that was authorized.

    Raises:
        RequestRefused: Nothing answers for what it asks.
    """
    if request.choice is not None:
        return request.choice
    headers = request.headers
    entity = entity_of_header(headers[ENTITY_HEADER]) if ENTITY_HEADER in headers else None
    tag = request.header(ARM_HEADER) if ARM_HEADER in headers else None
    choice = service.choose(model, request.params.get("version"), columns, entity, tag)
    return structs.replace(choice, probe=True) if PROBE_HEADER in headers else choice


async def predict(
    service: Service, request: Request, choice: Choice, columns: Columns, *, explain: bool = False
) -> tuple[Prediction, Headers]:
    """Return the answer to a request, and the headers it carries.

    Raises:
        RequestRefused: The request does not fit the contract.
    """
    headers = request.headers
    prediction = await service.predict(
        choice,
        columns,
        started=request.started,
        request_id=caller_request_id(headers),
        trace=caller_trace(headers),
        body_bytes=len(request.body),
        explain=explain,
    )
    request.rows = prediction.answer.rows
    said: Headers = (*prediction.arm.headers, (b"x-lockgate-prediction-id", prediction.id.encode()))
    return prediction, (*said, *FALLBACK_HEADER) if prediction.fallback else said


def plain_row(columns: Columns) -> Columns:
    """Return a single row of arrays and codes as lists, which is how a single row is cheapest; others as they are."""
    if rows_of(columns) != 1:
        return columns
    return {name: _listed(values) for name, values in columns.items()}


def _listed(values: Values) -> Values:
    if isinstance(values, CodedStrings):
        return [None if code < 0 else values.values[code] for code in values.codes.tolist()]
    return values.tolist() if isinstance(values, np.ndarray) else values
