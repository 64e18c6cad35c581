"""How a port ends: what a caller has sent on an open connection is answered, however busy the process is."""

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop

from lockgate.serving.http.app import App
from lockgate.serving.net import connections
from lockgate.serving.net.connections import Connections
from lockgate.serving.net.exchange import Exchange
from lockgate.serving.net.listening import listen
from lockgate.serving.net.port import GRACE_S, READ_S, Port

REQUEST = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


class Answering:
    """An application that answers everything, without a way of its own around the protocol."""

    direct = None

    def __init__(self) -> None:
        self.begun, self.may_answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            continue
        self.begun.set()
        if scope["path"] == "/slow":
            await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Scene:
    """A port on a free number, and two connections to it that were answered once and stay open."""

    def __init__(self) -> None:
        self.app = Answering()
        app: App = self.app  # type: ignore[assignment]  # all of it that a port uses
        self.port = Port(app, Connections(10, header_timeout_s=600.0))

    async def begin_ending(self) -> asyncio.Future[bool]:
        """Begin to end the port: by then it answers as one that ends, and its grace has only begun."""
        ending = asyncio.ensure_future(self.port.end(60.0))
        async with asyncio.timeout(30):
            while not self.port.connections.ending:  # noqa: ASYNC110 - the turn after it began is wanted, no later one
                await asyncio.sleep(0)
        return ending

    async def end_while_busy(self, sent: bytes) -> tuple[bytes, bool]:
        """End the port while the loop works on one caller's request for long, in which the other caller sends.

        Returns:
            What the other caller gets, and whether everything was answered.
        """
        with listen("127.0.0.1", 0, "--port") as listener:
            await self.port.listen({0: listener})
            address = listener.getsockname()
            with socket.create_connection(address, timeout=30) as busy, socket.create_connection(address, 30) as other:
                for caller in (busy, other):
                    caller.sendall(REQUEST)
                    assert b"connection: close" not in await asyncio.to_thread(caller.recv, 4096)

                def work(exchange: Exchange, leave: object) -> bool:
                    del exchange, leave
                    self.port.connections.direct = None
                    other.sendall(sent)
                    time.sleep(GRACE_S + 0.05)
                    return False

                self.port.connections.direct = work
                ending = await self.begin_ending()
                busy.sendall(REQUEST)
                everything = await asyncio.wait_for(ending, 30.0)  # half of what an end may take
                assert busy.recv(4096).startswith(b"HTTP/1.1 200")
                return other.recv(4096), everything


def ended(sent: bytes) -> tuple[bytes, bool]:
    async def end() -> tuple[bytes, bool]:
        return await Scene().end_while_busy(sent)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(end())


def test_what_was_sent_while_the_process_was_too_busy_to_read_it_is_answered_before_the_end() -> None:
    answered, everything = ended(REQUEST)
    assert answered.startswith(b"HTTP/1.1 200")
    assert b"connection: close\r\n" in answered
    assert everything


def test_a_caller_that_has_just_come_may_still_ask_and_one_that_came_long_ago_without_asking_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def end_with_one_that_has_not_asked(first_s: float) -> bytes:
        monkeypatch.setattr(connections, "FIRST_S", first_s)
        scene = Scene()
        with listen("127.0.0.1", 0, "--port") as listener:
            await scene.port.listen({0: listener})
            caller = socket.create_connection(listener.getsockname(), timeout=30)
        with caller:
            while not scene.port.connections.open:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(READ_S)
            ending = await scene.begin_ending()
            if not first_s:
                assert await ending
                return caller.recv(4096)
            await asyncio.sleep(2 * GRACE_S)
            caller.sendall(REQUEST)
            assert await ending
            return caller.recv(4096)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answered = runner.run(end_with_one_that_has_not_asked(600.0))
        assert answered.startswith(b"HTTP/1.1 200")
        assert b"connection: close\r\n" in answered
        assert runner.run(end_with_one_that_has_not_asked(0.0)) == b""


def test_the_beginning_of_a_request_alone_does_not_keep_a_port_from_ending() -> None:
    assert ended(REQUEST[:20]) == (b"", True)


def test_a_caller_that_waits_in_the_queue_of_a_socket_is_answered_before_its_last_descriptor_is_closed() -> None:
    async def end_with_one_in_the_queue() -> tuple[bytes, bool]:
        port = Scene().port
        with listen("127.0.0.1", 0, "--port") as own, listen("127.0.0.1", 0, "--port") as of_another:
            await port.listen({0: own})
            callers = [socket.create_connection(each.getsockname(), timeout=30) for each in (own, of_another)]
            for caller in callers:
                caller.sendall(REQUEST)
            port.take([of_another])
        everything = await port.end(60.0)
        answered = [caller.recv(4096)[:12] for caller in callers]
        for caller in callers:
            caller.close()
        return b" ".join(answered), everything

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(end_with_one_in_the_queue()) == (b"HTTP/1.1 200 HTTP/1.1 200", True)


def test_an_answer_that_was_being_made_when_the_end_began_says_that_it_is_the_last() -> None:
    async def end_during_an_answer() -> bytes:
        scene = Scene()
        with listen("127.0.0.1", 0, "--port") as listener:
            await scene.port.listen({0: listener})
            caller = socket.create_connection(listener.getsockname(), timeout=30)
        with caller:
            caller.sendall(REQUEST.replace(b"/a", b"/slow"))
            await scene.app.begun.wait()
            ending = await scene.begin_ending()
            scene.app.may_answer.set()
            await ending
            return caller.recv(4096)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert b"connection: close\r\n" in runner.run(end_during_an_answer())
