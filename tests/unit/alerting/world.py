"""Findings of a toy model, and a record they are raised on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from lockgate.core.alerting.alert import Alert, fold
from lockgate.core.alerting.deciding import Found
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec_sections.watching import AlertsSection
from lockgate.stages.alerting import alert_rows, raise_alerts, record_deliveries
from tests.fakes import FakeClock, FakeLedger, FakeOutbox

TOY = ModelName("toy")
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """As the monitor makes one."""

    name: str = "loss"
    state: str = "harm"
    harm: float = 0.1
    model: str = TOY
    observed: float | None = 0.3
    threshold: float | None = 0.2
    unit: str = "Brier score"
    reason: str = "the loss is 0.3, 0.2 is tolerated"
    evidence: Mapping[str, Json] = field(default_factory=dict)
    next: str = "lockgate release toy"


def bad(name: str = "loss", harm: float = 0.1, **other: Json) -> Finding:
    return Finding(name=name, harm=harm, evidence=other)


def fine(name: str = "loss", state: str = "ok") -> Finding:
    return Finding(name=name, state=state, harm=0.0)


@dataclass
class World:
    """A monitor's runs, one after the other."""

    clock: FakeClock = field(default_factory=FakeClock)
    outbox: FakeOutbox = field(default_factory=FakeOutbox)
    section: AlertsSection = field(default_factory=AlertsSection)

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(clock=self.clock)

    def run(self, *findings: Found, after_s: float = 0.0) -> tuple[Alert, ...]:
        self.clock.advance(after_s)
        return raise_alerts(self.ledger, self.outbox, TOY, self.section, findings, self.now, "operations desk")

    def deliver(self) -> tuple[str, ...]:
        self.outbox.take()
        return record_deliveries(self.ledger, self.outbox)

    @property
    def now(self) -> datetime:
        return self.clock.now()

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        return alert_rows(self.ledger, TOY)

    @property
    def actions(self) -> list[Json]:
        return [row.payload["action"] for row in self.rows]

    @property
    def alerts(self) -> dict[str, Alert]:
        return fold(self.ledger.rows(TOY), self.now)

    @property
    def sent(self) -> list[str]:
        return [message.id for message in self.outbox.messages]

    def older_row(self, reason: str = "none has passed") -> None:
        """Append a row as earlier versions wrote them."""
        older = {"what": "drill", "reason": reason, "next": "lockgate drill toy"}
        self.ledger.append(TOY, Event.ALERT, older, actor="reaper")
