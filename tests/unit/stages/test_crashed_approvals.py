"""A run that dies around its approval and is retried: the question stands as it was asked, and so does its expiry."""

from __future__ import annotations

import pytest

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, Outcome
from lockgate.stages.releasing import end_release, enter_release, open_release
from tests.fakes import FakeLedger
from tests.release_fakes import FakeFlowRuns, start, toy_spec

SPEC = toy_spec()
RELEASE = ReleaseId("toy-0001")
EXPIRES = "2013-03-04T12:00:00+00:00"
ASKED: dict[str, Json] = {
    "blessing": "b" * 64,
    "dossier": "d" * 64,
    "champion": None,
    "expires_at": EXPIRES,
    "run": "r",
}


@pytest.fixture
def ledger() -> FakeLedger:
    """A release that waits for its approval."""
    asked = FakeLedger()
    open_release(asked, FakeFlowRuns(), SPEC, start())
    asked.append(SPEC.name, Event.APPROVAL_ASKED, ASKED, release=RELEASE)
    return asked


def crash_and_retry(ledger: FakeLedger) -> None:
    end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed")
    assert ledger.state(SPEC.name).open is None
    assert enter_release(ledger, SPEC, start()) is None


def test_a_question_that_was_asked_before_a_crash_still_waits_after_the_retry(ledger: FakeLedger) -> None:
    before = ledger.state(SPEC.name).open
    crash_and_retry(ledger)
    after = ledger.state(SPEC.name).open
    assert after == before
    assert after is not None
    assert (after.waiting, after.expires_at and after.expires_at.isoformat()) == (True, EXPIRES)


def test_an_answer_that_was_recorded_before_a_crash_is_not_waited_for_again(ledger: FakeLedger) -> None:
    given: dict[str, Json] = {
        "approver": "ada",
        "reason": "",
        "checklist": [],
        "blessing": "b" * 64,
        "dossier": "d" * 64,
    }
    ledger.append(SPEC.name, Event.APPROVAL_GIVEN, given, release=RELEASE, actor="ada")
    crash_and_retry(ledger)
    after = ledger.state(SPEC.name).open
    assert after is not None
    assert not after.waiting


def test_the_next_release_knows_nothing_of_it(ledger: FakeLedger) -> None:
    end_release(ledger, SPEC, RELEASE, Outcome.FAILED, "Crashed: killed")
    open_release(ledger, FakeFlowRuns(), SPEC, start("run-2"))
    after = ledger.state(SPEC.name).open
    assert after is not None
    assert (after.release, after.waiting, after.expires_at) == ("toy-0002", False, None)
