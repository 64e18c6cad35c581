"""Windows of the past compared on the past: which are tried, over which months, and what the answer is worth.

    rows ── up to a month's first day ──> split as a release then would ──> fit, once a window
                                                                              └──> scored on that month's rows

The month's rows are new to every fit, as they would have been. Two windows are compared on the rows of those months in
which they learnt from something else: early on a rolling window holds all there is, and a month in which two windows
are one says nothing of either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum

from lockgate.core.ids import Json
from lockgate.core.intervals import CONFIDENCE, Estimate
from lockgate.core.learning.periods import Period
from lockgate.core.spec import ReleaseSpec, Window
from lockgate.errors import BadInput

LEAST_TRAIN_DAYS = 28
"""Days before its validation that a first fit must have. Ours: with less than four weeks no window differs from another
by more than what days of the week do."""
ROLLING_DAYS = (90,)
HALF_LIFE_DAYS = (60,)
"""What is tried unless told otherwise. Ours: a season, and a weight that a season leaves a third of."""


MOST_DAYS = 36_500
"""A longer window holds no more: ours, a hundred years, and far within what dates can be reckoned with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A window that is tried.

    Attributes:
        window: Its kind.
        days: Days of a rolling window, or the half-life of a weighted one; None for all rows alike.
    """

    window: Window
    days: int | None = None

    @property
    def name(self) -> str:
        """Its name in tables and files.

        >>> Candidate(window=Window.ROLLING, days=90).name
        'rolling-90'
        """
        return self.window.value if self.days is None else f"{self.window.value}-{self.days}"

    @property
    def lines(self) -> tuple[str, ...]:
        """What stands for it in a spec, below `retraining:`."""
        key = {Window.ROLLING: "window_days", Window.WEIGHTED: "half_life_days"}.get(self.window)
        return (f"window: {self.window.value}", *([f"{key}: {self.days}"] if key else []))


def window_of(spec: ReleaseSpec) -> Candidate:
    """Return the window that a spec asks for now."""
    section = spec.retraining
    if section.window is Window.WEIGHTED:
        return Candidate(window=Window.WEIGHTED, days=section.half_life_days)
    days = spec.split.train_window_days or section.window_days
    return Candidate(window=Window.ROLLING if days else Window.EXPANDING, days=days)


def with_window(spec: ReleaseSpec, candidate: Candidate) -> ReleaseSpec:
    """Return the spec with another window and all else as it is."""
    days = {Window.ROLLING: "window_days", Window.WEIGHTED: "half_life_days"}
    given = {key: candidate.days if candidate.window is window else None for window, key in days.items()}
    return replace(
        spec,
        split=replace(spec.split, train_window_days=None),
        retraining=replace(
            spec.retraining,
            window=candidate.window,
            window_days=given["window_days"],
            half_life_days=given["half_life_days"],
        ),
    )


def candidates(
    spec: ReleaseSpec, rolling: Sequence[int] = (), half_lives: Sequence[int] = (), *, weighs: bool = True
) -> tuple[Candidate, ...]:
    """Return the windows that are tried, the spec's own first; the others are held against it.

    Args:
        spec: The model's.
        rolling: Lengths of rolling windows, days; none: `ROLLING_DAYS`.
        half_lives: Half-lives of weighted windows, days; none: `HALF_LIFE_DAYS`.
        weighs: Whether the family's fit takes weights; without, no weighted window is tried.

    Raises:
        BadInput: A length is less than a day, or more than `MOST_DAYS`.
    """
    wrong = [days for days in (*rolling, *half_lives) if not 1 <= days <= MOST_DAYS]
    if wrong:
        raise BadInput(f"a window of {wrong[0]} days cannot be tried; give 1 to {MOST_DAYS} days")
    tried = [window_of(spec), Candidate(window=Window.EXPANDING)]
    tried += [Candidate(window=Window.ROLLING, days=days) for days in rolling or ROLLING_DAYS]
    if weighs:
        tried += [Candidate(window=Window.WEIGHTED, days=days) for days in half_lives or HALF_LIFE_DAYS]
    return tuple(dict.fromkeys(tried))


def periods(first: date, last: date, period: Period, least_days: int) -> tuple[tuple[date, date], ...]:
    """Return the months (or weeks) that fits are scored on: first day, and the day after the last; oldest first.

    Args:
        first: The first day of rows.
        last: The last one; the period it is in may be cut short, but one of less than a quarter is left out.
        period: Calendar months, or weeks from Monday.
        least_days: Days of rows that must lie before a period.

    >>> periods(date(2013, 1, 1), date(2013, 4, 20), Period.MONTH, 56)
    ((datetime.date(2013, 3, 1), datetime.date(2013, 4, 1)), (datetime.date(2013, 4, 1), datetime.date(2013, 4, 21)))
    """
    start = first.replace(day=1) if period is Period.MONTH else first - timedelta(days=first.weekday())
    found: list[tuple[date, date]] = []
    while start <= last:
        after = (start + timedelta(days=31)).replace(day=1) if period is Period.MONTH else start + timedelta(days=7)
        until = min(after, last + timedelta(days=1))
        if (start - first).days >= least_days and (until - start) * 4 >= after - start:
            found.append((start, until))
        start = after
    return tuple(found)


class Says(StrEnum):
    """What the past says of a window, held against the spec's own."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One window against the spec's own, on the same rows.

    Attributes:
        candidate: The window.
        by_block: What it gains in the task's loss a row, positive is better; interval over the spec's blocks.
        by_period: The same, its interval over periods: what one fit was lucky in, it is for all of its month.
        periods: Periods in which the two learnt from something else.
    """

    candidate: Candidate
    by_block: Estimate
    by_period: Estimate
    periods: int

    @property
    def says(self) -> Says:
        """Better or worse where both intervals leave out zero on that side; else it cannot be said."""
        low = min(self.by_block.low, self.by_period.low)
        high = max(self.by_block.high, self.by_period.high)
        known = all(math.isfinite(each) for each in (*_ends(self.by_block), *_ends(self.by_period)))
        if not known:
            return Says.UNCLEAR
        return Says.BETTER if low > 0 else Says.WORSE if high < 0 else Says.UNCLEAR


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def confidence_of(others: int) -> float:
    """Return the confidence of each interval, so that of `others` comparisons one errs in 1 - `CONFIDENCE` of cases.

    Source: Bonferroni. With windows tried until one looks better, one would.

    >>> round(confidence_of(2), 4)
    0.975
    """
    return 1.0 - (1.0 - CONFIDENCE) / max(others, 1)


def recommendation(present: Candidate, compared: Sequence[Compared]) -> dict[str, Json]:
    """Return which window the past speaks for, and why: {says, window, lines, why}.

    A window is only recommended that is shown to be better. `says` is "change", "keep" (all others are shown to be
    worse) or "inconclusive".
    """
    better = [each for each in compared if each.says is Says.BETTER]
    if better:
        best = max(better, key=lambda each: each.by_block.value)
        low = min(best.by_block.low, best.by_period.low)
        why = f"{best.candidate.name} gains {best.by_block.value:.3g} a row over {present.name}, at least {low:.3g}"
        return _told("change", best.candidate, f"{why}, in {best.periods} periods")
    if compared and all(each.says is Says.WORSE for each in compared):
        why = f"every other window is shown to be worse than {present.name}"
        return _told("keep", present, why)
    open_ = ", ".join(each.candidate.name for each in compared if each.says is Says.UNCLEAR) or "nothing else"
    why = f"no window is shown to be better than {present.name}, and {open_} is not shown to be worse"
    return _told("inconclusive", present, f"{why}; leave it as it is")


def _told(says: str, candidate: Candidate, why: str) -> dict[str, Json]:
    return {"says": says, "window": candidate.name, "lines": list(candidate.lines), "why": why}


def words(told: Mapping[str, Json]) -> str:
    """Return a recommendation as one line for the record.

    >>> words({"says": "keep", "window": "expanding", "why": "all others are worse"})
    'windows compared: keep expanding; all others are worse'
    """
    return f"windows compared: {told.get('says')} {told.get('window')}; {told.get('why')}"
