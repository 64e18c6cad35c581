"""The process that carries a live rollout dies: its lease ends, the champion answers alone, the release ends on record.

    kill -9 once           the run is started again and takes the rollout over: promoted
    kill -9 every time     nobody takes it over any more: the reaper ends it, inconclusive
    cancelled in Prefect   the release, or its rollout: taken back, rolled back on record

Each leaves the times that were seen in `times.txt` of its folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lockgate.core.ledger import Event, LedgerRow
from tests.e2e.polling import Poller, polling
from tests.e2e.stack import RELEASED_WITHIN_S, STALLED_S, Stack, await_it

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]
MODEL = "toy-killed"
LEASE_S = 10.0
_HALF_A_TURN_S = 1.0  # a look at the server's clock and a request's way


@pytest.fixture(scope="module")
def champion(stack: Stack) -> str:
    """The first champion of the model."""
    stack.land(MODEL)
    opened = stack.await_open(MODEL, after=0)
    assert stack.await_end(str(opened.release)).payload["outcome"] == "promoted"
    return str(stack.state(MODEL).champion)


def kill(stack: Stack, run: str) -> float:
    """End every process of a run with SIGKILL; returns when, seconds since the epoch."""
    processes = stack.processes_of(run)
    assert processes, f"no process of run {run} is alive"
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    return time.time()


def in_force(stack: Stack, *, after: int, within_s: float = RELEASED_WITHIN_S) -> LedgerRow:
    """Wait until half of the entities are verified to meet the challenger."""
    return stack.await_row(MODEL, Event.ROUTING_VERIFIED, after=after, within_s=within_s, weight=0.5)


def looked(stack: Stack, *, after: int, within_s: float = RELEASED_WITHIN_S) -> LedgerRow:
    """Wait for a look at the rollout: whoever took it over within its lease finds its routing in force."""
    return stack.await_row(MODEL, Event.ROLLOUT_LOOK, after=after, within_s=within_s)


def last_of_the_challenger(seen: Poller, champion: str, since: float, until: float) -> float:
    """Return how long after a moment the challenger answered last; minus infinity where it never did."""
    times = [at for at, who in zip(seen.asked_at, seen.answers, strict=True) if since < at < until and who != champion]
    return max(times, default=float("-inf")) - since


def alone(seen: Poller, champion: str, since: float, until: float) -> None:
    """Check that nobody but the champion answered once the lease had ended, and that it answered."""
    told = last_of_the_challenger(seen, champion, since, until)
    assert told <= LEASE_S + _HALF_A_TURN_S, f"the challenger answered {told:.1f} s after its controller had died"
    assert seen.failures == []


def note(folder: Path, lines: Sequence[str]) -> None:
    """Leave the times that were seen beside the test's other files."""
    (folder / "times.txt").write_text("\n".join(lines) + "\n")


def test_a_rollout_whose_process_is_killed_is_taken_over_and_ends_on_record(
    stack: Stack, champion: str, tmp_path: Path
) -> None:
    seen_to = stack.last_seq(MODEL)
    with polling(stack, MODEL) as seen:
        stack.land(MODEL)
        placed = in_force(stack, after=seen_to)
        begun = stack.await_row(MODEL, Event.ROLLOUT_BEGUN, after=seen_to)
        time.sleep(4.0)  # a few looks: both answer
        killed = kill(stack, str(begun.payload["run"]))
        again = looked(stack, after=stack.last_seq(MODEL))
        ended = stack.await_end(str(begun.release))
    back = again.at.timestamp()
    alone(seen, champion, killed, back)
    assert last_of_the_challenger(seen, champion, placed.at.timestamp(), killed) > 0, "it never met anybody before"
    assert ended.payload["outcome"] == "promoted", ended.payload
    told = last_of_the_challenger(seen, champion, killed, back)
    note(tmp_path, [f"champion alone after {told:.1f} s", f"taken over after {back - killed:.1f} s"])
    stack.check(MODEL)
    said = stack.cli("verify", "--model", MODEL, "--json")
    assert (said.code, said.json["findings"]) == (0, [])


