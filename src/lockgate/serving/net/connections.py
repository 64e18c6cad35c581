"""The connections of one port: how many there may be, and how long each may take over each thing it does.

    open ──head──> asked ──answer──> idle ──head──> asked ...
      │ header_timeout_s    │ SEND_TIMEOUT_S   │ IDLE_TIMEOUT_S
      v                     v                  v
    dropped              dropped            closed

One sweep a second looks at all connections, so that a request pays nothing for it; every deadline is met up to 2 s
late. Not done here: the deadline for bodies, which the application has.
"""

from __future__ import annotations

import asyncio
import fcntl
import resource
import sys
import termios
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from uvicorn.server import ServerState

from lockgate.serving.net.exchange import Exchange

if TYPE_CHECKING:
    from lockgate.serving.net.connection import Connection
    from lockgate.serving.net.handshake import Handshake

SWEEP_S: Final = 1.0
IDLE_TIMEOUT_S: Final = 75.0  # longer than the usual pools of callers and proxies, so that they close first
SEND_TIMEOUT_S: Final = 30.0  # ours: 16 MB at 5 Mbit/s; a caller that takes longer keeps others from being answered
FIRST_S: Final = 2.0  # ours: so old is a connection that a stop closes unasked; who opened it is about to ask
EVICT_AFTER_S: Final = 1.0  # the youngest that may be given up for another: an honest caller has asked by then
SPARE_FILES: Final = 256  # ours: descriptors for bundles, logs, channels

Direct: TypeAlias = Callable[[Exchange, Callable[[Exchange], None]], bool]
"""Takes a request and returns True, or leaves it; may call the second argument with it later, to leave it after all."""


class Connections:
    """All connections of one port.

    Attributes:
        most: How many may be open.
        refused: Connections that were told there are too many.
        evicted: Connections that had not asked anything and were given up for another.
        timed_out: Connections that were dropped because a request's headers or an answer took too long.
        malformed: Connections that sent what is no HTTP request, or too large a head.
        handshakes: Connections that are not secured yet, the oldest first.
        ending: Whether each answer from now on is the last of its connection.
        head: The header line that every answer has, `date`.
        none_open: Set once the last one is closed after `end_idle`.
        direct: Is offered every request whose body came with its head; None: there is no such way.
    """

    def __init__(self, most: int, header_timeout_s: float) -> None:
        """Take the limits.

        Args:
            most: How many may be open.
            header_timeout_s: How long a request's headers may take, in seconds.
        """
        self.most = most
        self.header_timeout_s = header_timeout_s
        self.refused = self.evicted = self.timed_out = self.malformed = 0
        self.ending = False
        self.none_open: Final = asyncio.Event()
        self.state: Final = ServerState()
        self.head = b""
        self.direct: Direct | None = None
        self.handshakes: Final[dict[Handshake, None]] = {}
        self._silent: deque[Connection] = deque()

    def ended(self) -> dict[str, float]:
        """Return how many connections were ended early, by why."""
        return {
            "refused": self.refused,
            "evicted": self.evicted,
            "timed_out": self.timed_out,
            "malformed": self.malformed,
        }

    @property
    def open(self) -> int:
        """How many are open."""
        return len(self.state.connections)

    def admit(self, connection: Connection) -> bool:
        """Tell whether a new connection may stay; gives one up for it that never asked anything, where there is one."""
        if self.open > self.most and not self._evict(connection.opened - EVICT_AFTER_S):
            self.refused += 1
            return False
        self._silent.append(connection)
        return True

    def may_shake_hands(self, opened: float) -> bool:
        """Tell whether a connection that was opened then may stay; gives one up for it as `admit` does."""
        if self.open + len(self.handshakes) >= self.most and not self._make_room(opened - EVICT_AFTER_S):
            self.refused += 1
            return False
        return True

    def add_handshake(self, handshake: Handshake) -> None:
        """Count a connection that may stay until it is secured, or given up."""
        self.handshakes[handshake] = None
        handshake.securing.add_done_callback(lambda _: self.handshakes.pop(handshake, None))

    def _make_room(self, opened_before: float) -> bool:
        oldest = next(iter(self.handshakes), None)
        if oldest is None or oldest.opened > opened_before:
            return self._evict(opened_before)
        del self.handshakes[oldest]
        oldest.abort()
        self.evicted += 1
        return True

    def _evict(self, opened_before: float) -> bool:
        silent = self._silent
        while silent and silent[0].opened <= opened_before:
            oldest = silent.popleft()
            if oldest.silent:
                oldest.transport.abort()
                self.evicted += 1
                return True
        return False

    def sweep(self, now: float) -> None:
        """Drop what is overdue at `now`, the loop's time."""
        self._silent = deque(each for each in self._silent if each.silent)
        for connection in self._each():
            connection.check(now)

    def begin_ending(self) -> None:
        """Let each answer from now on say that it is the last of its connection, also where the request is here."""
        self.ending = True
        for connection in self._each():
            if connection.cycle is not None:
                connection.cycle.keep_alive = False

    def end_idle(self) -> bool:
        """Close the connections on which nothing is being answered; the others close after their answer.

        Returns:
            Whether that is all of them: False where a caller has sent what this busy process has not read yet, or has
            only just come and not asked, which are to be answered first; ask again.
        """
        if not self.open:
            self.none_open.set()
        self._drop_handshakes()
        opened_before = asyncio.get_running_loop().time() - FIRST_S
        to_answer = [
            each for each in self._each() if (each.silent and each.opened > opened_before) or _unread(each.transport)
        ]
        for connection in self.state.connections - set(to_answer):
            connection.shutdown()
        return not to_answer

    def drop_all(self) -> None:
        """Drop every connection, answered or not."""
        self._drop_handshakes()
        for connection in self._each():
            connection.transport.abort()

    def _drop_handshakes(self) -> None:
        for handshake in list(self.handshakes):
            handshake.abort()

    def _each(self) -> list[Connection]:
        return cast("list[Connection]", list(self.state.connections))  # nothing else is ever put there


def _unread(transport: asyncio.Transport) -> bool:
    """Tell whether the caller has sent something that was not read yet."""
    there = transport.get_extra_info("socket")
    if transport.is_closing() or there is None:
        return False
    return int.from_bytes(fcntl.ioctl(there.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder) > 0


def raise_file_limit() -> int:
    """Let this process open as many files as it may, and return how many connections fit into that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else max(1, hard - SPARE_FILES)
