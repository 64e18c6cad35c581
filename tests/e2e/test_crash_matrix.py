"""`make soak`: SIGKILL at each of the eleven stages and of every part of the stack; results in docs/results/."""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from lockgate.core.ledger import Event, LedgerRow
from tests.e2e.crashes import APPROVED, MODEL, STAGES, Crash, Moment, crash
from tests.e2e.stack import STALLED_S, Stack
from tests.e2e.toy_project import CHECKOUT

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]
_MINUTE_S = 60.0
Kill = Callable[[Stack, LedgerRow], object]


def flow_process(stack: Stack, opened: LedgerRow) -> None:
    """The process that carries the release."""
    stack.kill_run(str(opened.payload["run"]), MODEL)


def rollout_process(stack: Stack, opened: LedgerRow) -> None:
    """The process that switches production, between its intent and its proof."""
    with half_switched(stack, opened):
        runs = stack.prefect.flow_runs({"flows": {"name": {"any_": ["roll-out-model"]}}}, limit=5)
        mine = [run for run in runs if run["parameters"]["release"] == opened.release]
        processes = [process for run in mine for process in stack.processes_of(str(run["id"]))]
        assert processes, "the rollout was over before it could be killed"
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)


def production_server(stack: Stack, opened: LedgerRow) -> None:
    """The production server, between the intent to switch it and the proof."""
    with half_switched(stack, opened):
        before = stack.kill("production")
    stack.await_back(before)


@contextmanager
def half_switched(stack: Stack, opened: LedgerRow) -> Iterator[None]:
    """Hold production still, so that a switch is begun and not proved, for the length of a block."""
    production: Any = stack.part("production").identity
    os.kill(production.pid, signal.SIGSTOP)
    try:
        stack.await_row(MODEL, Event.TRAFFIC_INTENDED, after=opened.seq, within_s=STALLED_S, environment="production")
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(production.pid, signal.SIGCONT)


def part(name: str) -> Kill:
    """A process of the stack."""

    def kill(stack: Stack, _: LedgerRow) -> None:
        stack.await_back(stack.kill(name))

    return kill


def worker_and_flow(stack: Stack, opened: LedgerRow) -> None:
    """The worker first, so that nobody is left to report the flow's death."""
    before = stack.kill("worker")
    flow_process(stack, opened)
    stack.await_back(before)


def mlflow_for_a_minute(stack: Stack, _: LedgerRow) -> None:
    """MLflow hangs for a minute, as on a stalled disk."""
    identity: Any = stack.part("mlflow").identity
    os.kill(identity.pid, signal.SIGSTOP)
    time.sleep(_MINUTE_S)
    os.kill(identity.pid, signal.SIGCONT)


CASES: dict[str, tuple[Moment, Kill]] = {
    **{f"flow process during {stage}": (moment, flow_process) for stage, moment in STAGES.items()},
    "rollout process during the switch": (APPROVED, rollout_process),
    "worker during train_model": (STAGES["train_model"], part("worker")),
    "worker during promote": (STAGES["promote"], part("worker")),
    "worker and flow process during stress_test": (STAGES["stress_test"], worker_and_flow),
    "Prefect server during train_model": (STAGES["train_model"], part("prefect")),
    "Prefect server during promote": (STAGES["promote"], part("prefect")),
    "MLflow during register_model": (STAGES["register_model"], part("mlflow")),
    "MLflow hangs a minute from register_model": (STAGES["register_model"], mlflow_for_a_minute),
    "staging server during deploy_staging": (STAGES["deploy_staging"], part("staging")),
    "watcher during train_model": (STAGES["train_model"], part("watcher")),
    "production server during stress_test": (STAGES["stress_test"], part("production")),
    "production server during the switch": (APPROVED, production_server),
}


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Crash]]:
    """What became of each crash; written down when the last is done."""
    found: dict[str, Crash] = {}
    yield found
    now = datetime.now(UTC)
    target = CHECKOUT / "docs" / "results" / f"{now:%Y-%m-%d}-crashes.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_page(now, found))


@pytest.mark.parametrize("case", CASES)
def test_a_crash_ends_well(stack: Stack, results: dict[str, Crash], case: str) -> None:
    moment, kill = CASES[case]
    hit = crash(stack, moment, lambda opened: kill(stack, opened))
    results[case] = hit
    assert hit.outcome == "promoted"
    if "production" not in case:
        assert hit.production.failures == []
    promotions = stack.rows(MODEL, Event.TRAFFIC_VERIFIED, release=hit.release)
    assert sum(row.payload["environment"] == "production" for row in promotions) == 1
    stack.await_no_strays()


def _page(now: datetime, found: dict[str, Crash]) -> str:
    lines = [
        f"# Crashes, {now:%Y-%m-%d %H:%M} UTC",
        "",
        f"`make soak` (`tests/e2e/test_crash_matrix.py`), {os.cpu_count()} cores, {platform.platform()},",
        f"load average {os.getloadavg()[2]:.1f}.",
        "",
        "SIGKILL while a release runs on a whole stack of its own. In every row: the",
        "ledger's chain whole, one promotion a release, both servers route what the ledger says, no process left.",
        "",
        "| killed | run then | retried | release ended | seconds to the end | production: answers, missed |",
        "|---|---|---|---|---|---|",
    ]
    for case, hit in found.items():
        asked = hit.production
        lines.append(
            f"| {case} | {hit.state or 'went on'} | {'yes' if hit.retried else 'no'} | {hit.outcome} "
            f"| {hit.seconds:.0f} | {len(asked.answers)}, {len(asked.failures)} |"
        )
    left = [case for case in CASES if case not in found]
    return "\n".join([*lines, "", *(f"- not finished: {case}" for case in left)]).rstrip() + "\n"
