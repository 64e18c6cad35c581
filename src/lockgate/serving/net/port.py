"""One port: accepts from its sockets, answers with one application, ends in order.

    serving ──end──> ending: no new connection, each answer the last of its own, idle ones closed ──> closed

uvicorn parses and answers; its server is not used, because it owns signals, polls ten times a second and takes no
second socket later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

from uvicorn.config import Config

from lockgate.serving.http.app import App
from lockgate.serving.net.connection import Connection
from lockgate.serving.net.connections import SWEEP_S, Connections
from lockgate.serving.net.handshake import TlsListener
from lockgate.serving.net.listening import BACKLOG

logger = logging.getLogger(__name__)

GRACE_S: Final = 0.25  # what was sent before a caller could know of the end still arrives
READ_S: Final = 0.01  # ours: the loop has read what was there meanwhile; nobody waits for less


class Port:
    """One port of a server.

    Attributes:
        connections: Those that are open.
    """

    def __init__(self, app: App, connections: Connections, tls: ssl.SSLContext | None = None) -> None:
        """Make a port that does not listen yet.

        Args:
            app: What answers.
            connections: Holds the limits.
            tls: What connections are secured with; None: plain HTTP.
        """
        self.connections: Final = connections
        connections.direct = app.direct
        self._tls = tls
        self._config = Config(
            app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            proxy_headers=False,
        )  # fmt: skip
        self._config.load()
        self._changing = asyncio.Lock()
        self._servers: dict[int, asyncio.Server | TlsListener] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._adopting: set[asyncio.Task[None]] = set()
        self._sweep = asyncio.get_running_loop().call_soon(self._tick)

    async def listen(self, sockets: dict[int, socket.socket]) -> None:
        """Accept from these sockets and from no others.

        Args:
            sockets: By a number of the caller's choosing; each stays the caller's, open when the port is closed.
        """
        async with self._changing:
            for number in sorted(self._servers.keys() - sockets.keys()):
                del self._listeners[number]
                self._servers.pop(number).close()
            for number in sorted(sockets.keys() - self._servers.keys()):
                self._listeners[number] = sockets[number].dup()
                self._servers[number] = await self._listening(self._listeners[number])

    async def _listening(self, listener: socket.socket) -> asyncio.Server | TlsListener:
        if self._tls is not None:
            return TlsListener(listener, self._tls, self.connections, self._make)
        return await asyncio.get_running_loop().create_server(self._make, sock=listener, backlog=BACKLOG)

    def _make(self) -> Connection:
        return Connection(self.connections, self._config)

    def take(self, listeners: Iterable[socket.socket]) -> None:
        """Accept at once what waits in the queues of these sockets, before their last descriptors are closed.

        The kernel resets what waits in the queue of a socket that nobody holds any more, also where the caller has sent
        a request already; the event loop of a busy process would look too late.
        """
        for listener in listeners:
            with contextlib.suppress(OSError):  # nobody waits any more, or no descriptor is free
                listener.setblocking(False)
                while True:
                    adopting = asyncio.ensure_future(self._adopt(listener.accept()[0]))
                    self._adopting.add(adopting)
                    adopting.add_done_callback(self._adopting.discard)

    async def _adopt(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, accepted, ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else self.connections.header_timeout_s,
            )  # fmt: skip
        except (OSError, EOFError) as broken:
            logger.debug("a caller that was taken last is gone: %r", broken)
            accepted.close()

    async def end(self, timeout_s: float) -> bool:
        """Take no more connections, answer what was taken, and close.

        Args:
            timeout_s: How long answering may take, in seconds; the rest is dropped.

        Returns:
            Whether everything was answered.
        """
        grace_s = min(GRACE_S, timeout_s / 2)
        with contextlib.ExitStack() as kept:
            last = [kept.enter_context(each.dup()) for each in self._listeners.values()]
            await self.listen({})
            await asyncio.sleep(0)  # by then the loop has closed its own
            self.take(last)
        self.connections.begin_ending()
        await asyncio.sleep(grace_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s - grace_s):
                while not self.connections.none_open.is_set():
                    if self.connections.end_idle():
                        await self.connections.none_open.wait()
                    await asyncio.sleep(READ_S)
        return self.close()

    def close(self) -> bool:
        """Drop what is open; return whether that was nothing."""
        self._sweep.cancel()
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        self._listeners.clear()
        nothing = not self.connections.open
        self.connections.drop_all()
        return nothing

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.connections.head = b"date: %s\r\n" % formatdate(time.time(), usegmt=True).encode()
        self.connections.sweep(loop.time())
        self._sweep = loop.call_later(SWEEP_S, self._tick)
