"""One look at a champion: what the record says of it, judged with its days, told and put on record.

    days + reference ── judge ──> findings ── alerts, then retraining ──> one row `monitored`

Each step may run twice: alerts and retraining change nothing for the same findings, and the row comes last. A look that
was killed in the middle is simply taken again.
"""

from __future__ import annotations

from datetime import datetime

from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judging import MonitorReport
from lockgate.core.monitoring.reference import Recorded
from lockgate.ports import Ledger

ACTOR = "monitor"
EXIT = {State.OK: 0, State.NOISE: 0, State.HARM: 3, State.NO_DATA: 6, State.BROKEN: 6}
"""How `lockgate monitor` ends: all clear or noise, harm, cannot say."""


def recorded_of(ledger: Ledger, model: ModelName, champion: Digest, data_as_of: datetime | None) -> Recorded:
    """Return what the ledger says of a champion."""
    now = ledger.state(model).serving.get("production")
    made = bundle_row(ledger, model, champion)
    return Recorded(
        release=None if made is None or made.release is None else ReleaseId(made.release),
        since=now.since if now is not None and now.bundle == champion else None,
        data_as_of=data_as_of,
    )


def bundle_row(ledger: Ledger, model: ModelName, bundle: Digest) -> LedgerRow | None:
    """Return the row of the release that made a bundle; None where the ledger does not know it."""
    rows = [row for row in ledger.rows(model, events=(Event.BUNDLE,)) if row.payload.get("bundle") == bundle]
    return rows[-1] if rows else None


def landed_fate(ledger: Ledger, model: ModelName) -> tuple[int, str | None]:
    """Return how many files landed, and why the newest was quarantined; None where it was taken in."""
    rows = ledger.rows(model, events=(Event.BATCH_INGESTED, Event.BATCH_QUARANTINED))
    if not rows or rows[-1].event is Event.BATCH_INGESTED:
        return len(rows), None
    return len(rows), str(rows[-1].payload.get("reason", "it was quarantined"))


def nothing_served(model: ModelName, now: datetime) -> MonitorReport:
    """Return the report of a model without a champion: nothing can be said."""
    finding = Finding(
        model=model, name="champion", subject=Subject.SERVICE, state=State.NO_DATA,
        reason="production serves no champion; there is nothing to watch", next="lockgate release",
    )  # fmt: skip
    return MonitorReport(model=model, digest=None, at=now, state=State.NO_DATA, findings=(finding,))


def record(ledger: Ledger, report: MonitorReport) -> LedgerRow:
    """Put a look on record; one row a look, which is also how others know that somebody looked."""
    return ledger.append(report.model, Event.MONITORED, report.recorded(), actor=ACTOR)
