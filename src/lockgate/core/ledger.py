"""The ledger's rows and their hash chain: pure, so that an auditor can re-run it.

What one model's rows add up to is `core.model_state.project`.

One chain a model. `(model, seq)` is the compare-and-set: a writer appends row `seq` only if nobody else has. Each row
carries the hash of the one before it; the signed head makes a rewritten chain show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    WINDOWS_COMPARED = "windows_compared"  # the whole report, key, spec, code; see line/windows.py
    COUNTERFACTUALS = "counterfactuals"  # the whole report, key; see line/counterfactuals.py
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
