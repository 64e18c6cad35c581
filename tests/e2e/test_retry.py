"""Retry in the Prefect UI: the stage that failed runs again, and those after it; none before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lockgate.core.ledger import Event
from tests.e2e.retrying import retry
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
MODEL = "toy-retry"


@contextmanager
def without_signing_key(stack: Stack) -> Iterator[None]:
    """Take the signing key away for the length of a block: packaging cannot go on."""
    key = stack.settings.signing_key
    away = key.rename(key.with_suffix(".away"))
    try:
        yield
    finally:
        away.rename(key)


@pytest.mark.soak
def test_retry_runs_the_failed_stage_and_those_after_it_only(stack: Stack) -> None:
    with without_signing_key(stack):
        stack.land(MODEL)
        opened = stack.await_open(MODEL, after=0)
        run = str(opened.payload["run"])
        failed = stack.await_end(str(opened.release))
        assert failed.payload["outcome"] == "failed"
        assert "signing key" in str(failed.payload["reason"])
        assert stack.await_state(run, "Failed", "Crashed") == "Failed"
    retry(stack, MODEL, run)
    ended = stack.await_end(str(opened.release), after=failed.seq)
    assert ended.payload["outcome"] == "promoted", ended.payload
    judged = Counter(str(row.payload["gate"]) for row in stack.rows(MODEL, Event.VERDICT))
    assert set(judged.values()) == {1}, f"a stage was measured twice: {judged}"
    assert stack.await_state(run, "Promoted") == "Promoted"
    stack.check(MODEL)
