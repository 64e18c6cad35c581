"""`lockgate alert list | ack | silence | unsilence | test`: what is wrong, who is at it, who is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.options import Person as PersonOption
from lockgate.cli.roles import require_role
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.alerting.alert import Alert, AlertState, fold, model_of_key, open_alerts, ranked
from lockgate.core.alerting.budget import budget
from lockgate.core.alerting.messages import Message, harm_words
from lockgate.core.approval_people import Role
from lockgate.core.ids import Json, ModelName, is_model_name, to_json
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

NOT_RUNNING = 7

Key = Annotated[
    str, typer.Argument(metavar="KEY", help="Which alert, e.g. flight-delays:loss; see lockgate alert list.")
]
Until = Annotated[
    str, typer.Option("--until", metavar="DATE", help="Until when (UTC), 30 days at most, e.g. 2026-03-01T18:00.")
]
Why = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in your words. It goes on record.")]
All = Annotated[bool, typer.Option("--all", help="Closed ones too.")]
FalseAlarm = Annotated[
    bool, typer.Option("--false-alarm", help="Nothing was wrong: it counts against the budget of false alarms.")
]
_STYLES = {AlertState.OPEN: "bold red", AlertState.ACKNOWLEDGED: "yellow"}


def show(surface: Surface, name: Name = None, *, model: Model = None, everything: All = False) -> None:
    """Show alerts, the worst first, and how they compare with the false alarms that are allowed.

    Example: lockgate alert list --json | jq '.alerts[0].next'
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    given = either(name, model)
    models = all_models(services) if given is None else (_known(services, given),)
    alerts = ranked(each for one in models for each in _alerts(services, one, everything=everything))
    if not alerts:
        surface.text("no alert is open" if not everything else "no alert was ever raised")
    surface.table("Alerts", ("key", "state", "harm", "since", "told", "owner", "reason"), [_row(a) for a in alerts])
    for each in alerts:
        if each.is_open and each.next:
            surface.text(f"{each.key}: next: {each.next}")
    budgets: dict[str, Json] = {one: _budget(surface, services, one) for one in models if one in services.specs()}
    told: list[Json] = [alert_form(each) for each in alerts]
    surface.result({"alerts": told, "budgets": budgets, "delivery": show_delivery(surface, services)})


def all_models(services: Services) -> tuple[ModelName, ...]:
    """Return every model that has a spec or a record; the chain of people is none."""
    return tuple(sorted({*services.specs(), *(each for each in services.ledger.models() if is_model_name(each))}))


def _known(services: Services, given: str) -> ModelName:
    return ModelName(given) if given in services.ledger.models() else choose_model(services, given)


def _alerts(services: Services, model: ModelName, *, everything: bool) -> Iterable[Alert]:
    from lockgate.stages.alerting import alert_rows

    rows, now = alert_rows(services.ledger, model), services.clock.now()
    return fold(rows, now).values() if everything else open_alerts(rows, now)


def _row(alert: Alert) -> tuple[object, ...]:
    state = str(alert.state)
    if alert.state is AlertState.SILENCED and alert.silence is not None:
        state = f"silenced until {alert.silence.until:%Y-%m-%d %H:%M} by {alert.silence.by}: {alert.silence.reason}"
    elif alert.state is AlertState.ACKNOWLEDGED:
        state = f"acknowledged by {alert.acknowledged_by}"
    harm, since = harm_words(alert.harm), f"{alert.opened:%Y-%m-%d %H:%M}"
    return alert.key, state, harm, since, f"{alert.count} x", alert.owner, alert.reason


def _budget(surface: Surface, services: Services, model: ModelName) -> Json:
    from lockgate.stages.alerting import alert_rows

    allowed = services.spec(model).monitoring.alerts.false_per_month
    found = budget(alert_rows(services.ledger, model), services.clock.now(), allowed)
    if found.raised:
        words = f"{model}: {found.raised} raised in 30 days, {found.false_alarms} called false; {allowed:g} are allowed"
        surface.text(words, "" if found.kept else "bold red")
    return {**_object(to_json(found)), "kept": found.kept}


def alert_form(alert: Alert) -> dict[str, Json]:
    """Return an alert as JSON."""
    hidden = ("raised_told", "told_harm", "acknowledged_harm", "messages")
    return {name: value for name, value in _object(to_json(alert)).items() if name not in hidden}


def _object(form: Json) -> dict[str, Json]:
    return dict(form) if isinstance(form, dict) else {}


