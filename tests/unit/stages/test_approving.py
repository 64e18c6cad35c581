"""What an approval is bound to, and what makes it void."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lockgate.core.blessing import Blessing, Subjects, bless
from lockgate.core.ids import Digest, ModelName, ReleaseId, Stage
from lockgate.core.ledger import Event, Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import BadInput
from lockgate.stages.approving import Answer, Question, ask, decide, refuse_answer
from lockgate.stages.releasing import open_release
from tests.fakes import FakeClock, FakeLedger, FakeNotifier
from tests.release_fakes import FakeFlowRuns, start, toy_spec

SPEC = toy_spec()
TOY = ModelName("toy")
DOSSIER = Digest("d" * 64)
YES = Answer(decision="approve", approver="grace", reason="good", checklist=SPEC.approval.checklist)


def blessing(bundle: str = "b" * 64) -> Blessing:
    passed = GateReport(
        gate="toy", stage=Stage.INFRA, verdict=Verdict.PASS, checks=(), evidence=Digest("e" * 64), reason="ok"
    )
    subjects = Subjects(
        release=ReleaseId("toy-0001"),
        bundle=Digest(bundle),
        spec=SPEC.digest,
        data=Digest("a" * 64),
        champion=None,
        code=Digest("c" * 64),
    )
    return bless(subjects, [passed], ["toy"])


def question(**changes: Any) -> Question:
    so_far = Progress(model=TOY, release=ReleaseId("toy-0001"), run="run-1", spec=SPEC.digest, code=Digest("c" * 64))
    asked = Question(
        so_far=so_far,
        text="?",
        mode=ApprovalMode.HUMAN,
        approvers=(),
        checklist=SPEC.approval.checklist,
        four_eyes=False,
        started_by="ada",
        timeout_s=60,
    )
    return replace(asked, **changes)


def asked() -> tuple[FakeLedger, FakeClock, FakeNotifier]:
    clock, notifier = FakeClock(), FakeNotifier()
    ledger = FakeLedger(clock=clock)
    open_release(ledger, FakeFlowRuns(), SPEC, start())
    ask(ledger, clock, notifier, SPEC, blessing(), dossier=DOSSIER, links={}, run="run-1")
    return ledger, clock, notifier


def test_asking_tells_the_approvers_once_and_says_when_it_expires() -> None:
    ledger, clock, notifier = asked()
    again = ask(ledger, clock, notifier, SPEC, blessing(), dossier=DOSSIER, links={}, run="run-1")
    assert again == "2013-03-04T12:00:00+00:00"
    assert len(ledger.rows(TOY, events=(Event.APPROVAL_ASKED,))) == 1
    assert len(notifier.sent) == 1


def test_an_approval_is_recorded_with_what_it_is_bound_to() -> None:
    ledger, clock, _ = asked()
    so_far = decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=YES)
    assert so_far.ended is None
    row = ledger.rows(TOY, events=(Event.APPROVAL_GIVEN,))[0]
    assert (row.actor, row.payload["dossier"], row.payload["blessing"]) == ("grace", DOSSIER, blessing().digest)


def test_an_answer_that_is_read_back_after_a_crash_is_recorded_once() -> None:
    ledger, clock, _ = asked()
    for _ in range(2):
        decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=YES)
    assert len(ledger.rows(TOY, events=(Event.APPROVAL_GIVEN,))) == 1


def test_a_rejection_ends_the_release_with_the_approvers_words() -> None:
    ledger, clock, _ = asked()
    no = replace(YES, decision="reject", reason="the slices look wrong")
    so_far = decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=no)
    assert so_far.ended is Outcome.REJECTED
    assert "the slices look wrong" in so_far.reason


def test_an_approval_after_its_expiry_is_void() -> None:
    ledger, clock, _ = asked()
    clock.advance(SPEC.approval.timeout_s + 1)
    so_far = decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=YES)
    assert so_far.ended is Outcome.EXPIRED
    assert ledger.rows(TOY, events=(Event.APPROVAL_GIVEN,)) == ()


def test_an_approval_is_void_when_the_champion_changed_meanwhile() -> None:
    ledger, clock, _ = asked()
    ledger.append(TOY, Event.TRAFFIC_INTENDED, {"environment": "production", "from": None, "to": "9", "why": "x"})
    ledger.append(TOY, Event.TRAFFIC_VERIFIED, {"environment": "production", "from": None, "to": "9", "sequence": 3})
    so_far = decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=YES)
    assert so_far.ended is Outcome.EXPIRED
    assert "champion changed" in so_far.reason


@pytest.mark.parametrize("what", ["dossier", "blessing"])
def test_an_approval_is_void_when_what_was_seen_is_not_what_would_ship(what: str) -> None:
    ledger, clock, _ = asked()
    other = blessing("9" * 64) if what == "blessing" else blessing()
    seen = Digest("9" * 64) if what == "dossier" else DOSSIER
    so_far = decide(ledger, clock, SPEC, other, question().so_far, dossier=seen, answer=YES)
    assert so_far.ended is Outcome.EXPIRED
    assert f"{what} changed" in so_far.reason


@pytest.mark.parametrize(
    ("changes", "answer", "says"),
    [
        ({}, replace(YES, approver=" "), "approver is empty"),
        ({"approvers": ("ada",)}, YES, "may not decide; approvers: ada"),
        ({"four_eyes": True}, replace(YES, approver="ada"), "somebody else approves"),
        ({"four_eyes": True}, replace(YES, approver=" Ada"), "somebody else approves"),
        ({}, replace(YES, checklist=()), "checklist is not confirmed"),
        ({}, replace(YES, decision="maybe"), "allowed: approve, reject"),
        ({}, replace(YES, decision="reject", reason=" "), "a rejection needs a reason"),
    ],
)
def test_an_answer_that_does_not_count_says_why(changes: dict[str, Any], answer: Answer, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        refuse_answer(question(**changes), answer)


def test_a_rejection_needs_no_checklist() -> None:
    refuse_answer(question(), replace(YES, decision="reject", checklist=()))


@pytest.mark.parametrize("first", ["approve", "reject"])
def test_an_answer_on_record_is_not_turned_into_the_other_by_asking_again(first: str) -> None:
    ledger, clock, _ = asked()
    answers = {"approve": YES, "reject": replace(YES, decision="reject", reason="the slices look wrong")}
    second = answers[{"approve": "reject", "reject": "approve"}[first]]
    decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=answers[first])
    so_far = decide(ledger, clock, SPEC, blessing(), question().so_far, dossier=DOSSIER, answer=second)
    assert so_far.ended is not None
    assert len(ledger.rows(TOY, events=(Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED))) == 1
