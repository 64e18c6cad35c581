"""Standings and triggers for the policy's tests: everything speaks for a release unless a test says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.learning.policy import Condition, Decision, decide
from lockgate.core.learning.standing import Opened, Standing
from lockgate.core.learning.triggers import Trigger, TriggerKind, reason_of
from lockgate.core.ledger import Outcome
from lockgate.core.spec import RetrainingSection

NOW = datetime(2013, 6, 1, 12, 0, tzinfo=UTC)
SOUND = Standing(now=NOW, new_rows=1000, champion=Digest("a" * 64))


def trigger(kind: TriggerKind = TriggerKind.SCHEDULE, words: str = "so it is") -> Trigger:
    return Trigger(kind=kind, reason=reason_of(kind, words), at=NOW)


def opened(
    hours_ago: float, kind: TriggerKind = TriggerKind.SCHEDULE, outcome: Outcome | None = Outcome.PROMOTED
) -> Opened:
    return Opened(
        release=ReleaseId("toy-0001"),
        at=NOW - timedelta(hours=hours_ago),
        kind=kind,
        outcome=outcome,
        bound={"code": "c", "spec": "s"},
    )


def asked(
    section: RetrainingSection | None = None, kind: TriggerKind = TriggerKind.SCHEDULE, **standing: Any
) -> Decision:
    return decide("toy", section or RetrainingSection(), trigger(kind), replace(SOUND, **standing))


def condition(decision: Decision, name: str) -> Condition:
    return next(each for each in decision.checks if each.name == name)
