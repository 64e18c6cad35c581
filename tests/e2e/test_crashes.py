"""Whatever dies, whenever: the release goes on or is retried, nothing is promoted twice, production answers.

One more is on the way of `test_release.py`; the whole matrix is `test_crash_matrix.py`.
"""

from __future__ import annotations

import pytest

from tests.e2e.crashes import MODEL, STAGES, crash
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(600)]


@pytest.mark.parametrize("stage", ["train_model", "promote"])
def test_a_flow_process_that_is_killed_is_retried_to_its_end(stack: Stack, stage: str) -> None:
    hit = crash(stack, STAGES[stage], lambda opened: stack.kill_run(str(opened.payload["run"]), MODEL))
    assert (hit.state, hit.retried, hit.outcome) == ("Crashed", True, "promoted")
    assert hit.production.failures == []
    stack.await_no_strays()


def test_a_release_outlives_the_prefect_server(stack: Stack) -> None:
    def kill(_: object) -> None:
        stack.await_back(stack.kill("prefect"))

    hit = crash(stack, STAGES["train_model"], kill)
    assert hit.outcome == "promoted"
    assert hit.production.failures == []
    stack.await_no_strays()
