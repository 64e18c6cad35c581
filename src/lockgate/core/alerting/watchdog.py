"""The finding of a monitor that says nothing: the one alarm that the monitor cannot raise itself. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lockgate.core.alerting.cron import last_due
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec_sections.watching import MonitoringSection

MONITOR_SILENT = "monitor silent"
WATCHED_EVENTS = (Event.MONITORED, Event.TRAFFIC_VERIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """A finding about the machinery, not about data: there is no figure to hold against a threshold.

    Attributes:
        model: The model.
        name: What was looked at.
        state: ok or harm.
        reason: One sentence.
        next: What to do.
        harm: Its rank.
        observed: The figure, where there is one.
        threshold: What it is held to.
        unit: Unit of both.
        evidence: The figures behind it.
    """

    model: str
    name: str
    state: str
    reason: str
    next: str
    harm: float = 0.0
    observed: float | None = None
    threshold: float | None = None
    unit: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)


def monitor_silence(
    rows: Iterable[LedgerRow], section: MonitoringSection, model: ModelName, *, since: datetime, now: datetime
) -> Noticed | None:
    """Return whether a model's monitor has said nothing although it was due; None where that cannot be told.

    It was due when its schedule says so, not every `silent_after_s`: a daily monitor is silent between its runs.
    Nothing is wrong where no schedule is set or no champion serves. What was due when nobody was there to start it
    proves nothing, and clears nothing: an alarm from before that is open until the monitor speaks.

    Args:
        rows: The model's rows of `WATCHED_EVENTS`, in order.
        section: Its schedule, and how long a run may be overdue.
        model: The model.
        since: Since when somebody watches this schedule, aware UTC: what was due before proves nothing.
        now: The time, aware UTC.
    """
    seen = tuple(rows)
    by = now - timedelta(seconds=section.alerts.silent_after_s)
    champion = next((row.at for row in seen if row.payload.get("environment") == "production"), None)
    last = max((row.at for row in seen if row.event is Event.MONITORED), default=None)
    if section.schedule is None or champion is None:
        return _fine(model, "the monitor is not scheduled, or nothing serves")
    due = last_due(section.schedule, by) or by
    if last is not None and last >= due:
        return _fine(model, "the monitor said what it had to say")
    if due < max(champion, since):
        return None
    silent_since = max(champion, since) if last is None else last
    told = "never" if last is None else f"last at {last:%Y-%m-%d %H:%M} UTC"
    return Noticed(
        model=model,
        name=MONITOR_SILENT,
        state="harm",
        harm=math.inf,
        observed=(now - silent_since).total_seconds(),
        threshold=section.alerts.silent_after_s,
        unit="s",
        reason=f"the monitor was due at {due:%Y-%m-%d %H:%M} UTC and said nothing ({told}): nobody watches {model}",
        evidence={
            "schedule": section.schedule,
            "due": due.isoformat(),
            "last": None if last is None else last.isoformat(),
        },
        next="lockgate status",
    )


def _fine(model: ModelName, reason: str) -> Noticed:
    return Noticed(model=model, name=MONITOR_SILENT, state="ok", reason=reason, next="")
