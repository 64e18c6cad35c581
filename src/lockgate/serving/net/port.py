"""One port: accepts from its sockets, answers with one application, ends in order.

    serving ──end──> ending: no new connection, each answer the last of its own, idle ones closed ──> closed

uvicorn parses and answers; its server is not used, because it owns signals, polls ten times a second and takes no
second socket later.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from email.utils import formatdate
from typing import Final

from uvicorn.config import Config

from lockgate.serving.http.app import App
from lockgate.serving.net.connection import Connection
from lockgate.serving.net.connections import SWEEP_S, Connections
from lockgate.serving.net.handshake import TlsListener
from lockgate.serving.net.listening import BACKLOG

GRACE_S: Final = 0.25  # what was sent before a caller could know of the end still arrives


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
        self._sweep = asyncio.get_running_loop().call_soon(self._tick)

    async def listen(self, sockets: dict[int, socket.socket]) -> None:
        """Accept from these sockets and from no others.

        Args:
            sockets: By a number of the caller's choosing; each stays the caller's, open when the port is closed.
        """
        async with self._changing:
            for number in sorted(self._servers.keys() - sockets.keys()):
                self._servers.pop(number).close()
            for number in sorted(sockets.keys() - self._servers.keys()):
                self._servers[number] = await self._listening(sockets[number].dup())

    async def _listening(self, listener: socket.socket) -> asyncio.Server | TlsListener:
        def make() -> Connection:
            return Connection(self.connections, self._config)

        if self._tls is not None:
            return TlsListener(listener, self._tls, self.connections, make)
        return await asyncio.get_running_loop().create_server(make, sock=listener, backlog=BACKLOG)

    async def end(self, timeout_s: float) -> bool:
        """Take no more connections, answer what was taken, and close.

        Args:
            timeout_s: How long answering may take, in seconds; the rest is dropped.

        Returns:
            Whether everything was answered.
        """
        grace_s = min(GRACE_S, timeout_s / 2)
        await asyncio.sleep(0)  # connections that the kernel has completed are accepted once more
        await self.listen({})
        self.connections.ending = True
        await asyncio.sleep(grace_s)
        self.connections.end_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.connections.none_open.wait(), timeout_s - grace_s)
        return self.close()

    def close(self) -> bool:
        """Drop what is open; return whether that was nothing."""
        self._sweep.cancel()
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        nothing = not self.connections.open
        self.connections.drop_all()
        return nothing

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.connections.head = b"date: %s\r\n" % formatdate(time.time(), usegmt=True).encode()
        self.connections.sweep(loop.time())
        self._sweep = loop.call_later(SWEEP_S, self._tick)
