"""Whether the graph that ships answers like the estimator that was evaluated: how far apart, and does a decision turn.

A difference of the last float32 digits is expected. What counts is its size over many rows, and whether a decision
turned that was not a tie to begin with: converters that are silently wrong are right on most rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.decisions import cheapest_class, from_threshold, likeliest_class, price_margins
from lockgate.core.ids import Json

Costs: TypeAlias = tuple[tuple[float, ...], ...]
"""Of decisions, as a contract holds them."""


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


def differences(
    kind: TaskKind, native: NDArray[Any], graph: NDArray[Any], size: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each row's difference and whether it has none, because either answer is NaN or infinite.

    Args:
        kind: What is predicted.
        native: The estimator's answers, [n] or [n, classes].
        graph: The graph's, of the same shape.
        size: From `typical_size`.

    Returns:
        |graph - native| [n], the largest over the classes; for regression divided by the larger of |native| and
        `size`; 0 where there is none. And bool [n].

    >>> differences(TaskKind.BINARY, np.array([0.5, 0.25]), np.array([0.75, np.nan]), 1.0)
    (array([0.25, 0.  ]), array([False,  True]))
    """
    ours, theirs = native.astype(np.float64), graph.astype(np.float64)
    bad = ~(np.isfinite(ours) & np.isfinite(theirs))
    difference = np.abs(np.where(bad, 0.0, theirs) - np.where(bad, 0.0, ours))
    if kind is TaskKind.REGRESSION:
        difference = difference / np.maximum(np.abs(np.where(bad, 0.0, ours)), size)
    if ours.ndim > 1:
        return np.asarray(difference.max(axis=1)), np.asarray(bad.any(axis=1))
    return difference, np.asarray(bad)


def margins(native: NDArray[Any], threshold: float | None, costs: Costs | None = None) -> NDArray[np.float64]:
    """Return each answer's distance from the decision boundary, [n].

    Several classes: the top two's difference; where decisions have costs, see `core.decisions.price_margins`.

    >>> margins(np.array([[0.5, 0.25, 0.25]]), None), margins(np.array([0.75]), 0.5)
    (array([0.25]), array([0.25]))
    """
    ours = native.astype(np.float64)
    if ours.ndim == 1:
        return np.abs(ours - (0.5 if threshold is None else threshold))
    if costs is not None:
        return price_margins(ours, np.array(costs, np.float64))
    top = np.sort(ours, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def compare_answers(  # noqa: PLR0913 - two answers and what they mean; all but three are keywords
    kind: TaskKind,
    native: NDArray[Any],
    graph: NDArray[Any],
    *,
    threshold: float | None,
    costs: Costs | None = None,
    size: float,
    bound: float,
) -> dict[str, Json]:
    """Compare two sets of answers to the same rows.

    Args:
        kind: What is predicted.
        native: The estimator's, [n] or [n, classes].
        graph: The graph's, of the same shape.
        threshold: Decision threshold; binary only.
        costs: As a contract's; multiclass only.
        size: From `typical_size`.
        bound: How far apart two equal models may be: a decision nearer than this to its boundary is a tie.

    Returns:
        rows; max_difference (see `differences`); not_finite (rows without one); flips (decisions that turned though
        the native answer is farther than `bound` from the boundary; null for regression); ties (those that turned
        within it); flip_margin (the largest distance among all that turned, 0 without any); worst_row (its index: no
        number before a flip before a difference; null without rows).
        A shape that differs counts every row as not finite.
    """
    if native.shape != graph.shape:
        return _facts(kind, len(native), not_finite=len(native))
    if not len(native):
        return _facts(kind, 0)
    by_row, bad = differences(kind, native, graph, size)
    facts = _facts(kind, len(native), not_finite=int(bad.sum()), max_difference=float(by_row.max()))
    severity = np.where(bad, np.inf, by_row)
    if kind is not TaskKind.REGRESSION:
        margin = margins(np.where(_wide(bad, native), 0.0, native), threshold, costs)
        turned = _turned(native, graph, threshold, costs) & ~bad
        flipped = turned & (margin > bound)
        severity = severity + np.where(flipped, 1.0 + margin, 0.0)
        facts["flips"], facts["ties"] = int(flipped.sum()), int((turned & ~flipped).sum())
        facts["flip_margin"] = float(margin[turned].max()) if turned.any() else 0.0
    facts["worst_row"] = int(np.argmax(severity))
    return facts


def joined(kind: TaskKind, parts: Sequence[Mapping[str, Json]]) -> dict[str, Json]:
    """Return the facts of several comparisons as one: counts added up, the largest of the rest; no `worst_row`."""
    added = {name: sum(_number(part[name]) for part in parts) for name in ("rows", "not_finite", "flips", "ties")}
    most = {
        name: max((_number(part[name]) for part in parts), default=0.0) for name in ("max_difference", "flip_margin")
    }
    facts = _facts(kind, int(added["rows"]), not_finite=int(added["not_finite"]), max_difference=most["max_difference"])
    if kind is not TaskKind.REGRESSION:
        facts |= {"flips": int(added["flips"]), "ties": int(added["ties"]), "flip_margin": most["flip_margin"]}
    return facts


def _number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _wide(bad: NDArray[np.bool_], native: NDArray[Any]) -> NDArray[np.bool_]:
    return bad if native.ndim == 1 else bad[:, None]


def _facts(kind: TaskKind, rows: int, *, not_finite: int = 0, max_difference: float = 0.0) -> dict[str, Json]:
    decides = kind is not TaskKind.REGRESSION
    return {
        "rows": rows,
        "max_difference": max_difference,
        "not_finite": not_finite,
        "flips": 0 if decides else None,
        "ties": 0 if decides else None,
        "flip_margin": 0.0 if decides else None,
        "worst_row": None,
    }


def _turned(
    native: NDArray[Any], graph: NDArray[Any], threshold: float | None, costs: Costs | None
) -> NDArray[np.bool_]:
    """Return whether the graph decides otherwise, [n]."""
    if native.ndim == 1:
        boundary = 0.5 if threshold is None else threshold
        return np.asarray(from_threshold(native, boundary) != from_threshold(graph, boundary))
    if costs is not None:
        prices = np.array(costs, np.float64)
        return np.asarray(cheapest_class(native, prices) != cheapest_class(graph, prices))
    return np.asarray(likeliest_class(native) != likeliest_class(graph))
