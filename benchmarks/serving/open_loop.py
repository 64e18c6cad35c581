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


async def _run(requests: Sequence[bytes], port: int, rate: float, seconds: float) -> Latencies:
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    latencies: list[float] = []
    failures: list[BaseException] = []

    async def exchange(request: bytes, due: float | None) -> None:
        connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        reader, writer = connection
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if due is None:
            pass
        elif head[9:10] == b"2":
            latencies.append(time.perf_counter() - due)
        else:
            failures.append(ValueError(head[:40]))
        idle.append(connection)

    for request in requests[:50]:
        await exchange(request, None)
    tasks = set()
    began = time.perf_counter() + 0.05
    for at in range(int(rate * seconds)):
        due = began + at / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter() - EARLY_S))
        while time.perf_counter() < due:  # noqa: ASYNC110 - spinning is the point, see EARLY_S
            await asyncio.sleep(0)
        task = asyncio.create_task(exchange(requests[at % len(requests)], due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    failures += [each for each in ended if isinstance(each, BaseException)]
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    return Latencies(sorted(latencies), len(failures))


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
