"""The ledger's rows, their hash chain, and what follows from reading them: pure, so that an auditor can re-run it.

One chain a model. `(model, seq)` is the compare-and-set: a writer appends row `seq` only if nobody else has. Each row
carries the hash of the one before it; the signed head makes a rewritten chain show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, digest_of

SCHEMA_VERSION = 1
GENESIS = Digest("0" * 64)


class Event(StrEnum):
    """What a row records. The payload's fields are listed beside each."""

    BATCH_LANDED = "batch_landed"  # sha256, name
    BATCH_INGESTED = "batch_ingested"  # sha256, name, rows, table_version
    BATCH_QUARANTINED = "batch_quarantined"  # sha256, name, reason
    RELEASE_OPENED = "release_opened"  # spec, code, run, reason, started_by, process, resolved_spec: the whole of it
    RELEASE_RESUMED = "release_resumed"  # run, process: entered again, after its approval or a Retry
    EVIDENCE = "evidence"  # the whole Evidence
    VERDICT = "verdict"  # the whole GateReport
    BUNDLE = "bundle"  # bundle, data
    BLESSING = "blessing"  # the whole Blessing
    REGISTERED = "registered"  # bundle, version, uri
    STAGED = "staged"  # bundle, sequence
    APPROVAL_ASKED = "approval_asked"  # blessing, dossier, champion, expires_at, run
    APPROVAL_REMINDED = "approval_reminded"  # expires_at
    APPROVAL_GIVEN = "approval_given"  # approver, reason, checklist, blessing, dossier, champion, complete, code
    APPROVAL_REFUSED = "approval_refused"  # approver, reason
    TRAFFIC_INTENDED = "traffic_intended"  # environment, from, to, why
    TRAFFIC_VERIFIED = "traffic_verified"  # environment, sequence, from, to, answers
    TRAFFIC_UNVERIFIED = "traffic_unverified"  # environment, sequence, from, to, reason
    RELEASE_ENDED = "release_ended"  # outcome, reason, gate
    REFUSED = "refused"  # what, by, reason
    ROLLOUT_BEGUN = "rollout_begun"  # course, challenger, champion, salt, run, allocation; see core/rollout/record.py
    ROLLOUT_MOVED = "rollout_moved"  # event, state: one transition of the rollout's machine
    ROLLOUT_LOOK = "rollout_look"  # number, now, counted, look, plan, decision: statistics, what they say; moves it too
    ROLLOUT_ASKED = "rollout_asked"  # what (pause, resume, abort, promote), by, reason
    ROLLOUT_ENDED = "rollout_ended"  # verdict, reason
    ROUTING_INTENDED = "routing_intended"  # environment, the Routing; the row's seq is the server's sequence
    ROUTING_VERIFIED = "routing_verified"  # environment, sequence, the Routed
    DRILL = "drill"  # passed, fault, times_s, lost; a rehearsed rollback
    OVERRIDE_ASKED = "override_asked"  # gate, by (one person), reason, until
    OVERRIDDEN = "overridden"  # gate, by (two people), reason, until; or withdrawn
    RELEASE_ASKED = "release_asked"  # run, by: a person who showed a token started this run
    PERSON_ADDED = "person_added"  # name, role, fingerprint; in a chain of their own, see core/approval_people.py
    PERSON_REVOKED = "person_revoked"  # name
    RETRAINING_DECIDED = "retraining_decided"  # the whole Decision; run, key: see stages/learning.py
    MONITORED = "monitored"  # what one run of the monitor looked at and found
    ALERT = "alert"  # key, action, harm, owner, reason, evidence, next, by, until, message; see core/alerting/alert.py


class Outcome(StrEnum):
    """How a release ended."""

    PROMOTED = "promoted"
    BLOCKED = "blocked"
    INCONCLUSIVE = "inconclusive"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row.

    Attributes:
        model: The chain it belongs to.
        seq: Its place, from 1, without gaps.
        schema_version: Version of this form.
        at: When it was appended, aware UTC.
        event: What happened.
        release: The release it belongs to, if any.
        actor: Who or what appended it: a person's name, or a task's.
        payload: The facts; no personal data.
        prev_hash: `row_hash` of row seq - 1; `GENESIS` for the first.
        row_hash: Digest of all the above.
    """

    model: ModelName
    seq: int
    schema_version: int
    at: datetime
    event: Event
    release: ReleaseId | None
    actor: str
    payload: Mapping[str, Json]
    prev_hash: Digest
    row_hash: Digest


def hash_row(row: LedgerRow) -> Digest:
    """Return what `row.row_hash` must be."""
    return digest_of(replace(row, row_hash=Digest("")))


def next_row(  # noqa: PLR0913 - a row has this many facts; all but the last are keywords
    *,
    model: ModelName,
    at: datetime,
    event: Event,
    release: ReleaseId | None,
    actor: str,
    payload: Mapping[str, Json],
    last: LedgerRow | None,
) -> LedgerRow:
    """Return the row that follows `last` in its model's chain."""
    row = LedgerRow(
        model=model,
        seq=1 if last is None else last.seq + 1,
        schema_version=SCHEMA_VERSION,
        at=at,
        event=event,
        release=release,
        actor=actor,
        payload=payload,
        prev_hash=GENESIS if last is None else last.row_hash,
        row_hash=Digest(""),
    )
    return replace(row, row_hash=hash_row(row))


