"""Accepts TLS connections: each is counted from its opening on, so that callers who never shake hands are bounded.

    accepted ──handshake within header_timeout_s──> Connection
      └──late, broken, or too many──> closed

asyncio's own TLS servers tell nobody of a connection before its handshake is over, and hold any number of such.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from lockgate.serving.net.connections import Connections

logger = logging.getLogger(__name__)

NO_FILES_S: Final = 0.2  # until a descriptor may have become free again


class Handshake:
    """A connection that is not secured yet.

    Attributes:
        opened: The loop's time when it was opened.
    """

    __slots__ = ("opened", "securing")

    def __init__(self, opened: float, securing: asyncio.Task[None]) -> None:
        self.opened, self.securing = opened, securing

    def abort(self) -> None:
        """Give it up."""
        self.securing.cancel()


class TlsListener:
    """Accepts from one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        connections: Connections,
        make: Callable[[], asyncio.Protocol],
    ) -> None:
        """Begin to accept, on the running event loop.

        Args:
            listener: Becomes its own.
            tls: What connections are secured with.
            connections: Those of the port; holds the limits.
            make: Makes the protocol of a connection that is secured.
        """
        listener.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._listener, self._tls, self._connections, self._make = listener, tls, connections, make
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Take no more connections; those that were taken go on."""
        self._accepting.cancel()
        self._listener.close()

    async def _accept(self) -> None:
        while True:
            try:
                accepted, _ = await self._loop.sock_accept(self._listener)
            except OSError as broken:  # above all: no descriptor is free
                logger.warning("a connection could not be accepted: %s", broken)
                await asyncio.sleep(NO_FILES_S)
                continue
            opened = self._loop.time()
            if self._connections.may_shake_hands(opened):
                accepted.setblocking(False)
                securing = self._loop.create_task(self._secure(accepted))
                self._connections.add_handshake(Handshake(opened, securing))
            else:
                accepted.close()
            del accepted  # held by nobody but its task

    async def _secure(self, accepted: socket.socket) -> None:
        within_s = self._connections.header_timeout_s
        try:
            await self._loop.connect_accepted_socket(
                self._make, accepted, ssl=self._tls, ssl_handshake_timeout=within_s
            )
        except (OSError, EOFError) as broken:  # no handshake, a late one, nobody there any more
            logger.debug("no TLS handshake: %r", broken)
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise
