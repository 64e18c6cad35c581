"""The record for people: what happened, why a release ended so and what to do next, what served when, what differs.

Pure over ledger rows; prints nothing. Every answer is a value that a terminal shows and `--json` serialises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome, project
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
    Event.RELEASE_OPENED: lambda said: f"opened by {said['started_by']}: {said['reason']}",
    Event.RELEASE_RESUMED: lambda _: "entered again by its run",
    Event.VERDICT: lambda said: f"gate {said['gate']}: {said['verdict']}, {said['reason']}",
    Event.BUNDLE: lambda said: f"bundle {said['bundle']} packaged",
    Event.BLESSING: lambda _: "blessed: every required gate passed",
    Event.REGISTERED: lambda said: f"registered as version {said['version']}",
    Event.STAGED: lambda said: f"bundle {said['bundle']} staged",
    Event.APPROVAL_ASKED: lambda said: f"approval asked, until {said['expires_at']}",
    Event.APPROVAL_REMINDED: lambda said: f"approvers reminded, expires {said['expires_at']}",
    Event.APPROVAL_GIVEN: lambda said: f"approved by {said['approver']}: {said['reason']}",
    Event.APPROVAL_REFUSED: lambda said: f"rejected by {said['approver']}: {said['reason']}",
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
}


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
        next: The command to run now.
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


def explain(rows: Sequence[LedgerRow], release: ReleaseId) -> Explanation:
    """Tell why a release ended as it did, or where it stands, and what to do next.

    Raises:
        BadInput: The record holds no such release; says which it holds.
    """
    mine = _of(rows, release)
    reports = newest_reports(mine)
    ended = _last(mine, Event.RELEASE_ENDED)
    state = project(rows)
    outcome, opened = state.outcomes.get(release), state.open
    if outcome is not None and ended is not None:
        status, reason, gate = outcome.value, str(ended.payload["reason"]), ended.payload.get("gate")
    else:
        waiting = opened is not None and opened.release == release and opened.waiting
        status, gate = ("waiting for approval" if waiting else "running"), None
        reason = f"expires {opened.expires_at}" if waiting and opened else history(mine)[-1].text
    answer = _last(mine, Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)
    made = _last(mine, Event.BLESSING, Event.BUNDLE, Event.STAGED)
    return Explanation(
        release=release,
        status=status,
        reason=reason,
        gate=None if gate is None else str(gate),
        bundle=None if made is None else _bundle(made),
        reports=reports,
        failing=tuple((r.gate, c) for r in reports for c in r.checks if c.required and c.verdict not in _FINE),
        approval=None if answer is None else _text(answer),
        next=_next(status, release, mine[0].model),
    )


_FINE = (Verdict.PASS, Verdict.NOT_APPLICABLE)


def _next(status: str, release: ReleaseId, model: str) -> str:
    again = f"lockgate release --model {model}"
    return {
        "waiting for approval": f"lockgate approve (or: reject) {release} --reason '...'",
        "running": "lockgate status",
        Outcome.PROMOTED.value: f"lockgate status; to undo it: lockgate rollback --model {model} --reason '...'",
        Outcome.BLOCKED.value: f"mend what the gate names, then {again}",
        Outcome.INCONCLUSIVE.value: f"land what was too little (lockgate land FILE --model {model}), or {again}",
        Outcome.FAILED.value: f"press Retry on its run in the Prefect UI, or {again}",
        Outcome.ROLLED_BACK.value: f"lockgate history {model}, then {again}",
    }.get(status, again)


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
    answer = _last([row for row in before if row.release == serving.release], Event.APPROVAL_GIVEN)
    return Served(
        bundle=serving.bundle,
        release=serving.release,
        since=serving.since,
        why=serving.why,
        sequence=serving.sequence,
        approval=None if answer is None or serving.release is None else _text(answer),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One fact in which two releases differ.

    Attributes:
        what: A digest's role, `outcome`, or `gate.check` (with its slice).
        first: The first release's; None where it has none.
        second: The second's.
    """

    what: str
    first: str | float | None
    second: str | float | None


def diff(rows: Sequence[LedgerRow], first: ReleaseId, second: ReleaseId) -> tuple[Difference, ...]:
    """Return what differs between two releases of one model: what they are made of, then what was measured.

    Raises:
        BadInput: The record holds no such release.
    """
    one, two = _facts(rows, first), _facts(rows, second)
    return tuple(
        Difference(what=what, first=one.get(what), second=two.get(what))
        for what in dict.fromkeys((*one, *two))
        if one.get(what) != two.get(what)
    )


def _facts(rows: Sequence[LedgerRow], release: ReleaseId) -> dict[str, str | float | None]:
    mine = _of(rows, release)
    facts: dict[str, str | float | None] = {}
    opened, blessed = _last(mine, Event.RELEASE_OPENED), _last(mine, Event.BLESSING)
    for row, names in ((opened, ("spec", "code")), (blessed, ("data", "bundle", "champion"))):
        held = {} if row is None else row.payload.get("subjects", row.payload)
        facts |= {name: str(held[name]) for name in names if isinstance(held, Mapping) and held.get(name)}
    outcome = project(rows).outcomes.get(release)
    facts["outcome"] = None if outcome is None else outcome.value
    for report in newest_reports(mine):
        facts[report.gate] = report.verdict.value
        for check in report.checks:
            place = check.name if check.slice == "all" else f"{check.name} ({check.slice})"
            facts[f"{report.gate}.{place}"] = check.observed if check.estimate is None else check.estimate
    return facts


def _of(rows: Iterable[LedgerRow], release: ReleaseId) -> list[LedgerRow]:
    rows = list(rows)
    mine = [row for row in rows if row.release == release]
    if not mine:
        there = list(dict.fromkeys(row.release for row in rows if row.release))
        raise BadInput(f"there is no release {release}; the newest are {', '.join(there[-5:]) or 'none'}")
    return mine


def _last(rows: Sequence[LedgerRow], *events: Event) -> LedgerRow | None:
    return next((row for row in reversed(rows) if row.event in events), None)
