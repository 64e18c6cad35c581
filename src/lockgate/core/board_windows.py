"""The board's days as counts that can be added: one day of one bundle, and the sums over a week. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Digest
from lockgate.core.monitoring.summary import DaySummary

WINDOW_DAYS: Final = 7
"""Ours: a week has every weekday once, and is short enough to see a change coming."""
SCORE: Final = ""
"""Stands for the score among the columns; no column has an empty name."""

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPart:
    """What the course needs of one day of one bundle.

    Attributes:
        day: Its proleptic ordinal, as `date.toordinal`.
        digest: The bundle.
        requests: Requests.
        failed: Of these, without an answer.
        rows: Rows.
        labels: Rows with a label.
        loss: Sum of their losses.
        expected_n: Rows with an expected loss.
        expected: Sum of these.
        latency: Requests by bin of `LATENCY_EDGES_US`; empty: none.
        ranks: Negatives and positives by score bin, shape (bins, 2); empty: no binary labels.
        columns: Rows by bin, the missing last, by column; the score under `SCORE`.
    """

    day: int
    digest: Digest
    requests: int
    failed: int
    rows: int
    labels: int
    loss: float
    expected_n: int
    expected: float
    latency: Counts
    ranks: Counts
    columns: Mapping[str, Counts]


def part_of(day: DaySummary) -> DayPart:
    """Reduce a day to what the course needs.

    Raises:
        ValueError: It is of several days, or of none.
    """
    columns = {name: _with_missing(each.bins, each.missing) for name, each in day.features.items() if each.bins}
    if day.score.bins:
        columns[SCORE] = _with_missing(day.score.bins, day.score.missing)
    return DayPart(
        day=date.fromisoformat(day.day).toordinal(),
        digest=day.digest,
        requests=day.requests,
        failed=day.failed,
        rows=day.rows,
        labels=day.labels.n,
        loss=day.labels.loss,
        expected_n=day.expected_loss.n,
        expected=day.expected_loss.total,
        latency=np.array(day.latency_us, dtype=np.int64),
        ranks=np.array(day.labels.ranks, dtype=np.int64).reshape(-1, 2),
        columns=columns,
    )


def each_day(parts: Sequence[DayPart], first: int, n: int, read: Callable[[DayPart], Counts], width: int) -> Floats:
    """Add up one row a day, shape (n, width); what is counted in other bins is left out."""
    total = np.zeros((n, width))
    for part in parts:
        counts = read(part)
        if len(counts) == width and 0 <= part.day - first < n:
            total[part.day - first] += counts
    return total


def _windows(daily: Floats) -> Floats:
    """Return the sums over the `WINDOW_DAYS` up to and with each row; the first `WINDOW_DAYS` rows only lead in."""
    run = np.cumsum(daily, axis=0)
    return np.asarray(run[WINDOW_DAYS:] - run[:-WINDOW_DAYS], dtype=np.float64)


def windowed(parts: Sequence[DayPart], first: int, n: int, read: Callable[[DayPart], Counts], width: int) -> Floats:
    """Return the sums over the `WINDOW_DAYS` up to and with each of `n` days, shape (n, width)."""
    return _windows(each_day(parts, first - WINDOW_DAYS, n + WINDOW_DAYS, read, width))


def _with_missing(bins: Sequence[int], missing: int) -> Counts:
    return np.array((*bins, missing), dtype=np.int64)
