"""A release whose run died while its rollout, a run of its own, went on; and a rollout that died itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event, Outcome
from lockgate.core.progress import Progress
from lockgate.errors import TransientError
from lockgate.line.model_line import Line
from lockgate.line.rollout import hand_over
from lockgate.ports import RunState
from lockgate.stages.releasing import end_release, note_promotion, open_release
from tests.fakes import FakeLedger
from tests.release_fakes import LONG_AGO, FakeFlowRuns, start, toy_spec

SPEC = toy_spec()
RELEASE = ReleaseId("toy-0001")
BUNDLE = Digest("b" * 64)
CHANGE: dict[str, Json] = {"environment": "production", "from": None, "to": BUNDLE, "why": "x", "kind": "promotion"}


@pytest.fixture
def ledger() -> FakeLedger:
    opened = FakeLedger()
    open_release(opened, FakeFlowRuns(), SPEC, start())
    return opened


def intend(ledger: FakeLedger) -> int:
    return ledger.append(SPEC.name, Event.TRAFFIC_INTENDED, CHANGE, release=RELEASE).seq


def promote(ledger: FakeLedger) -> None:
    sequence = intend(ledger)
    ledger.append(SPEC.name, Event.TRAFFIC_VERIFIED, {**CHANGE, "sequence": sequence, "answers": 5}, release=RELEASE)


def outcome(ledger: FakeLedger) -> Outcome:
    return ledger.state(SPEC.name).outcomes[RELEASE]


def test_a_run_that_crashes_after_its_rollout_was_verified_ended_as_promoted(ledger: FakeLedger) -> None:
    promote(ledger)
    row = end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed")
    assert row is not None
    assert "Crashed: killed" in str(row.payload["reason"])
    assert outcome(ledger) is Outcome.PROMOTED


def test_of_two_that_end_a_release_at_once_one_writes(ledger: FakeLedger) -> None:
    def meanwhile(event: Event) -> None:
        ledger.before_append = None
        if event is Event.RELEASE_ENDED:
            end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed", actor="run hook")

    ledger.before_append = meanwhile
    assert end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "its run ended as Crashed", actor="reaper") is None
    assert [row.actor for row in ledger.rows(SPEC.name, events=(Event.RELEASE_ENDED,))] == ["run hook"]


def test_a_rollout_that_is_verified_after_its_releases_run_crashed_has_the_later_word(ledger: FakeLedger) -> None:
    end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed")
    promote(ledger)
    assert note_promotion(ledger, SPEC, RELEASE, actor="roll-out-model") is not None
    assert outcome(ledger) is Outcome.PROMOTED
    assert note_promotion(ledger, SPEC, RELEASE, actor="roll-out-model") is None


def test_a_rollout_of_a_release_that_is_open_or_does_not_serve_ends_nothing(ledger: FakeLedger) -> None:
    promote(ledger)
    assert note_promotion(ledger, SPEC, RELEASE, actor="roll-out-model") is None
    other = FakeLedger()
    open_release(other, FakeFlowRuns(), SPEC, start())
    end_release(other, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed")
    assert note_promotion(other, SPEC, RELEASE, actor="roll-out-model") is None
    assert outcome(other) is Outcome.FAILED


@dataclass
class FakeRollouts:
    """Rollout runs by idempotency key, each with how it ends and what it does to the ledger first."""

    ends: list[tuple[str, Callable[[], object]]]
    keys: list[str] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)

    def start_run(self, deployment: str, parameters: Mapping[str, Json], *, idempotency_key: str) -> str:
        assert (deployment, parameters["release"]) == ("roll-out-model/production", RELEASE)
        if idempotency_key not in self.keys:
            self.keys.append(idempotency_key)
        return idempotency_key

    def wait(self, run: str, until: Callable[[RunState], bool], *, within_s: float) -> RunState:
        assert within_s > 0
        type_, act = self.ends[self.keys.index(run)]
        act()
        state = RunState(type=type_, name=type_.title(), since=LONG_AGO)
        assert until(state)
        return state

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002, ARG002 - the port's words
        self.ended.append((run, type))


def line(tmp_path: Path, ledger: FakeLedger, rollouts: FakeRollouts) -> Line:
    services = Services(load_settings({"LOCKGATE_HOME": str(tmp_path), "LOCKGATE_PROJECT": str(tmp_path)}))
    vars(services).update(ledger=ledger, runs=rollouts)
    return Line(services=services, spec=SPEC)


def so_far() -> Progress:
    refs = {"bundle": str(BUNDLE)}
    return Progress(model=SPEC.name, release=RELEASE, run="run-1", spec=SPEC.digest, code=Digest("c" * 64), refs=refs)


def test_a_rollout_that_crashed_is_started_again_and_finishes(tmp_path: Path, ledger: FakeLedger) -> None:
    rollouts = FakeRollouts([("CRASHED", lambda: None), ("COMPLETED", lambda: promote(ledger))])
    ended = hand_over(line(tmp_path, ledger, rollouts), so_far())
    assert ended.ended is Outcome.PROMOTED
    assert len(rollouts.keys) == 2


def test_a_rollout_whose_worker_died_before_it_began_is_ended_and_another_is_started(
    tmp_path: Path, ledger: FakeLedger
) -> None:
    rollouts = FakeRollouts([("PENDING", lambda: None), ("COMPLETED", lambda: promote(ledger))])
    ended = hand_over(line(tmp_path, ledger, rollouts), so_far())
    assert ended.ended is Outcome.PROMOTED
    assert rollouts.ended == [(rollouts.keys[0], "CRASHED")]


def test_a_rollout_that_ended_undone_is_not_started_again(tmp_path: Path, ledger: FakeLedger) -> None:
    rollouts = FakeRollouts([("FAILED", lambda: None)])
    ended = hand_over(line(tmp_path, ledger, rollouts), so_far())
    assert ended.ended is Outcome.ROLLED_BACK
    assert len(rollouts.keys) == 1


def test_a_rollout_left_half_done_is_no_end_and_is_asked_for_again(tmp_path: Path, ledger: FakeLedger) -> None:
    intend(ledger)
    rollouts = FakeRollouts([("CRASHED", lambda: None)] * 3)
    with pytest.raises(TransientError, match="half done"):
        hand_over(line(tmp_path, ledger, rollouts), so_far())
