"""The four delivery figures of one model, read from its ledger: how often, how fast, how safely, how soon mended.

Definitions follow DORA (Forsgren, Humble, Kim: Accelerate, 2018, ch. 2), with what a ledger can witness in the place
of what it cannot:

    deployment frequency   verified promotions in production, per 30 days of record
    lead time              first row of a release's data (or its opening) to its verified switch in production
    change failure share   promotions that were undone or rolled back, of those that ended either way
    time to restore        decision to go back to verified answers of the bundle before; `exposed_s` is the time from
                           the switch to that, the longest that anything wrong can have been answered
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.traffic import Kind

PRODUCTION = "production"
_DAY_S = 86_400.0
MONTH_DAYS = 30.0
"""The window that frequency is told for; a calendar month has no fixed length."""
CONFIDENCE = 0.95
LEAST_RECORD_S = _DAY_S
"""Ours: below a day of record, a rate per 30 days multiplies a few minutes by thousands, so none is told."""
_DATA = (Event.BATCH_LANDED, Event.BATCH_INGESTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """Some durations, in seconds; at least one.

    Attributes:
        median_s: Their median.
        longest_s: Their maximum.
        n: How many.
    """

    median_s: float
    longest_s: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a ledger says of one model's delivery.

    Attributes:
        since: First row; None for an empty record.
        until: Last row.
        releases: Releases opened.
        promotions: Verified promotions in production.
        per_30_days: Promotions per 30 days of record; None with less than a day of record.
        lead_time: From a release's first data to its verified switch; None without a promotion.
        waited: Of it, from the approval's question to its answer; None where nobody was asked.
        changes: Promotions that were verified, and those that were undone before they were.
        failures: Of these, undone or rolled back.
        failure_fraction: failures / changes; None without a change.
        failure_interval: Its exact interval at 95 %, changes taken as independent; None without a change.
        restore: From the decision to go back to verified answers; None without a failure that was restored.
        exposed: From the switch to verified answers of the bundle before; None likewise.
    """

    since: datetime | None
    until: datetime | None
    releases: int
    promotions: int
    per_30_days: float | None
    lead_time: Durations | None
    waited: Durations | None
    changes: int
    failures: int
    failure_fraction: float | None
    failure_interval: tuple[float, float] | None
    restore: Durations | None
    exposed: Durations | None


def delivery(rows: Sequence[LedgerRow]) -> Delivery:
    """Return the delivery figures of one model.

    Args:
        rows: Rows of one model's chain from its first on, in order; a chain cut short is judged as it stood then.
    """
    verified = [row for row in rows if row.event is Event.TRAFFIC_VERIFIED and _in_production(row)]
    promoted = [row for row in verified if row.payload.get("kind", Kind.PROMOTION) == Kind.PROMOTION]
    restored = [row for row in verified if row.payload.get("kind") in (Kind.UNDO, Kind.ROLLBACK)]
    # an undo's promotion was never verified, so it is a change beside the promotions; a rollback's was
    undone = sum(row.payload.get("kind") == Kind.UNDO for row in restored)
    changes, failures = len(promoted) + undone, len(restored)
    record_s = (rows[-1].at - rows[0].at).total_seconds() if rows else 0.0
    return Delivery(
        since=rows[0].at if rows else None,
        until=rows[-1].at if rows else None,
        releases=sum(row.event is Event.RELEASE_OPENED for row in rows),
        promotions=len(promoted),
        per_30_days=len(promoted) / (record_s / _DAY_S) * MONTH_DAYS if record_s >= LEAST_RECORD_S else None,
        lead_time=_durations([_lead_s(rows, row) for row in promoted]),
        waited=_durations([_waited_s(rows, row.release) for row in promoted]),
        changes=changes,
        failures=failures,
        failure_fraction=failures / changes if changes else None,
        failure_interval=exact_interval(failures, changes) if changes else None,
        restore=_durations([_since_intent_s(rows, row) for row in restored]),
        exposed=_durations([_exposed_s(rows, row) for row in restored]),
    )


def exact_interval(hits: int, tries: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson 1934, by quantiles of the beta distribution).

    Args:
        hits: 0 to tries.
        tries: At least 1.
        confidence: In 0..1.

    >>> [round(bound, 4) for bound in exact_interval(0, 10)]  # 1 - 0.025 ** (1 / 10)
    [0.0, 0.3085]
    """
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, tries - hits + 1, tail))
    high = 1.0 if hits == tries else float(special.betaincinv(hits + 1, tries - hits, 1 - tail))
    return low, high


def _in_production(row: LedgerRow) -> bool:
    return row.payload.get("environment") == PRODUCTION


def _durations(found: Sequence[float | None]) -> Durations | None:
    kept = [each for each in found if each is not None]
    if not kept:
        return None
    return Durations(median_s=statistics.median(kept), longest_s=max(kept), n=len(kept))


def _lead_s(rows: Sequence[LedgerRow], verified: LedgerRow) -> float | None:
    """Return the time from the first data of a release, or from its opening, to its verified switch."""
    opened = _first(rows, verified.release, Event.RELEASE_OPENED)
    if opened is None:
        return None
    before = max((row.seq for row in rows if row.event is Event.RELEASE_OPENED and row.seq < opened.seq), default=0)
    data = [row.at for row in rows if row.event in _DATA and before < row.seq < opened.seq]
    return (verified.at - min([opened.at, *data])).total_seconds()


def _waited_s(rows: Sequence[LedgerRow], release: ReleaseId | None) -> float | None:
    asked, given = (_first(rows, release, event) for event in (Event.APPROVAL_ASKED, Event.APPROVAL_GIVEN))
    return None if asked is None or given is None else (given.at - asked.at).total_seconds()


def _first(rows: Sequence[LedgerRow], release: ReleaseId | None, event: Event) -> LedgerRow | None:
    return next((row for row in rows if row.event is event and release is not None and row.release == release), None)


def _at_seq(rows: Sequence[LedgerRow], seq: Json) -> LedgerRow | None:
    return next((row for row in rows if row.seq == seq), None)


def _since_intent_s(rows: Sequence[LedgerRow], verified: LedgerRow) -> float | None:
    intent = _at_seq(rows, verified.payload.get("sequence"))
    return None if intent is None else (verified.at - intent.at).total_seconds()


def _exposed_s(rows: Sequence[LedgerRow], verified: LedgerRow) -> float | None:
    """Return the time from the switch that was taken back to the verified answers of the bundle before."""
    if verified.payload.get("kind") == Kind.UNDO:
        begun = _at_seq(rows, verified.payload.get("undoes"))
    else:
        left = verified.payload.get("from")
        switched = [
            row
            for row in rows
            if row.event is Event.TRAFFIC_VERIFIED
            and _in_production(row)
            and row.seq < verified.seq
            and row.payload.get("to") == left
        ]
        begun = switched[-1] if switched else None
    return None if begun is None else (verified.at - begun.at).total_seconds()
