"""What every judge is given, and what the days of a champion add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, reduce
from typing import Final

from lockgate.core.ids import Json
from lockgate.core.monitoring.detector import level_of
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.reference import Reference
from lockgate.core.monitoring.summary import DaySummary, merge
from lockgate.core.spec_sections.watching import MonitoringSection

PARTS: Final[Mapping[str, float]] = {"loss": 0.45, "skill": 0.3, "slices": 0.25}
"""Each statistical alarm's part of `alerts.false_per_month`; they sum to 1. Ours: the loss itself first, then the part
of it that is the model's own, then all slices together. Burn rates are no statistics: they say what happened. Drift,
estimates and ages raise no alert, so they have no part."""


@dataclass(frozen=True, kw_only=True)  # without slots: what days add up to is computed once
class Window:
    """What is judged.

    Attributes:
        days: The champion's, oldest first, one a day.
        reference: What they are held against.
        section: The spec's.
        label_delay_s: After this a label must be there.
        now: The time.
    """

    days: Sequence[DaySummary]
    reference: Reference
    section: MonitoringSection
    label_delay_s: float
    now: datetime
    extra: Mapping[str, Json] = field(default_factory=dict)

    @cached_property
    def recent(self) -> tuple[DaySummary, ...]:
        """Days of the window that is judged, `section.reference_days` long, the newest included."""
        first = (self.now - timedelta(days=self.section.reference_days)).strftime("%Y-%m-%d")
        return tuple(day for day in self.days if first <= day.day <= self.now.strftime("%Y-%m-%d"))

    @cached_property
    def whole(self) -> DaySummary | None:
        """The window's days added; None without one."""
        return reduce(merge, self.recent) if self.recent else None

    @cached_property
    def due(self) -> tuple[DaySummary, ...]:
        """Days whose every label should be there by now, of all that are known."""
        return tuple(day for day in self.days if self.is_due(day))

    def is_due(self, day: DaySummary) -> bool:
        """Tell whether every label of a day should be there."""
        ends = datetime.fromisoformat(day.day).replace(tzinfo=UTC) + timedelta(days=1)
        return ends + timedelta(seconds=self.label_delay_s) <= self.now

    def level(self, alarm: str) -> float:
        """Return the level of one of the statistical alarms, `PARTS`."""
        return level_of(self.section.alerts.false_per_month * PARTS[alarm])

    def finding(  # noqa: PLR0913 - a finding has this many facts; all but two are keywords
        self,
        name: str,
        subject: Subject,
        *,
        state: State,
        reason: str,
        observed: float | None = None,
        threshold: float | None = None,
        unit: str = "1",
        harm: float = 0.0,
        evidence: Mapping[str, Json] | None = None,
        next: str = "",  # noqa: A002 - the finding's own word
    ) -> Finding:
        """Return a finding of this window's model."""
        return Finding(
            model=self.reference.model, name=name, subject=subject, state=state, observed=observed,
            threshold=threshold, unit=unit, harm=harm, reason=reason, evidence=evidence or {}, next=next,
        )  # fmt: skip


def answered_labelled(day: DaySummary) -> tuple[int, int]:
    """Return how many rows of a day the bundle answered, and how many of these have a usable label."""
    return sum(rows for rows, _ in day.hours), sum(labelled for _, labelled in day.hours)


def coverage(days: Sequence[DaySummary]) -> float | None:
    """Return the share of answered rows that have a usable label; None without a row."""
    answered = sum(answered_labelled(day)[0] for day in days)
    return sum(answered_labelled(day)[1] for day in days) / answered if answered else None
