"""The record for people: what happened, why a release ended so and what to do next, what served when.

Pure over ledger rows; prints nothing. Every answer is a value that a terminal shows and `--json` serialises.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.approval_overrides import shouts, standing
from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.model_state import project
from lockgate.core.verdict import Check, GateReport, Verdict
from lockgate.errors import BadInput
from lockgate.stages.recording import newest_reports

PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row for a person.

    Attributes:
        seq: Its place in the chain.
        at: When.
        release: Its release, if any.
        actor: Who or what.
        event: What kind of row.
        text: What happened, in one sentence.
    """

    seq: int
    at: datetime
    release: ReleaseId | None
    actor: str
    event: Event
    text: str


def history(rows: Iterable[LedgerRow]) -> tuple[Entry, ...]:
    """Return every row as a sentence, in order; evidence rows are left to their verdicts."""
    return tuple(
        Entry(seq=row.seq, at=row.at, release=row.release, actor=row.actor, event=row.event, text=_text(row))
        for row in rows
        if row.event is not Event.EVIDENCE
    )


def _text(row: LedgerRow) -> str:
    tell = _TEXTS.get(row.event)
    return row.event.value.replace("_", " ") if tell is None else tell(_Said(row.payload))


class _Said:
    """A payload read for people: what is not there is "?", a digest is short."""

    def __init__(self, payload: Mapping[str, Json]) -> None:
        self._payload = payload

    def __getitem__(self, name: str) -> str:
        value = self._payload.get(name, "?")
        if value is None:
            return "none"
        text = str(value)
        return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


_TEXTS: Mapping[Event, Callable[[_Said], str]] = {
    Event.BATCH_LANDED: lambda said: f"{said['name']} landed",
    Event.BATCH_INGESTED: lambda said: (
        f"{said['name']} ingested: {said['rows']} rows, table version {said['table_version']}"
    ),
    Event.BATCH_QUARANTINED: lambda said: f"{said['name']} quarantined: {said['reason']}",
    Event.RETRAINING_DECIDED: lambda said: f"{'' if said['train'] == 'True' else 'not '}retraining: {said['why']}",
    **dict.fromkeys((Event.WINDOWS_COMPARED, Event.COUNTERFACTUALS), lambda said: said["summary"]),
    Event.RELEASE_OPENED: lambda said: f"opened by {said['started_by']}: {said['reason']}",
    Event.RELEASE_RESUMED: lambda _: "entered again by its run",
    Event.VERDICT: lambda said: f"gate {said['gate']}: {said['verdict']}, {said['reason']}",
    Event.BUNDLE: lambda said: f"bundle {said['bundle']} packaged",
    Event.BLESSING: lambda _: "blessed: every required gate passed",
    Event.REGISTERED: lambda said: f"registered as version {said['version']}",
    Event.STAGED: lambda said: f"bundle {said['bundle']} staged",
    Event.APPROVAL_ASKED: lambda said: f"approval asked, until {said['expires_at']}",
    Event.APPROVAL_REMINDED: lambda said: f"approvers reminded, expires {said['expires_at']}",
    Event.APPROVAL_GIVEN: lambda said: f"approved by {_who(said)}: {said['reason']}",
    Event.APPROVAL_REFUSED: lambda said: f"rejected by {_who(said)}: {said['reason']}",
    Event.TRAFFIC_INTENDED: lambda said: (
        f"{said['environment']}: switching {said['from']} to {said['to']}, {said['why']}"
    ),
    Event.TRAFFIC_VERIFIED: lambda said: (
        f"{said['environment']}: {said['to']} serves, in {said['answers']} live answers"
    ),
    Event.TRAFFIC_UNVERIFIED: lambda said: (
        f"{said['environment']}: the switch to {said['to']} failed: {said['reason']}"
    ),
    Event.RELEASE_ENDED: lambda said: f"ended {said['outcome']}: {said['reason']}",
    Event.REFUSED: lambda said: f"refused {said['what']} by {said['by']}: {said['reason']}",
    Event.OVERRIDE_ASKED: lambda said: (
        f"{said['by']} asks to override gate {said['gate']} until {said['until']}: {said['reason']}"
    ),
    Event.OVERRIDDEN: lambda said: (
        f"override of gate {said['gate']} withdrawn: {said['reason']}"
        if said["withdrawn"] == "True"
        else f"GATE {said['gate'].upper()} OVERRIDDEN until {said['until']}: {said['reason']}"
    ),
    Event.RELEASE_ASKED: lambda said: f"{said['by']} started run {said['run']}, by token",
    Event.PERSON_ADDED: lambda said: f"{said['name']} added as {said['role']}",
    Event.PERSON_REVOKED: lambda said: f"{said['name']} revoked",
}


