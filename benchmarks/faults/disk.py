"""The disk of the state folder is full while requests are answered: said, bounded, and over once there is room."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.faults.finding import Finding
from benchmarks.faults.kills import logged_ids
from lockgate.serving.log.complaints import COMPLAIN_EVERY_S
from lockgate.serving.log.prediction_log import QUEUE_BYTES, QUEUE_ROWS
from tests.integration.saturation import Saturation
from tests.server_process import Server, World, serving

AMOUNTS = (1.0, 8.0, 15.0, 22.0)
SOON_S = 60.0
DROPS_WITHIN_S = 30.0
DROPPED = "lockgate_log_dropped_rows_total"
GROWTH_AT_MOST = 100e6  # bytes; the queue may hold 32 MiB of lines


class NotAllowed(Exception):
    """This user may not mount a small disk."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Let a folder be a disk of 1 MB for the length of a block.

    Raises:
        NotAllowed: This user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        raise NotAllowed(f"{folder}: this user may not mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def full_disk(root: Path, *, load_s: float, past_the_bound: bool = False) -> Finding:
    """Saturate a server whose state folder is on a disk of 1 MB, then let the disk grow.

    Args:
        root: Where the server's world is made.
        load_s: How long the disk is full.
        past_the_bound: Whether it is full for so much longer that rows have to be dropped.

    Raises:
        NotAllowed: This user may not mount one.
    """
    found = Finding("a disk that is full, with the state folder on it")
    world = World(root)
    first, second = world.bundle(bias=0.0), world.bundle(bias=1.0)
    with small_disk(world.state):
        with serving(world) as server:
            found.expect(server.route(1, first).status_code == 200, "the bundle was not taken")
            began = time.monotonic()
            with Saturation(server.port, AMOUNTS) as load:
                _while_full(server, found, (first, second), world.state)
                _hold_full(server, found, load_s, began, past_the_bound=past_the_bound)
            subprocess.run(["mount", "-o", "remount,size=256m", str(world.state)], check=True)
            room = time.monotonic()
            _wait(server, "lockgate_log_queued_rows", 0)
            found.figures["all written after there was room s"] = round(time.monotonic() - room, 2)
            dropped = server.metric(DROPPED)
            found.expect(_heard(server, "is written again"), "the log does not say that it is written again")
            found.expect(
                server.route(2, second, first).status_code == 200, "a change is refused although there is room"
            )
            found.expect(server.stop() == 0, "the server did not end in order")
        logged = list(logged_ids(world.state))
    answers = load.seen.answers
    outcomes = {(each.status, each.digest) for each in answers}
    found.expect(outcomes == {(200, first)} and not load.seen.failures, f"callers were failed: {outcomes}")
    found.expect(len(set(logged)) == len(logged), "a row is in the log twice")
    found.expect(
        len(logged) + dropped == len(answers), f"{len(logged)} logged, {dropped:g} dropped, {len(answers)} in all"
    )
    found.figures |= {"rows dropped, all counted": dropped, "rows logged": len(logged)}
    found.add_latencies(answers)
    return found


def _hold_full(server: Server, found: Finding, load_s: float, began: float, *, past_the_bound: bool) -> None:
    """Watch what waits in memory, until rows are dropped where that is wanted."""
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    most_rows = most_bytes = growth = 0.0
    end = time.monotonic() + load_s
    latest = end + (DROPS_WITHIN_S if past_the_bound else 0)
    while time.monotonic() < end or (server.metric(DROPPED) == 0 and time.monotonic() < latest):
        most_rows = max(most_rows, server.metric("lockgate_log_queued_rows"))
        most_bytes = max(most_bytes, server.metric("lockgate_log_queued_bytes"))
        growth = max(growth, process.memory_info().rss - before)
        time.sleep(0.1)
    found.expect(not past_the_bound or server.metric(DROPPED), "the bound was not reached: too little load")
    said = _heard(server, "the prediction log cannot be written")
    found.expect(said, "the log does not say that it cannot be written")
    allowed = 1 + (time.monotonic() - began) / COMPLAIN_EVERY_S + past_the_bound
    found.expect(len(said) <= allowed, f"it is said {len(said)} times")
    found.expect(most_rows <= QUEUE_ROWS, f"{most_rows:g} rows waited")
    found.expect(most_bytes <= QUEUE_BYTES, f"{most_bytes:g} bytes waited")
    found.expect(growth < GROWTH_AT_MOST, f"memory grew by {growth / 1e6:.0f} MB")
    found.figures |= {"most rows waiting": most_rows, "most bytes waiting, as counted": most_bytes}
    found.figures |= {"memory +MB": round(growth / 1e6, 1), "said": said[0] if said else ""}


def _while_full(server: Server, found: Finding, digests: tuple[str, str], state: Path) -> None:
    """Wait until the log has no room, take what is left, and try to change the routing."""
    first, second = digests
    _wait(server, "lockgate_log_errors_total", 1)
    _fill(state / "filler")
    refused = server.route(2, second, first)
    found.expect(refused.status_code == 503, f"a change was answered with {refused.status_code}: {refused.text}")
    found.expect(
        server.admin.get("/admin/routing/toy").json()["champion"] == first, "the change is served all the same"
    )
    found.expect(server.client.get("/v2/health/ready").status_code == 200, "the server is not ready")
    found.figures["a change of routing meanwhile"] = refused.text


def _heard(server: Server, words: str) -> list[str]:
    """Return the lines of a server's log with these words, once there are any, or soon would have been."""
    end = time.monotonic() + SOON_S
    while True:
        found = [line["message"] for line in tuple(server.lines) if words in line.get("message", "")]
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


def _fill(filler: Path) -> None:
    """Take all the room that is left."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass


def _wait(server: Server, name: str, wanted: float) -> None:
    """Wait until a counter has reached a number, or a queue has become empty."""
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        value = server.metric(name)
        if value == 0 if wanted == 0 else value >= wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} is {value:g} after {SOON_S:g} s")
