"""Retry of a run, as a person presses it in the Prefect UI."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lockgate.core.ledger import Event
from tests.e2e.stack import RELEASED_WITHIN_S, STALLED_S, Stack

SETTLED = timedelta(seconds=5)
PRESSES = 3


def retry(stack: Stack, model: str, run: str) -> None:
    """Press Retry once the run's state has settled, and again where that was undone.

    Prefect reports a killed process twice, the second time up to five seconds later, on a machine that stands still
    later than that; a Retry between the two is undone by the second, and a person presses again.
    """
    for _ in range(PRESSES):
        over = stack.prefect.wait(
            run, lambda state: state.ended and datetime.now(UTC) - state.since > SETTLED, within_s=STALLED_S
        )
        seen = stack.last_seq(model)
        answer = stack.prefect.set_state(run, type="SCHEDULED", name="AwaitingRetry", message="Retry from the UI")
        assert answer == "ACCEPT", f"Retry of a run that is {over.name} was answered {answer}"
        if _goes_on(stack, model, run, seen):
            return
    pytest.fail(f"Retry was pressed {PRESSES} times, and run {run} did not go on\n{stack.story(model)}")


def _goes_on(stack: Stack, model: str, run: str, seen: int) -> bool:
    """Wait until a process of the run says on record that it goes on; tell whether one did before the run was over."""

    def entered() -> bool:
        rows = stack.rows(model, Event.RELEASE_RESUMED)
        return any(row.seq > seen and row.payload["run"] == run for row in rows)

    stack.prefect.wait(run, lambda state: entered() or state.ended, within_s=RELEASED_WITHIN_S)
    return entered()
