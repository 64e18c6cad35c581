"""SIGKILL under load: of one worker, and of every process at once followed by a restart."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from benchmarks.faults.beside import Beside
from benchmarks.faults.finding import Finding
from lockgate.serving.log.logged_line import read_line
from lockgate.serving.log.segments import lines, segments
from tests.integration.saturation import Answer, Saturation, Seen
from tests.server_process import Server, World, serving

CONNECTIONS = 8
AMOUNTS = tuple(float(1 + 7 * each) for each in range(CONNECTIONS))
LOG_BOUND_S = 0.5  # what the server promises
PAUSE_S = 0.02  # ours: twenty times what an answer takes under this load
ENOUGH = 100  # ours: of so many answers at even odds one arm gets none once in 1e30 times
COUNT_BOUND_S = 0.5  # likewise: what a killed worker counted last
DETECT_S = 0.5  # callers that were led to the killed worker have sent by then
BACK_WITHIN_S = 60.0
COUNTED_S = 1.0  # ours: each worker writes what it counted twice a second


def kill_a_worker(root: Path, *, kills: int, settle_s: float) -> Finding:
    """Kill one of two workers under saturation, several times in turns."""
    found = Finding(f"kill -9 of a worker under saturation, {kills} time(s)")
    world = World(root)
    digest = world.bundle()
    killed: list[tuple[float, float]] = []
    back: list[float] = []
    with Beside(root / "beside") as disk, serving(world, "--workers", "2") as server:
        found.expect(server.route(1, digest).status_code == 200, "the bundle was not taken")
        with Saturation(server.port, AMOUNTS) as load:
            for number in range(kills):
                time.sleep(settle_s)
                killed.append(_killed(server.workers()[number % 2]))
                back.append(_wait(lambda many=number + 1: _all_back(server, many)) - killed[-1][0])
            time.sleep(settle_s)
        young = (youngest(load.seen.answers, gone, COUNT_BOUND_S) for _, gone in killed)
        last = len({each.prediction_id for several in young for each in several})
        counted = _wait_for_count(server, len(load.seen.answers) - last)
    _judge_kills(found, load.seen, killed, digest)
    lacking = len(load.seen.answers) - counted
    uncounted = f"{lacking} answers are not counted, {last} is the most that a kill may cost"
    found.expect(lacking <= last, disk.why(uncounted, *(gone for _, gone in killed)))
    found.figures |= {"back after s (max)": round(max(back), 2), "not counted (last half second)": lacking}
    found.add_latencies(load.seen.answers)
    return found


def _killed(process: psutil.Process) -> tuple[float, float]:
    """Kill a process; return when that began, and when nothing was left of it."""
    began = time.monotonic()
    process.kill()
    psutil.wait_procs([process], timeout=BACK_WITHIN_S)
    return began, time.monotonic()


def _judge_kills(found: Finding, seen: Seen, killed: list[tuple[float, float]], digest: str) -> None:
    """Only what was in flight on the killed worker may fail: when it was sent counts, not when its loss was noticed."""
    for each in seen.failures:
        sent = each.lost if each.sent is None else each.sent
        by_a_kill = any(began <= each.lost and sent <= gone + DETECT_S for began, gone in killed)
        found.expect(by_a_kill, f"failed by itself: {each}, {killed}")
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
    """Return how many answers are counted once that is enough and does not grow any more, or long enough was waited."""
    counted, began = -1.0, time.monotonic()
    since = began
    while time.monotonic() - since < COUNTED_S or (counted < wanted and time.monotonic() - began < BACK_WITHIN_S):
        before, counted = counted, _counter(server, "lockgate_requests_total")
        since = time.monotonic() if counted > before else since
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
    with Beside(root / "beside") as disk, serving(world, "--workers", str(workers)) as server:
        found.expect(server.admin.put("/admin/routing/toy", json=body).status_code == 200, "routing was not taken")
        with Saturation(server.port, AMOUNTS) as load:
            _let_run(server, load_s)
            pids = [server.process.pid, *(each.pid for each in psutil.Process(server.process.pid).children())]
            dropped = _counter(server, "lockgate_log_dropped_rows_total")
            killed = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        server.stop(signal.SIGKILL)
    _judge_log(found, load.seen, killed, set(logged_ids(world.state)), disk)
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
        _let_answer(server)
    renewed = server.admin.post("/admin/routing/toy/lease", json={"sequence": 1})
    found.expect(renewed.status_code == 200, f"the lease could not be renewed: {renewed.text}")
    with Saturation(server.port, AMOUNTS) as after:
        _let_answer(server)
    for seen in (before.seen, after.seen):
        found.expect({each.status for each in seen.answers} == {200} and not seen.failures, "callers were failed")
    found.figures["answers by the champion alone, before the renewal"] = len(before.seen.answers)
    return before.seen, after.seen


def _let_run(server: Server, seconds: float) -> None:
    """Wait until so much time has passed in which callers were answered, counted as `youngest` counts it."""
    ran_s, counted = 0.0, _counter(server, "lockgate_requests_total")
    end = time.monotonic() + BACK_WITHIN_S
    while ran_s < seconds and time.monotonic() < end:
        time.sleep(PAUSE_S)
        before, counted = counted, _counter(server, "lockgate_requests_total")
        ran_s += PAUSE_S * (counted > before)


def _let_answer(server: Server) -> None:
    """Wait until enough was answered that every arm must have had its part."""
    wanted = _counter(server, "lockgate_requests_total") + ENOUGH
    _wait(lambda: _counter(server, "lockgate_requests_total") >= wanted)


def youngest(answers: Sequence[Answer], end: float, seconds: float) -> list[Answer]:
    """Return what each process answered in its last `seconds` before `end`, counted while it answered.

    What a server promises of the last half second it can keep only while it runs. A busy server answers every
    millisecond, so a pause of its answers is time in which the machine let it, or whoever asks it, do nothing.
    """
    found: list[Answer] = []
    ran: dict[str, tuple[float, float]] = {}  # by process: how long it ran since, and the answer looked at last
    for each in sorted(answers, key=lambda answer: answer.received, reverse=True):
        if each.received > end:
            continue
        process = each.prediction_id.rpartition("-")[0]
        ran_s, later = ran.get(process, (0.0, end))
        ran_s += min(later - each.received, PAUSE_S)
        ran[process] = ran_s, each.received
        if ran_s <= seconds:
            found.append(each)
    return found


def _judge_log(found: Finding, seen: Seen, killed: float, logged: set[str], disk: Beside) -> None:
    still_due = {each.prediction_id for each in youngest(seen.answers, killed, LOG_BOUND_S)}
    due = [each for each in seen.answers if each.received <= killed and each.prediction_id not in still_due]
    lost = [each for each in seen.answers if each.prediction_id not in logged]
    found.expect(len(due) > 100, f"only {len(due)} answers were due in the log")
    missing = [each for each in due if each.prediction_id not in logged]
    late = f"{len(missing)} answers older than {LOG_BOUND_S:g} s are not in the log"
    found.expect(not missing, disk.why(late, killed))
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
