"""The reaper acts only on what it can prove."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, Outcome
from lockgate.stages.reaping import Reaped, reap
from lockgate.stages.releasing import open_release
from tests.fakes import FakeClock, FakeLedger, FakeNotifier
from tests.release_fakes import FakeFlowRuns, start, toy_spec

SPEC = toy_spec()
TOY = ModelName("toy")


class Line:
    """A model with one open release, and a reaper looking at it."""

    def __init__(self) -> None:
        self.clock, self.runs, self.notifier = FakeClock(), FakeFlowRuns(), FakeNotifier()
        self.ledger = FakeLedger(clock=self.clock)
        self.release = open_release(self.ledger, self.runs, SPEC, start()).release

    def wait_for_approval(self) -> None:
        expires = (self.clock.now() + timedelta(seconds=SPEC.approval.timeout_s)).isoformat()
        payload: dict[str, Json] = {"blessing": "b", "dossier": "d", "champion": None, "expires_at": expires}
        self.ledger.append(TOY, Event.APPROVAL_ASKED, payload, release=self.release)
        self.runs.put("run-1", "PAUSED", "Suspended")

    def reap(self, *, alive: bool | None = True) -> Reaped | None:
        def lives(_: Mapping[str, Json]) -> bool | None:
            return alive

        return reap(self.ledger, self.runs, self.clock, self.notifier, SPEC, lives=lives)

    @property
    def outcome(self) -> Outcome | None:
        return self.ledger.state(TOY).outcomes.get(self.release)


def test_a_healthy_run_is_left_alone() -> None:
    line = Line()
    line.runs.put("run-1", "RUNNING")
    assert line.reap() is None
    assert line.outcome is None


def test_a_run_whose_process_is_gone_ends_as_crashed_and_its_release_as_failed() -> None:
    line = Line()
    line.runs.put("run-1", "RUNNING")
    assert line.reap(alive=False) is not None
    assert line.runs.states["run-1"].type == "CRASHED"
    assert line.outcome is Outcome.FAILED


def test_a_run_that_has_just_begun_again_is_given_time_to_sign_in() -> None:
    line = Line()
    line.runs.put("run-1", "RUNNING", since=line.clock.now())
    assert line.reap(alive=False) is None


def test_a_run_that_was_taken_and_never_began_ends_as_crashed_so_that_it_can_be_retried() -> None:
    line = Line()
    line.runs.put("run-1", "PENDING", since=line.clock.now())
    assert line.reap() is None
    line.clock.advance(61)
    assert line.reap() is not None
    assert line.runs.states["run-1"].type == "CRASHED"
    assert line.outcome is Outcome.FAILED


def test_a_process_that_cannot_be_seen_from_here_is_left_to_the_orchestrator() -> None:
    line = Line()
    line.runs.put("run-1", "RUNNING")
    assert line.reap(alive=None) is None


@pytest.mark.parametrize("state", ["CRASHED", "FAILED", "CANCELLED"])
def test_a_release_does_not_stay_open_after_its_run(state: str) -> None:
    line = Line()
    line.runs.put("run-1", state)
    line.reap()
    assert line.outcome is Outcome.FAILED


def test_an_overdue_approval_ends_as_expired_in_the_ledger_and_in_the_run() -> None:
    line = Line()
    line.wait_for_approval()
    line.clock.advance(SPEC.approval.timeout_s + 1)
    line.reap()
    assert line.outcome is Outcome.EXPIRED
    assert (line.runs.states["run-1"].type, line.runs.states["run-1"].name) == ("CANCELLED", "Expired")


def test_the_approvers_are_reminded_once_before_it_expires() -> None:
    line = Line()
    line.wait_for_approval()
    line.clock.advance(SPEC.approval.timeout_s - SPEC.approval.remind_before_s + 1)
    for _ in range(3):
        line.reap()
    assert len(line.notifier.sent) == 1
    assert line.outcome is None


def test_a_suspended_run_is_not_mistaken_for_a_dead_one() -> None:
    line = Line()
    line.wait_for_approval()
    assert line.reap(alive=False) is None
