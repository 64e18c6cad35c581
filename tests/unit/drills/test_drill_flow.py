"""How a drill's run ends: each verdict a state of its own name, so that a failed drill never looks like a crash."""

from __future__ import annotations

import pytest

from tasks.drill import drill_state
from tests.unit.drills.ground import Drills, FakeProber, made


@pytest.mark.parametrize(
    ("drills", "kind", "name"),
    [
        (Drills(), "COMPLETED", "Passed"),
        (Drills(prober=FakeProber(lost=1)), "CANCELLED", "DrillFailed"),
        (Drills(production=made(rate=0)), "CANCELLED", "Inconclusive"),
    ],
    ids=["passed", "failed", "inconclusive"],
)
def test_the_state_is_named_by_the_verdict_and_says_why_and_what_next(drills: Drills, kind: str, name: str) -> None:
    result = drills.drill()
    state = drill_state(result)
    assert (state.type.value, state.name) == (kind, name)
    assert result.reason in str(state.message)
    assert "Next: " in str(state.message)
