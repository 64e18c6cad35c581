"""One request and its answer on a connection: uvicorn's own, with less work for each.

Head and body leave in one write (one system call, one packet), the body of a request that came in one piece is not
copied, nothing is made to wait with unless something waits, and the answer's headers are looked at together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

_JOINED_BYTES: Final = 64 << 10  # below it a copy is cheaper than a second piece
_OK: Final = STATUS_LINE[200]
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LOGGER: Final = logging.getLogger("lockgate.serving.net.exchange")


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes what follows a chunked body, and keeps none of it.

    Nothing here reads trailers, and they must not pass for headers (RFC 9110, 6.5.1): a proxy in front looks at those.
    """

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Forget one."""


TRAILERS: Final = _Trailers()


class Exchange(RequestResponseCycle):
    """One request and its answer.

    The application must send a head with a content-length and then the whole body.
    """

    body: bytes  # type: ignore[assignment]  # uvicorn collects into a bytearray

    def __init__(  # noqa: PLR0913, PLR0917 - one flat call: names, or an object, would cost each request
        self,
        scope: Any,  # noqa: ANN401 - ASGI's
        transport: asyncio.Transport,
        flow: FlowControl,
        head: bytes,
        on_response: Callable[[], None],
        keep_alive: bool,
        expect_100_continue: bool,
    ) -> None:
        """Begin an exchange; unlike uvicorn's, it makes no event.

        Args:
            scope: The request, as ASGI has it.
            transport: Where the answer goes.
            flow: Whether the caller takes it.
            head: The one header line that every answer has, with its line break.
            on_response: Called when the answer is complete.
            keep_alive: Whether the connection stays open afterwards.
            expect_100_continue: Whether the caller waits to be told to send the body.
        """
        self.scope = scope
        self.transport, self.flow = transport, flow
        self.logger = _LOGGER
        self.on_response = on_response
        self.keep_alive, self.waiting_for_100_continue = keep_alive, expect_100_continue
        self.body, self.more_body = b"", True
        self.disconnected = self.response_started = self.response_complete = False
        self._head = head
        self._start: Any = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def message_event(self) -> Exchange:  # type: ignore[override]  # all that uvicorn's protocol does with it is set it
        """What is set when there is something to receive: the exchange itself."""
        return self

    def set(self) -> None:
        """Wake whoever waits for the rest of the request."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> Any:  # noqa: ANN401 - an ASGI message
        """Return what has come of the body since the last time, or that the caller is gone."""
        if self.more_body and not self.body:
            if self.waiting_for_100_continue and not self.transport.is_closing():
                self.transport.write(_CONTINUE)
                self.waiting_for_100_continue = False
            await self._more()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _more(self) -> None:
        """Wait for more of the body, or the caller's end."""
        while self.more_body and not self.body and not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def send(self, message: Any) -> None:  # noqa: ANN401 - an ASGI message
        """Take the head of an answer, or the body and send both.

        Raises:
            RuntimeError: The application does not keep to the form, or a header would break the answer's own.
        """
        if not self.response_started:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"{message['type']} before the head of the answer")
            self.response_started = True
            self._start = message
            return
        if self.response_complete:
            raise RuntimeError(f"{message['type']} after the answer")
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.transport.is_closing():  # what the caller sent after this request may have ended it
            self.disconnected = True
        if self.disconnected:
            return
        self._send(self._start, message["body"])

    def answer(self, whole: tuple[Any, bytes]) -> None:
        """Send a whole answer without waiting: a caller that does not take it is not read from either.

        Args:
            whole: Its head, as ASGI has it, and its body.
        """
        if not self.disconnected:
            self.response_started = True
            self._send(*whole)

    def answer_ok(self, lines: bytes, body: bytes) -> None:
        """Send a whole answer of status 200 as `answer` does; for a request whose answer has a body.

        Args:
            lines: Further headers, each without a line break in it and with one behind it.
            body: A small one, which is copied.
        """
        if self.disconnected:
            return
        self.response_started = True
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((_OK, self._head, lines, b"content-length: %d\r\n" % len(body), end, body)))
        self._end()

    def _send(self, start: Any, body: bytes) -> None:  # noqa: ANN401 - an ASGI message
        head = self._lines(start)
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) < _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self._end()

    def _end(self) -> None:
        self.response_complete = True
        if self._waiter is not None:
            self.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _lines(self, start: Any) -> bytes:  # noqa: ANN401 - an ASGI message
        """Return status line, headers and the empty line after them."""
        lines = [STATUS_LINE[start["status"]], self._head]
        if self.waiting_for_100_continue and self.more_body:  # whether its body comes now, nobody knows
            self.keep_alive = False
        for name, value in start["headers"]:
            if name == b"connection" and value == b"close":
                self.keep_alive = False
            else:
                lines += (name, b": ", value, b"\r\n")
        breaks = 3 + (len(lines) - 2) // 4 + (not self.keep_alive)
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        text = b"".join(lines)
        if text.count(b"\n") != breaks or text.count(b"\r") != breaks:
            raise RuntimeError("a header of the answer holds a line break")
        return text
