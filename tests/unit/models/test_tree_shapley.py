"""Shapley values of trees are XGBoost's own, for every kind of tree it grows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import xgboost

from lockgate.models import tree_shapley
from lockgate.models.tree_shapley import shapley_values


def rows(n: int = 400, width: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix = np.round(rng.normal(size=(n, width)), 1).astype(np.float32)  # rounded: values lie on thresholds
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    filled = np.nan_to_num(matrix)
    return matrix, filled[:, 0] + filled[:, 1] * filled[:, 2] + 0.1 * rng.normal(size=n)


def grown(matrix: np.ndarray, label: np.ndarray, **parameters: Any) -> Any:
    return xgboost.train({"nthread": 1, "seed": 1, **parameters}, xgboost.DMatrix(matrix, label), 8)


def by_xgboost(booster: Any, matrix: np.ndarray, outputs: int) -> np.ndarray:
    found = booster.predict(xgboost.DMatrix(matrix), pred_contribs=True).reshape(len(matrix), outputs, -1)
    return np.asarray(found[:, :, :-1].transpose(0, 2, 1))


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_depth": 3},
        {"max_depth": 6},
        {"max_depth": 1},
        {"max_depth": 5, "subsample": 0.5, "colsample_bytree": 0.5},
        {"grow_policy": "lossguide", "max_leaves": 20, "max_depth": 0},
        {"objective": "reg:absoluteerror", "max_depth": 4},
    ],
    ids=str,
)
def test_values_of_a_regression_are_xgboosts(parameters: dict[str, Any]) -> None:
    matrix, label = rows()
    booster = grown(matrix, label, **parameters)
    assert shapley_values(booster, matrix, 1) == pytest.approx(by_xgboost(booster, matrix, 1), abs=2e-5)


def test_values_of_a_binary_and_a_multiclass_model_are_xgboosts() -> None:
    matrix, label = rows()
    binary = grown(matrix, (label > 0).astype(int), objective="binary:logistic", max_depth=5)
    assert shapley_values(binary, matrix, 1) == pytest.approx(by_xgboost(binary, matrix, 1), abs=2e-5)
    classes = np.digitize(label, [-1, 1])
    several = grown(matrix, classes, objective="multi:softprob", num_class=3, max_depth=4)
    assert shapley_values(several, matrix, 3) == pytest.approx(by_xgboost(several, matrix, 3), abs=2e-5)


def test_values_add_up_to_the_margin() -> None:
    matrix, label = rows()
    booster = grown(matrix, label, max_depth=6)
    margin = booster.predict(xgboost.DMatrix(matrix), output_margin=True)
    rest = margin - shapley_values(booster, matrix, 1).sum(axis=(1, 2))
    assert rest == pytest.approx(np.full(len(rest), rest[0]), abs=1e-4)


def test_paths_longer_than_the_tables_are_left_to_xgboost(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, label = rows()
    booster = grown(matrix, label, max_depth=4)
    expected = shapley_values(booster, matrix, 1)
    monkeypatch.setattr(tree_shapley, "LONGEST_PATH", 2)
    assert shapley_values(booster, matrix, 1) == pytest.approx(expected, abs=2e-5)


def test_a_leafs_table_is_shapleys_formula() -> None:
    stays = (0.3, 0.6, 0.5)
    for pattern, column in itertools.product(range(8), range(3)):
        agrees = [pattern >> at & 1 for at in range(3)]
        others = [at for at in range(3) if at != column]
        expected = 0.0
        for size in range(3):
            for kept in itertools.combinations(others, size):
                worth = math.prod(agrees[at] if at in kept else stays[at] for at in others)
                weight = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                expected += weight * worth * (agrees[column] - stays[column]) * 4.0
        assert tree_shapley._table(4.0, stays)[column, pattern] == pytest.approx(expected)


def test_a_tree_of_one_leaf_adds_nothing() -> None:
    matrix, label = rows()
    booster = grown(matrix, np.zeros(len(label)), max_depth=3)
    assert not shapley_values(booster, matrix, 1).any()
