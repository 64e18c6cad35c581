"""The application between HTTP and the handlers: limits, methods, ids, errors; without a socket."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.errors import BadInput, IntegrityError, LedgerConflict
from lockgate.serving.http.access_log import AccessLog
from lockgate.serving.http.app import App
from lockgate.serving.http.handling import Request, Response, Route
from lockgate.serving.http.json_body import parse_json
from lockgate.serving.model.fence import ModelFailed, RunTimedOut
from lockgate.serving.options import Limits
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.watch.metrics import Metrics

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LIMITS = Limits(body_bytes=100, in_flight=2, read_timeout_s=0.04)
RUNNER = asyncio.Runner()  # one loop, as in a process
Part = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    RUNNER.close()


@dataclass
class Answer:
    """What a caller got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def part(body: bytes = b"", *, more: bool = False) -> Part:
    return {"type": "http.request", "body": body, "more_body": more}


class Front:
    """An application with its routes, asked without a socket."""

    def __init__(
        self, handler: Callable[[Request], Awaitable[Response]] | None = None, limits: Limits = LIMITS, **more: Any
    ) -> None:
        async def echo(request: Request) -> Response:
            return Response(200, request.body, b"text/plain")

        async def handle(service: Any, request: Request) -> Response:
            del service
            return await (handler or echo)(request)

        self.metrics = Metrics()
        service: Any = SimpleNamespace(metrics=self.metrics, options=SimpleNamespace(limits=limits))
        described: dict[str, Any] = {"handler": handle, "summary": "x", "responses": {200: "x"}}
        routes = [
            Route(method="POST", path="/ask", body="B", limited=True, answers=True, **described),
            Route(method="POST", path="/keep", body="B", limited=True, **described),
            Route(method="POST", path="/tell", body="B", **described),
            Route(method="GET", path="/page", **described),
        ]
        self.app = App(service, routes, **more)

    async def ask(
        self, path: str = "/ask", *parts: Part, method: str = "POST", hang: bool = False, **headers: str
    ) -> Answer:
        answer, waiting = Answer(), list(parts or (part(),))

        async def receive() -> Part:
            if not waiting and hang:
                await asyncio.Event().wait()
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def send(message: Part) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                names = [name for name, _ in message["headers"]]
                assert len(names) == len(set(names)), "a header is sent twice"
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message["body"]

        scope = {
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
        await self.app(scope, receive, send)
        return answer

    def __call__(self, *arguments: Any, **more: Any) -> Answer:
        return RUNNER.run(self.ask(*arguments, **more))

    def refused(self, reason: Reason) -> int:
        return self.metrics._refused[reason]


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/ask", "/tell"])
def test_a_body_in_one_piece_and_in_many_reads_the_same(path: str) -> None:
    front = Front()
    assert front(path, part(b"abc")).body == b"abc"
    assert front(path, part(b"a", more=True), part(b"b", more=True), part(b"c")).body == b"abc"


def test_a_body_above_the_limit_is_refused_whether_it_is_announced_or_not() -> None:
    front = Front()
    assert front("/ask", part(b"a" * 100)).status == 200
    assert front("/ask", part(b"a" * 101)).status == 413
    assert front("/ask", part(b"a" * 60, more=True), part(b"a" * 60, more=True), part(b"")).status == 413
    assert front("/ask", content_length="101").status == 413
    assert front.refused(Reason.BODY_TOO_LARGE) == 3


def test_a_body_that_does_not_arrive_is_refused_in_time_and_the_connection_given_up() -> None:
    front = Front()
    for parts in ((part(b"a", more=True),), (part(b"a", more=True), part(b"b", more=True))):
        late = front("/ask", *parts, hang=True)
        assert late.status == 408
        assert late.headers["connection"] == "close"
        assert "0.04 s" in late.body.decode()
    assert front.app.in_flight == 0
    assert front("/ask", part(b"a")).status == 200  # nothing is left behind


def test_a_caller_that_goes_away_while_it_sends_gets_no_answer_and_frees_its_place() -> None:
    front = Front()
    assert front("/ask", part(b"a", more=True)).status == 0
    assert front.app.in_flight == 0


def test_a_cancelled_request_is_cancelled_and_not_called_late() -> None:
    front = Front(limits=replace(LIMITS, read_timeout_s=60.0))

    async def cancel() -> None:
        asking = asyncio.ensure_future(front.ask("/ask", part(b"a", more=True), hang=True))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    RUNNER.run(cancel())
    assert front.refused(Reason.READ_TIMEOUT) == 0


def test_a_handler_may_take_longer_than_a_body() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.1)
        return Response(200, request.body)

    assert Front(slow)("/ask", part(b"a")).status == 200