def show_delivery(surface: Surface, services: Services) -> dict[str, Json]:
    """Say where messages do not get through, and return it as JSON."""
    outbox = services.outbox
    silent, waiting = outbox.silent(), outbox.count()
    if not outbox.channels:
        surface.say("alerts reach nobody: no address is set; see docs/howto/notify.md, LOCKGATE_NOTIFY", "yellow")
    for each in silent:
        words = f"address {each.name} takes no messages since {each.since:%Y-%m-%d %H:%M} UTC ({each.failures} tries)"
        surface.say(f"{words}; {waiting} wait, next try at {each.again:%H:%M:%S}", "bold red")
    return {"addresses": len(outbox.channels), "waiting": waiting, "silent": to_json(silent)}


def show_open_alerts(
    surface: Surface, services: Services, models: Sequence[ModelName]
) -> dict[str, list[dict[str, Json]]]:
    """Show the open alerts of some models, a line each, the worst first; return them as JSON, by model."""
    alerts = ranked(each for model in models for each in _alerts(services, model, everything=False))
    for each in alerts:
        said = "" if each.state is AlertState.OPEN else f" ({each.state})"
        words = f"ALERT {each.key}{said}: {each.reason.rstrip('.')}. Next: {each.next or 'lockgate alert list'}"
        surface.text(words, _STYLES.get(each.state, ""))
    if alerts:
        show_delivery(surface, services)
    return {model: [alert_form(each) for each in alerts if each.model == model] for model in models}


def ack(
    surface: Surface, key: Key, reason: Why = "", *, false_alarm: FalseAlarm = False, who: PersonOption = None
) -> None:
    """Say that you are at it: no more reminders, unless the harm doubles, until the alert is closed.

    Example: lockgate alert ack flight-delays:loss --reason "retraining on the new schedule"
    """
    from lockgate.bootstrap import Services
    from lockgate.stages.alerting import acknowledge

    services = Services(load_settings())
    by = _allowed(services, key, f"acknowledge alert {key}", who)
    alert = acknowledge(services.ledger, services.clock, key, by=by, reason=reason, false_alarm=false_alarm)
    surface.text(f"{by} is at {alert.key}; it is told again if its harm doubles, and closes when it is measured clear")
    surface.result(alert_form(alert))


def silence(surface: Surface, key: Key, until: Until, reason: Why, who: PersonOption = None) -> None:
    """Tell nobody of an alert until a date. It stays on record and is shown.

    Example: lockgate alert silence flight-delays:loss --until 2026-03-01 --reason "storm, known"
    """
    from lockgate.bootstrap import Services
    from lockgate.stages import alerting

    services = Services(load_settings())
    by = _allowed(services, key, f"silence alert {key}", who)
    alert = alerting.silence(services.ledger, services.clock, key, by=by, until=_date(until), reason=reason)
    surface.text(f"{alert.key} is silent until {_date(until):%Y-%m-%d %H:%M} UTC; then it is told again if it lasts")
    surface.result(alert_form(alert))


def unsilence(surface: Surface, key: Key, who: PersonOption = None) -> None:
    """End a silence: people are told of the alert again.

    Example: lockgate alert unsilence flight-delays:loss
    """
    from lockgate.bootstrap import Services
    from lockgate.stages import alerting

    services = Services(load_settings())
    by = _allowed(services, key, f"end the silence of alert {key}", who)
    alert = alerting.unsilence(services.ledger, services.clock, key, by=by)
    surface.text(f"{alert.key} is told of again")
    surface.result(alert_form(alert))


def _allowed(services: Services, key: str, what: str, who: str | None) -> str:
    """Return who acts, if they may; of a model that nobody knows nothing goes on record."""
    from lockgate.stages.alerting import find_alert

    find_alert(services.ledger, services.clock, key)
    return require_role(services, Role.OPERATOR, what=what, model=model_of_key(key), claimed=who)


def _date(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise BadInput(f"{text!r} is no date; write it like 2026-03-01 or 2026-03-01T18:00") from wrong
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def test(surface: Surface) -> int:
    """Send a message to every address now, and say which took it. Exit code 7 when one did not.

    Example: lockgate alert test
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    channels = services.outbox.channels
    if not channels:
        raise BadInput("no address is set; put one into LOCKGATE_NOTIFY or a file that LOCKGATE_NOTIFY_FILE names")
    now = services.clock.now()
    message = Message(
        id=f"lockgate:test#{now:%Y%m%dT%H%M%S}",
        model=ModelName("lockgate"),
        title="Lockgate: a test of this address",
        body="Nothing is wrong. Alerts of models will come here.",
        at=now,
    )
    taken = {each.name: each.send(message) for each in channels}
    surface.table(
        "Addresses", ("address", "took it"), [(each, "yes" if took else "no") for each, took in taken.items()]
    )
    if not all(taken.values()):
        surface.say("what an address refused, lockgate does not know: try it with the apprise command", "yellow")
    surface.result({"message": message.id, "addresses": {name: bool(took) for name, took in taken.items()}})
    return 0 if all(taken.values()) else NOT_RUNNING
