"""How much of the label one feature alone gives away.

A leak is a column that is only known because the event has happened. It shows in two ways, both measured here on the
training rows: the column predicts the label far too well on its own, or it is missing exactly when the label is a
certain class. Not judged here: see `core/gates/leakage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lockgate.core.columns import Coded, Column, coded, is_number
from lockgate.core.contract import TaskKind
from lockgate.core.drift import edge_bins, quantile_edges
from lockgate.core.ids import Json

BINS = 20
"""Quantile bins of a numeric feature: enough for a threshold effect, few enough for a stable mean in each."""
MIN_CLASS_ROWS = 50
"""A class with fewer rows on either side says nothing about a feature; it is left out of the score."""
Z = 1.96  # two-sided 95 %


def label_codes(labels: Sequence[object], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return each label's index in `classes`; -1 for one that is not there."""
    index = {name: code for code, name in enumerate(classes)}
    return np.fromiter((index.get(str(each), -1) for each in labels), dtype=np.int64, count=len(labels))


def cells(values: Column, *, bins: int = BINS) -> NDArray[np.int64]:
    """Put each row in a cell: a quantile bin of a number (`drift.edge_bins`), a string's category; missing is cell 0.

    Args:
        values: Shape (n,). Floats: NaN is missing. Anything else is taken as categories: None and NaN are missing.

    Returns:
        Shape (n,), from 0.

    >>> cells(np.array([1.0, np.nan, 9.0]), bins=2).tolist(), cells(np.array(["b", None, "a"], object)).tolist()
    ([2, 0, 3], [2, 0, 1])
    """
    if not isinstance(values, Coded) and is_number(values):
        numbers = values.astype(np.float64)
        known = ~np.isnan(numbers)
        found = np.zeros(len(numbers), dtype=np.int64)
        found[known] = edge_bins(numbers[known], quantile_edges(numbers, bins)) + 1
        return found
    words = values if isinstance(values, Coded) else coded(values)
    return words.codes.astype(np.int64) + 1


def single_feature_score(
    feature: NDArray[np.int64], target: NDArray[np.int64] | NDArray[np.float64], kind: TaskKind, n_classes: int = 0
) -> dict[str, Json]:
    """Return how well one feature's cells predict the label, each half of the rows scored by the other half.

    The prediction for a row is the mean target of its cell among the rows of the other half (even and odd rows); a
    cell not seen there gets the overall mean. So a column of distinct values, an identifier, scores like chance.

    Args:
        feature: Cells, shape (n,).
        target: Class index (binary, multiclass) or value (regression), shape (n,), without NaN.
        kind: Binary is scored by the AUC of the second class. Multiclass by the macro one-vs-rest AUC, and beside it by
            the largest of any class, because the mean hides a leak of one rare class; classes with fewer than
            `MIN_CLASS_ROWS` rows inside or outside are left out. Regression by the share of variance explained (the
            correlation ratio eta squared, out of sample; below 0 when worse than the mean).
        n_classes: Number of classes.

    Returns:
        `score` (None when no class has enough rows, or the target does not vary); for classes also `worst_score` and
        `worst_class` (its index).
    """
    if kind is TaskKind.REGRESSION:
        values = target.astype(np.float64)
        spread = float(np.var(values)) if len(values) else 0.0
        if spread <= 0.0:
            return {"score": None}
        error = float(np.mean((values - _from_other_half(feature, values)) ** 2))
        return {"score": 1.0 - error / spread}
    aucs = {}
    for code in range(1, 2) if kind is TaskKind.BINARY else range(n_classes):
        inside = (target == code).astype(np.float64)
        if min(inside.sum(), len(inside) - inside.sum()) >= MIN_CLASS_ROWS:
            aucs[code] = _auc(feature, inside)
    if not aucs:
        return {"score": None, "worst_score": None, "worst_class": None}
    worst = max(aucs, key=lambda code: aucs[code])
    return {"score": float(np.mean(list(aucs.values()))), "worst_score": aucs[worst], "worst_class": worst}