def test_a_rollout_whose_process_is_killed_every_time_leaves_the_champion_alone_and_the_reaper_ends_it(
    stack: Stack, tmp_path: Path
) -> None:
    now, seen_to = str(stack.state(MODEL).champion), stack.last_seq(MODEL)
    killed: list[float] = []
    with polling(stack, MODEL) as seen:
        stack.land(MODEL)
        begun = stack.await_row(MODEL, Event.ROLLOUT_BEGUN, after=seen_to)
        release, placed = str(begun.release), begun.seq
        for _ in range(3):
            looked(stack, after=placed)
            run = await_it(lambda: running(stack, release), STALLED_S, lambda: f"no living run of {release}")
            killed.append(kill(stack, run))
            placed = stack.last_seq(MODEL)
        ended = stack.await_row(MODEL, Event.ROLLOUT_ENDED, after=placed, within_s=300.0)
    alone(seen, now, killed[-1], ended.at.timestamp())
    assert ended.payload["verdict"] == "inconclusive", ended.payload
    assert stack.await_end(release).payload["outcome"] == "inconclusive"
    assert str(stack.state(MODEL).champion) == now
    told = last_of_the_challenger(seen, now, killed[-1], ended.at.timestamp())
    note(tmp_path, [f"champion alone after {told:.1f} s", f"ended after {ended.at.timestamp() - killed[-1]:.1f} s"])
    stack.check(MODEL)
    said = stack.cli("verify", "--model", MODEL, "--json")
    assert (said.code, said.json["findings"]) == (0, [])


def running(stack: Stack, release: str) -> str | None:
    """Return the run of a rollout whose process lives."""
    runs = stack.prefect.flow_runs({"flows": {"name": {"any_": ["roll-out-model"]}}}, limit=10)
    mine = (str(run["id"]) for run in runs if run["parameters"]["release"] == release)
    return next((run for run in mine if stack.processes_of(run)), None)


def cancel(stack: Stack, run: str) -> float:
    """Press Cancel, as the Prefect UI does; returns when, seconds since the epoch."""
    answer = stack.prefect.set_state(run, type="CANCELLING", name="Cancelling", message="Cancelled from the UI")
    assert answer == "ACCEPT"
    return time.time()


@pytest.mark.usefixtures("champion")
@pytest.mark.parametrize("whose", ["release", "rollout"])
def test_cancelling_a_run_in_prefect_takes_its_rollout_back(stack: Stack, whose: str, tmp_path: Path) -> None:
    now, seen_to = str(stack.state(MODEL).champion), stack.last_seq(MODEL)
    with polling(stack, MODEL) as seen:
        stack.land(MODEL)
        opened = stack.await_open(MODEL, after=seen_to)
        placed = in_force(stack, after=opened.seq)
        begun = stack.await_row(MODEL, Event.ROLLOUT_BEGUN, after=opened.seq)
        pressed = cancel(stack, str((opened if whose == "release" else begun).payload["run"]))
        ended = stack.await_row(MODEL, Event.ROLLOUT_ENDED, after=placed.seq, within_s=180.0)
        time.sleep(3.0)
    assert ended.payload["verdict"] == "roll_back", ended.payload
    assert "was cancelled" in str(ended.payload["reason"])
    alone(seen, now, min(pressed + LEASE_S, ended.at.timestamp()), time.time())
    assert stack.await_end(str(opened.release)).payload["outcome"] in ("failed", "rolled_back", "inconclusive")
    assert str(stack.state(MODEL).champion) == now
    told = last_of_the_challenger(seen, now, pressed, time.time())
    note(tmp_path, [f"champion alone after {told:.1f} s", f"ended after {ended.at.timestamp() - pressed:.1f} s"])
    stack.check(MODEL)
