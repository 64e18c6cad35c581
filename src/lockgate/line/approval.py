"""The approval of one release: its dossier, its question, its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from lockgate.core.approval_overrides import shouts, standing
from lockgate.core.approval_rules import approvals_needed, starter_of
from lockgate.core.gates.overrides import overrides
from lockgate.core.gates.registry import GATES
from lockgate.core.ids import Digest, digest_bytes
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.core.spec import ApprovalMode
from lockgate.core.verdict import Verdict
from lockgate.errors import TransientError
from lockgate.line.dossier import write_dossier
from lockgate.line.lifecycle import started_by
from lockgate.line.model_line import Line, champion_of, release_of_bundle
from lockgate.line.words import concerns, gate_line
from lockgate.stages import approving
from lockgate.stages.answering import Desk, Taken, take
from lockgate.stages.approving import Answer, Question
from lockgate.stages.recording import blessing_of, reports_of

NOT_AUTHENTICATED = "approvers are not authenticated: a name is what was typed; see `lockgate approver add`"
_LONGER_S = 24 * 3600.0  # Prefect waits this much longer than the approval lasts, so that the reaper speaks first


def ask(line: Line, so_far: Progress) -> Question:
    """Write the dossier, record the question, tell the approvers, and return what the form shows."""
    blessing = blessing_of(line.ledger, line.model, so_far.release)
    path = write_dossier(line, so_far)
    links, dossier = _links(line, so_far, path), digest_bytes(path.read_bytes())
    authenticated, (needed, starter) = line.services.approvers.exist, _eyes(line, so_far)
    expires = approving.ask(
        line.ledger,
        line.services.clock,
        line.services.notifier,
        line.spec,
        blessing,
        dossier=dossier,
        links=links,
        run=so_far.run,
        authenticated=authenticated,
        needed=needed,
    )
    approval = line.spec.approval
    return Question(
        so_far=so_far.with_refs(approving.STAGE, dossier=str(path), dossier_digest=dossier),
        text=_text(line, so_far, links, expires, _who(line, needed=needed)),
        mode=approval.mode,
        approvers=approval.approvers,
        checklist=approval.checklist,
        four_eyes=approval.four_eyes,
        started_by=starter or started_by(line, line.spec, so_far.release),
        timeout_s=approval.timeout_s + _LONGER_S,
        authenticated=authenticated,
        needed=needed,
    )


def _eyes(line: Line, so_far: Progress) -> tuple[int, str | None]:
    """Return how many people must approve, and who is known to have started the release."""
    rows = line.ledger.rows(line.model, events=(Event.RELEASE_OPENED, Event.RELEASE_ASKED))
    starter = starter_of(rows, so_far.release, authenticated=line.services.approvers.exist)
    if line.spec.approval.mode is not ApprovalMode.HUMAN:
        return 1, starter
    return approvals_needed(four_eyes=line.spec.approval.four_eyes, starter=starter), starter


def _who(line: Line, *, needed: int) -> list[str]:
    """Return who may answer and how, a line each."""
    if line.spec.approval.mode is not ApprovalMode.HUMAN:
        return []
    told = [f"**{NOT_AUTHENTICATED[0].upper()}{NOT_AUTHENTICATED[1:]}.**"]
    if line.services.approvers.exist:
        told = ["Your name is what your one-time code proves; each decision needs a new one."]
    if needed > 1:
        told.append(f"**{needed} different people must approve it:** nobody is known to have started this release.")
    return told


def decide(line: Line, question: Question, answer: Answer, attempt: int) -> Taken:
    """Take an answer: record it if it counts, and return how the release goes on, or that it is asked again.

    Args:
        line: The model's line.
        question: What was asked.
        answer: What came back.
        attempt: The number of the form that it came through.
    """
    people = line.services.approvers
    desk = Desk(
        ledger=line.ledger,
        clock=line.services.clock,
        spec=line.spec,
        blessing=blessing_of(line.ledger, line.model, question.so_far.release),
        dossier=Digest(question.so_far.refs["dossier_digest"]),
        identify=people.identify if people.exist else None,
    )
    return take(desk, question, answer, attempt)


def _links(line: Line, so_far: Progress, path: Path) -> dict[str, str]:
    settings = line.services.settings
    links = {"Prefect run": f"{settings.url('prefect')}/runs/flow-run/{so_far.run}"}
    attached = _attach(line, so_far, path)
    links["Dossier"] = attached or path.as_uri()
    links["Dossier file"] = str(path)
    if so_far.refs.get("version_page"):
        links["MLflow version"] = so_far.refs["version_page"]
    return links


def _attach(line: Line, so_far: Progress, path: Path) -> str | None:
    """Show the dossier beside its version; without it the file still is what is approved."""
    try:
        return line.services.registry.attach(line.model, Digest(so_far.refs["bundle"]), path)
    except TransientError:
        return None


def _text(line: Line, so_far: Progress, links: Mapping[str, str], expires: str, who: Sequence[str]) -> str:
    """Return the question, in markdown: first what to read and until when, for a low window shows no more than that.

    Before even that stands a gate that failed and that two people let pass.

    Lists instead of tables: the form is narrow, and a table's cells do not wrap in it.
    """
    reports = reports_of(line.ledger, line.model, so_far.release)
    passed = sum(report.verdict is Verdict.PASS for report in reports)
    version = f" · [MLflow version]({links['MLflow version']})" if "MLflow version" in links else ""
    until = datetime.fromisoformat(expires).strftime("%Y-%m-%d %H:%M UTC")
    takes_over = f"{_against(line, so_far)} Decide before **{until}**, then it expires."
    noted, moved = concerns(reports), overrides(GATES, line.spec.gates)
    rows = line.ledger.rows(line.model, events=(Event.RELEASE_OPENED, Event.OVERRIDDEN))
    lines = [
        *(f"# {each}\n" for each in shouts(reports, standing(rows, so_far.release))),
        f"## {so_far.release} asks to take over production",
        "",
        f"**[Read the dossier]({links['Dossier']})**{version}. {passed} of {len(reports)} gates passed. {takes_over}",
        "",
        *(f"{each}\n" for each in who),
        line.spec.model.description,
        "",
        *(["Noted, blocks nothing:", "", *(f"- {each}" for each in noted), ""] if noted else ()),
        *(["Bounds that the spec sets itself:", "", *(f"- {each}" for each in moved), ""] if moved else ()),
        "Gates:",
        "",
        *(f"- {gate_line(report)}" for report in reports),
        "",
        f"By command: `lockgate approve {so_far.release}` or `lockgate reject {so_far.release} --reason '...'`",
    ]
    return "\n".join(lines)


def _against(line: Line, so_far: Progress) -> str:
    champion = champion_of(so_far)
    if champion is None:
        return "It would be the first champion."
    return f"It would replace {release_of_bundle(line, champion) or 'the champion'} (`{champion[:12]}`)."
