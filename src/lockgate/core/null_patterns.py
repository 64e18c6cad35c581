"""Does it tell when a value is missing? Columns that are filled, or lost, only once the event has happened.

Three patterns, each with a bound that chance does not reach: a value that is there only for one class; values of the
label that differ where it is missing; and a value that is missing where the label is missing too, because both arrive
together. What is missing just for one class is `leakage.missing_purity`. Not judged here: see `core/gates/leakage.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Json
from lockgate.core.leakage import Z, missing_purity, wilson_lower

MIN_ROWS = 30
"""Fewer rows on either side show no pattern; ours: below it the Wilson interval of a share is wider than a third."""


def filled_purity(missing: NDArray[np.bool_], target: NDArray[np.int64], n_classes: int) -> dict[str, Json]:
    """Return how surely a value that is there means one class; see `leakage.missing_purity`.

    >>> filled = np.array([True] * 400 + [False] * 600)
    >>> found = filled_purity(~filled, filled.astype(np.int64), 2)
    >>> round(found["purity"], 3), found["class"], found["n"]
    (0.984, 1, 400)
    """
    return missing_purity(~missing, target, n_classes)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value from 1, equal ones sharing the mean of theirs; shape (n,), without NaN.

    >>> ranks(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, rows = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(rows)
    return np.asarray((last - (rows - 1) / 2)[place], dtype=np.float64)


def label_gap(missing: NDArray[np.bool_], label_ranks: NDArray[np.float64]) -> float:
    """Return how far a number to predict differs where a value is missing: the lower bound of |2 AUC - 1|.

    AUC is the chance that a row whose value is missing has the larger label (Mann-Whitney). The bound takes off 1.96
    standard errors of AUC when nothing differs, sqrt((n + 1) / (12 a b)).

    Args:
        missing: Whether the value is missing, shape (n,).
        label_ranks: `ranks` of the label, shape (n,).

    Returns:
        0 to 1; 0 when fewer than `MIN_ROWS` rows are missing, or are not.

    >>> values = np.arange(200.0)
    >>> round(label_gap(values >= 100, ranks(values)), 3)  # AUC 1; 2 * 1.96 * sqrt(201 / 120000) = 0.160
    0.84
    """
    a = int(missing.sum())
    b = len(missing) - a
    if min(a, b) < MIN_ROWS:
        return 0.0
    auc = (float(label_ranks[missing].sum()) - a * (a + 1) / 2) / (a * b)
    error = float(np.sqrt((a + b + 1) / (12 * a * b)))
    return max(0.0, 2 * abs(auc - 0.5) - 2 * Z * error)


def null_gap(missing: NDArray[np.bool_], later: NDArray[np.bool_]) -> dict[str, Json]:
    """Return by how much more a value is missing in some rows than in the rest: the lower bound of the difference.

    Lower bound of one share less upper bound of the other, each by Wilson at 95 %, so it is on the careful side.

    Args:
        missing: Whether the value is missing, shape (n,).
        later: The rows that are asked about: those without a label, or the newest ones.

    Returns:
        `gap` (0 when either side has fewer than `MIN_ROWS` rows), `share` missing in those rows, `rest` in the others
        (None without rows), `n` of those rows.

    >>> later = np.repeat([True, False], [400, 600])
    >>> found = null_gap(later, later)
    >>> round(found["gap"], 3), found["share"], found["rest"]  # 0.9905 - 0.0064
    (0.984, 1.0, 0.0)
    """
    n = int(later.sum())
    rest = len(later) - n
    there, elsewhere = int(missing[later].sum()), int(missing[~later].sum())
    gap = 0.0
    if min(n, rest) >= MIN_ROWS:
        gap = wilson_lower(there, n) - (1.0 - wilson_lower(rest - elsewhere, rest))
    return {
        "gap": max(gap, 0.0),
        "share": there / n if n else None,
        "rest": elsewhere / rest if rest else None,
        "n": n,
    }
