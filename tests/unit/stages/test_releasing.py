"""Who may be open, what supersedes what, and on which code a release may go on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.core.ids import ModelName, ReleaseId
from lockgate.core.ledger import Event, Outcome
from lockgate.core.spec import SplitSection
from lockgate.errors import TransientError
from lockgate.stages.releasing import end_release, enter_release, open_release
from tests.fakes import FakeLedger
from tests.release_fakes import FakeFlowRuns, start, toy_spec

SPEC = toy_spec()
TOY = ModelName("toy")


def landed(ledger: FakeLedger, sha: str = "f" * 64) -> None:
    ledger.append(TOY, Event.BATCH_INGESTED, {"sha256": sha, "name": "f.parquet", "rows": 9, "table_version": 0})


def ask_approval(ledger: FakeLedger, release: ReleaseId) -> None:
    asked = {"blessing": "b", "dossier": "d", "champion": None, "expires_at": "2013-04-01T00:00:00+00:00"}
    ledger.append(TOY, Event.APPROVAL_ASKED, asked, release=release)


def test_the_first_release_of_a_model_is_number_one() -> None:
    ledger = FakeLedger()
    assert open_release(ledger, FakeFlowRuns(), SPEC, start()).release == "toy-0001"
    assert ledger.state(TOY).open is not None


def test_a_run_opens_its_release_once_however_often_it_asks() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    assert open_release(ledger, FakeFlowRuns(), SPEC, start()) == first
    assert len(ledger.rows(TOY, events=(Event.RELEASE_OPENED,))) == 1


@pytest.mark.parametrize("reason", ["new data", "schedule"])
def test_a_trigger_without_new_data_opens_nothing(reason: str) -> None:
    ledger = FakeLedger()
    nothing = open_release(ledger, FakeFlowRuns(), SPEC, start(reason=reason))
    assert nothing.release == ""
    assert nothing.ended is Outcome.SUPERSEDED
    assert ledger.rows(TOY) == ()


def test_a_trigger_after_new_data_opens_a_release() -> None:
    ledger = FakeLedger()
    landed(ledger)
    assert open_release(ledger, FakeFlowRuns(), SPEC, start(reason="new data")).release == "toy-0001"


def test_a_quarantined_batch_opens_a_release_so_that_the_gate_can_say_why() -> None:
    ledger = FakeLedger()
    ledger.append(TOY, Event.BATCH_QUARANTINED, {"sha256": "a" * 64, "name": "bad", "reason": "no Parquet"})
    assert open_release(ledger, FakeFlowRuns(), SPEC, start(reason="new data")).release == "toy-0001"


def test_a_newer_batch_supersedes_a_release_that_waits_for_approval() -> None:
    ledger, runs = FakeLedger(), FakeFlowRuns()
    first = open_release(ledger, runs, SPEC, start("run-1"))
    runs.put("run-1", "PAUSED", "Suspended")
    ask_approval(ledger, first.release)
    landed(ledger)
    second = open_release(ledger, runs, SPEC, start("run-2", "new data"))
    assert second.release == "toy-0002"
    assert ledger.state(TOY).outcomes[first.release] is Outcome.SUPERSEDED
    assert runs.states["run-1"].name == "Superseded"


def test_without_a_newer_batch_a_waiting_release_stays_and_the_new_one_says_so() -> None:
    ledger, runs = FakeLedger(), FakeFlowRuns()
    first = open_release(ledger, runs, SPEC, start("run-1"))
    runs.put("run-1", "PAUSED", "Suspended")
    ask_approval(ledger, first.release)
    second = open_release(ledger, runs, SPEC, start("run-2"))
    assert second.release == ""
    assert first.release in second.reason
    held = ledger.state(TOY).open
    assert held is not None
    assert held.release == first.release


def test_a_release_that_runs_is_waited_for_even_when_newer_data_landed() -> None:
    ledger, runs = FakeLedger(), FakeFlowRuns()
    open_release(ledger, runs, SPEC, start("run-1"))
    runs.put("run-1", "RUNNING")
    landed(ledger)
    with pytest.raises(TransientError, match="waits its turn"):
        open_release(ledger, runs, SPEC, start("run-2", "new data"))


def test_a_release_whose_run_crashed_does_not_block_the_next_one() -> None:
    ledger, runs = FakeLedger(), FakeFlowRuns()
    first = open_release(ledger, runs, SPEC, start("run-1"))
    runs.put("run-1", "CRASHED")
    assert open_release(ledger, runs, SPEC, start("run-2")).release == "toy-0002"
    assert ledger.state(TOY).outcomes[first.release] is Outcome.FAILED


def test_a_retry_reopens_a_failed_release_on_the_same_code() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    end_release(ledger, SPEC, first.release, Outcome.FAILED, "the disk was full")
    assert enter_release(ledger, SPEC, start()) is None
    held = ledger.state(TOY).open
    assert held is not None
    assert held.release == first.release
    assert first.release not in ledger.state(TOY).outcomes


@pytest.mark.parametrize("changed", ["code", "spec"])
def test_a_release_does_not_go_on_when_its_code_or_spec_changed(changed: str) -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    spec = replace(SPEC, split=SplitSection(holdout_days=30)) if changed == "spec" else SPEC
    void = enter_release(ledger, spec, start(code="d" * 64) if changed == "code" else start())
    assert void is not None
    assert void.ended is Outcome.EXPIRED
    assert f"the {changed} changed" in void.reason
    assert ledger.state(TOY).outcomes[first.release] is Outcome.EXPIRED


def test_a_release_that_ended_for_good_is_not_entered_again() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    end_release(ledger, SPEC, first.release, Outcome.REJECTED, "no")
    void = enter_release(ledger, SPEC, start())
    assert void is not None
    assert void.ended is Outcome.REJECTED


def test_a_retry_waits_behind_a_release_that_was_opened_since() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start("run-1"))
    end_release(ledger, SPEC, first.release, Outcome.FAILED, "crash")
    second = open_release(ledger, FakeFlowRuns(), SPEC, start("run-2"))
    void = enter_release(ledger, SPEC, start("run-1"))
    assert void is not None
    assert second.release in void.reason


def test_a_release_ends_once_and_the_first_word_stands() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    assert end_release(ledger, SPEC, first.release, Outcome.BLOCKED, "floor") is not None
    assert end_release(ledger, SPEC, first.release, Outcome.FAILED, "crash") is None
    assert ledger.state(TOY).outcomes[first.release] is Outcome.BLOCKED


def test_entering_after_the_approval_was_asked_forgets_neither_the_wait_nor_the_expiry() -> None:
    ledger = FakeLedger()
    first = open_release(ledger, FakeFlowRuns(), SPEC, start())
    ask_approval(ledger, first.release)
    assert enter_release(ledger, SPEC, start()) is None
    held = ledger.state(TOY).open
    assert held is not None
    assert held.waiting
    assert held.expires_at is not None
