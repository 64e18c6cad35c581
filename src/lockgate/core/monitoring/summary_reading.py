"""What sums of days tell: loss, AUC, calibration, quantiles of latency, coverage of labels that are due."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce

from lockgate.core.monitoring.summary import LATENCY_EDGES_US, DaySummary, LabelSums, merge


def merged(days: Sequence[DaySummary]) -> DaySummary | None:
    """Return the sum of days of one bundle; None of none.

    Raises:
        ValueError: They are of several bundles.
    """
    return reduce(merge, days) if days else None


def auc(labels: LabelSums) -> float:
    """Return the area under the ROC curve, pairs in one bin counting half; NaN where a class is absent.

    Source: Hanley and McNeil 1982, grouped scores. The bins' width bounds the error: half of the pairs in one bin.

    >>> auc(LabelSums(ranks=((2, 0), (1, 1), (0, 3))))  # of 12 pairs 2 + .5 + 9 are ranked right
    0.9583333333333334
    """
    below = right = 0.0
    positives = 0
    for negative, positive in labels.ranks:
        right += positive * (below + negative / 2)
        below += negative
        positives += positive
    return right / (positives * below) if positives and below else math.nan


def calibration_gap(labels: LabelSums) -> float:
    """Return the expected calibration error: the mean over rows of |predicted - observed| by bin; NaN without labels.

    Source: Naeini, Cooper and Hauskrecht 2015. Biased upwards on few rows.

    >>> calibration_gap(LabelSums(n=4, calibration=((2, 0.5, 1.0), (2, 1.8, 2.0))))  # (.5 + .2) / 4
    0.175
    """
    rows = sum(n for n, _, _ in labels.calibration)
    gaps = math.fsum(abs(predicted - observed) for _, predicted, observed in labels.calibration)
    return gaps / rows if rows else math.nan


def latency_quantile_us(counts: Sequence[int], share: float) -> float:
    """Return a quantile of latency, microseconds, within the width of a bin; NaN without requests.

    Args:
        counts: By bin of `LATENCY_EDGES_US`.
        share: In 0..1.

    Returns:
        The geometric middle of the bin the quantile falls in; the last edge where it lies beyond all.

    >>> round(latency_quantile_us((0,) * 40 + (9,) + (0,) * 80 + (1,), 0.5))  # 8913 us to 10000 us
    9441
    >>> latency_quantile_us((), 0.5)
    nan
    """
    wanted, seen = share * sum(counts), 0
    for at, rows in enumerate(counts):
        seen += rows
        if rows and seen >= wanted:
            if at >= len(LATENCY_EDGES_US):
                return float(LATENCY_EDGES_US[-1])
            return math.sqrt(LATENCY_EDGES_US[at] * LATENCY_EDGES_US[max(at - 1, 0)])
    return math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many rows that are old enough for a label have one.

    Attributes:
        due: Answered rows that are old enough.
        labelled: Of these, those with a usable label.
    """

    due: int
    labelled: int

    @property
    def share(self) -> float:
        """The share of due rows with a label; NaN where none is due."""
        return self.labelled / self.due if self.due else math.nan


def coverage(days: Iterable[DaySummary], now: datetime, label_delay_s: float) -> Coverage:
    """Return the coverage of single days by labels, at a time.

    An hour's rows are due when its end is older than the delay.

    Args:
        days: Of one day each; what was merged over days cannot be asked.
        now: Aware.
        label_delay_s: The spec's `data.label_delay_s`.

    >>> from lockgate.core.ids import Digest, ModelName
    >>> hours = ((4, 3), (2, 0), *((0, 0),) * 22)
    >>> day = DaySummary(model=ModelName("m"), digest=Digest("d" * 64), day="2026-01-02", hours=hours)
    >>> coverage([day], datetime(2026, 1, 2, 2, tzinfo=UTC), 3600.0)
    Coverage(due=4, labelled=3)

    Raises:
        ValueError: A summary is of several days.
    """
    oldest = now - timedelta(seconds=label_delay_s)
    due = labelled = 0
    for day in days:
        start = datetime.strptime(day.day, "%Y-%m-%d").replace(tzinfo=UTC)
        for hour, (rows, told) in enumerate(day.hours):
            if start + timedelta(hours=hour + 1) <= oldest:
                due += rows
                labelled += told
    return Coverage(due=due, labelled=labelled)