def test_the_encodings_that_are_taken() -> None:
    front = Front()
    for name, value, status in (
        ("content_encoding", "br", 415), ("content_encoding", "Identity", 200), ("content_encoding", "", 200),
        ("content_encoding", "identity, gzip", 415), ("transfer_encoding", "chunked", 200),
        ("transfer_encoding", "Chunked", 200), ("transfer_encoding", "gzip, chunked", 415),
    ):  # fmt: skip
        answer = front("/ask", **{name: value})
        assert answer.status == status
        told = "gzip, deflate" if status == 415 and name == "content_encoding" else None
        assert answer.headers.get("accept-encoding") == told  # never where something else is refused
    assert (front.refused(Reason.UNSUPPORTED_ENCODING), front.refused(Reason.UNSUPPORTED_MEDIA)) == (2, 1)
    assert front("/page", method="GET", content_encoding="br").status == 200  # there is no body to be encoded


@pytest.mark.parametrize("path", ["/ask", "/tell"])
@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_is_read_and_bounded_as_it_is_without(
    path: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    front = Front()
    body = pack(b"a" * 100)
    assert front(path, part(body), content_encoding=encoding).body == b"a" * 100
    assert front(path, part(body[:9], more=True), part(body[9:]), content_encoding=encoding).body == b"a" * 100
    large = front(path, part(pack(b"a" * 101)), content_encoding=encoding, x_request_id="mine")
    assert (large.status, large.headers["x-request-id"]) == (413, "mine")
    assert "larger than the 100 bytes taken, once it is decompressed" in large.body.decode()
    broken = front(path, part(body[:-1]), content_encoding=encoding)
    assert (broken.status, "cut short" in broken.body.decode()) == (400, True)
    assert (front.refused(Reason.BODY_TOO_LARGE), front.refused(Reason.MALFORMED)) == (1, 1)
    assert front.app.in_flight == 0


def test_an_answer_is_compressed_and_its_length_is_what_is_sent() -> None:
    async def much(request: Request) -> Response:
        return Response(200, request.body * 2000, b"text/plain", ((b"x-request-id", b"other"),))

    front = Front(much)
    asked = {"content_encoding": "gzip", "accept_encoding": "gzip", "x_request_id": "mine"}
    answer = front("/ask", part(gzip.compress(b"a")), **asked)
    assert gzip.decompress(answer.body) == b"a" * 2000
    assert answer.headers == {
        "content-type": "text/plain", "content-length": str(len(answer.body)), "vary": "accept-encoding",
        "content-encoding": "gzip", "x-request-id": "mine",
    }  # fmt: skip
    plain = front("/ask", part(b"a"), accept_encoding="gzip")
    assert (plain.body, plain.headers["content-length"]) == (b"a" * 2000, "2000")
    assert not {"vary", "content-encoding"} & plain.headers.keys()


# -- concurrency -------------------------------------------------------------------------------------------------------


def test_above_the_limit_requests_are_refused_while_others_are_answered() -> None:
    go_on = asyncio.Event()

    async def wait(request: Request) -> Response:
        await go_on.wait()
        return Response(200, request.body)

    front = Front(wait)

    async def crowd() -> None:
        asked = [asyncio.ensure_future(front.ask("/ask")) for _ in range(2)]
        await asyncio.sleep(0)
        assert front.app.in_flight == 2
        refused = await front.ask("/ask")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        asked.append(asyncio.ensure_future(front.ask("/keep")))  # has room of its own, a quarter as much, at least one
        await asyncio.sleep(0)
        assert (front.app.in_flight, front.app.kept) == (2, 1)
        refused = await front.ask("/keep")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        go_on.set()
        assert (await front.ask("/page", method="GET")).status == 200  # not limited
        assert [each.status for each in await asyncio.gather(*asked)] == [200] * 3

    RUNNER.run(crowd())
    assert (front.app.in_flight, front.app.kept) == (0, 0)


# -- methods -----------------------------------------------------------------------------------------------------------


def test_head_is_answered_like_get() -> None:
    front = Front()
    assert front("/page", method="HEAD").status == 200
    assert front("/ask", method="HEAD").status == 405


def test_options_says_what_a_path_takes_and_is_no_refusal() -> None:
    front = Front()
    page, ask = front("/page", method="OPTIONS"), front("/ask", method="OPTIONS")
    assert (page.status, page.headers["allow"], page.body) == (200, "GET, HEAD, OPTIONS", b"")
    assert (ask.status, ask.headers["allow"]) == (200, "OPTIONS, POST")
    assert front.refused(Reason.WRONG_METHOD) == 0
    assert front("/nowhere", method="OPTIONS").status == 404


def test_a_wrong_method_is_refused_with_those_that_are_right() -> None:
    front = Front()
    wrong = front("/page", method="DELETE")
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert front.refused(Reason.WRONG_METHOD) == 1


def test_nothing_is_said_to_somebody_who_may_not_ask() -> None:
    def nobody(request: Request) -> None:
        del request
        raise refuse(Reason.UNAUTHORIZED, "no token")

    front = Front(authorize=nobody)
    for method, path in (("OPTIONS", "/page"), ("GET", "/page"), ("GET", "/nowhere")):
        answer = front(path, method=method)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "allow" not in answer.headers


# -- ids and traces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/ask", 200), ("GET", "/page", 200), ("GET", "/x", 404)]
)
def test_a_callers_id_and_trace_come_back_with_every_answer(method: str, path: str, status: int) -> None:
    answer = Front()(path, method=method, x_request_id="mine-1", traceparent=TRACE)
    assert answer.status == status
    assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("mine-1", TRACE)


