"""`lockgate drill`: what it waits for, what it shows, and what its exit code says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.cli.drill_command import await_result, show_history, show_result
from lockgate.cli.surface import Surface
from lockgate.errors import BadInput, NotRunning, TransientError
from lockgate.line.drilling import drill_page
from lockgate.ports import RunState
from tests.unit.drills.ground import Drills, FakeProber, made
from tests.unit.rollout.world import MODEL

NOW = datetime.now(UTC)


def parts(drills: Drills, state: str = "COMPLETED") -> Any:
    def wait(run: str, until: Callable[[RunState], bool], *, within_s: float) -> RunState:
        now = RunState(type=state, name=state.title(), since=NOW)
        if not until(now):
            raise TransientError(f"run {run} is still {now.name} after {within_s:.0f} s")
        return now

    def run(_run: str) -> dict[str, Any]:
        return {"state": {"message": "no guardrail watches for it"}}

    return SimpleNamespace(ledger=drills.production.ledger, runs=SimpleNamespace(wait=wait, run=run))


@pytest.mark.parametrize(
    ("drills", "code", "told"),
    [
        (Drills, 0, "passed"),
        (lambda: Drills(prober=FakeProber(lost=3)), 3, "3 requests were lost"),
        (lambda: Drills(production=made(rate=0)), 6, "no traffic"),
    ],
)
def test_the_exit_code_says_how_the_drill_ended(
    drills: Callable[[], Drills], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ground = drills()
    ground.drill()
    row = await_result(parts(ground), MODEL, "run-7")
    assert show_result(Surface("drill", as_json=True), MODEL, row) == code
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["model"], shown["drill"]) == ("lockgate.drill/1", "toy", "toy-drill-0001")
    assert told in f"{shown['verdict']}: {shown['reason']}"


def test_a_run_that_no_worker_takes_up_is_something_not_running() -> None:
    with pytest.raises(NotRunning, match="no worker") as failed:
        await_result(parts(Drills(), state="SCHEDULED"), MODEL, "run-7")
    assert failed.value.exit_code == 7


def test_a_run_that_ended_without_a_drill_says_why_and_another_runs_drill_is_not_taken_for_it() -> None:
    drills = Drills()
    drills.drill()
    with pytest.raises(BadInput, match="no guardrail watches for it"):
        await_result(parts(drills), MODEL, "run-8")


def test_history_shows_every_drill_and_says_when_there_was_none(capsys: pytest.CaptureFixture[str]) -> None:
    drills = Drills()
    assert show_history(Surface("drill"), parts(drills), MODEL) == 0
    assert "was never drilled" in capsys.readouterr().out
    drills.drill()
    drills.prober.lost = 1
    drills.drill()
    show_history(Surface("drill", as_json=True), parts(drills), MODEL)
    assert [each["verdict"] for each in json.loads(capsys.readouterr().out)["drills"]] == ["passed", "failed"]
    show_history(Surface("drill"), parts(drills), MODEL)
    shown = capsys.readouterr().out
    assert "toy-drill-0001" in shown
    assert "1 request was lost" in shown


def test_the_page_of_a_run_tells_what_was_reached_and_what_was_not() -> None:
    page = drill_page("toy", Drills(production=made(rate=50)).drill())
    assert "# toy-drill-0001: failed" in page
    assert "| seen by a guardrail | not reached |" in page
    assert "| server acknowledged the champion alone | 2" in page
