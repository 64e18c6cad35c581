"""Alerts on record and on their way: rows first, then messages, then what became of them.

    findings ──> rows (ledger) ──> messages (outbox) ──> addresses ──> `delivered` (ledger)

Killed between any two, the next run goes on from the record: what it holds and nobody took is sent. A receiver may see
a message twice, with the same id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from lockgate.core.alerting.alert import Action, Alert, AlertState, fold, model_of_key, open_alerts
from lockgate.core.alerting.deciding import STORM, Found, Step, by_key, decide, payload_of
from lockgate.core.alerting.messages import message_id, pending, storm_id
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec_sections.watching import AlertsSection
from lockgate.errors import BadInput, LedgerConflict, TransientError
from lockgate.ports import Clock, Ledger, Outbox

ACTOR = "monitor"
LONGEST = timedelta(days=30)
"""A silence lasts no longer. Ours, as for overrides: long enough to mend what is known, too short to forget it."""
_RACES = 20  # ours: lost this often in a row, something else is wrong


def raise_alerts(  # noqa: PLR0913, PLR0917 - the record, the way out, and what was found by whom
    ledger: Ledger,
    outbox: Outbox,
    model: ModelName,
    section: AlertsSection,
    findings: Iterable[Found],
    now: datetime,
    owner: str,
) -> tuple[Alert, ...]:
    """Put on record what a run's findings change of the model's alerts, hand the messages over, return what is open.

    The same findings again change nothing until they are due again, so one event may be delivered any number of times.

    Args:
        ledger: The record.
        outbox: Where messages go.
        model: Whose alerts.
        section: How often an alert is repeated, and who owns it.
        findings: What a run found; alerts of other keys are left alone.
        now: The run's time, aware UTC.
        owner: Who acts on an alert where the section names nobody.

    Raises:
        TransientError: The ledger did not answer; what it holds by then is sent by the next run.
    """
    found, record = by_key(findings), _Record(ledger, model, now, section.repeat_s)
    steps = {key: step for key, each in found.items() if (step := record.step(each, key)) is not None}
    storm = storm_id(model, record.rows) if sum(step.tells for step in steps.values()) > STORM else None
    for key in steps:
        record.write(found[key], key, section.owner or owner, storm)
    send_pending(ledger, outbox, model)
    return open_alerts(alert_rows(ledger, model), now)


class _Record:
    """One model's alerts as last read, and the rows appended to them since; read again when somebody else wrote.

    Args:
        ledger: The record.
        model: Whose alerts.
        now: The run's time.
        repeat_s: After how long what lasts is told again.
    """

    def __init__(self, ledger: Ledger, model: ModelName, now: datetime, repeat_s: float) -> None:
        self._ledger = ledger
        self._model = model
        self._now = now
        self._repeat_s = repeat_s
        self._read()

    def _read(self) -> None:
        self._seen = self._ledger.last_seq(self._model)  # before the rows: what comes between is a conflict
        self.rows = list(alert_rows(self._ledger, self._model))
        self._alerts = fold(self.rows, self._now)

    def step(self, found: Found, key: str) -> Step | None:
        """Return what a finding changes now."""
        return decide(found, self._alerts.get(key), self._now, self._repeat_s)

    def write(self, found: Found, key: str, owner: str, storm: str | None) -> None:
        """Append the row of one finding, decided anew on whatever came in between.

        Raises:
            TransientError: The ledger did not answer, or others append without end.
        """
        for _ in range(_RACES):
            step = self.step(found, key)
            if step is None:
                return
            payload = payload_of(found, step, owner, _message(step, key, self._alerts.get(key), storm))
            try:
                row = self._ledger.append(self._model, Event.ALERT, payload, actor=ACTOR, expect_seq=self._seen)
            except LedgerConflict:
                self._read()
                continue
            self._seen = row.seq
            self.rows.append(row)
            return
        raise TransientError(f"{self._model}: the record moved on {_RACES} times while {key} was written; try again")


def _message(step: Step, key: str, alert: Alert | None, storm: str | None) -> str | None:
    if not step.tells:
        return None
    return storm or message_id(key, 0 if alert is None else alert.messages)


def alert_rows(ledger: Ledger, model: ModelName) -> tuple[LedgerRow, ...]:
    """Return the rows of a model's alerts, in order."""
    return ledger.rows(model, events=(Event.ALERT,))


