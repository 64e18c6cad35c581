"""The approval: what is asked, what an answer is bound to, and what makes it void.

The question names the blessing, the dossier and the champion by digest. An answer counts only while all three are
still what they were, the release is open, and its time has not run out. The record of it is the ledger's. Who answered,
and whether another must, is `stages/answering.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from lockgate.core.approval_rules import POLICY, approvals
from lockgate.core.blessing import Blessing
from lockgate.core.ids import Digest, Json, ReleaseId, Stage
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode, ReleaseSpec
from lockgate.errors import ApprovalVoid, BadInput, LedgerConflict, TransientError
from lockgate.ports import Clock, Ledger, Notifier
from lockgate.stages.overriding import no_longer_overridden
from lockgate.stages.releasing import end_release

STAGE = Stage.APPROVAL
_RACES = 20  # ours: batches land beside an approval, but not twenty between two statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the approver is asked.

    Attributes:
        so_far: The release, at its approval.
        text: Markdown: the evidence in short, with links.
        mode: human, or when_all_pass.
        approvers: Who may decide; empty: anyone.
        checklist: What an approval confirms.
        four_eyes: Whether who started it may not approve it.
        started_by: Who started it.
        timeout_s: How long the orchestrator waits: longer than the approval lasts, so that the reaper speaks first.
        authenticated: Whether an answer needs a one-time code that says who gives it.
        needed: How many different people must approve.
    """

    so_far: Progress
    text: str
    mode: ApprovalMode
    approvers: tuple[str, ...]
    checklist: tuple[str, ...]
    four_eyes: bool
    started_by: str
    timeout_s: float
    authenticated: bool = False
    needed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the approver said.

    Attributes:
        decision: "approve" or "reject".
        approver: Who decided: as typed, or as the code says.
        reason: Why, in their words.
        checklist: The items they confirmed.
        code: The one-time code as it was given in; never shown.
        code_id: Names the code on record, once it was found genuine.
        unreadable: Why the form could not be read; empty when it could.
    """

    decision: str
    approver: str
    reason: str
    checklist: tuple[str, ...] = ()
    code: str = field(default="", repr=False)
    code_id: str = ""
    unreadable: str = ""


def ask(  # noqa: PLR0913 - a question has this many facts
    ledger: Ledger,
    clock: Clock,
    notifier: Notifier,
    spec: ReleaseSpec,
    blessing: Blessing,
    *,
    dossier: Digest,
    links: Mapping[str, str],
    run: str,
    authenticated: bool = False,
    needed: int = 1,
) -> str:
    """Record the question, tell the approvers, and return when it expires (ISO, UTC).

    Asked again after a crash, it is the same question: the first row's expiry stands.

    Args:
        authenticated: Whether an answer needs a code. On record, so that an auditor knows what a name is worth.
        needed: How many different people must approve.
    """
    release = blessing.subjects.release
    for row in ledger.rows(spec.name, release=release, events=(Event.APPROVAL_ASKED,)):
        if row.payload["dossier"] == dossier and row.payload["blessing"] == blessing.digest:
            return str(row.payload["expires_at"])
    expires = (clock.now() + timedelta(seconds=spec.approval.timeout_s)).isoformat()
    payload: dict[str, Json] = {
        "blessing": blessing.digest,
        "bundle": blessing.subjects.bundle,
        "dossier": dossier,
        "champion": blessing.subjects.champion,
        "expires_at": expires,
        "run": run,
        "authenticated": authenticated,
        "needed": needed,
    }
    ledger.append(spec.name, Event.APPROVAL_ASKED, payload, release=release)
    if spec.approval.mode is ApprovalMode.HUMAN:
        tell(notifier, release, f"waits for your decision until {expires}", links)
    return expires


def tell(notifier: Notifier, release: ReleaseId, what: str, links: Mapping[str, str]) -> bool:
    """Send the approvers one message with the links they need."""
    lines = [f"{release} {what}.", *(f"{name}: {link}" for name, link in links.items())]
    lines.append(f"By command: lockgate approve {release}, or lockgate reject {release} --reason '...'")
    return notifier.notify(f"Lockgate: {release} {what}", "\n".join(lines))


def refuse_answer(question: Question, answer: Answer) -> None:
    """Check what the form cannot: who may answer, and that an approval confirms the whole checklist.

    Raises:
        BadInput: The answer does not count and may be given again; says why.
    """
    if answer.unreadable:
        raise BadInput(answer.unreadable)
    if not answer.approver.strip():
        raise BadInput("approver is empty; give your name, it goes on record")
    if question.mode is ApprovalMode.HUMAN and answer.approver == POLICY:
        raise BadInput(f"{POLICY!r} decides only where the spec says approval.mode: when_all_pass; give your name")
    if question.approvers and answer.approver not in question.approvers:
        raise BadInput(f"{answer.approver!r} may not decide; approvers: {', '.join(question.approvers)}")
    if answer.decision == "reject":
        if not answer.reason.strip():
            raise BadInput("a rejection needs a reason; it is what the model's owner works from")
        return
    if answer.decision != "approve":
        raise BadInput(f"decision is {answer.decision!r}; allowed: approve, reject")
    if question.four_eyes and same_person(answer.approver, question.started_by):
        raise BadInput(f"{answer.approver!r} started this release; under four eyes somebody else approves")
    missing = [item for item in question.checklist if item not in answer.checklist]
    if missing:
        raise BadInput(f"the checklist is not confirmed: {missing[0]!r}; confirm every item or reject")


def same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's, however they were typed.

    >>> same_person("Ada", " ada"), same_person("ada", "grace")
    (True, False)
    """
    return one.strip().casefold() == other.strip().casefold()


