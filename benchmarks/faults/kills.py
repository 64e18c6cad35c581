"""SIGKILL under load: of one worker, and of every process at once followed by a restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from benchmarks.faults.finding import Finding
from lockgate.serving.log.logged_line import read_line
from lockgate.serving.log.segments import lines, segments
from tests.integration.saturation import Saturation, Seen
from tests.server_process import Server, World, serving

CONNECTIONS = 8
AMOUNTS = tuple(float(1 + 7 * each) for each in range(CONNECTIONS))
LOG_BOUND_S = 0.5  # what the server promises
COUNT_BOUND_S = 0.5  # likewise: what a killed worker counted last
DETECT_S = 0.5  # a loss is noticed when the machine lets the callers run
BACK_WITHIN_S = 15.0


def kill_a_worker(root: Path, *, kills: int, settle_s: float) -> Finding:
    """Kill one of two workers under saturation, several times in turns."""
    found = Finding(f"kill -9 of a worker under saturation, {kills} time(s)")
    world = World(root)
    digest = world.bundle()
    killed: list[float] = []
    back: list[float] = []
    with serving(world, "--workers", "2") as server:
        found.expect(server.route(1, digest).status_code == 200, "the bundle was not taken")
        with Saturation(server.port, AMOUNTS) as load:
            for number in range(kills):
                time.sleep(settle_s)
                killed.append(time.monotonic())
                psutil.Process(server.process.pid).children()[number % 2].kill()
                back.append(_wait(lambda many=number + 1: _all_back(server, many)) - killed[-1])
            time.sleep(settle_s)
        counted = _wait_for_count(server, len(load.seen.answers))
    _judge_kills(found, load.seen, killed, digest)
    last = sum(1 for each in load.seen.answers if any(at - COUNT_BOUND_S <= each.received <= at for at in killed))
    lacking = len(load.seen.answers) - counted
    found.expect(lacking <= last, f"{lacking} answers are not counted, {last} is the most that a kill may cost")
    found.figures |= {"back after s (max)": round(max(back), 2), "not counted (last half second)": lacking}
    found.add_latencies(load.seen.answers)
    return found


def _judge_kills(found: Finding, seen: Seen, killed: list[float], digest: str) -> None:
    """Only what was in flight on the killed worker may fail."""
    for each in seen.failures:
        at = next((at for at in killed if at <= each.lost <= at + DETECT_S), None)
        found.expect(
            at is not None and (each.sent is None or each.sent <= at + DETECT_S), f"failed by itself: {each}, {killed}"
        )
    found.expect(len(seen.failures) <= CONNECTIONS * len(killed), "more requests failed than were in flight")
    found.expect({(each.status, each.digest) for each in seen.answers} == {(200, digest)}, "an answer was wrong")
    found.figures |= {"failed, all in flight": len(seen.failures), "connections": CONNECTIONS}


def _all_back(server: Server, restarts: int) -> bool:
    account = server.admin.get("/admin/routing/toy").json()
    return len(account.get("workers", {})) == 2 and _counter(server, "lockgate_worker_restarts_total") == restarts


def _counter(server: Server, name: str) -> float:
    page = server.client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in page if line.startswith((name + "{", name + " ")))


def _wait_for_count(server: Server, wanted: int) -> int:
    """Return how many answers are counted once that does not grow any more."""
    end = time.monotonic() + 3
    while time.monotonic() < end:
        if (counted := _counter(server, "lockgate_requests_total")) >= wanted:
            break
        time.sleep(0.1)
    return int(counted)


def _wait(condition: Callable[[], bool]) -> float:
    """Return when a condition was found true."""
    end = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < end:
        try:
            if condition():
                return time.monotonic()
        except OSError:
            pass  # a connection to the killed worker
        time.sleep(0.02)
    raise AssertionError(f"still not so after {BACK_WITHIN_S:g} s")


def kill_everything(root: Path, *, workers: int, load_s: float) -> Finding:
    """Kill every process under saturation while a challenger has a lease, restart, and look at leases and log."""
    found = Finding(f"kill -9 of everything and restart, {workers} worker(s)")
    world = World(root)
    champion, challenger = world.bundle(bias=0.0), world.bundle(bias=1.0)
    body = {"sequence": 1, "champion": champion, "lease_s": 600,
            "challengers": [{"name": "rival", "bundle": challenger, "weight": 0.5}]}  # fmt: skip
    with serving(world, "--workers", str(workers)) as server:
        found.expect(server.admin.put("/admin/routing/toy", json=body).status_code == 200, "routing was not taken")
        with Saturation(server.port, AMOUNTS) as load:
            time.sleep(load_s)
            pids = [server.process.pid, *(each.pid for each in psutil.Process(server.process.pid).children())]
            dropped = _counter(server, "lockgate_log_dropped_rows_total")
            killed = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        server.stop(signal.SIGKILL)
    _judge_log(found, load.seen, killed, set(logged_ids(world.state)))
    found.expect(dropped == 0, f"{dropped:g} rows of the log were dropped")
    arms = {each.digest for each in load.seen.answers}
    found.expect(arms == {champion, challenger}, "before the kill only one arm answered")
    began = time.monotonic()
    with serving(world, "--workers", str(workers)) as server:
        found.figures["restart to ready s"] = round(time.monotonic() - began, 2)
        before, renewed = _around_renewal(server, found)
    found.expect({each.digest for each in before.answers} == {champion}, "the challenger answered without a lease")
    found.expect({each.digest for each in renewed.answers} == arms, "the renewed lease did not bring it back")
    return found


def _around_renewal(server: Server, found: Finding) -> tuple[Seen, Seen]:
    """Return what callers saw before and after the lease was renewed."""
    with Saturation(server.port, AMOUNTS) as before:
        time.sleep(0.3)
    renewed = server.admin.post("/admin/routing/toy/lease", json={"sequence": 1})
    found.expect(renewed.status_code == 200, f"the lease could not be renewed: {renewed.text}")
    with Saturation(server.port, AMOUNTS) as after:
        time.sleep(0.3)
    for seen in (before.seen, after.seen):
        found.expect({each.status for each in seen.answers} == {200} and not seen.failures, "callers were failed")
    found.figures["answers by the champion alone, before the renewal"] = len(before.seen.answers)
    return before.seen, after.seen


def _judge_log(found: Finding, seen: Seen, killed: float, logged: set[str]) -> None:
    due = [each for each in seen.answers if each.received < killed - LOG_BOUND_S]
    lost = [each for each in seen.answers if each.prediction_id not in logged]
    found.expect(len(due) > 100, f"only {len(due)} answers were due in the log")
    missing = [each for each in due if each.prediction_id not in logged]
    found.expect(not missing, f"{len(missing)} answers older than {LOG_BOUND_S:g} s are not in the log")
    oldest = max((killed - each.received for each in lost), default=0.0)
    found.figures |= {"answers": len(seen.answers), "due in the log": len(due), "due and not there": len(missing)}
    found.figures |= {"not logged": len(lost), "the oldest of them ms": round(oldest * 1e3)}
    load_s = seen.answers[-1].received - seen.answers[0].sent
    found.figures["requests/s"] = round(len(seen.answers) / load_s)


def logged_ids(state: Path) -> Iterator[str]:
    """Yield the prediction ids in a server's log; none of its lines may be torn in the middle of a file."""
    for path in segments(state / "predictions" / "toy"):
        for line in lines(path):
            read = read_line(line)
            if read is None:
                raise AssertionError(f"{path.name} holds a line that cannot be read")
            yield read.prediction_id