def broken_at(rows: Sequence[LedgerRow]) -> tuple[int, str] | None:
    """Return the first row of one model's chain that does not follow, and why; None when the chain is whole."""
    before: LedgerRow | None = None
    for row in rows:
        wanted = 1 if before is None else before.seq + 1
        if row.seq != wanted:
            return row.seq, f"row {wanted} is missing"
        if row.prev_hash != (GENESIS if before is None else before.row_hash):
            return row.seq, "its previous hash is not the hash of the row before"
        if row.row_hash != hash_row(row):
            return row.seq, "its content is not what was hashed"
        before = row
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What an environment serves, as verified from its live answers.

    Attributes:
        bundle: The champion's digest.
        release: The release that put it there; None after a rollback to a bundle whose release is unknown.
        since: When it was verified.
        why: The release's reason, or the rollback's.
        sequence: The ledger sequence of the change.
    """

    bundle: Digest
    release: ReleaseId | None
    since: datetime
    why: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRelease:
    """The one release of a model that has not ended.

    Attributes:
        release: Its id.
        run: The Prefect flow run that carries it.
        opened_at: When.
        waiting: True once approval was asked and not answered.
        expires_at: When the approval expires, once asked.
        reminded: Whether the approvers were told a second time.
    """

    release: ReleaseId
    run: str
    opened_at: datetime
    waiting: bool = False
    expires_at: datetime | None = None
    reminded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What the rows of one model add up to.

    Attributes:
        serving: Environment name to what it serves; an environment never switched is absent.
        previous: Environment name to what it served before.
        open: The open release, if any.
        pending: Traffic intents that were neither verified nor given up: environment to the intent's row.
        releases: How many releases were ever opened.
        outcomes: How each ended release ended.
        ingested: sha256 of every batch that was ingested; one that was quarantined may be landed again.
    """

    serving: Mapping[str, Serving]
    previous: Mapping[str, Serving]
    open: OpenRelease | None
    pending: Mapping[str, LedgerRow]
    releases: int
    outcomes: Mapping[ReleaseId, Outcome]
    ingested: frozenset[str]

    @property
    def champion(self) -> Digest | None:
        """What production serves; None when there never was a champion."""
        now = self.serving.get("production")
        return None if now is None else now.bundle


def project(rows: Iterable[LedgerRow]) -> ModelState:
    """Fold one model's rows, in order, into what holds now."""
    serving: dict[str, Serving] = {}
    previous: dict[str, Serving] = {}
    pending: dict[str, LedgerRow] = {}
    outcomes: dict[ReleaseId, Outcome] = {}
    ingested: set[str] = set()
    opened: OpenRelease | None = None
    left: dict[ReleaseId, OpenRelease] = {}  # how each release stood when it ended: a Retry takes it up from there
    releases = 0
    for row in rows:
        if row.event is Event.RELEASE_OPENED:
            releases += 1
        if row.event is Event.BATCH_INGESTED:
            ingested.add(str(row.payload["sha256"]))
        if row.event is Event.RELEASE_ENDED and row.release is not None:
            outcomes[row.release] = Outcome(str(row.payload["outcome"]))
        if row.event is Event.RELEASE_RESUMED and row.release is not None:
            outcomes.pop(row.release, None)
        if opened is not None:
            left[opened.release] = opened
        opened = _follow_release(opened, row, left)
        _follow_traffic(row, serving, previous, pending)
    return ModelState(
        serving=serving,
        previous=previous,
        open=opened,
        pending=pending,
        releases=releases,
        outcomes=outcomes,
        ingested=frozenset(ingested),
    )


def _follow_release(  # noqa: PLR0911 - one return an event
    opened: OpenRelease | None, row: LedgerRow, left: Mapping[ReleaseId, OpenRelease]
) -> OpenRelease | None:
    if row.event in (Event.RELEASE_OPENED, Event.RELEASE_RESUMED) and row.release is not None:
        if row.release in left:
            return replace(left[row.release], run=str(row.payload["run"]))
        return OpenRelease(release=row.release, run=str(row.payload["run"]), opened_at=row.at)
    if opened is None or row.release != opened.release:
        return opened
    match row.event:
        case Event.APPROVAL_ASKED:
            expires = datetime.fromisoformat(str(row.payload["expires_at"]))
            return replace(opened, waiting=True, expires_at=expires)
        case Event.APPROVAL_REMINDED:
            return replace(opened, reminded=True)
        case Event.APPROVAL_GIVEN | Event.APPROVAL_REFUSED:
            return replace(opened, waiting=row.payload.get("complete") is False)  # one approval of two
        case Event.RELEASE_ENDED:
            return None
        case _:
            return opened


def _follow_traffic(
    row: LedgerRow,
    serving: dict[str, Serving],
    previous: dict[str, Serving],
    pending: dict[str, LedgerRow],
) -> None:
    if row.event is Event.TRAFFIC_INTENDED:
        pending[str(row.payload["environment"])] = row
    elif row.event is Event.TRAFFIC_UNVERIFIED:
        begun = pending.get(str(row.payload["environment"]))
        if begun is not None and begun.seq == row.payload["sequence"]:  # an undo may have begun before this write-off
            del pending[str(row.payload["environment"])]
    elif row.event is Event.TRAFFIC_VERIFIED:
        environment = str(row.payload["environment"])
        intent = pending.pop(environment, None)
        before = serving.get(environment)
        now = Serving(
            bundle=Digest(str(row.payload["to"])),
            release=row.release,
            since=row.at,
            why=str(intent.payload["why"]) if intent else "",
            sequence=int(str(row.payload["sequence"])),
        )
        if before is not None and before.bundle != now.bundle:
            previous[environment] = before
        serving[environment] = now
