"""One connection: reads requests, hands them on, and knows when it takes too long.

uvicorn's protocol, with what it lacks (a bound on the headers of a request and on the time for them and for taking an
answer, an end to offers of other protocols) and without what is not needed here for each request: timers, events.
"""

from __future__ import annotations

import asyncio
import math
from typing import Final
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from lockgate.serving.net.ahead import AHEAD_BYTES, ReadsAhead
from lockgate.serving.net.connections import IDLE_TIMEOUT_S, SEND_TIMEOUT_S, Connections
from lockgate.serving.net.exchange import TRAILERS, Exchange
from lockgate.serving.net.malformed import (
    FULL,
    HEAD_BYTES,
    HEAD_TOO_LARGE,
    HEADERS,
    NOT_HTTP,
    NOT_ONE_HOST,
    Malformed,
    checked_host,
)

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class Connection(ReadsAhead):
    """One connection.

    Attributes:
        opened: The loop's time when it was opened.
    """

    def __init__(self, all_of_port: Connections, config: Config) -> None:
        super().__init__(config, all_of_port.state, {}, asyncio.get_running_loop())
        self.opened = self.loop.time()
        self._all = all_of_port
        self._unstarted: Exchange | None = None
        self._host, self._hosts = b"", 0  # the last one, and how many the request has
        self._last_words = b""  # for a caller that sent what is no request behind one that is being answered
        self._head: object = None  # what is not complete, and how much came without an end to it: see `_bound_head`
        self._head_bytes = 0
        self._doing: object = None  # what the last sweep saw it do, and since when
        self._since = self.opened

    @property
    def silent(self) -> bool:
        """Whether it is open and has not asked anything yet."""
        return self.cycle is None and self.parser is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio declares
        if not self._all.admit(self):
            self.transport.write(FULL)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._all.ending and not self._all.open:
            self._all.none_open.set()

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns nothing, which closes at once
        """Let a caller that sends no more, and may still listen, have its answers; return whether there are any."""
        last = self.cycle
        if self.keep_end():
            return True
        if last is None or last.response_complete or self.scheme == "https":  # TLS has no half of a connection
            return False
        if self._last_words:
            return True
        if last.more_body:
            self._refuse(NOT_HTTP)
            return bool(self._last_words)
        last.keep_alive, self.parser, self.scope = False, None, last.scope  # nothing is being read any more
        return True

    def data_received(self, data: bytes, most: int = AHEAD_BYTES) -> None:
        """Parse what came, unless it is more than so many bytes: `take` then."""
        parser = self.parser
        if parser is None or len(data) > most:
            self.take(data)
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserError as broken:
            cause = broken.__context__
            self._refuse(cause.answer if isinstance(cause, Malformed) else NOT_HTTP)
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
            self._refuse(HEAD_TOO_LARGE)

    def _decline(self, rest: bytes) -> None:
        """Answer a request that offers another protocol (h2c, as Java's client does) as if it did not.

        The parser has stopped for good, before the body: the request is read again without the offer by a new one.
        """
        if self.scope["method"] == "CONNECT":  # no offer, but a request for it
            self._refuse(NOT_HTTP)
            return
        line = b"%s %s HTTP/%s\r\n" % (
            self.scope["method"].encode(), self.url, self.scope["http_version"].encode()
        )  # fmt: skip
        kept = (name + b": " + value + b"\r\n" for name, value in self.headers if name != b"upgrade")
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join((line, *kept, b"\r\n", rest)))

    def _refuse(self, answer: bytes) -> None:
        """Read no more from this caller; say why behind the answers to what came before, and close the connection."""
        self._all.malformed += 1
        self.parser = self._unstarted = None
        last = self.cycle
        if last is not None and last.more_body and last.scope is self.scope:  # its body is what is broken
            if last.response_complete:
                answer = b""  # it has one already
            elif self.pipeline:
                self.pipeline.popleft()
                self._last_words = answer
        elif last is not None and not last.response_complete:
            self._last_words, self.scope = answer, last.scope  # nothing is being read any more
        if self._last_words:
            self.flow.pause_reading()
        else:
            self._part(answer)

    def _part(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to read a request."""
        self.url = b""
        self.expect_100_continue = False
        self._hosts = 0
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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        name = name.lower()
        if name == b"host":
            self._hosts += 1
            if value != self._host and self.headers is not TRAILERS:  # the same in each request of a connection
                self._host = checked_host(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        parser, scope = self.parser, self.scope
        if len(self.headers) > HEADERS or parser is None:
            raise Malformed(HEAD_TOO_LARGE)
        scope["method"] = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        # RFC 9112, 3.2; what a trailer calls so comes later
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise Malformed(NOT_ONE_HOST)
        if version != "1.1":
            scope["http_version"] = version
        if parser.should_upgrade():
            return  # `_decline` reads it again
        path, _, query = self.url.partition(b"?")
        if path[:1] != b"/" or b"#" in self.url:
            parsed = httptools.parse_url(self.url)
            path, query = parsed.path or b"/", parsed.query or b""
        scope["raw_path"], scope["query_string"] = path, query
        self.headers = TRAILERS  # for what may follow the body; the scope has the head's
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
            self.expect_100_continue and version != "1.0",
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
        if self.pipeline:  # nor reads on: one answer for each piece of many requests would pile them up
            following = self.pipeline.pop()
            self.go_on_soon()
            self._start_asgi_task(*following)
        elif self._last_words:
            self._part(self._last_words)
        else:
            self.flow.resume_reading()

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
