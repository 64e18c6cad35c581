"""Latency at a fixed rate: requests leave when they are due, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.serving.forms import Call
from benchmarks.serving.wrk import raw_request

EARLY_S = 0.003
"""The loop's timers are good to a millisecond: it wakes this much early and spins; the client's core is its own."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from when a request was due until its answer was there, ascending; and how many failed."""

    seconds: Sequence[float]
    failed: int

    def quantile(self, share: float) -> float:
        """Return the smallest latency that at least `share` of all answers kept."""
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))] if self.seconds else 0.0


def run(calls: Sequence[tuple[Call, str | None]], port: int, *, rate: float, seconds: float) -> Latencies:
    """Send at a fixed rate for some seconds."""
    return asyncio.run(_run([raw_request(call, entity, port) for call, entity in calls], port, rate, seconds))


class _Caller:
    """Connections that are kept, what came back over them, and what did not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.latencies: list[float] = []
        self.failed = 0

    async def exchange(self, request: bytes) -> bytes:
        """Ask, and return the head of the answer."""
        connection = await self._connection()
        reader, writer = connection
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        self._idle.append(connection)
        return head

    def begin(self, request: bytes, due: float) -> None:
        """Ask without waiting for the answer."""
        task = asyncio.create_task(self._timed(request, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Wait for the answers and close."""
        await asyncio.gather(*self._tasks)
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()

    async def _timed(self, request: bytes, due: float) -> None:
        try:
            head = await self.exchange(request)
        except (OSError, asyncio.IncompleteReadError):
            self.failed += 1
            return
        if head[9:10] == b"2":
            self.latencies.append(time.perf_counter() - due)
        else:
            self.failed += 1

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # one that a burst left idle for seconds is closed by the server, as is its right
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


async def _run(requests: Sequence[bytes], port: int, rate: float, seconds: float) -> Latencies:
    caller = _Caller(port)
    for request in requests[:50]:
        await caller.exchange(request)
    began = time.perf_counter() + 0.05
    for at in range(int(rate * seconds)):
        due = began + at / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter() - EARLY_S))
        while time.perf_counter() < due:  # noqa: ASYNC110 - spinning is the point, see EARLY_S
            await asyncio.sleep(0)
        caller.begin(requests[at % len(requests)], due)
    await caller.end()
    return Latencies(sorted(caller.latencies), caller.failed)


# -- the server's own histogram ----------------------------------------------------------------------------------------

_BUCKET = re.compile(r"^lockgate_request_seconds_bucket\{(?P<labels>.*)\} (?P<count>\S+)$", re.MULTILINE)


def buckets(page: str, model: str) -> dict[float, int]:
    """Return a model's cumulative counts by upper bound in seconds, all arms together."""
    found: dict[float, int] = {}
    for match in _BUCKET.finditer(page):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        if labels.get("model") == model:
            bound = float(labels["le"])
            found[bound] = found.get(bound, 0) + int(float(match["count"]))
    return dict(sorted(found.items()))


def histogram_quantile(before: Mapping[float, int], after: Mapping[float, int], share: float) -> float | None:
    """Return a quantile of what was counted between two readings, linear inside its bucket; None without any."""
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = max(counts.values(), default=0)
    if not total:
        return None
    lower, below = 0.0, 0
    for bound, count in counts.items():
        if count >= share * total:
            inside = (share * total - below) / (count - below)
            return lower if bound == float("inf") else lower + (bound - lower) * inside
        lower, below = bound, count
    return lower