def _who(said: _Said) -> str:
    """Return who decided, what their name is worth, and whether somebody else must decide too."""
    worth = {"True": " (by code)", "False": " (not authenticated)"}.get(said["authenticated"], "")
    return f"{said['approver']}{worth}{', one of two' if said['complete'] == 'False' else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a release stands where it stands.

    Attributes:
        release: Which.
        status: Its outcome, or "running" or "waiting for approval".
        reason: One sentence.
        gate: The gate that stopped it, if one did.
        bundle: The digest it made, if it came so far.
        reports: The newest report of every gate.
        failing: The required checks that did not pass, gate first.
        approval: Who decided, and their words; None while nobody has.
        next: The one command to run now.
        hint: What to do before it, or instead; empty where there is nothing to add.
        overridden: What failed and was let pass by two people, a sentence each.
        decided: Why it was started, by the retraining policy; None when the record does not say.
    """

    release: ReleaseId
    status: str
    reason: str
    gate: str | None
    bundle: str | None
    reports: tuple[GateReport, ...]
    failing: tuple[tuple[str, Check], ...]
    approval: str | None
    next: str
    hint: str
    overridden: tuple[str, ...] = ()
    decided: str | None = None


def explain(rows: Sequence[LedgerRow], release: ReleaseId) -> Explanation:
    """Tell why a release ended as it did, or where it stands, and what to do next.

    Raises:
        BadInput: The record holds no such release; says which it holds.
    """
    mine = rows_of(rows, release)
    reports = newest_reports(mine)
    ended = last_of(mine, Event.RELEASE_ENDED)
    state = project(rows)
    outcome, opened = state.outcomes.get(release), state.open
    if outcome is not None and ended is not None:
        status, reason, gate = outcome.value, str(ended.payload["reason"]), ended.payload.get("gate")
    else:
        waiting = opened is not None and opened.release == release and opened.waiting
        status, gate = ("waiting for approval" if waiting else "running"), None
        reason = f"expires {opened.expires_at}" if waiting and opened else history(mine)[-1].text
    answer = last_of(mine, Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)
    made = last_of(mine, Event.BLESSING, Event.BUNDLE, Event.STAGED)
    command, hint = _next(status, release, mine[0].model, None if gate is None else str(gate))
    return Explanation(
        release=release,
        status=status,
        reason=reason,
        gate=None if gate is None else str(gate),
        bundle=None if made is None else _bundle(made),
        reports=reports,
        failing=tuple((r.gate, c) for r in reports for c in r.checks if c.required and c.verdict not in _FINE),
        approval=None if answer is None else _text(answer),
        next=command,
        hint=hint,
        overridden=shouts(reports, standing(rows, release)),
        decided=_decided(rows, mine),
    )


def _decided(rows: Sequence[LedgerRow], mine: Sequence[LedgerRow]) -> str | None:
    """Return why the policy let a release's run open it, with what it weighed."""
    opened = next((row for row in mine if row.event is Event.RELEASE_OPENED), None)
    asked = [row for row in rows if row.event is Event.RETRAINING_DECIDED and opened is not None]
    row = next((row for row in reversed(asked) if opened and row.payload.get("run") == opened.payload["run"]), None)
    if row is None:
        return None
    checks = row.payload.get("checks")
    told = [str(each.get("reason")) for each in checks if isinstance(each, Mapping)] if isinstance(checks, list) else []
    return "; ".join((str(row.payload.get("why")), *told))


