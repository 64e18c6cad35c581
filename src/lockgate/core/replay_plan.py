"""What a replay of past months does: which months, by which policy, and what is shortened so that it ends in minutes.

    batches before the first month ── one first batch ──> first champion
    each month: traffic of it > its labels, late > its file lands > the policy decides > a release, or none

A month is one of the spec's sample batches; when it was, its rows' own times say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lockgate.core.contract import TaskKind
from lockgate.core.replay_waits import Shortened
from lockgate.errors import BadInput

SCHEMA_VERSION: Final = 1
KILLED: Final = "the replay was killed"
"""Why a release or a rollout was ended that a killed replay left under way."""
MEASURES: Final[Mapping[TaskKind, tuple[str, ...]]] = {
    TaskKind.BINARY: ("auc", "log_loss", "brier"),
    TaskKind.MULTICLASS: ("macro_auc", "log_loss", "brier"),
    TaskKind.REGRESSION: ("rmse", "mae"),
}
"""What is told of a month, the headline first."""
WATCHED_LOSS: Final[Mapping[TaskKind, str]] = {
    TaskKind.BINARY: "brier",
    TaskKind.MULTICLASS: "brier",
    TaskKind.REGRESSION: "mae",
}
"""What the monitor holds a champion to; see `MonitoringSection.loss_tolerated`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Months:
    """Which batches are replayed.

    Attributes:
        before: Landed together before the replay begins; the first champion is made of them.
        during: The months that are replayed, in order.
        after: What comes next: asked about while the last release rolls out; None when there is nothing more.
    """

    before: tuple[str, ...]
    during: tuple[str, ...]
    after: str | None

    def following(self, month: str) -> str | None:
        """Return the batch after a month; None after the last there is."""
        place = self.during.index(month) + 1
        return self.during[place] if place < len(self.during) else self.after


def months_of(model: str, batches: Sequence[str], since: str, until: str) -> Months:
    """Return what is replayed from one month to another.

    Args:
        model: Named in errors.
        batches: Every sample batch, in order.
        since: The first month.
        until: The last one.

    Raises:
        BadInput: There is no such month, they stand in the wrong order, or nothing comes before the first.

    >>> months_of("m", ("jan", "feb", "mar", "apr"), "feb", "mar")
    Months(before=('jan',), during=('feb', 'mar'), after='apr')
    """
    if not batches:
        raise BadInput(f"the spec of {model} lists no data.sample_batches: there is no history to replay")
    for option, month in (("--from", since), ("--to", until)):
        if month not in batches:
            raise BadInput(f"{option}: {model} has no month {month!r}; months: {', '.join(batches)}")
    first, last = batches.index(since), batches.index(until)
    if first > last:
        raise BadInput(f"--from {since} comes after --to {until}; turn them round")
    if first == 0:
        raise BadInput(
            f"--from {since}: nothing comes before it to make a first champion of; begin with {', '.join(batches[1:2])}"
        )
    after = batches[last + 1] if last + 1 < len(batches) else None
    return Months(before=tuple(batches[:first]), during=tuple(batches[first : last + 1]), after=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of a month's data.

    Attributes:
        decision: `released` or `held back`.
        why: What the policy said, or what started the release.
        release: The release; None when none was opened.
        outcome: How it ended; empty when none was opened.
        gate: The gate that stopped it; empty when none did.
        reason: Why it ended so.
    """

    decision: str
    why: str
    release: str | None = None
    outcome: str = ""
    gate: str = ""
    reason: str = ""

    @property
    def promoted(self) -> bool:
        """Whether the release took over."""
        return self.outcome == "promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A finding of harm.

    Attributes:
        name: What was judged.
        reason: In one sentence.
        observed: What was seen; None where there is no number.
        threshold: What that was held against.
    """

    name: str
    reason: str
    observed: float | None = None
    threshold: float | None = None

    @property
    def about_quality(self) -> bool:
        """Whether labels showed it; others are about the service on the machine of the replay."""
        return self.name.startswith("quality")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthDone:
    """One month that was replayed.

    Attributes:
        month: The batch.
        began: Time of its first row, aware UTC.
        until: Time of its last row.
        champion: The release that served at its beginning.
        asked: Requests that were sent about its rows.
        answered: How many were answered.
        labelled: Labels that were told after its end.
        ended: What came of its data.
        alarms: Harm that the monitor found; None where no monitor ran.
        newest: The release whose fit is the newest there is, released or not, after its data landed.
        seconds: Wall clock of it all.
        monthly: Whose fit a calendar that retrains every month has after its data landed: a release's, or one that the
            replay made aside where the policy made none of it; empty in a state of before it was kept: `newest`.
        beside_asked: Requests that were sent while what came of its data was under way.
        beside_answered: How many of those were answered.
        harm: The releases that harm started in this month, before its data landed, in order.
        monthly_failed: Why a calendar has no fit of this month's data, where none could be made; it keeps the one
            before.
    """

    month: str
    began: datetime
    until: datetime
    champion: str
    asked: int
    answered: int
    labelled: int
    ended: Ended
    alarms: tuple[Alarm, ...] | None
    newest: str
    seconds: float
    monthly: str = ""
    beside_asked: int = 0
    beside_answered: int = 0
    harm: tuple[Ended, ...] = ()
    monthly_failed: str = ""

    @property
    def releases(self) -> tuple[Ended, ...]:
        """Every release of the month, in order: those that harm started, then what its data led to."""
        return (*self.harm, *([self.ended] if self.ended.release is not None else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyDone:
    """How far one policy's replay has come.

    Attributes:
        name: Of the policy.
        digest: Of the spec it is replayed by.
        shortened: What is done in less time than the spec says.
        first: The first champion's release; empty while there is none.
        months: The months that are done, in order.
    """

    name: str
    digest: str
    shortened: tuple[Shortened, ...] = ()
    first: str = ""
    months: tuple[MonthDone, ...] = field(default=())