def missing_purity(missing: NDArray[np.bool_], target: NDArray[np.int64], n_classes: int) -> dict[str, Json]:
    """Return how surely a missing value means one class.

    For the class c that gains most: (lower bound of P(c | missing) - P(c)) / (1 - P(c)), the Wilson bound at 95 %.
    1: missing means c; 0 or less: missing says nothing, or there are too few such rows to say.

    Args:
        missing: Whether the value is missing, shape (n,).
        target: Class index, shape (n,).
        n_classes: Number of classes.

    Returns:
        `purity`, `class` (its index), `n` (rows missing). Purity is 0 when nothing is missing, or everything is.

    >>> missing = np.array([True] * 400 + [False] * 600)
    >>> round(missing_purity(missing, missing.astype(np.int64), 2)["purity"], 3)  # (0.9905 - 0.4) / 0.6
    0.984
    """
    n = int(missing.sum())
    best: dict[str, Json] = {"purity": 0.0, "class": None, "n": n}
    if n in (0, len(missing)):
        return best
    purity = 0.0
    for code in range(n_classes):
        inside = target == code
        base = float(inside.mean())
        if base < 1.0:
            gained = (wilson_lower(int(inside[missing].sum()), n) - base) / (1.0 - base)
            if gained > purity:
                purity = gained
                best |= {"purity": gained, "class": code}
    return best


def leakage_scores(
    features: Mapping[str, Column],
    target: NDArray[np.int64] | NDArray[np.float64],
    kind: TaskKind,
    classes: Sequence[str] = (),
) -> dict[str, Json]:
    """Return every feature's `single_feature_score` and `missing_purity`, classes by name."""
    told: dict[str, Json] = {}
    for name, values in features.items():
        feature = cells(values)
        scored = single_feature_score(feature, target, kind, len(classes))
        if kind is TaskKind.REGRESSION:
            told[name] = scored
            continue
        gone = missing_purity(feature == 0, target.astype(np.int64), len(classes))
        told[name] = {
            **scored,
            "worst_class": _name(scored["worst_class"], classes),
            "missing": {**gone, "class": _name(gone["class"], classes)},
        }
    return told


def _name(code: Json, classes: Sequence[str]) -> str | None:
    return classes[code] if isinstance(code, int) else None


def _from_other_half(feature: NDArray[np.int64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predict each row by its cell's mean target among the rows of the other parity."""
    n_cells = int(feature.max()) + 1 if len(feature) else 0
    predicted = np.empty(len(target), dtype=np.float64)
    for parity in (0, 1):
        other = slice(1 - parity, None, 2)
        rows = np.bincount(feature[other], minlength=n_cells)
        total = np.bincount(feature[other], weights=target[other], minlength=n_cells)
        overall = float(target[other].mean()) if rows.sum() else 0.0
        means = np.where(rows > 0, total / np.maximum(rows, 1), overall)
        predicted[parity::2] = means[feature[parity::2]]
    return predicted


def _auc(feature: NDArray[np.int64], inside: NDArray[np.float64]) -> float:
    """Area under the ROC curve of the cells' means, ties halved, averaged over the two halves of the rows.

    The halves are scored apart: their predictions come from different means and are not on one scale. All rows of a
    cell have one score, so that the cells' counts are all that is needed (Mann-Whitney over a table).
    """
    n_cells = int(feature.max()) + 1 if len(feature) else 0
    rows = [np.bincount(feature[parity::2], minlength=n_cells).astype(np.float64) for parity in (0, 1)]
    hits = [np.bincount(feature[parity::2], weights=inside[parity::2], minlength=n_cells) for parity in (0, 1)]
    halves = []
    for here, other in ((0, 1), (1, 0)):
        if not rows[other].sum() or not hits[here].sum() or hits[here].sum() == rows[here].sum():
            continue
        overall = hits[other].sum() / rows[other].sum()
        score = np.where(rows[other] > 0, hits[other] / np.maximum(rows[other], 1), overall)
        _, rank = np.unique(score, return_inverse=True)
        positive, total = np.bincount(rank, weights=hits[here]), np.bincount(rank, weights=rows[here])
        negative = total - positive
        below = np.cumsum(negative) - negative / 2
        halves.append(float((positive * below).sum() / (positive.sum() * negative.sum())))
    return float(np.mean(halves)) if halves else float("nan")


def wilson_lower(hits: int, n: int) -> float:
    """Return the lower bound of a share, in 0..1 up to rounding.

    Args:
        hits: How many of them, 0 to `n`.
        n: Of how many, at least 1.

    Source: Wilson 1927, the score interval, 95 % two-sided.

    >>> round(wilson_lower(8, 10), 3)  # published for 8 of 10: [0.490, 0.943]
    0.49
    """
    share = hits / n
    centre = share + Z**2 / (2 * n)
    width = Z * float(np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)))
    return (centre - width) / (1 + Z**2 / n)
