"""A server with a chosen fault: `python load_server.py DIGEST DELAY_MS STALL_AT_S STALL_S STATUS TURNS`.

Answers every POST with its digest header after a delay, one request at a time if TURNS is 1. From STALL_AT_S after its
first request it freezes once for STALL_S.
"""

from __future__ import annotations

import asyncio
import sys
import time

DIGEST, DELAY_MS, STALL_AT_S, STALL_S, STATUS, TURNS = sys.argv[1], *map(float, sys.argv[2:5]), *sys.argv[5:7]
ANSWER = f"HTTP/1.1 {STATUS} X\r\nContent-Length: 2\r\nx-lockgate-release-digest: {DIGEST}\r\n\r\n{{}}".encode()


class Faulty:
    def __init__(self) -> None:
        self.began: float | None = None
        self.stalled = STALL_S == 0
        self.turn = asyncio.Semaphore(1 if TURNS == "1" else 1000)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
                await self.wait()
                writer.write(ANSWER)
        except (EOFError, OSError):
            writer.close()

    async def wait(self) -> None:
        now = time.monotonic()
        self.began = self.began or now
        if not self.stalled and now - self.began > STALL_AT_S:
            self.stalled = True
            time.sleep(STALL_S)  # noqa: ASYNC251 - freezing the whole server is the point
        if DELAY_MS:
            async with self.turn:
                await asyncio.sleep(DELAY_MS / 1000)


async def main() -> None:
    server = await asyncio.start_server(Faulty().serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


asyncio.run(main())
