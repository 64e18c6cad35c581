"""The alert budget: how many false alarms a month the thresholds were set for, and how many people called false."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.core.alerting.alert import Action, action_of, key_of_row
from lockgate.core.ledger import LedgerRow

BUDGET_WINDOW = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the alarms of the last 30 days were worth.

    Attributes:
        raised: How many alerts were raised.
        false_alarms: How many of them a person called false.
        allowed: How many false ones a month the thresholds were set for.
    """

    raised: int
    false_alarms: int
    allowed: float

    @property
    def kept(self) -> bool:
        """Whether there were no more false alarms than allowed."""
        return self.false_alarms <= self.allowed


def budget(rows: Iterable[LedgerRow], now: datetime, allowed: float) -> Budget:
    """Return how one model's alerts of the last 30 days compare with the false alarms that are allowed."""
    recent = [row for row in rows if action_of(row) is not None and now - row.at <= BUDGET_WINDOW]
    raisings: Counter[str] = Counter()
    called: set[tuple[str, int]] = set()  # once a raising, however often people say so
    for row in recent:
        key = key_of_row(row)
        raisings[key] += action_of(row) is Action.RAISED
        if row.payload.get("false_alarm") is True:
            called.add((key, raisings[key]))
    return Budget(raised=raisings.total(), false_alarms=len(called), allowed=allowed)
