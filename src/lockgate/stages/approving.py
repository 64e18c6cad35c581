"""The approval: what is asked, what an answer is bound to, and what makes it void.

The question names the blessing, the dossier and the champion by digest. An answer counts only while all three are
still what they were, the release is open, and its time has not run out. The record of it is the ledger's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from lockgate.core.blessing import Blessing
from lockgate.core.ids import Digest, Json, ReleaseId, Stage
from lockgate.core.ledger import Event, Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode, ReleaseSpec
from lockgate.errors import ApprovalVoid, BadInput
from lockgate.ports import Clock, Ledger, Notifier
from lockgate.stages.releasing import end_release

STAGE = Stage.APPROVAL
POLICY = "policy: when_all_pass"
"""The approver on record when the spec lets passing gates decide."""


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
    """

    so_far: Progress
    text: str
    mode: ApprovalMode
    approvers: tuple[str, ...]
    checklist: tuple[str, ...]
    four_eyes: bool
    started_by: str
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the approver said.

    Attributes:
        decision: "approve" or "reject".
        approver: Who decided.
        reason: Why, in their words.
        checklist: The items they confirmed.
    """

    decision: str
    approver: str
    reason: str
    checklist: tuple[str, ...] = ()


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
) -> str:
    """Record the question, tell the approvers, and return when it expires (ISO, UTC).

    Asked again after a crash, it is the same question: the first row's expiry stands.
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
    if not answer.approver.strip():
        raise BadInput("approver is empty; give your name, it goes on record")
    if question.approvers and answer.approver not in question.approvers:
        raise BadInput(f"{answer.approver!r} may not decide; approvers: {', '.join(question.approvers)}")
    if answer.decision == "reject":
        if not answer.reason.strip():
            raise BadInput("a rejection needs a reason; it is what the model's owner works from")
        return
    if answer.decision != "approve":
        raise BadInput(f"decision is {answer.decision!r}; allowed: approve, reject")
    if question.four_eyes and answer.approver == question.started_by:
        raise BadInput(f"{answer.approver!r} started this release; under four eyes somebody else approves")
    missing = [item for item in question.checklist if item not in answer.checklist]
    if missing:
        raise BadInput(f"the checklist is not confirmed: {missing[0]!r}; confirm every item or reject")


def record(  # noqa: PLR0913 - two ports, three bound values and the answer
    ledger: Ledger, clock: Clock, spec: ReleaseSpec, blessing: Blessing, *, dossier: Digest, answer: Answer
) -> None:
    """Record the answer, if what was asked is still what would ship.

    Raises:
        ApprovalVoid: The time ran out, the release ended, the champion, blessing or dossier changed since, or the
            question was answered otherwise before.
    """
    release = blessing.subjects.release
    event = Event.APPROVAL_GIVEN if answer.decision == "approve" else Event.APPROVAL_REFUSED
    before = _already(ledger, spec, blessing, dossier)
    if before is event:
        return
    if before is not None:
        said = "approved" if before is Event.APPROVAL_GIVEN else "rejected"
        raise ApprovalVoid(f"{release} was {said} before, which stands; start a new release", release=release)
    _refuse_void(ledger, clock, spec, blessing, dossier)
    facts: dict[str, Json] = {
        "approver": answer.approver,
        "reason": answer.reason,
        "checklist": list(answer.checklist),
        "blessing": blessing.digest,
        "bundle": blessing.subjects.bundle,
        "dossier": dossier,
        "champion": blessing.subjects.champion,
    }
    ledger.append(spec.name, event, facts, release=release, actor=answer.approver)


def _already(ledger: Ledger, spec: ReleaseSpec, blessing: Blessing, dossier: Digest) -> Event | None:
    """Return how the same question was answered before; None when it was not."""
    answered = ledger.rows(
        spec.name, release=blessing.subjects.release, events=(Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)
    )
    same = [r for r in answered if r.payload["blessing"] == blessing.digest and r.payload["dossier"] == dossier]
    return same[-1].event if same else None


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


def decide(  # noqa: PLR0913 - two ports, three bound values and the answer
    ledger: Ledger,
    clock: Clock,
    spec: ReleaseSpec,
    blessing: Blessing,
    so_far: Progress,
    *,
    dossier: Digest,
    answer: Answer,
) -> Progress:
    """Record the answer and return the progress: unchanged when approved, ended when rejected or void."""
    try:
        record(ledger, clock, spec, blessing, dossier=dossier, answer=answer)
    except ApprovalVoid as void:
        return so_far.end(ledger.state(spec.name).outcomes.get(so_far.release, Outcome.EXPIRED), void.message)
    if answer.decision == "approve":
        return so_far
    return so_far.end(Outcome.REJECTED, f"{answer.approver} rejected it: {answer.reason or 'no reason given'}")
