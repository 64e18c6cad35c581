"""A model's alerts, composed from ports: raised, delivered, and the watchdog over the monitor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from lockgate.adapters.watched_since import WatchedSince
from lockgate.core.alerting.alert import Alert
from lockgate.core.alerting.deciding import Found
from lockgate.line.model_line import Line
from lockgate.stages.alerting import raise_alerts, record_deliveries, send_pending

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

DELIVER_S = 5.0  # ours: what a person waits for a first message; an address that is silent is tried ever less often
WATCH_S = 60.0


def raise_findings(line: Line, findings: Iterable[Found], at: datetime | None = None) -> tuple[Alert, ...]:
    """Put on record what findings change, and their messages into the outbox; returns the alerts that are open.

    Args:
        line: The model's line.
        findings: What was found.
        at: When; None: now.

    Raises:
        TransientError: Ledger or disk do not answer; what is on record by then is sent later.
    """
    services, spec = line.services, line.spec
    now = at or services.clock.now()
    return raise_alerts(
        line.ledger, services.outbox, line.model, spec.monitoring.alerts, findings, now, spec.model.owner
    )


def close_superseded(line: Line) -> None:
    """Close what is open about the quality of a champion that serves no more, with the release that took its place.

    Args:
        line: The model's line.

    Raises:
        TransientError: Ledger or disk do not answer.
    """
    from lockgate.core.alerting.superseded import TOLD_BY, superseded

    champion, now = line.ledger.state(line.model).serving.get("production"), line.services.clock.now()
    if champion is None:
        return
    found = superseded(line.ledger.rows(line.model, events=TOLD_BY), champion, line.model, now)
    if found:
        raise_findings(line, found)


def deliver_messages(services: Services) -> int:
    """Send what waits in the outbox and put on record what was delivered; returns how many messages were taken."""
    taken = services.outbox.deliver()
    if taken:
        record_deliveries(services.ledger, services.outbox)
    return taken


def settle_messages(services: Services) -> None:
    """Go on where a killed process stopped: what is on record goes to the outbox, what it delivered goes on record."""
    if services.outbox.channels:
        record_deliveries(services.ledger, services.outbox)
        for model in services.ledger.models():
            send_pending(services.ledger, services.outbox, model)


def watch_monitor(line: Line, since: datetime) -> tuple[Alert, ...]:
    """Raise an alert when the model's monitor says nothing although it was due, and close it when it speaks again.

    Where neither can be told, because nobody has watched for long enough, nothing changes.

    Args:
        line: The model's line.
        since: Since when this schedule is watched.
    """
    from lockgate.core.alerting.watchdog import WATCHED_EVENTS, monitor_silence

    rows, now = line.ledger.rows(line.model, events=WATCHED_EVENTS), line.services.clock.now()
    found = monitor_silence(rows, line.spec.monitoring, line.model, since=since, now=now)
    return raise_findings(line, () if found is None else (found,))


class AlertWatch:
    """What the watcher process does for alerts: delivers messages, and notices a monitor that says nothing.

    Args:
        services: One installation's parts.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._delivered: float | None = None
        self._watched: float | None = None
        self._since = WatchedSince(services.settings.home / "watched.json")

    def due(self, now: float) -> Iterator[tuple[str, str, Callable[[], object]]]:
        """Yield what is to be done now, each with the model and the words for whom it cannot be done.

        Args:
            now: Seconds of a clock that never goes back.
        """
        if self._watched is None or now - self._watched >= WATCH_S:
            self._watched = now
            yield "all models", "messages on record", partial(settle_messages, self._services)
            for model in self._services.specs():
                yield model, "its monitor", partial(self._watch, model)
        if self._delivered is None or now - self._delivered >= DELIVER_S:
            self._delivered = now
            yield "all models", "messages on their way", partial(deliver_messages, self._services)

    def _watch(self, model: str) -> None:
        line = Line(services=self._services, spec=self._services.spec(model))
        close_superseded(line)
        since = self._since.since(model, line.spec.monitoring.schedule, self._services.clock.now())
        watch_monitor(line, since)
        self._since.write()
