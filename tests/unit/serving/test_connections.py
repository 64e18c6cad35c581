"""One connection without a socket: what is read as what, what is answered how, and what is dropped when."""

import asyncio
import gc
import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from uvicorn.config import Config

from lockgate.serving.net.connection import Connection
from lockgate.serving.net.connections import IDLE_TIMEOUT_S, SEND_TIMEOUT_S, Connections
from lockgate.serving.net.malformed import HEAD_BYTES, HEADERS
from tests.unit.serving.timeless import Timeless

GET = b"GET /a?b=c HTTP/1.1\r\nhost: x\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.writes = 0
        self.ended = ""
        self.unsent = 0
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        self.writes += 1

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Scene:
    """A port's connections, and an application that says what it was asked."""

    def __init__(self, most: int = 10, app: Callable[..., Awaitable[None]] | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.answer = b"answer"
        self.config = Config(
            app or self.app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None
        )
        self.config.load()
        self.all = Connections(most, header_timeout_s=10.0)
        self.all.head = b"date: now\r\n"

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.bodies.append(b"gone")
                return
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        length = (b"content-length", b"%d" % len(self.answer))
        await send({"type": "http.response.start", "status": 200, "headers": [length, *self.headers]})
        await send({"type": "http.response.body", "body": self.answer})

    def open(self) -> tuple[Connection, Transport]:
        connection, transport = Connection(self.all, self.config), Transport()
        connection.connection_made(transport)
        return connection, transport


def run(play: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=Timeless) as runner:  # how old a connection is, is for a test to say
        runner.run(asyncio.wait_for(play(), 60))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_request_is_answered_in_one_piece() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
        await turns()
        assert transport.written == b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 6\r\n\r\nanswer"
        assert transport.writes == 1
        asked = scene.asked[0]
        assert (asked["method"], asked["path"], asked["raw_path"], asked["query_string"]) == (
            "POST", "/a b", b"/a%20b", b"c=d",
        )  # fmt: skip
        assert asked["headers"] == [(b"host", b"x"), (b"content-length", b"4")]
        assert scene.bodies == [b"body"]
        assert not transport.ended

    run(play)


@pytest.mark.parametrize("size", [1, 3, 7, 50])
def test_a_request_may_come_in_pieces_of_any_size(size: int) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        plain = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nhello world"
        chunked = (
            b"POST /y HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        )
        sent = plain + chunked
        for start in range(0, len(sent), size):
            connection.data_received(sent[start : start + size])
            await turns()
        assert scene.bodies == [b"hello world"] * 2
        assert transport.written.count(b"HTTP/1.1 200") == 2

    run(play)


def test_a_caller_that_waits_to_be_told_is_told_to_send_its_body() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        await turns()
        assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.data_received(b"ok")
        await turns()
        assert scene.bodies == [b"ok"]

    run(play)


def test_reading_pauses_while_a_large_body_is_not_taken() -> None:
    async def play() -> None:
        taken = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            del scope, send
            await taken.wait()
            while (await receive())["more_body"]:
                pass

        scene = Scene(app=slow)
        connection, transport = scene.open()
        connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n" + b"x" * 100_000)
        await turns()
        assert not transport.reading
        taken.set()
        await turns()
        assert transport.reading
        connection.data_received(b"x" * 100_000)
        await turns()

    run(play)


def test_requests_in_one_piece_are_answered_one_after_the_other() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"".join(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(5)))
        for _ in range(20):
            await turns()
        assert [asked["path"] for asked in scene.asked] == [f"/{number}" for number in range(5)]
        assert transport.written.count(b"HTTP/1.1 200") == 5
        assert transport.reading

    run(play)


@pytest.mark.parametrize(
    ("request_head", "kept"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nhost: x\r\n\r\n", False),
    ],
)
def test_the_connection_stays_open_as_the_caller_asks(request_head: bytes, kept: bool) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(request_head)
        await turns()
        assert (b"connection: close" in transport.written, transport.ended) == (not kept, "" if kept else "closed")

    run(play)


def test_an_application_may_close_the_connection_and_says_so_once() -> None:
    async def play() -> None:
        scene = Scene()
        scene.headers = [(b"connection", b"close")]
        connection, transport = scene.open()
        connection.data_received(GET)
        await turns()
        assert transport.written.count(b"connection: close") == 1
        assert transport.ended == "closed"

    run(play)


def test_a_head_request_gets_the_head_alone() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
        await turns()
        assert transport.written.endswith(b"content-length: 6\r\n\r\n")

    run(play)


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_a_header_that_would_become_two_is_never_sent(value: bytes) -> None:
    async def play() -> None:
        scene = Scene()
        scene.headers = [(b"x-echoed", value)]
        connection, transport = scene.open()
        connection.data_received(GET)
        await turns()
        assert transport.written == b""
        assert transport.ended == "closed"

    run(play)


def test_a_failing_application_is_an_answer_too() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive, send
        raise ZeroDivisionError

    async def play() -> None:
        connection, transport = Scene(app=broken).open()
        connection.data_received(GET)
        await turns()
        assert transport.written.startswith(b"HTTP/1.1 500")
        assert transport.ended == "closed"

    run(play)


def test_a_caller_that_goes_away_in_the_middle_is_noticed() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
        await turns()
        connection.connection_lost(None)
        await turns()
        assert scene.bodies == [b"gone"]
        assert transport.written == b""
        assert scene.all.open == 0

    run(play)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nbad header: x\r\n\r\n", b"400"),
        (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEADERS + 1) + b"\r\n", b"431"),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(sent: bytes, status: bytes) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(sent)
        await turns()
        assert transport.written.startswith(b"HTTP/1.1 " + status), transport.written
        assert transport.ended
        assert scene.asked == []
        assert scene.all.malformed == 1

    run(play)


