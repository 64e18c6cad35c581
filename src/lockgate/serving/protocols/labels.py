"""POST /labels: what turned out to be true, by prediction id, as JSON or as one JSON object a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from lockgate.serving.http.handling import Request, Response, Route, json_response
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.http.json_marks import check_separators
from lockgate.serving.log.labels import LABELS_AT_MOST, Label
from lockgate.serving.log.synced_log import year_problem
from lockgate.serving.protocols.apart import read_body
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.service import Service

NDJSON: Final = frozenset(("application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"))
MOST_FIELDS: Final = 8 * LABELS_AT_MOST  # ours: twice what so many labels have; more is not even read
_FORM: Final = '{"labels": [{"prediction_id": "...", "label": "yes", "row": 0, "time": "2026-01-31T12:00:00Z"}]}'


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: Annotated[list[Label], msgspec.Meta(min_length=1)]


_JSON = msgspec.json.Decoder(_Body)
_LINES = msgspec.json.Decoder(Label)


async def labels(service: Service, request: Request) -> Response:
    """Take labels; answered when the disk holds them."""
    service.authorize(request.header(b"authorization"), "labels")
    told = await read_body(service, request, parse, request.body, request.media_type)
    await service.labels.add(told)
    return json_response({"accepted": len(told)})


def parse(body: bytes, media_type: str) -> Sequence[Label]:
    """Read labels.

    Args:
        body: A JSON object with `labels`, or one JSON object a line.
        media_type: Says which, without parameters.

    Raises:
        RequestRefused: It is neither, holds none or too many, or one of them is wrong; says which and why.
    """
    if len(body) >= LARGE_BYTES:
        check_separators(body, b"\n\r" if media_type in NDJSON else b"{,", MOST_FIELDS, "fields or lines")
    if media_type in NDJSON:
        told = _read_lines(body)
    elif media_type == "application/json":
        told = _read_object(body)
    else:
        raise refuse(
            Reason.UNSUPPORTED_MEDIA, f"content-type {media_type!r}: send application/json or application/x-ndjson"
        )
    if len(told) > LABELS_AT_MOST:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds {len(told)} labels, at most {LABELS_AT_MOST}; send them in parts"
        )
    for index, each in enumerate(told):
        problem = year_problem(each.time)
        if problem is not None:
            raise _malformed(f"labels[{index}].time: {problem}")
    return told


def _read_object(body: bytes) -> list[Label]:
    try:
        return _JSON.decode(body).labels
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise _malformed(str(wrong)) from wrong


def _read_lines(body: bytes) -> list[Label]:
    told = []
    for number, line in enumerate(body.splitlines(), 1):
        if line.strip():
            try:
                told.append(_LINES.decode(line))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
                raise _malformed(f"line {number}: {wrong}") from wrong
    if not told:
        raise _malformed("there is no label in it")
    return told


def _malformed(why: str) -> RequestRefused:
    return refuse(Reason.MALFORMED, f"labels: {why}; the form is {_FORM}, or one such label a line as x-ndjson")


ROUTES: Final = (
    Route(
        method="POST",
        path="/labels",
        handler=labels,
        summary="Tell what turned out to be true, by prediction id; safe to repeat.",
        responses={
            200: "The disk holds every one of them; they are joined to their predictions later.",
            400: "The body is not a list of labels; names the field. None was kept.",
            401: "No token, or a wrong one.",
            408: "The body did not arrive in time.",
            413: "The body or the number of labels is above the limit.",
            415: "The body is neither JSON nor one JSON object a line.",
            503: "The disk did not take them, took too long, or too many wait: send the same again.",
        },
        body="Labels",
        returns="LabelsAccepted",
        headers={"authorization": "Bearer and the admin token."},
        takes={"application/x-ndjson": "One such label a line, as a JSON object."},
        limited=True,
    ),
)