def record(  # noqa: PLR0913 - two ports, three bound values, the answer and how many must agree
    ledger: Ledger,
    clock: Clock,
    spec: ReleaseSpec,
    blessing: Blessing,
    *,
    dossier: Digest,
    answer: Answer,
    needed: int = 1,
    attempt: int | None = None,
) -> None:
    """Record the answer, if what was asked is still what would ship; the same answer again changes nothing.

    Args:
        needed: How many different people must approve; the row says whether this was the last of them.
        attempt: Which form it came through, so that a crash after this row is told from a code given in twice.

    Raises:
        ApprovalVoid: The time ran out, the release ended, the champion, blessing or dossier changed since, or the
            question was answered otherwise before.
        TransientError: Other writers kept coming first.
    """
    release = blessing.subjects.release
    for _ in range(_RACES):
        seen = ledger.last_seq(spec.name)
        given = _given(ledger, spec, blessing, dossier)
        if _stands(ledger, spec, blessing, dossier, answer, len(given) >= needed):
            return
        if answer.decision == "approve" and any(row.payload.get("approver") == answer.approver for row in given):
            return
        _refuse_void(ledger, clock, spec, blessing, dossier)
        facts = _facts(blessing, dossier, answer) | {"needed": needed, "attempt": attempt}
        event = Event.APPROVAL_REFUSED
        if answer.decision == "approve":
            event, facts = Event.APPROVAL_GIVEN, facts | {"complete": len(given) + 1 >= needed}
        try:
            ledger.append(spec.name, event, facts, release=release, actor=answer.approver, expect_seq=seen)
        except LedgerConflict:
            continue
        return
    raise TransientError(f"{release}: {_RACES} times another row came before the answer; retry")


def _facts(blessing: Blessing, dossier: Digest, answer: Answer) -> dict[str, Json]:
    return {
        "approver": answer.approver,
        "reason": answer.reason,
        "checklist": list(answer.checklist),
        "blessing": blessing.digest,
        "bundle": blessing.subjects.bundle,
        "dossier": dossier,
        "champion": blessing.subjects.champion,
        "authenticated": bool(answer.code_id),
        "code": answer.code_id or None,
    }


def _given(ledger: Ledger, spec: ReleaseSpec, blessing: Blessing, dossier: Digest) -> tuple[LedgerRow, ...]:
    rows = ledger.rows(spec.name, release=blessing.subjects.release, events=(Event.APPROVAL_GIVEN,))
    return approvals(rows, {"blessing": blessing.digest, "dossier": dossier})


def _stands(  # noqa: PLR0913, PLR0917 - one private step of the function above
    ledger: Ledger, spec: ReleaseSpec, blessing: Blessing, dossier: Digest, answer: Answer, approved: bool
) -> bool:
    """Tell whether the question was answered for good, and so; an answer that says otherwise is void."""
    release = blessing.subjects.release
    refused = ledger.rows(spec.name, release=release, events=(Event.APPROVAL_REFUSED,))
    mine = {"blessing": blessing.digest, "dossier": dossier}
    rejected = any(all(row.payload.get(what) == now for what, now in mine.items()) for row in refused)
    if not rejected and not approved:
        return False
    if (answer.decision == "reject") is not rejected:
        said = "rejected" if rejected else "approved"
        raise ApprovalVoid(f"{release} was {said} before, which stands; start a new release", release=release)
    return True


def _refuse_void(ledger: Ledger, clock: Clock, spec: ReleaseSpec, blessing: Blessing, dossier: Digest) -> None:
    release, state = blessing.subjects.release, ledger.state(spec.name)
    if state.open is None or state.open.release != release:
        raise ApprovalVoid(f"{release} is not open any more; see lockgate explain {release}", release=release)
    expires = state.open.expires_at
    if expires is None or clock.now() > expires:
        end_release(ledger, spec, release, Outcome.EXPIRED, "the approval came after its time ran out")
        raise ApprovalVoid(f"the approval of {release} expired at {expires}; start a new release", release=release)
    asked = ledger.rows(spec.name, release=release, events=(Event.APPROVAL_ASKED,))[-1].payload
    for what, now in (
        ("blessing", blessing.digest),
        ("dossier", dossier),
        ("champion", state.champion),
    ):
        if asked[what] != now:
            reason = f"the {what} changed while {release} waited ({asked[what]} asked, {now} now); start a new release"
            end_release(ledger, spec, release, Outcome.EXPIRED, reason)
            raise ApprovalVoid(reason, release=release)
    excused = no_longer_overridden(ledger, spec.name, blessing)
    if excused is not None:
        end_release(ledger, spec, release, Outcome.BLOCKED, excused)
        raise ApprovalVoid(excused, release=release)


def decide(  # noqa: PLR0913 - two ports, three bound values and the answer
    ledger: Ledger,
    clock: Clock,
    spec: ReleaseSpec,
    blessing: Blessing,
    so_far: Progress,
    *,
    dossier: Digest,
    answer: Answer,
    needed: int = 1,
    attempt: int | None = None,
) -> Progress:
    """Record the answer and return the progress: unchanged when approved, ended when rejected or void."""
    try:
        record(ledger, clock, spec, blessing, dossier=dossier, answer=answer, needed=needed, attempt=attempt)
    except ApprovalVoid as void:
        return so_far.end(ledger.state(spec.name).outcomes.get(so_far.release, Outcome.EXPIRED), void.message)
    return so_far if answer.decision == "approve" else rejected(so_far, answer.approver, answer.reason)


def rejected(so_far: Progress, approver: str, reason: str) -> Progress:
    """Return the progress of a release that a person turned down."""
    return so_far.end(Outcome.REJECTED, f"{approver} rejected it: {reason or 'no reason given'}")
