"""POST /feedback: what people say of an answer, by prediction id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from lockgate.serving.http.handling import Request, Response, Route, json_response
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.http.json_marks import check_separators
from lockgate.serving.log.feedback import FEEDBACK_AT_MOST, VERDICTS, Feedback
from lockgate.serving.log.synced_log import year_problem
from lockgate.serving.protocols.apart import read_body
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.service import Service

BODY_BYTES: Final = 8 << 20  # the most feedback of a request, every character of it escaped, is below it
MOST_FIELDS: Final = 8 * FEEDBACK_AT_MOST  # ours: a little more than so much feedback has; more is not even read
_FORM: Final = (
    '{"feedback": [{"prediction_id": "...", "row": 0, "verdict": "wrong", "comment": "...", "who": "...", '
    '"time": "2026-01-31T12:00:00Z"}]}'
)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    feedback: Annotated[list[Feedback], msgspec.Meta(min_length=1)]


_JSON = msgspec.json.Decoder(_Body)


async def feedback(service: Service, request: Request) -> Response:
    """Take feedback; answered when the disk holds it."""
    service.authorize_feedback(request.header(b"authorization"))
    request.expect_json()
    said = await read_body(service, request, parse, request.body)
    await service.feedback.add(said)
    return json_response({"accepted": len(said)})


def parse(body: bytes) -> Sequence[Feedback]:
    """Read feedback from JSON.

    Raises:
        RequestRefused: It is of another form, holds none or too much, or one of it is wrong; says which and why.
    """
    if len(body) > BODY_BYTES:
        raise refuse(
            Reason.BODY_TOO_LARGE, f"feedback: the body is larger than the {BODY_BYTES} bytes taken; send it in parts"
        )
    if len(body) >= LARGE_BYTES:
        check_separators(body, b"{,", MOST_FIELDS, "fields")
    try:
        said = _JSON.decode(body).feedback
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise _malformed(str(wrong)) from wrong
    if len(said) > FEEDBACK_AT_MOST:
        raise refuse(
            Reason.TOO_MANY_ROWS, f"the request holds feedback {len(said)} times, at most {FEEDBACK_AT_MOST}; "
            "send it in parts",
        )  # fmt: skip
    for index, each in enumerate(said):
        problem = year_problem(each.time)
        if problem is not None:
            raise _malformed(f"feedback[{index}].time: {problem}")
    return said


def _malformed(why: str) -> RequestRefused:
    verdicts = ", ".join(VERDICTS)
    return refuse(Reason.MALFORMED, f"feedback: {why}; the form is {_FORM}, and a verdict is one of {verdicts}")


ROUTES: Final = (
    Route(
        method="POST",
        path="/feedback",
        handler=feedback,
        summary="Say what an answer was worth, by prediction id; the newest word of each person counts.",
        responses={
            200: "The disk holds all of it; it is joined to predictions when it is read.",
            400: "The body is no feedback; names the field. None was kept.",
            401: "No token, or a wrong one.",
            408: "The body did not arrive in time.",
            413: "The body or the number of entries is above the limit.",
            415: "The body is not JSON.",
            503: "The disk did not take it, took too long, or too much waits: send the same again.",
        },
        body="Feedback",
        returns="FeedbackAccepted",
        headers={"authorization": "Bearer and the feedback token, or the admin token."},
        limited=True,
    ),
)
