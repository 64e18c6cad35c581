"""Feedback: on the disk before who says it is told so, names hashed, or refused whole with the field named."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from lockgate.errors import ConfigError
from lockgate.serving.http.app import App
from lockgate.serving.log.archive_retention import remove_feedback
from lockgate.serving.log.feedback import (
    COMMENT_LENGTH,
    FEEDBACK_AT_MOST,
    Feedback,
    FeedbackLog,
    StoredFeedback,
    feedback_folder,
    read_segments,
)
from lockgate.serving.log.segments import Segment, segments
from lockgate.serving.options import Limits
from lockgate.serving.protocols import feedback as http_feedback
from lockgate.serving.protocols.feedback import BODY_BYTES, parse
from lockgate.serving.protocols.openapi import document
from lockgate.serving.protocols.openapi_schemas import SCHEMAS
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.tokens import check_bearer, read_token
from lockgate.serving.watch.metrics import Metrics

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
ONE = {"prediction_id": "p-1", "verdict": "wrong"}
RUNNER = asyncio.Runner()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    RUNNER.close()


def stored(state: Path) -> list[StoredFeedback]:
    return [each for each in read_segments(state) if each is not None]


def keep(state: Path, *said: Feedback, **more: Any) -> FeedbackLog:
    async def tell() -> FeedbackLog:
        log = FeedbackLog(feedback_folder(state), **more)
        await log.add(said)
        return log

    log = asyncio.run(tell())
    log.close()
    return log


# -- the log ---------------------------------------------------------------------------------------------------------


def test_feedback_is_on_the_disk_when_the_caller_is_told(tmp_path: Path) -> None:
    async def tell() -> list[StoredFeedback]:
        log = FeedbackLog(feedback_folder(tmp_path), worker=3)
        await log.add([Feedback("p-1", "wrong", 2, " too low ", None, WHEN), Feedback("p-2", "right")])
        seen = stored(tmp_path)
        assert (log.accepted, dict(log.by_verdict)) == (2, {"wrong": 1, "right": 1, "harmful": 0})
        log.close()
        return seen

    first, second = asyncio.run(tell())
    assert (first.prediction_id, first.row, first.verdict, first.comment, first.time) == (
        "p-1", 2, "wrong", "too low", WHEN,
    )  # fmt: skip
    assert (second.comment, second.who, second.time) == (None, None, second.received)


def test_a_name_is_kept_as_a_hash_that_tells_people_apart(tmp_path: Path) -> None:
    keep(tmp_path, Feedback("p-1", "wrong", who="ann"), Feedback("p-1", "right", who=" ann "))
    keep(tmp_path, Feedback("p-1", "harmful", who="bob"), Feedback("p-1", "harmful", who=" "))
    ann, again, bob, nobody = (each.who for each in stored(tmp_path))
    assert ann == again
    assert bob not in (ann, None)
    assert nobody is None
    for path in segments(feedback_folder(tmp_path)):
        assert b"ann" not in path.read_bytes()


def test_a_full_disk_refuses_the_feedback_and_counts_nothing(tmp_path: Path) -> None:
    def opener(path: Path) -> int:
        path.touch()
        return os.open("/dev/full", os.O_WRONLY | os.O_APPEND)

    async def tell() -> None:
        log = FeedbackLog(feedback_folder(tmp_path), opener=opener)
        with pytest.raises(OSError):  # noqa: PT011 - the kernel's, of whichever number
            await log.add([Feedback("p-1", "wrong")])
        assert (log.accepted, log.errors, sum(log.by_verdict.values())) == (0, 1, 0)
        log.close()

    asyncio.run(tell())
    assert stored(tmp_path) == []


def test_nobody_is_told_that_it_is_kept_before_the_disk_says_so(tmp_path: Path) -> None:
    def opener(path: Path) -> int:
        path.touch()
        os.mkfifo(tmp_path / "pipe")
        return os.open(tmp_path / "pipe", os.O_RDWR)  # takes every write and no fsync

    async def tell() -> None:
        log = FeedbackLog(feedback_folder(tmp_path), opener=opener)
        with pytest.raises(OSError, match="Invalid argument"):
            await log.add([Feedback("p-1", "wrong")])
        assert (log.accepted, log.errors) == (0, 1)
        log.close()

    asyncio.run(tell())


def test_half_lines_are_left_out_and_lines_that_are_none_are_told(tmp_path: Path) -> None:
    keep(tmp_path, Feedback("p-1", "wrong"))
    (segment,) = segments(feedback_folder(tmp_path))
    with segment.open("ab") as file:
        file.write(b'{"prediction_id": 3}\n\xff\n{"prediction_id":"p-2","ro')
    assert [None if each is None else each.prediction_id for each in read_segments(tmp_path)] == ["p-1", None, None]


def test_only_what_was_received_since_is_read(tmp_path: Path) -> None:
    keep(tmp_path, Feedback("p-1", "wrong"))
    (told,) = stored(tmp_path)
    assert list(read_segments(tmp_path, since=told.received)) == [told]
    assert list(read_segments(tmp_path, since=told.received + timedelta(microseconds=1))) == []
    (segment,) = segments(feedback_folder(tmp_path))
    os.utime(segment, (0, 0))
    assert list(read_segments(tmp_path, since=told.received)) == []  # not opened at all


# -- retention -------------------------------------------------------------------------------------------------------


def closed(folder: Path, day: str, size: int = 10) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{day}T000000.000000Z-w0-000001.jsonl"
    path.write_bytes(b"x" * size)
    return path


def test_feedback_goes_when_it_is_too_old_and_never_while_it_is_written(tmp_path: Path) -> None:
    old, young = closed(tmp_path, "20260101"), closed(tmp_path, "20260103")
    written = Segment(tmp_path, worker=1, number=1)
    written.write([b"x\n"])
    assert remove_feedback(tmp_path, oldest=datetime(2026, 1, 3, tzinfo=UTC).date(), max_bytes=None) == 1
    assert not old.exists()
    assert young.exists()
    assert remove_feedback(tmp_path, oldest=datetime(9999, 1, 1, tzinfo=UTC).date(), max_bytes=None) == 1
    assert len(segments(tmp_path)) == 1
    written.close()


def test_the_oldest_feedback_goes_when_there_is_too_much(tmp_path: Path) -> None:
    first, second, third = (closed(tmp_path, f"2026010{day}") for day in (1, 2, 3))
    assert remove_feedback(tmp_path, oldest=None, max_bytes=20) == 1
    assert [path.exists() for path in (first, second, third)] == [False, True, True]
    assert remove_feedback(tmp_path, oldest=None, max_bytes=None) == 0
    assert remove_feedback(tmp_path / "none", oldest=None, max_bytes=1) == 0


# -- the form --------------------------------------------------------------------------------------------------------


def body(*said: dict[str, Any]) -> bytes:
    return json.dumps({"feedback": said}).encode()


def test_feedback_is_read_from_an_object() -> None:
    whole = {**ONE, "row": 1, "comment": "much too low", "who": "desk-7", "time": "2026-01-02T00:00:00Z"}
    assert parse(body(whole, ONE)) == [
        Feedback("p-1", "wrong", 1, "much too low", "desk-7", WHEN), Feedback("p-1", "wrong"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `feedback`"),
        (b'{"feedback": []}', "length >= 1"),
        (b'{"more": 1, "feedback": []}', "unknown field `more`"),
        (b"[" * 100_000, "the form is"),
        (b'{"feedback": [{"prediction_id": "a", "verdict": "wrong", "comment": "\xff"}]}', "the form is"),
        (b'{"feedback": [{"prediction_id": "a", "verdict": "wrong", "comment": "\\ud800"}]}', "the form is"),
        (body({"verdict": "wrong"}), "prediction_id"),
        (body({"prediction_id": "a"}), "missing required field `verdict`"),
        (body({**ONE, "verdict": "bad"}), "a verdict is one of wrong, right, harmful"),
        (body({**ONE, "verdict": None}), "$.feedback[0].verdict"),
        (body(ONE, {**ONE, "prediction_id": ""}), "$.feedback[1].prediction_id"),
        (body({**ONE, "row": -1}), "$.feedback[0].row"),
        (body({**ONE, "comment": "x" * (COMMENT_LENGTH + 1)}), "$.feedback[0].comment"),
        (body({**ONE, "who": "x" * 65}), "$.feedback[0].who"),
        (body({**ONE, "name": "Ann"}), "unknown field `name`"),
        (body({**ONE, "time": "2026-01-02T00:00:00"}), "timezone"),
        (body(ONE, {**ONE, "time": "0001-01-01T00:00:00+14:00"}), "feedback[1].time: year 1; allowed are 1970"),
    ],
)
def test_wrong_feedback_is_refused_by_its_place(sent: bytes, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(sent)
    assert refused.value.reason is Reason.MALFORMED
    assert said in refused.value.message


def test_too_much_feedback_is_refused_and_the_most_fits_however_it_is_written() -> None:
    longest = {**ONE, "comment": "\U0001f600" * COMMENT_LENGTH}  # escaped by json: twelve bytes a character
    assert len(parse(body(*[longest] * FEEDBACK_AT_MOST))) == FEEDBACK_AT_MOST
    with pytest.raises(RequestRefused, match="at most 1000") as many:
        parse(body(*[ONE] * (FEEDBACK_AT_MOST + 1)))
    assert many.value.reason is Reason.TOO_MANY_ROWS
    with pytest.raises(RequestRefused, match="send it in parts") as large:
        parse(b" " * (BODY_BYTES + 1))
    assert large.value.reason is Reason.BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"prediction_id": "x" * 128}, True),
        ({"prediction_id": "x" * 129}, False),
        ({"verdict": "harmful"}, True),
        ({"verdict": "Wrong"}, False),
        ({"comment": "\U0001f600" * COMMENT_LENGTH}, True),
        ({"comment": "x" * (COMMENT_LENGTH + 1)}, False),
        ({"comment": None}, True),
        ({"comment": ""}, True),
        ({"comment": 1}, False),
        ({"who": "x" * 64}, True),
        ({"who": "x" * 65}, False),
        ({"row": 2**31}, False),
        ({"time": None}, True),
        ({"more": 1}, False),
    ],
)
def test_the_api_document_bounds_feedback_as_the_server_does(changes: dict[str, Any], taken: bool) -> None:
    sent = {"feedback": [{**ONE, **changes}]}
    assert jsonschema.Draft202012Validator(SCHEMAS["Feedback"]).is_valid(sent) == taken
    if taken:
        assert len(parse(json.dumps(sent).encode())) == 1
    else:
        with pytest.raises(RequestRefused):
            parse(json.dumps(sent).encode())


def test_the_api_document_names_path_token_and_the_most() -> None:
    page = document(http_feedback.ROUTES)
    (operation,) = page["paths"]["/feedback"].values()
    assert operation["security"] == [{"adminToken": []}]
    assert set(operation["responses"]) == {"200", "400", "401", "408", "413", "415", "500", "503"}
    assert page["components"]["schemas"]["Feedback"]["properties"]["feedback"]["maxItems"] == FEEDBACK_AT_MOST


# -- the path --------------------------------------------------------------------------------------------------------


class Front:
    """The path behind its application, asked without a socket."""

    def __init__(self, state: Path, limits: Limits | None = None) -> None:
        self.log = FeedbackLog(feedback_folder(state))
        service: Any = SimpleNamespace(
            metrics=Metrics(),
            options=SimpleNamespace(limits=limits or Limits()),
            feedback=self.log,
            authorize_feedback=lambda header: check_bearer(b"admin", header, "feedback", narrower=b"app"),
        )
        self.app = App(service, http_feedback.ROUTES)

    def post(self, sent: bytes, *, bearer: str = "app", kind: str = "application/json") -> tuple[int, dict[str, Any]]:
        headers = [(b"content-type", kind.encode()), (b"authorization", f"Bearer {bearer}".encode())]
        scope = {
            "type": "http", "method": "POST", "path": "/feedback", "raw_path": b"/feedback", "query_string": b"",
            "headers": headers,
        }  # fmt: skip
        answers: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        RUNNER.run(self.app(scope, receive, send))
        return answers[0]["status"], json.loads(answers[1]["body"])


def test_every_answer_of_the_path_has_its_status_and_says_why(tmp_path: Path) -> None:
    front = Front(tmp_path, Limits(body_bytes=5000))
    assert front.post(body(ONE)) == (200, {"accepted": 1})
    assert front.post(body(ONE), bearer="admin") == (200, {"accepted": 1})
    for sent, options, status, why in (
        (body(ONE), {"bearer": "other"}, 401, "feedback needs 'Authorization: Bearer <feedback token or admin token>'"),
        (b"not JSON", {"bearer": ""}, 401, "feedback needs"),  # before anything is read
        (body({**ONE, "verdict": "bad"}), {}, 400, "$.feedback[0].verdict"),
        (b" " * 5001, {}, 413, "5000 bytes"),
        (body(ONE), {"kind": "text/csv"}, 415, "send application/json"),
        (body(ONE), {"kind": "application/json; charset=latin-1"}, 415, "send UTF-8"),
    ):
        told = front.post(sent, **options)
        assert told[0] == status
        assert why in told[1]["error"]
    front.log.close()
    assert len(stored(tmp_path)) == 2


def test_feedback_that_the_disk_does_not_take_is_to_be_sent_again(tmp_path: Path) -> None:
    feedback_folder(tmp_path).write_text("")  # a file where the folder should be
    front = Front(tmp_path)
    status, told = front.post(body(ONE))
    assert (status, "could not keep its state" in told["error"]) == (503, True)
    feedback_folder(tmp_path).unlink()
    assert front.post(body(ONE))[0] == 200
    front.log.close()


def test_too_much_that_waits_for_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.serving.log.feedback.QUEUE_BYTES", 300)

    async def tell() -> list[object]:
        log = FeedbackLog(feedback_folder(tmp_path))
        told = await asyncio.gather(*(log.add([Feedback("p", "right")]) for _ in range(5)), return_exceptions=True)
        log.close()
        return list(told)

    told = asyncio.run(tell())
    refused = [each for each in told if isinstance(each, RequestRefused)]
    assert {each.reason for each in refused} == {Reason.OVERLOADED}
    assert "send the feedback again" in refused[0].message
    assert len(stored(tmp_path)) == told.count(None) == 5 - len(refused)


def test_the_token_of_feedback_is_no_admin_token_and_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(RequestRefused):
        check_bearer(b"admin", "Bearer app", "labels")
    with pytest.raises(RequestRefused, match="<feedback token or admin token>"):
        check_bearer(b"admin", "Bearer ", "feedback", narrower=b"app")
    with pytest.raises(ConfigError, match="feedback token file"):
        read_token(tmp_path / "none", "feedback")