_FINE = (Verdict.PASS, Verdict.NOT_APPLICABLE)


def _next(status: str, release: ReleaseId, model: str, gate: str | None) -> tuple[str, str]:
    """Return the one command to run now, and what to do before it or instead."""
    again = f"lockgate release --model {model}"
    more = f"first land what was too little: lockgate land FILE --model {model}"
    return {
        "waiting for approval": (f"lockgate approve {release}", f"or: lockgate reject {release} --reason '...'"),
        "running": ("lockgate status", ""),
        Outcome.PROMOTED.value: ("lockgate status", f"to undo it: lockgate rollback --model {model} --reason '...'"),
        Outcome.BLOCKED.value: (again, f"first mend what {f'gate {gate}' if gate else 'the gate'} names"),
        Outcome.INCONCLUSIVE.value: (again, "first end what else this machine computes" if gate == "stress" else more),
        Outcome.FAILED.value: (again, "or press Retry on its run in the Prefect UI, which goes on where it stopped"),
        Outcome.ROLLED_BACK.value: (again, f"first read why: lockgate history {model}"),
    }.get(status, (again, ""))


def _bundle(row: LedgerRow) -> str | None:
    subjects = row.payload.get("subjects")
    found = subjects.get("bundle") if isinstance(subjects, Mapping) else row.payload.get("bundle")
    return None if found is None else str(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an environment served at one time.

    Attributes:
        bundle: The digest.
        release: The release that put it there.
        since: When it was verified.
        why: Why traffic was changed to it.
        sequence: The change's sequence.
        approval: Who approved that release, and their words.
    """

    bundle: Digest
    release: ReleaseId | None
    since: datetime
    why: str
    sequence: int
    approval: str | None


def at(rows: Sequence[LedgerRow], time: datetime, environment: str = PRODUCTION) -> Served | None:
    """Tell what an environment served at a time, and why; None before its first champion.

    Args:
        time: Aware; a change counts from the moment it was verified.

    Raises:
        BadInput: The time has no zone.
    """
    if time.tzinfo is None:
        raise BadInput(f"{time.isoformat()} has no time zone; add one, e.g. {time.isoformat()}+00:00")
    before = [row for row in rows if row.at <= time]
    serving = project(before).serving.get(environment)
    if serving is None:
        return None
    answer = last_of([row for row in before if row.release == serving.release], Event.APPROVAL_GIVEN)
    return Served(
        bundle=serving.bundle,
        release=serving.release,
        since=serving.since,
        why=serving.why,
        sequence=serving.sequence,
        approval=None if answer is None or serving.release is None else _text(answer),
    )


def rows_of(rows: Iterable[LedgerRow], release: ReleaseId) -> list[LedgerRow]:
    """Return the rows of one release.

    Raises:
        BadInput: There are none; says which releases come closest.
    """
    rows = list(rows)
    mine = [row for row in rows if row.release == release]
    if not mine:
        there = dict.fromkeys(row.release for row in rows if row.release)
        raise BadInput(f"there is no release {release}; {closest(release, tuple(there))}", release=release)
    return mine


def closest(asked: str, there: Sequence[str], most: int = 3) -> str:
    """Return which of some names come closest to one that is not among them, in words.

    >>> closest("toy-002", ("toy-0001", "toy-0002"))
    'closest: toy-0002, toy-0001'
    """
    near = difflib.get_close_matches(asked, there, n=most, cutoff=0.5) or list(there[-most:])
    return f"closest: {', '.join(near)}" if near else "there are no releases yet"


def last_of(rows: Sequence[LedgerRow], *events: Event) -> LedgerRow | None:
    """Return the newest row of some events; None when there is none."""
    return next((row for row in reversed(rows) if row.event in events), None)
