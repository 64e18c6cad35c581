"""An open-loop generator: every request starts when it is due, whatever became of those before it.

Latency counts from the intended start, so that a server that stalls is charged with every request that should have
been answered meanwhile (no coordinated omission). `python -m lockgate.adapters.open_loop PLAN`, see `load_plan`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle, groupby
from pathlib import Path

from lockgate.adapters.load_plan import Arm, LoadPlan, read_plan
from lockgate.core.load import intended_starts
from lockgate.core.load_summary import OPEN_LOOP
from lockgate.core.wire import DIGEST_HEADER

_WARM_CONNECTIONS = 4
_BEHIND = 0.25  # ours: with a quarter of a stair unanswered at its end the next one only lengthens the queue
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Pool:
    """Kept-alive connections to one arm; as many as requests are open at once."""

    arm: Arm
    idle: list[_Connection] = field(default_factory=list)
    waiting: int = 0
    beyond: bool = False

    def __post_init__(self) -> None:
        self._requests = cycle([_request(self.arm, body) for body in self.arm.bodies])

    async def ask(self) -> str | None:
        """Send the next request and return what was wrong with the answer, None for nothing.

        Raises:
            OSError: The connection broke.
            EOFError: It was closed within an answer.
        """
        reader, writer = self.idle.pop() if self.idle else await self._connect()
        try:
            writer.write(next(self._requests))
            head = await reader.readuntil(b"\r\n\r\n")
            status, headers = parse_head(head)
            await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            writer.transport.abort()
            raise
        self.idle.append((reader, writer))
        if status != 200:
            return f"status {status}"
        answered_by = headers.get(DIGEST_HEADER)
        return None if answered_by == self.arm.digest else f"answered by {answered_by}"

    async def _connect(self) -> _Connection:
        return await asyncio.open_connection(self.arm.host, self.arm.port)

    async def warm_up(self) -> None:
        """Open a few connections and use each twice."""
        for _ in range(2):
            await asyncio.gather(*(self.ask() for _ in range(_WARM_CONNECTIONS)))

    def falls_behind(self, due: int) -> bool:
        """Tell, and keep in mind, whether the arm is beyond its knee when a stair of so many requests begins."""
        self.beyond = self.beyond or self.waiting > max(_WARM_CONNECTIONS, _BEHIND * due)
        return self.beyond

    def close(self) -> None:
        """Drop every connection."""
        for _, writer in self.idle:
            writer.transport.abort()


def _request(arm: Arm, body: str) -> bytes:
    data = body.encode()
    head = (
        f"POST {arm.path} HTTP/1.1\r\nHost: {arm.host}:{arm.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def parse_head(head: bytes) -> tuple[int, Mapping[str, str]]:
    """Return the status and the headers, by lower-case name, of an answer's head."""
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}


async def drive(plan: LoadPlan) -> list[tuple[int, float, float, float, str | None]]:
    """Send the open loop's share of a plan; return its samples (window, due_s, latency_ms, late_ms, error)."""
    pools = {name: Pool(arm) for name, arm in plan.arms.items()}
    await asyncio.gather(*(pool.warm_up() for pool in pools.values()))
    number = {window: index for index, window in enumerate(plan.windows)}
    samples: list[tuple[int, float, float, float, str | None]] = []
    gc.freeze()
    gc.disable()  # a collection is a stall of the generator's own; the process is short-lived
    start = await asyncio.to_thread(plan.await_start, OPEN_LOOP)

    async def one(due_s: float, window: int, pool: Pool) -> None:
        sent = time.monotonic()
        pool.waiting += 1
        try:
            error = await asyncio.wait_for(pool.ask(), plan.timeout_s)
        except TimeoutError:
            error = f"no answer in {plan.timeout_s:g} s"
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as broken:
            error = type(broken).__name__
        pool.waiting -= 1
        due = start + due_s
        samples.append((window, due_s, (time.monotonic() - due) * 1000, (sent - due) * 1000, error))

    async with asyncio.TaskGroup() as requests:
        for window, starts in groupby(intended_starts(plan.windows, plan.shares[OPEN_LOOP]), lambda each: each[1]):
            due, pool = [at for at, _ in starts], pools[window.arm]
            await asyncio.sleep(start + due[0] - time.monotonic())
            if window.searches and pool.falls_behind(len(due)):
                continue
            for at in due:
                await asyncio.sleep(start + at - time.monotonic())
                requests.create_task(one(at, number[window], pool))
    for pool in pools.values():
        pool.close()
    return samples


def main(path: Path) -> None:
    """Carry out a plan and write its samples."""
    import uvloop

    plan = read_plan(path)
    plan.write_samples(OPEN_LOOP, uvloop.run(drive(plan)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
