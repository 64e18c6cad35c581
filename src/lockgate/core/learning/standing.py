"""What the record says that a policy weighs: releases, their ends, rows since, what the last one gained."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lockgate.core.ids import Digest, Json, ReleaseId, as_float
from lockgate.core.learning.triggers import TriggerKind, kind_of
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.model_state import ModelState

WEEK = timedelta(days=7)
EVENTS = (Event.RELEASE_OPENED, Event.BATCH_INGESTED, Event.BATCH_QUARANTINED)
"""What `read_standing` reads, beside the evidence of the champion gate where a cost is weighed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What lies in the landing folder and was not taken in yet.

    Attributes:
        files: How many files.
        rows: Rows they hold by their own account; None where one does not say.
    """

    files: int = 0
    rows: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A release that was opened.

    Attributes:
        release: Its id.
        at: When.
        kind: What started it.
        outcome: How it ended; None while it has not.
        bound: Digests of the program (`code`) and the `spec` it was opened with.
    """

    release: ReleaseId
    at: datetime
    kind: TriggerKind
    outcome: Outcome | None
    bound: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a release was found to gain over the champion of its time, on the same rows.

    Attributes:
        release: Which.
        metric: The loss it is told in; positive is better.
        estimate: Per row.
        high: The upper end of its interval.
    """

    release: ReleaseId
    metric: str
    estimate: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the record says now.

    Attributes:
        now: The time of asking, aware UTC.
        opened: Every release, oldest first.
        new_rows: Rows taken in since the newest was opened.
        uncounted: Files taken in since then whose rows are not on record, because a crash came between.
        refused: Files refused since then.
        waiting: What was not taken in yet.
        open: The open release; None when there is none.
        open_waits: Whether it waits for its approval.
        champion: What production serves; None when there never was one.
        program: Digests of `code` and `spec` now; empty when not asked for.
        gain: What the newest compared release gained on its holdout; None when none was compared.
        realised: What the newest release that took over turned out to gain on the rows that landed since, by
            `lockgate counterfactuals`; None where nobody looked back.
    """

    now: datetime
    opened: tuple[Opened, ...] = ()
    new_rows: int = 0
    uncounted: int = 0
    refused: int = 0
    waiting: Waiting = field(default_factory=Waiting)
    open: ReleaseId | None = None
    open_waits: bool = False
    champion: Digest | None = None
    program: Mapping[str, str] = field(default_factory=dict)
    gain: Gain | None = None
    realised: Gain | None = None

    @property
    def newest(self) -> Opened | None:
        """The release that was opened last."""
        return self.opened[-1] if self.opened else None

    @property
    def fresh(self) -> bool:
        """Whether anything landed since the newest release was opened that can be learnt from."""
        return self.new_rows > 0 or self.uncounted > 0 or self.waiting.files > 0

    @property
    def changed(self) -> tuple[str, ...]:
        """Which of program and spec are no longer those of the newest release."""
        if self.newest is None:
            return ()
        return tuple(what for what, now in self.program.items() if self.newest.bound.get(what) not in (None, now))

    def automatic_within(self, span: timedelta) -> int:
        """Count the releases that no person started in the time before now."""
        return sum(each.kind is not TriggerKind.BY_HAND and self.now - each.at < span for each in self.opened)


def read_standing(  # noqa: PLR0913 - the record, and four things that are not in it
    rows: Sequence[LedgerRow],
    state: ModelState,
    *,
    now: datetime,
    program: Mapping[str, str] | None = None,
    waiting: Waiting | None = None,
    evidence: Iterable[LedgerRow] = (),
) -> Standing:
    """Return what the record says.

    Args:
        rows: The model's rows of `EVENTS`, in order.
        state: What all of its rows add up to.
        now: The time of asking.
        program: Digests of `code` and `spec` now.
        waiting: What was not taken in yet.
        evidence: Evidence rows, of which those of the champion gate are read; and what looking back found.
    """
    told = tuple(evidence)
    opened = tuple(_opened(row, state) for row in rows if row.event is Event.RELEASE_OPENED and row.release)
    last = max((row.seq for row in rows if row.event is Event.RELEASE_OPENED), default=0)
    since = [row for row in rows if row.seq > last]
    taken = [_count(row.payload.get("rows")) for row in since if row.event is Event.BATCH_INGESTED]
    return Standing(
        now=now,
        opened=opened,
        new_rows=sum(taken),
        uncounted=taken.count(0),
        refused=sum(row.event is Event.BATCH_QUARANTINED for row in since),
        waiting=waiting or Waiting(),
        open=None if state.open is None else state.open.release,
        open_waits=state.open is not None and state.open.waiting,
        champion=state.champion,
        program=program or {},
        gain=newest_gain(told),
        realised=realised_gain(told),
    )


def _opened(row: LedgerRow, state: ModelState) -> Opened:
    release = ReleaseId(str(row.release))
    return Opened(
        release=release,
        at=row.at,
        kind=kind_of(str(row.payload.get("reason")), str(row.payload.get("started_by"))),
        outcome=state.outcomes.get(release),
        bound={what: str(row.payload[what]) for what in ("code", "spec") if row.payload.get(what)},
    )


def _count(value: Json) -> int:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else 0


def newest_gain(evidence: Iterable[LedgerRow]) -> Gain | None:
    """Return what the newest release that was compared with a champion gained per row, in the task's loss."""
    found: Gain | None = None
    for row in evidence:
        told = row.payload.get("measurements")
        if row.payload.get("gate") != "champion" or not isinstance(told, Mapping) or told.get("scored") is not True:
            continue
        found = _gain(row, told) or found
    return found


def _gain(row: LedgerRow, told: Mapping[str, Json]) -> Gain | None:
    return _read_gain(ReleaseId(str(row.release)), str(told.get("binding_metric")), told)


def realised_gain(rows: Iterable[LedgerRow]) -> Gain | None:
    """Return what the newest take-over that was measured turned out to gain per row, in the task's loss."""
    looked = [row for row in rows if row.event is Event.COUNTERFACTUALS]
    took = looked[-1].payload.get("took_over") if looked else None
    for each in reversed(took if isinstance(took, list) else []):
        metrics = each.get("metrics") if isinstance(each, Mapping) else None
        if isinstance(metrics, Mapping) and metrics:
            found = _read_gain(ReleaseId(str(each["release"])), str(each.get("loss")), each)
            if found is not None:
                return found
    return None


def _read_gain(release: ReleaseId, metric: str, told: Mapping[str, Json]) -> Gain | None:
    metrics = told.get("metrics")
    mine = metrics.get(metric) if isinstance(metrics, Mapping) else None
    gain = mine.get("gain") if isinstance(mine, Mapping) else None
    if not isinstance(gain, Mapping):
        return None
    try:
        estimate, high = as_float(gain.get("estimate")), as_float(gain.get("high"))
    except TypeError:
        return None
    if not (math.isfinite(estimate) and math.isfinite(high)):  # too few blocks for an interval: it is not known
        return None
    return Gain(release=release, metric=metric, estimate=estimate, high=high)