def test_the_size_of_a_head_is_bounded_and_a_body_before_it_does_not_count() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        body = b"x" * (2 * HEAD_BYTES)
        connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        connection.data_received(body + b"GET / HTTP/1.1\r\n")
        await turns()
        connection.data_received(b"host: x\r\n\r\n")
        await turns()
        assert len(scene.asked) == 2
        connection.data_received(b"GET / HTTP/1.1\r\nx-long: ")
        for _ in range(HEAD_BYTES // 1000 + 2):
            connection.data_received(b"x" * 1000)
        assert transport.written.endswith(b'"}')
        assert b"HTTP/1.1 431" in transport.written

    run(play)


def test_an_offer_of_another_protocol_is_not_taken_and_loses_no_body() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n" + offer + b"\r\nbo")
        connection.data_received(b"dy")
        await turns()
        connection.data_received(GET)
        await turns()
        assert scene.bodies == [b"body", b""]
        assert transport.written.count(b"HTTP/1.1 200") == 2

    run(play)


def test_every_deadline_drops_its_own_kind_of_slow_caller() -> None:
    async def play() -> None:
        scene = Scene()
        now = asyncio.get_running_loop().time()
        silent, half, idle, stuck = (scene.open() for _ in range(4))
        half[0].data_received(GET)
        idle[0].data_received(GET)
        stuck[0].data_received(GET)
        await turns()
        half[0].data_received(b"GET / HTTP/1.1\r\nx: ")
        stuck[1].unsent = 100
        ended = {}
        for second in range(100):
            scene.all.sweep(now + second)
            for name, (_, transport) in (("silent", silent), ("half", half), ("idle", idle), ("stuck", stuck)):
                if transport.ended and name not in ended:
                    ended[name] = (second, transport.ended)
        assert 10 <= ended["silent"][0] <= 12
        assert 10 <= ended["half"][0] <= 12
        assert SEND_TIMEOUT_S <= ended["stuck"][0] <= SEND_TIMEOUT_S + 2
        assert IDLE_TIMEOUT_S <= ended["idle"][0] <= IDLE_TIMEOUT_S + 2
        assert [kind for _, kind in ended.values()] == ["aborted", "aborted", "aborted", "closed"]

    run(play)


def test_a_full_port_says_so_until_somebody_has_been_silent_for_a_while() -> None:
    async def play() -> None:
        scene = Scene(most=2)
        busy, _ = scene.open()
        busy.data_received(GET)
        await turns()
        silent, silent_transport = scene.open()
        _, third = scene.open()
        assert third.written.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in third.written
        busy.opened -= 5
        silent.opened -= 5
        fourth, transport = scene.open()
        assert silent_transport.ended == "aborted"
        fourth.data_received(GET)
        await turns()
        assert b"HTTP/1.1 200" in transport.written
        assert (scene.all.refused, scene.all.evicted) == (1, 1)

    run(play)


CHUNKED = b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"


@pytest.mark.parametrize("pieces", [1, 2])
def test_what_follows_a_chunked_body_is_no_header(pieces: int) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        trailer = b"x-lockgate-arm: challenger\r\nauthorization: Bearer x\r\n\r\n"
        for data in (CHUNKED + trailer,) if pieces == 1 else (CHUNKED, trailer):
            connection.data_received(data)
            await turns()
        assert scene.asked[0]["headers"] == [(b"host", b"x"), (b"transfer-encoding", b"chunked")]
        assert scene.bodies == [b"body"]
        connection.data_received(GET)
        await turns()
        assert scene.asked[1]["headers"] == [(b"host", b"x")]
        assert transport.written.count(b"HTTP/1.1 200") == 2

    run(play)


@pytest.mark.parametrize("endless", [b"x-a: b\r\n" * 128, b"x" * 1024, b"x-a: " + b"y" * 1019])
def test_a_body_that_ends_in_endless_trailers_is_refused(endless: bytes) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(CHUNKED)
        for _ in range(HEAD_BYTES // 1024 + 3):
            await asyncio.sleep(0)
            if not transport.ended:
                connection.data_received(endless)
        connection.connection_lost(None)
        await turns()
        assert transport.written.startswith(b"HTTP/1.1 431")
        assert transport.ended
        assert scene.all.malformed == 1

    run(play)


@pytest.mark.parametrize("waits", [True, False])
def test_a_long_body_in_small_pieces_is_no_endless_trailer(waits: bool) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(CHUNKED[:-3])
        for _ in range(2 * HEAD_BYTES // 1024):
            if waits:
                await turns()
            connection.data_received(b"400\r\n" + b"x" * 1024 + b"\r\n")
        connection.data_received(b"0\r\n\r\n")
        await turns()
        assert scene.bodies == [b"body" + b"x" * 2 * HEAD_BYTES]
        assert transport.written.startswith(b"HTTP/1.1 200")
        scene.bodies.clear()
        assert not [each for each in gc.get_referents(connection.__dict__) if type(each) is bytes and len(each) > 999]

    run(play)


def test_an_answer_that_comes_after_the_connection_was_given_up_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        del receive
        await Scene.app(scene, scope, nothing, send)

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scene = Scene(app=early)

    async def play() -> None:
        connection, transport = scene.open()
        connection.data_received(CHUNKED[:-3] + b"no size\r\n")  # its body is what is broken
        refused = transport.written
        assert refused.startswith(b"HTTP/1.1 400")
        assert transport.ended
        transport.write = None  # type: ignore[assignment]  # as uvloop's, which refuses to once it is closed
        await turns()
        assert transport.written == refused

    run(play)
    assert caplog.text == ""


NO_REQUEST = b"\x01 this is no request\r\n\r\n"
OTHERS = [
    NO_REQUEST,
    b"GET / HTTP/1.1\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEADERS + 1) + b"\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * (3 * HEAD_BYTES),
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n",
]


def statuses(transport: Transport) -> list[bytes]:
    return re.findall(rb"HTTP/1.1 (\d+)", transport.written)


@pytest.mark.parametrize("sent", OTHERS)
@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_no_request_is_told_behind_the_answers_to_those_in_front_of_it(
    sent: bytes, before: int, *, at_once: bool
) -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(GET * before + sent if at_once else GET * before)
        for start in range(0, 0 if at_once else len(sent), 60_000):
            connection.data_received(sent[start : start + 60_000])
        if sent is OTHERS[4] and at_once:  # so long in one piece says nothing yet: how much may still come is not known
            connection.data_received(b"x" * (HEAD_BYTES + 1))
        assert not transport.written
        connection.data_received(NO_REQUEST * 9)  # nothing more is read
        for _ in range(10):
            await turns()
        *first, last = statuses(transport)
        assert first == [b"200"] * before
        assert last in {b"400", b"431"}
        assert transport.ended == "closed"
        assert scene.all.malformed == 1
        assert len(scene.asked) == before

    run(play)


def test_what_is_no_request_behind_one_that_was_answered_is_told_at_once() -> None:
    async def play() -> None:
        connection, transport = Scene().open()
        connection.data_received(GET)
        await turns()
        connection.data_received(NO_REQUEST)
        assert statuses(transport) == [b"200", b"400"]
        assert transport.ended == "closed"

    run(play)


def test_a_body_that_breaks_after_its_answer_gets_no_second_one() -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def play() -> None:
        connection, transport = Scene(app=early).open()
        connection.data_received(CHUNKED[:-3])
        await turns()
        connection.data_received(b"no size\r\n")
        assert statuses(transport) == [b"413"]
        assert transport.ended == "closed"

    run(play)


def test_a_caller_that_waits_longer_for_its_answer_than_heads_may_take_gets_it_before_its_refusal() -> None:
    async def play() -> None:
        go_on = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await go_on.wait()
            await Scene.app(scene, scope, receive, send)

        scene = Scene(app=slow)
        connection, transport = scene.open()
        connection.data_received(GET + NO_REQUEST)
        await turns()
        now = asyncio.get_running_loop().time()
        for later in (0, 11, 60):
            connection.check(now + later)
        go_on.set()
        await turns()
        assert statuses(transport) == [b"200", b"400"]

    run(play)


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nhost:\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nHOST: model_server.local.:8080 \r\n\r\n", b"200"),
        (b"GET http://b/ HTTP/1.1\r\nhost: a\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", b"200"),
        (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", b"400"),
        (CHUNKED + b"host: a b\r\nhost: c\r\n\r\n", b"200"),  # trailers are no headers
    ],
)
def test_a_request_names_one_host_as_rfc_9112_has_it(request_head: bytes, status: bytes) -> None:
    async def play() -> None:
        connection, transport = Scene().open()
        connection.data_received(request_head)
        await turns()
        assert statuses(transport) == [status]
        if status == b"200" and b"1.0" not in request_head:
            connection.data_received(GET)
            await turns()
            connection.data_received(b"GET / HTTP/1.1\r\n\r\n")  # each request of a connection
            assert statuses(transport) == [b"200", b"200", b"400"]

    run(play)


def one_at_a_time(go_on: asyncio.Semaphore) -> tuple[Scene, Connection, Transport]:
    """Return a scene in which each answer waits to be let go, and one connection of it."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go_on.acquire()
        await Scene.app(scene, scope, receive, send)

    scene = Scene(app=slow)
    return scene, *scene.open()


def test_no_more_is_read_before_the_last_of_many_requests_is_being_answered() -> None:
    async def play() -> None:
        go_on = asyncio.Semaphore(0)
        _, connection, transport = one_at_a_time(go_on)
        connection.data_received(GET * 4)
        for _ in range(3):
            assert not transport.reading
            go_on.release()
            await turns()
        assert statuses(transport) == [b"200"] * 3
        assert not transport.reading
        go_on.release()
        await turns()
        assert transport.reading

    run(play)


def test_a_large_body_behind_other_requests_is_read_once_its_turn_has_come() -> None:
    async def play() -> None:
        go_on = asyncio.Semaphore(0)
        scene, connection, transport = one_at_a_time(go_on)
        connection.data_received(GET * 2 + b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\nhalf")
        for _ in range(3):
            assert not transport.reading
            go_on.release()
            await turns()
        assert transport.reading
        connection.data_received(b"half")
        await turns()
        assert scene.bodies == [b"", b"", b"halfhalf"]

    run(play)


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (GET, [b"200"]),
        (GET * 3, [b"200"] * 3),
        (GET * 2 + b"GET / HTTP/1.1\r\nho", [b"200"] * 2),
        (GET * 2 + NO_REQUEST, [b"200", b"200", b"400"]),
        (GET * 2 + CHUNKED[:-3], [b"200", b"200", b"400"]),
        (GET + CHUNKED[:-3], [b"200", b"400"]),
        (CHUNKED[:-3], [b"400"]),
        (b"GET / HTTP/1.1\r\nho", []),
        (b"", []),
    ],
)
def test_a_caller_that_sends_no_more_gets_its_answers_and_is_closed(sent: bytes, answered: list[bytes]) -> None:
    async def play() -> None:
        go_on = asyncio.Semaphore(99)
        _, connection, transport = one_at_a_time(go_on)
        if sent:
            connection.data_received(sent)
        if not connection.eof_received():
            transport.close()  # as asyncio does
        for _ in range(10):
            await turns()
        assert statuses(transport) == answered
        assert transport.ended == "closed"

    run(play)


def test_half_a_connection_is_closed_whole_where_nothing_is_being_answered_or_tls_is_spoken() -> None:
    async def play() -> None:
        _, connection, _ = one_at_a_time(asyncio.Semaphore(99))
        connection.data_received(GET)
        await turns()
        assert not connection.eof_received()
        connection.data_received(GET)
        connection.scheme = "https"
        assert not connection.eof_received()
        await turns()

    run(play)


@pytest.mark.parametrize("body", [b"", b"ok"])
def test_a_body_that_may_come_or_not_after_its_answer_is_never_taken_for_a_request(body: bytes) -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def play() -> None:
        connection, transport = Scene(app=early).open()
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
        connection.data_received(head + body)
        await turns()
        assert statuses(transport) == [b"404"]
        assert (b"connection: close" in transport.written, transport.ended) == (not body, "" if body else "closed")

    run(play)


def test_a_caller_of_http_1_0_is_told_nothing_that_it_does_not_know() -> None:
    async def play() -> None:
        connection, transport = Scene().open()
        connection.data_received(b"POST / HTTP/1.0\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        await turns()
        assert transport.written == b""
        connection.data_received(b"ok")
        await turns()
        assert statuses(transport) == [b"200"]

    run(play)
