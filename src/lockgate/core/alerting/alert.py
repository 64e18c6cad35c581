"""What an alert is: the fold of the ledger's rows of one model.

    raised ──> open ──acknowledged──> acknowledged       somebody is at it: no reminders, unless it gets worse
                │  └──silenced──> silenced ──its date, or unsilenced──> open      on record, told to nobody
                └──closed──> closed                      a run measured it clear; the next `raised` opens it anew

A row is `Event.ALERT` with `key` and `action`. Rows of an older form (`what`, `reason`, `next`) are read as raised
and told to people at the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Json, ModelName, as_float
from lockgate.core.ledger import Event, LedgerRow

_KEPT = 8  # times of raisings; what follows from them counts fewer


class Action(StrEnum):
    """What a row says of an alert."""

    RAISED = "raised"
    REPEATED = "repeated"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    UNSILENCED = "unsilenced"
    CLOSED = "closed"
    DELIVERED = "delivered"  # of a message, not of an alert: every address took it, or was given up


class AlertState(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SILENCED = "silenced"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nobody is told of an alert for a while.

    Attributes:
        until: It ends then, aware UTC.
        by: Who asked for it.
        reason: Why.
    """

    until: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert as it stands at a time.

    Attributes:
        key: model:name or model:name:slice; what is the same alert and what is another.
        model: The model.
        name: What was found.
        harm: Its rank: how much is lost by it, comparable between alerts; NaN where nobody can say.
        owner: Who acts on it.
        reason: One sentence.
        evidence: The figures behind it.
        next: What to do.
        opened: When it was raised, the last time it was.
        count: How often it was raised or repeated since then.
        state: Where it stands.
        acknowledged_by: Who is at it; empty for nobody.
        acknowledged_harm: Its harm when they said so.
        silence: While it is silenced; it outlives closing.
        closed: When it was closed; None while it is not.
        false_alarm: A person called it a false alarm.
        told: When people were last told of it, by a message or, in the older form of rows, directly.
        told_harm: Its harm then.
        raised_told: When the raisings were that people were told of.
        messages: How many messages were ever made of it: the next one's number is one more.
    """

    key: str
    model: ModelName
    name: str
    harm: float
    owner: str
    reason: str
    evidence: Mapping[str, Json]
    next: str
    opened: datetime
    count: int
    state: AlertState
    acknowledged_by: str = ""
    acknowledged_harm: float = math.nan
    silence: Silence | None = None
    closed: datetime | None = None
    false_alarm: bool = False
    told: datetime | None = None
    told_harm: float = math.nan
    raised_told: tuple[datetime, ...] = field(default=())
    messages: int = 0

    @property
    def is_open(self) -> bool:
        """Whether what was found still holds, as far as anybody measured."""
        return self.closed is None


def alert_key(model: str, name: str, evidence: Mapping[str, Json]) -> str:
    """Return the key of a finding: its model, name, and slice where its evidence names one.

    >>> alert_key("toy", "loss", {}), alert_key("toy", "loss", {"slice": "origin=EWR"})
    ('toy:loss', 'toy:loss:origin=EWR')
    """
    part = str(evidence.get("slice") or "")
    named = not part or name.endswith(f":{part}")  # a name may hold its slice already
    return f"{model}:{name}" if named else f"{model}:{name}:{part}"


def model_of_key(key: str) -> ModelName:
    """Return the model that a key belongs to.

    >>> model_of_key("toy:loss:origin=EWR")
    'toy'
    """
    return ModelName(key.partition(":")[0])


def fold(rows: Iterable[LedgerRow], now: datetime) -> dict[str, Alert]:
    """Return every alert that one model's rows ever raised, by key, as it stands at a time.

    Args:
        rows: Rows of one model in order; those that record no alert are passed over.
        now: The time, aware UTC: it ends silences.
    """
    alerts: dict[str, Alert] = {}
    for row in rows:
        given = action_of(row)
        if given is None or given is Action.DELIVERED:
            continue
        key = key_of_row(row)
        before = alerts.get(key)
        if given in (Action.RAISED, Action.REPEATED):
            alerts[key] = _told(_raised(before, row, key), row)
        elif before is not None:
            alerts[key] = _told(_changed(before, given, row), row)
    return {key: _at(alert, now) for key, alert in alerts.items()}


def ranked(alerts: Iterable[Alert]) -> tuple[Alert, ...]:
    """Return alerts by harm, the worst first; a harm that nobody can say comes before all."""
    return tuple(sorted(alerts, key=lambda each: (harm_order(each.harm), each.opened, each.key)))


def harm_order(harm: float) -> float:
    """Return what sorts the worst harm first; an unknown one is not taken for a small one.

    >>> sorted([0.2, math.nan, 3.0, math.inf], key=harm_order)
    [nan, inf, 3.0, 0.2]
    """
    return -math.inf if math.isnan(harm) else -harm if math.isfinite(harm) else -1e300


def open_alerts(rows: Iterable[LedgerRow], now: datetime) -> tuple[Alert, ...]:
    """Return the alerts of one model that are not closed, the worst first."""
    return ranked(each for each in fold(rows, now).values() if each.is_open)


def action_of(row: LedgerRow) -> Action | None:
    """Return what a row says of an alert or a message; None for a row that is about neither."""
    if row.event is not Event.ALERT:
        return None
    said = row.payload.get("action", Action.RAISED)
    known = {each.value for each in Action}
    return Action(str(said)) if said in known else None


def key_of_row(row: LedgerRow) -> str:
    """Return the key of the alert that a row is about; rows of the older form name what they are about instead."""
    return str(row.payload.get("key") or f"{row.model}:{row.payload.get('what', 'alert')}")


def _raised(before: Alert | None, row: LedgerRow, key: str) -> Alert:
    """Open an alert, or note that an open one still holds."""
    given = row.payload
    evidence = given.get("evidence")
    goes_on = before is not None and before.is_open
    fresh = Alert(
        key=key,
        model=row.model,
        name=str(given.get("name") or key.partition(":")[2]),
        harm=number(given.get("harm", 0.0)),
        owner=str(given.get("owner") or ""),
        reason=str(given.get("reason") or ""),
        evidence=evidence if isinstance(evidence, Mapping) else {},
        next=str(given.get("next") or ""),
        opened=before.opened if before is not None and goes_on else row.at,
        count=before.count + 1 if before is not None and goes_on else 1,
        state=AlertState.OPEN,
    )
    if before is None:
        return fresh
    return replace(
        fresh,
        silence=before.silence,
        told=before.told,
        told_harm=before.told_harm,
        raised_told=before.raised_told,
        messages=before.messages,
    )


def _changed(alert: Alert, action: Action, row: LedgerRow) -> Alert:
    if action is Action.ACKNOWLEDGED:
        by = str(row.payload.get("by") or row.actor)
        false_alarm = alert.false_alarm or row.payload.get("false_alarm") is True
        return replace(alert, acknowledged_by=by, acknowledged_harm=alert.harm, false_alarm=false_alarm)
    if action is Action.SILENCED:
        return replace(alert, silence=_silence(row))
    if action is Action.UNSILENCED:
        return replace(alert, silence=None)
    return replace(alert, closed=alert.closed or row.at)


def _told(alert: Alert, row: LedgerRow) -> Alert:
    """Note that people are told by this row: it names a message, or is of the older form."""
    action, older = action_of(row), "action" not in row.payload
    if not older and not row.payload.get("message"):
        return alert
    again = replace(alert, messages=alert.messages if older else alert.messages + 1)
    if action is Action.CLOSED:
        return again
    raised = (*alert.raised_told, row.at)[-_KEPT:] if action is Action.RAISED and not older else alert.raised_told
    return replace(again, told=row.at, told_harm=alert.harm, raised_told=raised)


def _at(alert: Alert, now: datetime) -> Alert:
    """Return the alert with the state it has at a time; a silence that is over is gone."""
    silence = alert.silence if alert.silence is not None and now < alert.silence.until else None
    state = AlertState.OPEN
    if not alert.is_open:
        state = AlertState.CLOSED
    elif silence is not None:
        state = AlertState.SILENCED
    elif alert.acknowledged_by:
        state = AlertState.ACKNOWLEDGED
    return replace(alert, silence=silence, state=state)


def _silence(row: LedgerRow) -> Silence:
    return Silence(
        until=datetime.fromisoformat(str(row.payload["until"])),
        by=str(row.payload.get("by") or row.actor),
        reason=str(row.payload.get("reason") or ""),
    )


def number(value: Json) -> float:
    """Read a harm; one that is no number is one that nobody can say.

    >>> number(0.5), number("Infinity"), number(None)
    (0.5, inf, nan)
    """
    try:
        return as_float(value)
    except (TypeError, ValueError):
        return math.nan
