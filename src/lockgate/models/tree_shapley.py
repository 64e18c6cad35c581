"""Shapley values of boosted trees: the numbers XGBoost's `pred_contribs` gives, about ten times sooner.

A row's contribution to one leaf depends only on *which* of the features on the leaf's path it agrees with. A path of D
features has 2^D such patterns, so their values are worked out once a leaf and looked up for every row (Yang 2021, Fast
TreeSHAP, version 2). The values are those of Lundberg, Erion and Lee 2018 (path dependent, by cover). With z_i the
share of the training weight that stays on the path at feature i, and o_i = 1 where the row stays on it, 0 elsewhere:

    phi_i = v (o_i - z_i) * integral over t in 0..1 of the product over j != i of (z_j (1 - t) + o_j t)

because the integral of t^k (1 - t)^(D - 1 - k) is k! (D - 1 - k)! / D!, the weight of a coalition of k. The integrand
has degree D - 1, so Gauss and Legendre's rule with D / 2 points, rounded up, is exact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_PATH = 10
"""Ours: 1,024 patterns a leaf; beyond, tables cost more than they save and XGBoost's own routine is asked."""

Floats = NDArray[np.float64]
Patterns = NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree, by node: XGBoost's own arrays."""

    left: Sequence[int]
    right: Sequence[int]
    feature: Sequence[int]
    threshold: NDArray[np.float32]
    default_left: Sequence[int]
    cover: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Path:
    """The way from the root to a node.

    Attributes:
        features: Distinct features asked about, in order.
        stays: For each the share of the training weight that stays on the path there.
        agrees: Which of them each row agrees with: bit k for the k-th, shape [n].
    """

    features: tuple[int, ...]
    stays: tuple[float, ...]
    agrees: Patterns


def shapley_values(booster: Any, matrix: NDArray[np.float32], outputs: int) -> Floats:  # noqa: ANN401 - XGBoost has no types
    """Return what each feature adds to the margin (before the link) of each row.

    Args:
        booster: Fitted, of trees over numbers.
        matrix: float32 [n, features]; NaN is missing.
        outputs: 1, or how many classes a multiclass booster has.

    Returns:
        float64 [n, features, outputs]; with the booster's mean margin they add up to a row's margin.
    """
    model = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]
    trees = [_tree(each) for each in model["trees"]]
    if max((_longest(tree) for tree in trees), default=0) > LONGEST_PATH:
        return _by_xgboost(booster, matrix, outputs)
    columns = np.ascontiguousarray(matrix.T)
    missing = np.isnan(columns)
    found = np.zeros((outputs, columns.shape[0], columns.shape[1]))
    for tree, output in zip(trees, model["tree_info"], strict=True):
        root = _Path((), (), np.zeros(len(matrix), dtype=np.uint16))
        _descend(tree, 0, root, columns=columns, missing=missing, found=found[output if outputs > 1 else 0])
    return found.transpose(2, 1, 0)


def _tree(given: Mapping[str, Any]) -> _Tree:
    return _Tree(
        left=given["left_children"],
        right=given["right_children"],
        feature=given["split_indices"],
        threshold=np.array(given["split_conditions"], dtype=np.float32),
        default_left=given["default_left"],
        cover=given["sum_hessian"],
    )


def _longest(tree: _Tree, node: int = 0, seen: frozenset[int] = frozenset()) -> int:
    """Return the most distinct features on a path."""
    if tree.left[node] == -1:
        return len(seen)
    met = seen | {tree.feature[node]}
    return max(_longest(tree, child, met) for child in (tree.left[node], tree.right[node]))


def _descend(  # noqa: PLR0913 - a tree, where in it, and the rows; nothing of it belongs together elsewhere
    tree: _Tree, node: int, path: _Path, *, columns: NDArray[np.float32], missing: NDArray[np.bool_], found: Floats
) -> None:
    """Walk down with all rows at once and add what each leaf gives."""
    left = tree.left[node]
    if left == -1:  # XGBoost keeps a leaf's value where a branch has its threshold
        if path.features:
            table = _table(float(tree.threshold[node]), path.stays)
            pattern = path.agrees.astype(np.intp)  # once: an index of another type is converted at every look-up
            for slot, feature in enumerate(path.features):
                found[feature] += table[slot].take(pattern, mode="clip")
        return
    feature = tree.feature[node]
    goes_left = columns[feature] < tree.threshold[node]
    if tree.default_left[node]:
        goes_left |= missing[feature]
    for child, goes in ((left, goes_left), (tree.right[node], ~goes_left)):
        kept = tree.cover[child] / tree.cover[node] if tree.cover[node] > 0 else 0.0
        _descend(tree, child, _step(path, feature, goes, kept), columns=columns, missing=missing, found=found)


def _step(path: _Path, feature: int, goes: NDArray[np.bool_], kept: float) -> _Path:
    """Return the path one node further: a feature that was asked about before keeps its place."""
    agrees = goes.astype(np.uint16)
    if feature not in path.features:
        slot = len(path.features)
        return _Path((*path.features, feature), (*path.stays, kept), path.agrees | (agrees << np.uint16(slot)))
    slot = path.features.index(feature)
    others = np.uint16(0xFFFF ^ (1 << slot))
    stays = tuple(share * kept if at == slot else share for at, share in enumerate(path.stays))
    return _Path(path.features, stays, path.agrees & ((agrees << np.uint16(slot)) | others))


def _table(value: float, stays: tuple[float, ...]) -> Floats:
    """Return what each feature of a path adds, [features, patterns].

    >>> _table(8.0, (0.25,)).tolist()  # off the path: -z v; on it: (1 - z) v
    [[-2.0, 6.0]]
    """
    agrees, points, weights = _patterns(len(stays))
    z = np.maximum(np.array(stays), 1e-30)[:, None]  # a leaf that no training row reached must not divide by zero
    factors = z[:, :, None] * (1.0 - points) + agrees[:, :, None] * points  # [features, patterns, points]
    others = factors.prod(axis=0) / factors
    summed: Floats = others @ weights
    return np.asarray(value * (agrees - z) * summed)


@lru_cache(maxsize=LONGEST_PATH + 1)
def _patterns(features: int) -> tuple[Floats, Floats, Floats]:
    """Return the patterns [features, 2^features] as 0 and 1, and the points and weights of the integral over 0..1."""
    numbers = np.arange(2**features)
    agrees = (numbers[None, :] >> np.arange(features)[:, None] & 1).astype(np.float64)
    points, weights = np.polynomial.legendre.leggauss((features + 1) // 2)
    return agrees, (points + 1.0) / 2.0, weights / 2.0


def _by_xgboost(booster: Any, matrix: NDArray[np.float32], outputs: int) -> Floats:  # noqa: ANN401 - XGBoost has no types
    import xgboost

    found = np.asarray(booster.predict(xgboost.DMatrix(matrix), pred_contribs=True), dtype=np.float64)
    return found.reshape(len(matrix), outputs, -1)[:, :, :-1].transpose(0, 2, 1)
