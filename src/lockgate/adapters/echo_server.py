"""A server that does nothing but answer: what a load generator measures against it is the generator's own floor.

`python -m lockgate.adapters.echo_server HOST` prints its port and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

_BODY = b'{"outputs":[]}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)


class Echo(asyncio.Protocol):
    """Answers every whole request on a kept-alive connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole."""
        self._buffer += data
        while (size := _request_bytes(self._buffer)) is not None and len(self._buffer) >= size:
            del self._buffer[:size]
            self._transport.write(_ANSWER)


def _request_bytes(buffer: bytearray) -> int | None:
    """Return the size of the first request, head and body; None while its head is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    for line in bytes(buffer[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return end + 4 + int(line.partition(b":")[2])
    return end + 4


async def serve(host: str) -> None:
    """Serve on a free port, printed on a line of its own, until cancelled."""
    server = await asyncio.get_running_loop().create_server(Echo, host, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1]))
