"""Whether the graph that ships answers like the estimator that was evaluated: how far apart, and does a decision turn.

A difference of the last float32 digits is expected. What counts is its size over many rows, and whether a decision
turned that was not a tie to begin with: converters that are silently wrong are right on most rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json

_NEAR = 1e-6
"""Rows nearer to the decision boundary than this are ties: float32 cannot tell them apart reliably."""


def typical_size(kind: TaskKind, native: NDArray[Any]) -> float:
    """Return what a difference is measured against: 1 for probabilities, the mean |value| for regression.

    A plain relative difference has no meaning near a value of 0; against the larger of a row's own value and the
    typical one it has.

    >>> typical_size(TaskKind.REGRESSION, np.array([-2.0, 4.0]))
    3.0
    """
    if kind is not TaskKind.REGRESSION:
        return 1.0
    finite = np.abs(native[np.isfinite(native)].astype(np.float64))
    mean = float(finite.mean()) if len(finite) else 0.0
    return mean if mean > 0 else 1.0


def compare_answers(
    kind: TaskKind, native: NDArray[Any], graph: NDArray[Any], *, threshold: float | None, size: float
) -> dict[str, Json]:
    """Compare two sets of answers to the same rows.

    Args:
        kind: What is predicted.
        native: The estimator's, [n] or [n, classes].
        graph: The graph's, of the same shape.
        threshold: Decision threshold; binary only.
        size: From `typical_size`.

    Returns:
        rows; max_difference (|graph - native|; for regression divided by the larger of |native| and `size`, "1");
        not_finite (rows where either is NaN or infinite); flips (rows whose decision differs; null for regression);
        flip_margin (the native answer's largest distance from the boundary among flips, 0 without any); ties (rows
        within 1e-6 of the boundary); worst_row (its index; null without rows).
        A shape that differs counts every row as not finite.
    """
    if native.shape != graph.shape:
        return _facts(kind, len(native), not_finite=len(native))
    if not len(native):
        return _facts(kind, 0)
    ours, theirs = native.astype(np.float64), graph.astype(np.float64)
    bad = ~(np.isfinite(ours) & np.isfinite(theirs))
    difference = np.where(bad, 0.0, np.abs(np.where(bad, 0.0, theirs - ours)))
    if kind is TaskKind.REGRESSION:
        difference = difference / np.maximum(np.abs(np.where(bad, 0.0, ours)), size)
    by_row, bad_row = (difference, bad) if ours.ndim == 1 else (difference.max(axis=1), bad.any(axis=1))
    facts = _facts(kind, len(ours), not_finite=int(bad_row.sum()), max_difference=float(by_row.max()))
    facts["worst_row"] = int(np.argmax(np.where(bad_row, np.inf, by_row)))
    if kind is not TaskKind.REGRESSION:
        margin, turned = _decisions(ours, theirs, threshold)
        turned = turned & ~bad_row
        facts["flips"] = int(turned.sum())
        facts["flip_margin"] = float(margin[turned].max()) if turned.any() else 0.0
        facts["ties"] = int((margin[~bad_row] <= _NEAR).sum())
    return facts


def _facts(kind: TaskKind, rows: int, *, not_finite: int = 0, max_difference: float = 0.0) -> dict[str, Json]:
    decides = kind is not TaskKind.REGRESSION
    return {
        "rows": rows,
        "max_difference": max_difference,
        "not_finite": not_finite,
        "flips": 0 if decides else None,
        "flip_margin": 0.0 if decides else None,
        "ties": 0 if decides else None,
        "worst_row": None,
    }


def _decisions(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], threshold: float | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each row's distance from the native decision boundary, and whether the graph decides otherwise."""
    if ours.ndim == 1:
        boundary = 0.5 if threshold is None else threshold
        return np.abs(ours - boundary), (ours >= boundary) != (theirs >= boundary)
    top = np.sort(ours, axis=1)[:, -2:]
    return top[:, 1] - top[:, 0], ours.argmax(axis=1) != theirs.argmax(axis=1)
