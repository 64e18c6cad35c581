"""One connection: reads requests, hands them on, and knows when it takes too long.

uvicorn's protocol, with what it lacks (a bound on the headers of a request and on the time for them and for taking an
answer, an end to offers of other protocols) and without what is not needed here for each request: timers, events.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import sys
import termios
from typing import Final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lockgate.serving.net.connections import IDLE_TIMEOUT_S, SEND_TIMEOUT_S, Connections
from lockgate.serving.net.exchange import Exchange

HEADERS: Final = 128  # ours: browsers and proxies send below 50
HEAD_BYTES: Final = 64 << 10  # beyond what comes in one piece; nginx takes 32 KiB, Apache 800 KiB


def _refusal(status: int, message: str, more: bytes = b"") -> bytes:
    body = b'{"error":"%s"}' % message.encode()
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n" % (len(body), more)
    return STATUS_LINE[status] + head + body


_FULL: Final = _refusal(503, "all connections that are taken are open already; try again later", b"retry-after: 1\r\n")
_NOT_HTTP: Final = _refusal(400, "this is no HTTP/1.1 request")
_HEAD_TOO_LARGE: Final = _refusal(431, f"a request may carry {HEADERS} headers and {HEAD_BYTES >> 10} KiB of them")


_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class _Trailers(list[tuple[bytes, bytes]]):
    """Takes what follows a chunked body, and keeps none of it.

    Nothing here reads trailers, and they must not pass for headers (RFC 9110, 6.5.1): a proxy in front looks at those.
    """

    def append(self, _: tuple[bytes, bytes]) -> None:
        """Forget one."""


_TRAILERS: Final = _Trailers()


class _HeadTooLarge(Exception):
    """More headers than are taken."""


class Connection(HttpToolsProtocol):
    """One connection.

    Attributes:
        opened: The loop's time when it was opened.
    """

    # uvicorn declares away that these are None before the first request, and the parser after the last
    cycle: Exchange | None  # type: ignore[assignment]  # as said
    parser: httptools.HttpRequestParser | None  # type: ignore[assignment]  # as said

    def __init__(self, all_of_port: Connections, config: Config) -> None:
        super().__init__(config, all_of_port.state, {}, asyncio.get_running_loop())
        self.opened = self.loop.time()
        self._all = all_of_port
        self._unstarted: Exchange | None = None
        self._head: object = None  # what is not complete, and how much came without an end to it: see `_bound_head`
        self._head_bytes = 0
        self._doing: object = None  # what the last sweep saw it do, and since when
        self._since = self.opened

    @property
    def silent(self) -> bool:
        """Whether it is open and has not asked anything yet."""
        return self.cycle is None and self.parser is not None

    @property
    def unread(self) -> bool:
        """Whether the caller has sent something that was not read yet."""
        there = self.transport.get_extra_info("socket")
        if self.transport.is_closing() or there is None:
            return False
        return int.from_bytes(fcntl.ioctl(there.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder) > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio declares
        if not self._all.admit(self):
            self.transport.write(_FULL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._all.ending and not self._all.open:
            self._all.none_open.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self.parser is None:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError as broken:
            self._all.malformed += 1
            self._refuse(_HEAD_TOO_LARGE if isinstance(broken.__context__, _HeadTooLarge) else _NOT_HTTP)
        else:
            exchange = self.cycle
            if exchange is None or exchange.scope is not self.scope:
                self._bound_head(self.scope, len(data))
            elif exchange.more_body and not exchange.response_complete:
                self._bound_head(exchange.body or self.scope, len(data))
                if len(exchange.body) > HIGH_WATER_LIMIT:
                    self.flow.pause_reading()
            elif self._head is not None:
                self._head = None  # an idle connection keeps nothing of a body
        if self._unstarted is not None:
            started, self._unstarted = self._unstarted, None
            self._start_asgi_task(started, self.app)

    def _bound_head(self, came: object, arrived: int) -> None:
        """Refuse a head that goes on and on, or what stands between the pieces of a body and after the last.

        Args:
            came: The request, or what came of its body: another one than before, or what came with it is not counted.
            arrived: Bytes.
        """
        if self._head is not came:
            self._head, self._head_bytes = came, 0
            return
        self._head_bytes += arrived
        if self._head_bytes > HEAD_BYTES:
            self._all.malformed += 1
            self._refuse(_HEAD_TOO_LARGE)

    def _decline(self, rest: bytes) -> None:
        """Answer a request that offers another protocol (h2c, as Java's client does) as if it did not.

        The parser has stopped for good, before the body: the request is read again without the offer by a new one.
        """
        if self.scope["method"] == "CONNECT":  # no offer, but a request for it
            self._all.malformed += 1
            self._refuse(_NOT_HTTP)
            return
        line = b"%s %s HTTP/%s\r\n" % (
            self.scope["method"].encode(), self.url, self.scope["http_version"].encode()
        )  # fmt: skip
        kept = (name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join((line, *kept, b"\r\n", rest)))

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.scope = {  # type: ignore[typeddict-item]  # the rest follows when the head is complete
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
        }

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        parser, scope = self.parser, self.scope
        if len(self.headers) > HEADERS or parser is None:
            raise _HeadTooLarge
        scope["method"] = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        if version != "1.1":
            scope["http_version"] = version
        if parser.should_upgrade():
            return  # `_decline` reads it again
        path, _, query = self.url.partition(b"?")
        if path[:1] != b"/" or b"#" in self.url:
            parsed = httptools.parse_url(self.url)
            path, query = parsed.path or b"/", parsed.query or b""
        scope["raw_path"], scope["query_string"] = path, query
        self.headers = _TRAILERS  # for what may follow the body; the scope has the head's
        text = path.decode("ascii")
        scope["path"] = unquote(text) if "%" in text else text
        before = self.cycle
        exchange = self.cycle = Exchange(
            scope,
            self.transport,
            self.flow,
            self._all.head,
            self.on_response_complete,
            version != "1.0" and not self._all.ending and parser.should_keep_alive(),
            self.expect_100_continue,
        )
        if before is None or before.response_complete:
            if scope["method"] == "POST" and self._all.direct is not None and not self.expect_100_continue:
                self._unstarted = exchange  # until it is known whether its body comes with it
            else:
                self._start_asgi_task(exchange, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        exchange = self.cycle
        if exchange is None or exchange.response_complete or exchange.scope is not self.scope:
            return
        exchange.body = exchange.body + body if exchange.body else body
        exchange.set()

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        exchange = self.cycle
        if exchange is None or exchange.response_complete or exchange.scope is not self.scope:
            return
        exchange.more_body = False
        exchange.set()
        if exchange is self._unstarted and self._all.direct is not None:
            self._unstarted = None
            # whoever does not take answers waits for them in a task, which is what bounds them
            if self.flow.write_paused or not self._all.direct(exchange, self._answer_ordinarily):
                self._answer_ordinarily(exchange)

    def _answer_ordinarily(self, exchange: Exchange) -> None:
        self._start_asgi_task(exchange, self.app)

    def on_response_complete(self) -> None:
        """Go on with the next request; unlike uvicorn's own, sets no timer."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def check(self, now: float) -> None:
        """Drop the connection when it is overdue."""
        cycle, limits = self.cycle, self._all
        if cycle is None:  # from its opening on, whatever came of the first head
            if now - self.opened > limits.header_timeout_s:
                self._drop()
            return
        doing: object
        if cycle.scope is not self.scope:
            doing, limit_s = self.scope, limits.header_timeout_s
        elif self.transport.get_write_buffer_size():
            doing, limit_s = cycle.on_response, SEND_TIMEOUT_S
        elif cycle.response_complete:
            doing, limit_s = cycle, IDLE_TIMEOUT_S
        else:
            doing, limit_s = None, math.inf  # being answered: the application's deadlines hold
        if doing is not self._doing:
            self._doing, self._since = doing, now
        elif now - self._since > limit_s:
            if doing is cycle:
                self.transport.close()
            else:
                self._drop()

    def _drop(self) -> None:
        self._all.timed_out += 1
        self.transport.abort()  # a close would wait for what the caller does not take
