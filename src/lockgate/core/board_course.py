"""How production went, day by day: traffic, latency, quality and drift, from the sums that the days were kept as. Pure.

Traffic and latency are each day's own. Quality and drift are of the `WINDOW_DAYS` up to and with each day, because the
labels of one day are few. What all bundles answered is taken together, for it is what callers got; drift is that of
the bundle with the most rows of the day, by its own reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

import numpy as np

from lockgate.core.board_drift import Profile, drifts
from lockgate.core.board_windows import WINDOW_DAYS, DayPart, Floats, each_day, windowed
from lockgate.core.ids import Digest
from lockgate.core.monitoring.summary import LATENCY_EDGES_US

SHOWN_DAYS: Final = 366
"""Ours: a year, so that a season is seen beside the one before."""

Curve = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A change of what production serves, for a line across the plots.

    Attributes:
        at: When it was verified.
        kind: promotion, undo or rollback.
        release: What took over, or was taken back.
    """

    at: datetime
    kind: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Day by day, without a gap; every curve is as long as `days`, and None where nothing is known.

    Attributes:
        days: `YYYY-MM-DD`, UTC.
        requests: Each day's.
        failed: Of these, without an answer.
        p50_ms: Median latency.
        p99_ms: The latency that one request of a hundred exceeds.
        loss: Mean loss of the labelled rows of the window.
        expected_loss: What it would be were the scores calibrated; known before labels are.
        auc: Area under the ROC curve of the window; binary only.
        drift: The largest PSI of a feature over the window, less what chance gives.
        score_drift: The same of the score.
        worst: Features that had drifted most on the last day of it, with their PSI; at most three.
        labelled_fraction: Labels by rows over all days.
    """

    days: tuple[str, ...]
    requests: tuple[int, ...]
    failed: tuple[int, ...]
    p50_ms: Curve
    p99_ms: Curve
    loss: Curve
    expected_loss: Curve
    auc: Curve
    drift: Curve
    score_drift: Curve
    worst: tuple[tuple[str, float], ...] = field(default=())
    labelled_fraction: float | None = None


def course_of(
    parts: Sequence[DayPart], profile: Callable[[Digest], Profile | None], *, least_rows: int
) -> Course | None:
    """Return the course of the newest `SHOWN_DAYS`; None without a day.

    Args:
        parts: Days of any bundles, in any order.
        profile: A bundle's reference; None where it cannot be read.
        least_rows: Fewer rows in a window tell no drift.
    """
    if not parts:
        return None
    last = max(part.day for part in parts)
    first = max(min(part.day for part in parts), last - SHOWN_DAYS + 1)
    kept = [part for part in parts if first - WINDOW_DAYS < part.day]
    n = last - first + 1
    latency = each_day(kept, first, n, lambda part: part.latency, len(LATENCY_EDGES_US) + 1)
    drift, score, worst = drifts(kept, profile, first, n, least_rows)
    days = tuple(date.fromordinal(first + at).isoformat() for at in range(n))
    labels, rows = (sum(getattr(part, what) for part in kept) for what in ("labels", "rows"))
    return Course(
        days=days,
        requests=_whole(kept, first, n, "requests"),
        failed=_whole(kept, first, n, "failed"),
        p50_ms=_quantile_ms(latency, 0.5),
        p99_ms=_quantile_ms(latency, 0.99),
        loss=_mean(kept, first, n, "loss", "labels"),
        expected_loss=_mean(kept, first, n, "expected", "expected_n"),
        auc=_auc(kept, first, n),
        drift=_curve(drift),
        score_drift=_curve(score),
        worst=worst,
        labelled_fraction=labels / rows if rows else None,
    )


def _whole(parts: Sequence[DayPart], first: int, n: int, what: str) -> tuple[int, ...]:
    found = each_day(parts, first, n, lambda part: np.array([getattr(part, what)]), 1)
    return tuple(int(each) for each in found[:, 0])


def _mean(parts: Sequence[DayPart], first: int, n: int, total: str, count: str) -> Curve:
    found = windowed(parts, first, n, lambda part: np.array([getattr(part, total), getattr(part, count)]), 2)
    return _curve(np.divide(found[:, 0], found[:, 1], out=np.full(n, np.nan), where=found[:, 1] > 0.5))


def _auc(parts: Sequence[DayPart], first: int, n: int) -> Curve:
    width = max((len(part.ranks) for part in parts), default=0)
    if not width:
        return (None,) * n
    both = windowed(parts, first, n, lambda part: part.ranks.reshape(-1), 2 * width).reshape(n, width, 2).round()
    negatives, positives = both[:, :, 0], both[:, :, 1]
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = negatives.sum(axis=1) * positives.sum(axis=1)
    return _curve(np.divide((positives * below).sum(axis=1), pairs, out=np.full(n, np.nan), where=pairs > 0.5))


def _quantile_ms(latency: Floats, at: float) -> Curve:
    """Return the upper edge of the bin that a quantile falls in; above the last edge the last edge."""
    edges = np.array([*LATENCY_EDGES_US, LATENCY_EDGES_US[-1]]) / 1000.0
    run = np.cumsum(latency, axis=1)
    bins = (run >= at * run[:, -1:]).argmax(axis=1)
    return _curve(np.where(run[:, -1] > 0, edges[bins], np.nan))


def _curve(values: Floats) -> Curve:
    return tuple(float(f"{each:.5g}") if np.isfinite(each) else None for each in values)
