"""Taking an answer to an approval: who gives it, whether it counts, and whether another person must answer too.

    form ── identified? (a code, where approvers have tokens) ── may they? ── on record
                │ no                                              │ no          ├─ rejected, void ──> settled
                └──────────────> REFUSED, asked again <───────────┘             ├─ enough approvals ──> settled
                                                                                └─ one of two ──> asked again

Every form has its number. An answer whose row carries the number of its form was recorded before a crash, and counts
once more without a look at its code; the same code through any other form was used before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lockgate.core.approval_code import Bound, Claim, refuse_expired
from lockgate.core.approval_rules import approvals, used_codes
from lockgate.core.blessing import Blessing
from lockgate.core.ids import Digest, Json
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode, ReleaseSpec
from lockgate.errors import BadInput
from lockgate.ports import Clock, Ledger
from lockgate.stages.approving import Answer, Question, decide, refuse_answer, rejected, same_person
from lockgate.stages.releasing import end_release

Identify = Callable[[str, Bound], Claim]
"""Tells who made a code for exactly this, if they may decide; raises BadInput otherwise."""
_UNKNOWN = "nobody known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What answers to one question are taken with.

    Attributes:
        ledger: The record.
        clock: Tells whether a code is stale.
        spec: The model's spec.
        blessing: What is asked about.
        dossier: Digest of what was there to read.
        identify: Reads codes; None where no approver has a token: then a name is what was typed.
    """

    ledger: Ledger
    clock: Clock
    spec: ReleaseSpec
    blessing: Blessing
    dossier: Digest
    identify: Identify | None

    def rows(self, *events: Event) -> tuple[LedgerRow, ...]:
        """Return the release's rows."""
        return self.ledger.rows(self.spec.name, release=self.blessing.subjects.release, events=events)

    def approved_by(self) -> tuple[str, ...]:
        """Return who approved this question so far."""
        bound = {"blessing": self.blessing.digest, "dossier": self.dossier}
        return tuple(str(row.payload["approver"]) for row in approvals(self.rows(Event.APPROVAL_GIVEN), bound))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of one answer.

    Attributes:
        so_far: How the release goes on, once it is settled.
        settled: False: the question is asked again.
        note: What the next form says first.
    """

    so_far: Progress
    settled: bool
    note: str = ""


def take(desk: Desk, question: Question, answer: Answer, attempt: int) -> Taken:
    """Take one answer; the same answer through the same form again, after a crash, changes nothing.

    Args:
        desk: What it is taken with.
        question: What was asked.
        answer: What came back.
        attempt: The number of the form it came through.
    """
    before = _recorded(desk, attempt)
    if before is not None:
        return _settled(desk, question, _progress_of(question, before))
    if question.mode is ApprovalMode.HUMAN and question.authenticated is not (desk.identify is not None):
        return Taken(so_far=_way_changed(desk, question), settled=True)
    try:
        answer = _identified(desk, question, answer)
        _refuse(desk, question, answer)
        so_far = decide(
            desk.ledger,
            desk.clock,
            desk.spec,
            desk.blessing,
            question.so_far,
            dossier=desk.dossier,
            answer=answer,
            needed=question.needed,
            attempt=attempt,
        )
    except BadInput as refused:
        _note_refusal(desk, answer, attempt, refused.message)
        note = f"**Your last answer did not count:** {refused.message}"
        return Taken(so_far=question.so_far, settled=False, note=note)
    return _settled(desk, question, so_far)


def _recorded(desk: Desk, attempt: int) -> LedgerRow | None:
    """Return the row of this very form, written before a crash; None when there is none."""
    mine = (attempt, desk.dossier, desk.blessing.digest)
    for row in desk.rows(Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED):
        if (row.payload.get("attempt"), row.payload.get("dossier"), row.payload.get("blessing")) == mine:
            return row
    return None


def _progress_of(question: Question, row: LedgerRow) -> Progress:
    if row.event is Event.APPROVAL_GIVEN:
        return question.so_far
    return rejected(question.so_far, str(row.payload.get("approver")), str(row.payload.get("reason") or ""))


def _settled(desk: Desk, question: Question, so_far: Progress) -> Taken:
    approved = desk.approved_by()
    if so_far.ended is not None or len(approved) >= question.needed:
        return Taken(so_far=so_far, settled=True)
    who = " and ".join(approved)
    note = f"**{len(approved)} of {question.needed} approvals on record, by {who}.** Somebody else decides now."
    return Taken(so_far=so_far, settled=False, note=note)


def _way_changed(desk: Desk, question: Question) -> Progress:
    release = question.so_far.release
    reason = f"who approves is found out in another way since {release} was asked about; start a new release"
    end_release(desk.ledger, desk.spec, release, Outcome.EXPIRED, reason)
    return question.so_far.end(Outcome.EXPIRED, reason)


def _identified(desk: Desk, question: Question, answer: Answer) -> Answer:
    """Return the answer with the name that its code proves.

    Raises:
        BadInput: The code is not genuine, was used before, or is stale.
    """
    if desk.identify is None or question.mode is not ApprovalMode.HUMAN:
        return answer
    if answer.unreadable:
        raise BadInput(answer.unreadable)
    bound = Bound(release=question.so_far.release, dossier=desk.dossier, decision=answer.decision)
    claim = desk.identify(answer.code, bound)
    if claim.id in used_codes(desk.rows()):
        raise BadInput(f"this code of {claim.approver} was used before; every decision needs a code of its own")
    refuse_expired(claim, desk.clock.now())
    return replace(answer, approver=claim.approver, code="", code_id=claim.id)


def _refuse(desk: Desk, question: Question, answer: Answer) -> None:
    refuse_answer(question, answer)
    approved = any(same_person(who, answer.approver) for who in desk.approved_by())
    if approved and answer.decision == "approve":
        raise BadInput(f"{answer.approver} approved it already; under four eyes somebody else approves too")


def _note_refusal(desk: Desk, answer: Answer, attempt: int, reason: str) -> None:
    if any(row.payload.get("attempt") == attempt for row in desk.rows(Event.REFUSED)):
        return  # noted before a crash
    by = answer.approver.strip().encode(errors="replace").decode() or _UNKNOWN  # what was typed may be half a character
    payload: dict[str, Json] = {
        "what": f"to {answer.decision or 'decide on'} {desk.blessing.subjects.release}",
        "by": by,
        "reason": reason.encode(errors="replace").decode(),
        "attempt": attempt,
        "code": answer.code_id or None,
    }
    release = desk.blessing.subjects.release
    desk.ledger.append(desk.spec.name, Event.REFUSED, payload, release=release, actor=by)
