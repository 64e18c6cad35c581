"""The curves and tables a person reads: a few dozen points each, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lockgate.core.block_statistics import block_sums, ratio
from lockgate.core.ids import Json
from lockgate.core.intervals import block_interval, rounded
from lockgate.core.metrics import Floats, Ints

_DIGITS = 6  # a plot resolves three


def roc_points(y: Ints, score: Floats, most: int = 101) -> list[Json]:
    """Return the ROC curve as [false positive rate, true positive rate] pairs, from [0, 0] to [1, 1].

    Args:
        y: 0 or 1, shape [n].
        score: Shape [n].
        most: At most this many points, spread evenly along the curve.

    Returns:
        Empty when a class is absent.

    >>> roc_points(np.array([0, 1]), np.array([0.2, 0.8]))
    [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) if len(y) else np.empty(0, dtype=np.int64)
    hits = np.cumsum(y[order])[ends]
    alarms = ends + 1 - hits
    if not len(ends) or not hits[-1] or not alarms[-1]:
        return []
    x, up = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
    along = x + up  # strictly rising along the curve, so that evenly spread points exist
    kept = np.unique(np.searchsorted(along, np.linspace(0.0, 2.0, most), side="left").clip(0, len(along) - 1))
    return [[rounded(float(x[k]), _DIGITS), rounded(float(up[k]), _DIGITS)] for k in kept]


def reliability(y: Ints, score: Floats, block: Ints, blocks: int, bins: int = 10) -> list[Json]:
    """Return what happened against what was answered, in bins of equal rows.

    Args:
        y: 0 or 1, shape [n].
        score: Probability of 1, shape [n].
        block: Block index of each row; intervals are clustered by it.
        blocks: How many blocks.
        bins: At most this many; fewer where answers tie.

    Returns:
        For each bin `answered` (mean probability), `happened` (share), its interval `low` and `high`, and `n`.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1])) if len(score) else np.empty(0)
    place = np.searchsorted(edges, score, side="right")
    return [_bin(y[place == k], score[place == k], block[place == k], blocks) for k in np.unique(place)]


def _bin(y: Ints, score: Floats, block: Ints, blocks: int) -> Json:
    rows = block_sums(np.ones(len(y)), block, blocks)
    there = rows > 0
    happened = block_sums(y.astype(np.float64), block, blocks)[there]
    share = block_interval(ratio(happened, rows[there]), int(there.sum()), lowest=0.0, highest=1.0)
    return {
        "answered": rounded(float(score.mean()), _DIGITS),
        "happened": rounded(share.value, _DIGITS),
        "low": rounded(share.low, _DIGITS),
        "high": rounded(share.high, _DIGITS),
        "n": len(y),
    }


def histogram(values: Floats, low: float, high: float, bins: int = 40) -> Json:
    """Return counts of values in bins of equal width over [low, high]; values outside count in the outermost bins."""
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return {"low": rounded(low, _DIGITS), "high": rounded(high, _DIGITS), "counts": [int(each) for each in counts]}


def residuals(y: Floats, value: Floats, bins: int = 20) -> Json:
    """Return the spread of errors (value - y) overall and along the answered value.

    Returns:
        `histogram` over the central 98 % of errors, and `along`: for bins of equal rows the mean answer with the 10th,
        50th and 90th percentile of the error.
    """
    error = value - y
    low, high = (float(each) for each in np.quantile(error, [0.01, 0.99]))
    edges = np.unique(np.quantile(value, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, value, side="right")
    along = []
    for k in np.unique(place):
        inside = place == k
        p10, p50, p90 = (rounded(float(each), _DIGITS) for each in np.quantile(error[inside], [0.1, 0.5, 0.9]))
        answered = rounded(float(value[inside].mean()), _DIGITS)
        along.append({"answered": answered, "p10": p10, "p50": p50, "p90": p90, "n": int(inside.sum())})
    spread = high if high > low else low + 1.0  # all errors equal: one bar
    return {"histogram": histogram(error, low, spread), "along": along}


def confusion(y: Ints, decided: Ints, classes: Sequence[str]) -> Json:
    """Return counts of rows by what happened (rows) and what was decided (columns)."""
    size = len(classes)
    counts = np.bincount(y * size + decided, minlength=size * size).reshape(size, size)
    return {"classes": list(classes), "counts": [[int(cell) for cell in row] for row in counts]}
