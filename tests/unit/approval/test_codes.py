"""A one-time code counts once, for exactly what it was made for, while its person may decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.core.approval_code import CODE_S, Bound, make_code, read_code
from lockgate.core.approval_people import Role
from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event, Outcome
from lockgate.errors import BadInput
from tests.unit.approval.people import DOSSIER, RELEASE, TOY, Waiting


@pytest.fixture
def waiting(tmp_path: Path) -> Waiting:
    return Waiting(tmp_path)


def test_a_code_says_who_approved_and_the_record_holds_its_name_and_not_its_secret(waiting: Waiting) -> None:
    code = waiting.code("maria")
    taken = waiting.give(waiting.answer(code))
    assert taken.settled
    assert taken.so_far.ended is None
    (row,) = waiting.rows(Event.APPROVAL_GIVEN)
    assert (row.actor, row.payload["authenticated"], row.payload["complete"]) == ("maria", True, True)
    assert row.payload["code"] == code.split(":")[2]
    assert code.split(":")[3] not in str(waiting.rows())


def test_a_code_to_reject_ends_the_release(waiting: Waiting) -> None:
    answer = waiting.answer(waiting.code("maria", "reject"), "reject", reason="the slices look wrong")
    assert waiting.give(answer).so_far.ended is Outcome.REJECTED
    assert waiting.rows(Event.APPROVAL_REFUSED)[0].actor == "maria"


@pytest.mark.parametrize(
    ("made_for", "given_to"),
    [
        ({"release": ReleaseId("toy-0002")}, "approve"),
        ({"dossier": Digest("f" * 64)}, "approve"),
        ({"decision": "reject"}, "approve"),
        ({"decision": "approve"}, "reject"),
    ],
    ids=["another release", "another dossier", "to reject", "to approve"],
)
def test_a_code_made_for_something_else_is_refused(waiting: Waiting, made_for: dict[str, str], given_to: str) -> None:
    code = waiting.code("maria", **made_for)
    said = waiting.refused(waiting.give(waiting.answer(code, given_to)))
    assert "made for another release, decision or dossier" in said
    assert code not in said


def test_an_expired_code_is_refused_and_one_in_its_last_second_is_not(waiting: Waiting) -> None:
    code, other = waiting.code("maria"), waiting.code("maria")
    waiting.clock.advance(CODE_S + 1)
    assert "expired at" in waiting.refused(waiting.give(waiting.answer(code)))
    waiting.clock.advance(-1)
    assert waiting.give(waiting.answer(other), attempt=1).settled


def test_a_code_that_was_given_in_is_used_up_even_if_the_answer_did_not_count(waiting: Waiting) -> None:
    code = waiting.code("maria")
    assert "checklist" in waiting.refused(waiting.give(waiting.answer(code, checklist=())))
    assert "was used before" in waiting.refused(waiting.give(waiting.answer(code), attempt=1))
    assert waiting.give(waiting.answer(waiting.code("maria")), attempt=2).settled


def test_an_answer_recorded_before_a_crash_counts_when_its_form_is_read_back_long_after(waiting: Waiting) -> None:
    answer = waiting.answer(waiting.code("maria"))
    waiting.give(answer)
    waiting.clock.advance(CODE_S * 2)
    assert waiting.give(answer).settled
    assert len(waiting.rows(Event.APPROVAL_GIVEN)) == 1
    assert waiting.rows(Event.REFUSED) == ()


def test_a_rejection_recorded_before_a_crash_ends_the_release_again(waiting: Waiting) -> None:
    answer = waiting.answer(waiting.code("maria", "reject"), "reject", reason="no")
    first = waiting.give(answer)
    assert waiting.give(answer).so_far == first.so_far


@pytest.mark.parametrize("name", ["otto", "vic"])
def test_the_code_of_somebody_who_may_not_decide_is_refused(waiting: Waiting, name: str) -> None:
    assert "needs the role approver" in waiting.refused(waiting.give(waiting.answer(waiting.code(name))))


def test_the_code_of_somebody_who_was_revoked_since_is_refused(waiting: Waiting) -> None:
    code = waiting.code("maria")
    waiting.approvers.revoke("maria", by="root")
    assert "maria was revoked" in waiting.refused(waiting.give(waiting.answer(code)))


def test_a_code_of_a_token_that_was_revoked_is_refused_also_when_its_person_has_a_new_one(waiting: Waiting) -> None:
    stolen = waiting.code("maria")
    waiting.clock.advance(60)
    waiting.approvers.revoke("maria", by="root")
    waiting.tokens["maria"] = waiting.approvers.add("maria", Role.APPROVER, by="root")
    assert "before maria was added" in waiting.refused(waiting.give(waiting.answer(stolen)))
    assert waiting.give(waiting.answer(waiting.code("maria")), attempt=1).settled


@pytest.mark.parametrize("code", ["", "maria", "a:b:c:d", "maria:99999999999999:x:y", "maria:1:x:", ":::"])
def test_what_is_no_code_is_refused(waiting: Waiting, code: str) -> None:
    assert "no code" in waiting.refused(waiting.give(waiting.answer(code)))


def test_no_letter_of_a_code_may_be_changed(waiting: Waiting) -> None:
    code = waiting.code("maria")
    for place, letter in enumerate(code):
        other = code[:place] + ("B" if letter != "B" else "C") + code[place + 1 :]
        with pytest.raises(BadInput):
            waiting.approvers.identify(other, Bound(release=RELEASE, dossier=DOSSIER, decision="approve"))


def test_a_code_may_be_pasted_with_line_breaks(waiting: Waiting) -> None:
    code = waiting.code("maria")
    assert waiting.give(waiting.answer(f" {code[:20]}\n{code[20:]} \n")).settled


def test_a_code_of_another_installations_key_is_refused(waiting: Waiting) -> None:
    bound = Bound(release=RELEASE, dossier=DOSSIER, decision="approve")
    claim = waiting.approvers.identify(waiting.code("maria"), bound)
    forged = make_code(b"x" * 32, bound, claim)
    assert read_code(b"x" * 32, forged, bound) == claim
    assert "altered" in waiting.refused(waiting.give(waiting.answer(forged)))


def test_a_typed_name_counts_for_nothing_where_codes_are_asked_for(waiting: Waiting) -> None:
    assert "no code" in waiting.refused(waiting.give(waiting.answer("", approver="maria")))


def test_people_added_while_an_unauthenticated_question_waits_make_it_void(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, people=False)
    waiting.approvers.add("root", Role.ADMIN, by="login ada")
    taken = waiting.give(waiting.answer(approver="anybody"))
    assert (taken.settled, taken.so_far.ended) == (True, Outcome.EXPIRED)
    assert waiting.rows(Event.APPROVAL_GIVEN) == ()


def test_without_people_a_name_is_believed_and_the_record_says_what_it_is_worth(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, people=False)
    assert waiting.give(waiting.answer(approver="grace")).settled
    (row,) = waiting.rows(Event.APPROVAL_GIVEN)
    assert (row.actor, row.payload["authenticated"]) == ("grace", False)
    assert waiting.rows(Event.APPROVAL_ASKED)[0].payload["authenticated"] is False
    assert waiting.ledger.state(TOY).open is not None
