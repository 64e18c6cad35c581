"""A ground of a replay in memory: months of made-up rows, releases that end as they are told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.ledger import LedgerRow
from lockgate.core.replay_comparison import ScoredMonth
from lockgate.core.replay_plan import MEASURES, Alarm, Ended
from lockgate.core.task_metrics import Costs, task_metrics
from lockgate.errors import BadInput

DAYS, PER_DAY = 28, 40
MONTHS = ("jan", "feb", "mar", "apr", "may")


class Killed(BaseException):
    """Stands for the end of the process."""


@dataclass
class FakeGround:
    """One policy's stack, in memory.

    Attributes:
        quality: How much of the signal the fit of each landed month finds, 0 to 1.
        outcomes: How each month's release ends; promoted where it says nothing, "held back" for none.
        alarms: What the monitor finds by month; None: there is no monitor.
        killed_in: The month whose data kills the process when it lands.
        unfit: The months of whose data no fit can be made aside.
        harmed: How a release ends that harm starts in a month.
        rows: The ledger's.
    """

    quality: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)
    alarms: Mapping[str, tuple[Alarm, ...]] | None = None
    killed_in: str = ""
    unfit: tuple[str, ...] = ()
    harmed: Mapping[str, str] = field(default_factory=dict)
    by_harm_so_far: list[Ended] = field(default_factory=list)
    rows: tuple[LedgerRow, ...] = ()
    calls: list[str] = field(default_factory=list)
    served: str = ""
    fits: list[str] = field(default_factory=list)

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")

    def times(self, month: str) -> tuple[datetime, datetime]:
        began = datetime(2013, 1 + MONTHS.index(month), 1, tzinfo=UTC)
        return began, began + timedelta(days=DAYS)

    def champion(self) -> str:
        return self.served

    def newest(self) -> str:
        return self.fits[-1] if self.fits else ""

    def ask(self, month: str) -> tuple[int, int]:
        self.calls.append(f"ask {month}")
        return 100, 99

    def label(self, month: str) -> int:
        self.calls.append(f"label {month}")
        return 90

    def land(self, months: Sequence[str], about: str | None) -> Ended:
        last = months[-1]
        if last == self.killed_in:
            self.killed_in = ""
            raise Killed
        self.calls.append(f"land {'+'.join(months)} about {about}")
        if last in self.harmed:
            self._started_by_harm(last)
        outcome = self.outcomes.get(last, "promoted")
        if outcome == "held back":
            return Ended(decision="held back", why="too few new rows")
        self.fits.append(f"fit-{last}")
        if outcome == "promoted":
            self.served = f"fit-{last}"
        gate = "champion" if outcome == "blocked" else ""
        return Ended(decision="released", why="new data", release=f"fit-{last}", outcome=outcome, gate=gate)

    def _started_by_harm(self, month: str) -> None:
        release, outcome = f"harm-{month}", self.harmed[month]
        self.fits.append(release)
        self.served = release if outcome == "promoted" else self.served
        gate = "champion" if outcome == "blocked" else ""
        ended = Ended(decision="released", why="degradation: loss", release=release, outcome=outcome, gate=gate)
        self.by_harm_so_far.append(ended)

    def by_harm(self) -> tuple[Ended, ...]:
        return tuple(self.by_harm_so_far)

    def beside(self) -> tuple[int, int]:
        return 10, 8

    def monthly_fit(self, months: Sequence[str], release: str | None) -> str:
        if release is not None:
            return release
        if months[-1] in self.unfit:
            raise BadInput("too few rows")
        self.calls.append(f"fit {'+'.join(months)}")
        return f"monthly-{months[-1]}"

    def record(self) -> Sequence[LedgerRow]:
        return self.rows

    def watch(self) -> tuple[Alarm, ...] | None:
        month = self.calls[-1].removeprefix("label ")
        return None if self.alarms is None else self.alarms.get(month, ())

    def scored(self, month: str, releases: Sequence[str]) -> ScoredMonth:
        return scored_month(month, {each: self.quality.get(each.removeprefix("fit-"), 0.5) for each in releases})

    def at_release(self, release: str, measure: str) -> float | None:
        del measure
        return 0.2 if release in self.fits else None


def scored_month(month: str, quality: Mapping[str, float]) -> ScoredMonth:
    """Return a month in which each release finds so much of the signal; the same rows for all of them."""
    draw = np.random.default_rng(MONTHS.index(month))
    signal, noise = draw.normal(size=DAYS * PER_DAY), draw.normal(size=DAYS * PER_DAY)
    y = (signal + draw.normal(size=len(signal)) > 0).astype(np.int64)
    block = np.repeat(np.arange(DAYS), PER_DAY)
    metrics = {}
    for release, share in quality.items():
        score = 1.0 / (1.0 + np.exp(-(share * signal + (1 - share) * noise)))
        found = task_metrics(TaskKind.BINARY, y, score, block=block, blocks=DAYS, costs=Costs(threshold=None))
        metrics[release] = {name: found[name] for name in MEASURES[TaskKind.BINARY]}
    return ScoredMonth(month=month, rows=len(y), blocks=DAYS, metrics=metrics)