def test_an_id_that_the_handler_answered_already_is_not_sent_twice() -> None:
    async def handler(request: Request) -> Response:
        del request
        return Response(200, b"", b"text/plain", ((b"x-request-id", b"mine-1"),))

    assert Front(handler)("/ask", x_request_id="mine-1").headers["x-request-id"] == "mine-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-request-id", "a" * 129),
        ("x-request-id", "naïve"),
        ("x-request-id", "a\x00b"),
        ("traceparent", "ff" + TRACE[2:]),
        ("traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01"),
        ("traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01"),
        ("traceparent", TRACE.upper()),
        ("traceparent", "garbage"),
        ("traceparent", f"{TRACE}-more"),
    ],
)
def test_what_is_no_id_or_trace_is_ignored_and_no_error(name: str, value: str) -> None:
    answer = Front()("/ask", **{name: value})
    assert answer.status == 200
    assert name not in answer.headers


def test_a_later_version_of_the_trace_context_may_hold_more() -> None:
    later = f"01{TRACE[2:]}-more"
    assert Front()("/ask", traceparent=later).headers["traceparent"] == later


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (BadInput("x"), 400),
        (LedgerConflict("x"), 409),
        (IntegrityError("x"), 422),
        (OSError(28, "No space left on device"), 503),
        (KeyError("secret"), 500),
    ],
)
def test_whatever_a_handler_raises_the_caller_gets_an_answer(error: Exception, status: int) -> None:
    async def broken(request: Request) -> Response:
        del request
        raise error

    answer = Front(broken)("/ask")
    assert answer.status == status
    assert isinstance(json.loads(answer.body)["error"], str)
    assert b"secret" not in answer.body


def test_a_failure_has_an_id_that_the_caller_and_the_log_share(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Response:
        del request
        raise KeyError("x")

    front = Front(broken)
    answer = front("/ask")
    request_id = answer.headers["x-request-id"]
    assert request_id in caplog.text
    assert request_id in answer.body.decode()
    assert request_id in front.metrics.recent_failures[-1][1]
    assert front.metrics.failures == 1
    front("/ask", x_request_id="mine")
    assert "mine" in front.metrics.recent_failures[-1][1]


@pytest.mark.parametrize("failed", [ModelFailed, RunTimedOut])
def test_a_model_without_an_answer_is_unavailable_and_says_why(failed: type[ModelFailed]) -> None:
    async def broken(request: Request) -> Response:
        del request
        raise failed("it rests for a while")

    front = Front(broken)
    answer = front("/ask")
    assert answer.status == 503  # another replica may answer, and so may this one in a while
    assert "it rests for a while" in json.loads(answer.body)["error"]
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-request-id"] in front.metrics.recent_failures[-1][1]
    assert front.metrics.failures == 1


# -- bodies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ['{"x": "\\ud800", "y": NaN}', '{"\\ud800": NaN}', '[NaN, ["\\udfff\\ud800"]]'])
def test_a_text_that_is_none_is_refused_beside_a_nan_as_without_one(where: str) -> None:
    for body in (where, where.replace("NaN", "null")):
        with pytest.raises(RequestRefused, match="the body is not JSON"):
            parse_json(body.encode())


def test_a_number_beyond_64_bits_reads_the_same_beside_a_nan_as_without_one() -> None:
    found = [parse_json(f"[{2**70}, {nothing}]".encode())[0] for nothing in ("null", "NaN")]
    assert [type(each) for each in found] == [float, float]


# -- the access log ----------------------------------------------------------------------------------------------------


def test_every_answer_leaves_a_line_refusals_and_failures_too() -> None:
    async def handler(request: Request) -> Response:
        if request.body == b"break":
            raise KeyError("x")
        request.rows = 3
        return Response(200, b"12345")

    written: list[bytes] = []
    log = AccessLog(written.append)
    front = Front(handler, access_log=log)
    began = time.perf_counter()
    front("/ask", part(b"x"), x_request_id="mine", traceparent=TRACE)
    front("/ask", part(b"break"))
    front("/nowhere")
    front("/page", method="HEAD")
    took_us = (time.perf_counter() - began) * 1e6
    log.close(60.0)
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert [(each["path"], each["status"], each["rows"]) for each in lines] == [
        ("/ask", 200, 3),
        ("/ask", 500, None),
        ("/nowhere", 404, None),
        ("/page", 200, 3),
    ]
    assert (lines[0]["request_id"], lines[0]["trace_id"], lines[0]["bytes"]) == ("mine", TRACE.split("-")[1], 5)
    assert len(lines[1]["request_id"]) == 16
    assert lines[3]["bytes"] == 0
    assert min(each["latency_us"] for each in lines) >= 0
    assert sum(each["latency_us"] for each in lines) <= took_us + len(lines)  # each may be rounded up
    assert front.app.responses == {200: 2, 500: 1, 404: 1}
