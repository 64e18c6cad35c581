"""Under four eyes whoever started a release does not approve it, and what nobody started needs two people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.core.ids import Digest
from lockgate.core.ledger import Event, Outcome
from lockgate.errors import ApprovalVoid
from lockgate.stages.audit_approval import audit_approvals
from lockgate.stages.promote import _require_approved
from lockgate.stages.traffic import Switch
from tests.fakes import FakeDeployTarget
from tests.unit.approval.people import DOSSIER, RELEASE, TOY, Waiting, blessed


def messages(waiting: Waiting) -> list[str]:
    return [each.message for each in audit_approvals(waiting.rows())]


def promotable(waiting: Waiting) -> None:
    switch = Switch(ledger=waiting.ledger, target=FakeDeployTarget(), model=TOY)
    _require_approved(switch, blessed(waiting.spec), DOSSIER)


@pytest.mark.parametrize("started_by", ["schedule", "landing", "Prefect UI", "grace"])
def test_what_no_token_started_needs_two_different_people(tmp_path: Path, started_by: str) -> None:
    """A name that was merely given to the run proves nothing: whoever reaches Prefect can give any."""
    waiting = Waiting(tmp_path, four_eyes=True, started_by=started_by)
    first = waiting.give(waiting.answer(waiting.code("maria")))
    assert (first.settled, "by maria" in first.note) == (False, True)
    held = waiting.ledger.state(TOY).open
    assert held is not None
    assert held.waiting, "one of two still waits, so that it expires, is reminded of and is looked after"
    with pytest.raises(ApprovalVoid, match="2 different people"):
        promotable(waiting)
    second = waiting.give(waiting.answer(waiting.code("root")), attempt=1)
    assert (second.settled, second.so_far.ended) == (True, None)
    assert [row.payload["complete"] for row in waiting.rows(Event.APPROVAL_GIVEN)] == [False, True]
    promotable(waiting)
    assert messages(waiting) == []


def test_the_same_person_does_not_count_twice(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    waiting.give(waiting.answer(waiting.code("maria")))
    again = waiting.give(waiting.answer(waiting.code("maria")), attempt=1)
    assert "maria approved it already" in waiting.refused(again)
    assert len(waiting.rows(Event.APPROVAL_GIVEN)) == 1


def test_who_started_it_by_token_may_not_approve_it_and_anybody_else_is_enough(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="maria", token=True)
    assert "'maria' started this release" in waiting.refused(waiting.give(waiting.answer(waiting.code("maria"))))
    assert waiting.give(waiting.answer(waiting.code("grace")), attempt=1).settled
    promotable(waiting)
    assert messages(waiting) == []


def test_the_second_person_may_reject_what_the_first_approved(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    waiting.give(waiting.answer(waiting.code("maria")))
    no = waiting.answer(waiting.code("grace", "reject"), "reject", reason="not for the holidays")
    assert waiting.give(no, attempt=1).so_far.ended is Outcome.REJECTED
    with pytest.raises(ApprovalVoid):
        promotable(waiting)


def test_a_crash_after_the_first_approval_asks_for_the_second_again_and_counts_the_first_once(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    first = waiting.answer(waiting.code("maria"))
    waiting.give(first)
    waiting.clock.advance(3600)
    again = waiting.give(first)  # the run enters anew and reads every form back
    assert (again.settled, "by maria" in again.note) == (False, True)
    assert waiting.give(waiting.answer(waiting.code("grace")), attempt=1).settled
    assert len(waiting.rows(Event.APPROVAL_GIVEN)) == 2


def test_without_tokens_two_names_are_asked_for_where_automation_started_it(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="schedule", people=False)
    assert not waiting.give(waiting.answer(approver="maria")).settled
    for number, again in enumerate(("Maria", "maria "), start=1):
        said = waiting.refused(waiting.give(waiting.answer(approver=again), attempt=number))
        assert "approved it already" in said
    assert waiting.give(waiting.answer(approver="grace"), attempt=3).settled


def test_the_auditor_finds_a_second_approval_that_was_never_given(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    waiting.give(waiting.answer(waiting.code("maria")))
    rows = [
        replace(row, payload={**row.payload, "complete": True}) if row.event is Event.APPROVAL_GIVEN else row
        for row in waiting.rows()
    ]
    assert any("2 different people were needed" in each.message for each in audit_approvals(rows))
    shipped = waiting.ledger.append(
        TOY, Event.TRAFFIC_INTENDED, {"environment": "production", "to": "b", "kind": "promotion"}, release=RELEASE
    )
    assert any("1 of 2" in each.message for each in audit_approvals([*rows, shipped]))


def test_the_auditor_finds_a_code_that_was_used_twice_and_a_decision_without_one(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    waiting.give(waiting.answer(waiting.code("maria")))
    given = waiting.rows(Event.APPROVAL_GIVEN)[0]
    twice = waiting.ledger.append(
        TOY, Event.APPROVAL_GIVEN, {**given.payload, "approver": "grace"}, release=RELEASE, actor="grace"
    )
    bare = replace(twice, payload={**given.payload, "approver": "otto", "code": None})
    found = [each.message for each in audit_approvals([*waiting.rows(), bare])]
    assert any("had been used before" in each for each in found)
    assert any("decided without a code" in each for each in found)


def test_an_approval_of_another_dossier_does_not_count_as_one_of_two(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    other = {"blessing": blessed(waiting.spec).digest, "dossier": Digest("0" * 64), "champion": None}
    waiting.ledger.append(TOY, Event.APPROVAL_GIVEN, {**other, "approver": "grace", "complete": False}, release=RELEASE)
    assert not waiting.give(waiting.answer(waiting.code("maria"))).settled
