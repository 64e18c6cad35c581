"""How far ahead one connection is read: requests that come in one piece are parsed some at a time.

    much came ──> as many requests as may be ahead, parsed ──the last of them is being answered──> the next ...
                  the rest, kept as it came; nothing more is read meanwhile

A piece of 256 KiB holds thousands of small requests: parsed at once they would keep everybody else waiting, and take
many times the memory of their bytes.
"""

from __future__ import annotations

from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lockgate.serving.net.exchange import Exchange

AHEAD_BYTES: Final = 4 << 10  # ours: the least requests there are in it are parsed in 2 ms
MOST_AHEAD: Final = 16  # ours: of one piece that is larger
_BODY_BYTES: Final = 16 << 10  # of a body at once, whatever it holds
_IN_EACH: Final = b"HTTP/"  # which stands in the first line of every request


class ReadsAhead(HttpToolsProtocol):
    """A connection that parses what came some at a time.

    Attributes:
        rest: What came and is not parsed yet; while there is any, `parser` is None.
    """

    # uvicorn declares away that these are None before the first request, and the parser after the last
    cycle: Exchange | None  # type: ignore[assignment]  # as said
    parser: httptools.HttpRequestParser | None  # type: ignore[assignment]  # as said
    rest = b""
    _waiting: httptools.HttpRequestParser | None = None
    _ended = False

    def data_received(self, data: bytes, most: int = AHEAD_BYTES) -> None:
        """Parse what came, unless it is more than so many bytes: `take` then."""
        raise NotImplementedError

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns nothing, which closes at once
        """Take the caller's end; return whether the connection stays open for answers."""
        raise NotImplementedError

    def take(self, data: bytes) -> None:
        """Parse the beginning of much that came, and keep the rest; or keep all of it, behind what is kept already."""
        if self._waiting is not None:
            self.rest += data
            return
        if self.parser is None:
            return
        size = self._first_part(data)
        self.data_received(data[:size], size)
        if size == len(data):
            return
        if self.rest:  # of the first part
            self.rest += data[size:]
        elif self.parser is not None:  # nothing was wrong with it
            self.rest, self._waiting, self.parser = data[size:], self.parser, None
            self.flow.pause_reading()
            self.go_on_soon()

    def go_on_soon(self) -> None:
        """Parse more of what is kept, before any task that is begun now, unless requests still wait."""
        if self.rest and not self.pipeline:
            self.loop.call_soon(self._go_on)

    def keep_end(self) -> bool:
        """Note that the caller sends no more; return whether there is something that it sent before."""
        self._ended = bool(self.rest)
        return self._ended

    def _go_on(self) -> None:
        rest, self.rest = self.rest, b""
        self.parser, self._waiting = self._waiting, None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.take(rest)
        if self._ended and not self.rest and not self.eof_received():
            self.transport.close()

    def _first_part(self, data: bytes) -> int:
        """Return how many bytes are parsed now: no more requests than may be ahead, none of them begun in vain."""
        at = -1
        for _ in range(MOST_AHEAD + 1):
            at = data.find(_IN_EACH, at + 1)
            if at < 0:
                return len(data)
        cut = data.rfind(b"\n", 0, at) + 1 or at
        last = self.cycle
        within = last is not None and last.more_body and last.scope is self.scope
        return max(cut, min(_BODY_BYTES, len(data))) if within else cut
