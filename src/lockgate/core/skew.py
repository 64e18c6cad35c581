"""Training-serving skew: what production was asked and answered, against what the landed rows and the bundle say. Pure.

Two comparisons, each row by row and value by value:

    features   the inputs of a logged request   =?   the landed row of the same key, as training reads it
    answers    the logged answer                =?   the champion's own graph, asked the logged inputs again

A number is the same when both are the same float32, which is all that a model sees of it, or both are null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Json
from lockgate.core.metrics import Floats


def number_matches(logged: Floats, offline: Floats) -> NDArray[np.bool_]:
    """Tell which numbers are the same to a model, shape [n]; NaN is null, and equals null alone.

    >>> number_matches(np.array([0.1, np.nan, 1.0]), np.array([np.float32(0.1), np.nan, np.nan])).tolist()
    [True, True, False]
    """
    with np.errstate(over="ignore"):
        ours, theirs = logged.astype(np.float32), offline.astype(np.float32)
    return np.asarray((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))


def string_matches(logged: Sequence[str | None], offline: Sequence[str | None]) -> NDArray[np.bool_]:
    """Tell which strings are the same, shape [n]; None is null, and equals null alone.

    >>> string_matches(["a", None, "b"], ["a", None, None]).tolist()
    [True, True, False]
    """
    return np.fromiter((one == other for one, other in zip(logged, offline, strict=True)), np.bool_, len(logged))


def feature_skew(matches: Mapping[str, NDArray[np.bool_]]) -> dict[str, Json]:
    """Return how many values and rows are the same.

    Args:
        matches: By feature, whether each joined row's values are the same, shape [n], n the same for all.

    Returns:
        `joined` (rows), `exact_rows` (rows whose every feature is the same), `match_fraction` (of all values; None
        without rows), `by_feature` (its own share, those below 1 alone, least first).

    >>> feature_skew({"a": np.array([True, True]), "b": np.array([True, False])})["match_fraction"]
    0.75
    """
    rows = len(next(iter(matches.values()))) if matches else 0
    if not rows:
        return {"joined": 0, "exact_rows": 0, "match_fraction": None, "by_feature": {}}
    shares = {name: float(same.mean()) for name, same in matches.items()}
    worst = sorted((name for name in shares if shares[name] < 1.0), key=lambda name: (shares[name], name))
    by_feature: dict[str, Json] = {name: shares[name] for name in worst}
    return {
        "joined": rows,
        "exact_rows": int(np.logical_and.reduce(list(matches.values())).sum()),
        "match_fraction": float(np.mean(list(shares.values()))),
        "by_feature": by_feature,
    }


def answer_skew(logged: Floats, again: Floats) -> dict[str, Json]:
    """Return how far logged answers are from what the same graph answers now.

    Args:
        logged: Answers as logged, [n] or [n, classes].
        again: Answers now, of the same shape.

    Returns:
        `compared` (rows), `exact_fraction` (share of rows whose every number is the same float32; None without rows),
        `largest_difference` (absolute; None without rows, or where one is no number and the other is).
    """
    if not len(logged):
        return {"compared": 0, "exact_fraction": None, "largest_difference": None}
    same = number_matches(logged, again).reshape(len(logged), -1).all(axis=1)
    off = np.where(np.isnan(logged) & np.isnan(again), 0.0, np.abs(logged - again))
    largest = float(off.max())
    return {
        "compared": len(logged),
        "exact_fraction": float(same.mean()),
        "largest_difference": largest if np.isfinite(largest) else None,
    }