# -- messages ----------------------------------------------------------------------------------------------------------


def send_pending(ledger: Ledger, outbox: Outbox, model: ModelName) -> int:
    """Hand the outbox every message that is on record and not delivered; returns how many it did not take."""
    return sum(not outbox.put(message) for message in pending(alert_rows(ledger, model)))


def record_deliveries(ledger: Ledger, outbox: Outbox) -> tuple[str, ...]:
    """Put on record which messages were delivered, then let the outbox forget them; returns their ids."""
    done = []
    for each in outbox.delivered():
        held = {str(row.payload.get("message")) for row in alert_rows(ledger, each.model) if _is_delivery(row)}
        if each.id not in held:
            payload: dict[str, Json] = {
                "action": Action.DELIVERED.value,
                "message": each.id,
                "to": list(each.to),
                "missed": list(each.missed),
            }
            ledger.append(each.model, Event.ALERT, payload, actor="outbox")
        outbox.settle(each.id)
        done.append(each.id)
    return tuple(done)


def _is_delivery(row: LedgerRow) -> bool:
    return row.payload.get("action") == Action.DELIVERED.value


# -- what people say of alerts -----------------------------------------------------------------------------------------


def acknowledge(  # noqa: PLR0913 - who says what of which alert
    ledger: Ledger, clock: Clock, key: str, *, by: str, reason: str = "", false_alarm: bool = False
) -> Alert:
    """Record that somebody is at an alert: no reminders until it is closed or gets worse.

    Raises:
        BadInput: There is no such alert, or it is closed.
    """
    alert = find_alert(ledger, clock, key)
    if not alert.is_open and not false_alarm:
        raise BadInput(f"alert {alert.key} was closed {alert.closed:%Y-%m-%d %H:%M} UTC; there is nothing to be at")
    said: dict[str, Json] = {"reason": reason, "false_alarm": false_alarm}
    return _say(ledger, clock, alert, Action.ACKNOWLEDGED, by, said)


def silence(  # noqa: PLR0913 - who says what of which alert
    ledger: Ledger, clock: Clock, key: str, *, by: str, until: datetime, reason: str
) -> Alert:
    """Record that nobody is told of an alert for a while; it stays on record and is shown.

    Raises:
        BadInput: There is no such alert, the date is over or too far, or no reason is given.
    """
    alert, now = find_alert(ledger, clock, key), clock.now()
    if not reason.strip():
        raise BadInput("a silence needs a reason; give one with --reason, everybody will read it")
    if until <= now:
        raise BadInput(f"{until.isoformat()} is over; a silence ends in the future")
    if until - now > LONGEST:
        raise BadInput(f"{until.date()} is too far; the latest end is {(now + LONGEST):%Y-%m-%dT%H:%M}")
    return _say(ledger, clock, alert, Action.SILENCED, by, {"until": until.isoformat(), "reason": reason})


def unsilence(ledger: Ledger, clock: Clock, key: str, *, by: str) -> Alert:
    """Record that people are told of an alert again.

    Raises:
        BadInput: There is no such alert, or it is not silenced.
    """
    alert = find_alert(ledger, clock, key)
    if alert.silence is None:
        raise BadInput(f"alert {alert.key} is not silenced; it is {alert.state}")
    return _say(ledger, clock, alert, Action.UNSILENCED, by, {})


def find_alert(ledger: Ledger, clock: Clock, key: str) -> Alert:
    """Return an alert as it stands.

    Raises:
        BadInput: No alert of this key was ever raised; says which were.
    """
    model = model_of_key(key)
    alerts = fold(alert_rows(ledger, model), clock.now()) if model in ledger.models() else {}
    if key in alerts:
        return alerts[key]
    there = [each.key for each in alerts.values() if each.state is not AlertState.CLOSED] or list(alerts)
    known = f"alerts of {model}: {', '.join(there)}" if there else f"there are no alerts of {model}"
    raise BadInput(f"there is no alert {key!r}; {known}. See: lockgate alert list", key=key)


def _say(  # noqa: PLR0913, PLR0917 - one row
    ledger: Ledger, clock: Clock, alert: Alert, action: Action, by: str, said: dict[str, Json]
) -> Alert:
    payload: dict[str, Json] = {"key": alert.key, "action": action.value, "by": by, **said}
    ledger.append(alert.model, Event.ALERT, payload, actor=by)
    return find_alert(ledger, clock, alert.key)
