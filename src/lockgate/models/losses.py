"""The loss that training is judged by, and the loss of knowing nothing.

Binary and multiclass: mean log loss (nats), `-mean(log p[label])`, probabilities clipped to [1e-7, 1 - 1e-7] because
float32 has no number between 1 and 1 - 6e-8. Regression: root mean squared error, in the label's unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind

Floats = NDArray[np.float64]
_CLIP = 1e-7

NAMES = {TaskKind.BINARY: "log_loss", TaskKind.MULTICLASS: "log_loss", TaskKind.REGRESSION: "rmse"}


def loss_of(kind: TaskKind, answers: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the loss of some answers.

    Args:
        kind: What is predicted.
        answers: [n] probability of the second class or value, or [n, classes] probabilities. NaN makes the loss NaN.
        labels: [n] class index or value.

    >>> round(loss_of(TaskKind.BINARY, np.array([0.5, 0.5]), np.array([0, 1])), 4)
    0.6931
    """
    if kind is TaskKind.REGRESSION:
        return float(np.sqrt(np.mean((answers.astype(np.float64) - labels) ** 2)))
    right = (
        answers[np.arange(len(labels)), labels] if answers.ndim == 2 else np.where(labels == 1, answers, 1 - answers)
    )
    return float(-np.mean(np.log(np.clip(right.astype(np.float64), _CLIP, 1 - _CLIP))))


def constant_loss(kind: TaskKind, known: NDArray[Any], labels: NDArray[Any], classes: int) -> float:
    """Return the loss on `labels` of always answering what is best for `known`: its class shares, or its mean."""
    if kind is TaskKind.REGRESSION:
        return loss_of(kind, np.full(len(labels), known.mean()), labels)
    shares = np.bincount(known, minlength=classes) / len(known)
    return loss_of(TaskKind.MULTICLASS, np.tile(shares, (len(labels), 1)), labels)


def cheapest_threshold(
    answers: NDArray[Any], labels: NDArray[Any], *, false_positive: float, false_negative: float
) -> tuple[float, float]:
    """Return the decision threshold of least cost on some rows, and that cost a row.

    A row is positive when its probability is at least the threshold. Between two neighbouring probabilities every
    threshold costs the same; the middle is taken, so that a rounding of either decides nothing. Of equal costs the
    threshold nearest 0.5 is taken.

    Args:
        answers: [n] probability of the second class; no NaN.
        labels: [n] 0 or 1.
        false_positive: Cost of a false positive.
        false_negative: Cost of a false negative.

    >>> cheapest_threshold(np.array([0.1, 0.4, 0.8]), np.array([0, 1, 1]), false_positive=1, false_negative=1)
    (0.25, 0.0)
    """
    order = np.argsort(answers, kind="stable")
    scores, positive = answers[order].astype(np.float64), labels[order] == 1
    misses = np.concatenate([[0], np.cumsum(positive)])  # at cut i, rows before i are called negative
    alarms = (~positive).sum() - np.concatenate([[0], np.cumsum(~positive)])
    edges = np.concatenate([[0.0], scores, [1.0]])
    cuts = (edges[:-1] + edges[1:]) / 2
    between = np.concatenate([[True], scores[1:] > scores[:-1], [True]])  # no cut inside a run of equal scores
    costs = np.where(between & (cuts > 0), false_positive * alarms + false_negative * misses, np.inf)
    best = np.flatnonzero(costs == costs.min())
    at = best[np.argmin(np.abs(cuts[best] - 0.5))]
    return float(cuts[at]), float(costs[at] / len(labels))
