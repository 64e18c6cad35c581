"""What starts the next release, how far it goes by itself, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Le

from lockgate.core.spec_sections.units import AboveZero, Days, MaybeSeconds, Positive


class Automation(StrEnum):
    """How far a release goes without a person; each level includes those before it."""

    NOTIFY = "notify"
    TRAIN = "train"
    APPROVE = "approve"
    FULL = "full"

    @property
    def approves(self) -> bool:
        """Whether passing gates approve by themselves."""
        return self in (Automation.APPROVE, Automation.FULL)


class Window(StrEnum):
    """Which of the past is learnt from."""

    EXPANDING = "expanding"
    ROLLING = "rolling"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSection:
    """A time whose rows are wrong, so that nothing may be learnt from them.

    Attributes:
        since: ISO day or time of the first row concerned; UTC without a zone.
        until: ISO time of the first row that is sound again; a day alone is the last day concerned.
        reason: What was wrong; goes on record.
    """

    since: str
    until: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainingSection:
    """What starts a release, how far it goes by itself, and what it learns from.

    Attributes:
        automation: notify: people are told, and start it; train: gates judge it, `approval` decides; approve: passing
            gates approve it (never for risk: high); full: as approve, and only through a canary.
        schedule: Cron of five fields in UTC for the scheduled deployment; null: none.
        on_new_data: Whether a landed batch starts one.
        on_degradation: Whether harm found by the monitor, shown by labels, starts one.
        on_code_change: Whether one is started when program or spec are no longer those of the newest release.
        cooldown_s: For so long after a release was opened, no trigger opens another; a crashed one does not count.
        min_new_rows: With fewer rows since the newest release, no trigger but a change of code starts one.
        most_per_week: No trigger opens more than so many releases in seven days, whatever became of them.
        cost: What a release costs, in the task's loss times rows: one that could save less at best, by what the last
            one gained and the rows that came since, is not started; null: not weighed.
        window: expanding: all rows; rolling: those of `window_days` before validation; weighted: all, each by its age.
        window_days: Days that a rolling window holds.
        half_life_days: A row that is so much older weighs half, in a weighted window.
        quarantine: Times whose rows nothing is learnt from.
    """

    automation: Automation = Automation.TRAIN
    schedule: str | None = None
    on_new_data: bool = True
    on_degradation: bool = True
    on_code_change: bool = False
    cooldown_s: MaybeSeconds = 0.0
    min_new_rows: Annotated[int, Ge(0), Le(1_000_000_000)] = 1
    most_per_week: Positive = 14  # ours: two a day; a release takes minutes, and a person wants to read its dossier
    cost: AboveZero | None = None
    window: Window = Window.EXPANDING
    window_days: Days | None = None
    half_life_days: Days | None = None
    quarantine: tuple[IncidentSection, ...] = ()
