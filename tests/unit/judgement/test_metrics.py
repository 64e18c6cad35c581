"""Metrics equal scikit-learn's where it has them, and their block forms equal both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from lockgate.core import block_statistics as blockwise
from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.task_metrics import Costs, task_metrics


def rows(n: int = 600, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = np.round(rng.random(n), 2)  # rounded, so that ties are there
    y = (rng.random(n) < 0.2 + 0.6 * score).astype(np.int64)
    return y, score, rng.integers(0, 12, n)


def value(statistic: blockwise.Statistic, blocks: int = 12) -> float:
    return float(statistic(np.ones((1, blocks)))[0])


def test_auc_with_ties_is_the_published_value_of_scikit_learn() -> None:
    y, score, _ = rows()
    assert metrics.auc(y, score) == pytest.approx(sklearn.roc_auc_score(y, score), abs=1e-12)


def test_auc_without_one_of_the_classes_is_undefined() -> None:
    assert np.isnan(metrics.auc(np.array([1, 1]), np.array([0.1, 0.2])))


def test_auc_of_scores_with_nan_is_undefined() -> None:
    assert np.isnan(metrics.auc(np.array([0, 1]), np.array([0.1, np.nan])))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 3)), min_size=4, max_size=40),
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_auc_by_blocks_is_the_auc_of_the_rows_so_often_repeated(
    drawn: list[tuple[bool, int, int]], weights: list[int]
) -> None:
    y, score, block = (np.array(column) for column in zip(*drawn, strict=True))
    repeated = np.repeat(np.arange(len(y)), np.array(weights)[block])
    expected = metrics.auc(y[repeated].astype(np.int64), score[repeated].astype(np.float64))
    found = blockwise.auc(y.astype(np.int64), score.astype(np.float64), block, 4)(np.array([weights], dtype=float))[0]
    assert (np.isnan(expected) and np.isnan(found)) or found == pytest.approx(expected, abs=1e-12)


def test_binary_metrics_by_blocks_equal_scikit_learn() -> None:
    y, score, block = rows()
    score = score.clip(0.01, 0.99)
    found = task_metrics(TaskKind.BINARY, y, score, block=block, blocks=12, costs=Costs(threshold=0.4))
    decided = score >= 0.4
    expected = {
        "auc": sklearn.roc_auc_score(y, score),
        "log_loss": sklearn.log_loss(y, score),
        "brier": sklearn.brier_score_loss(y, score),
        "accuracy": sklearn.accuracy_score(y, decided),
        "precision": sklearn.precision_score(y, decided),
        "recall": sklearn.recall_score(y, decided),
        "bias": score.mean() - y.mean(),
        "calibration_error": metrics.calibration_error(y, score),
    }
    assert {name: value(found[name].statistic) for name in expected} == pytest.approx(expected, abs=1e-12)


def test_multiclass_metrics_by_blocks_equal_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    score = rng.dirichlet([1, 1, 1], 500)
    y, block = rng.integers(0, 3, 500), rng.integers(0, 12, 500)
    found = task_metrics(TaskKind.MULTICLASS, y, score, block=block, blocks=12, costs=Costs(threshold=None))
    decided = score.argmax(axis=1)
    expected = {
        "log_loss": sklearn.log_loss(y, score),
        "accuracy": sklearn.accuracy_score(y, decided),
        "macro_f1": sklearn.f1_score(y, decided, average="macro"),
        "macro_auc": sklearn.roc_auc_score(y, score, multi_class="ovr"),
        "brier": ((score - np.eye(3)[y]) ** 2).sum(axis=1).mean(),
    }
    assert {name: value(found[name].statistic) for name in expected} == pytest.approx(expected, rel=1e-6)


def test_regression_metrics_by_blocks_equal_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    y = 1e6 + rng.normal(size=400)  # far from zero: a naive sum of squares would cancel
    predicted, block = y + rng.normal(0.1, 0.5, 400), rng.integers(0, 12, 400)
    found = task_metrics(
        TaskKind.REGRESSION, y, predicted, block=block, blocks=12, costs=Costs(threshold=None), unit="min"
    )
    expected = {
        "rmse": sklearn.root_mean_squared_error(y, predicted),
        "mae": sklearn.mean_absolute_error(y, predicted),
        "r2": sklearn.r2_score(y, predicted),
        "bias": (predicted - y).mean(),
    }
    assert {name: value(found[name].statistic) for name in expected} == pytest.approx(expected, rel=1e-8)
    assert found["rmse"].unit == "min"


def test_a_certain_wrong_answer_costs_a_bounded_loss() -> None:
    assert metrics.log_loss_rows(np.array([1]), np.array([0.0]))[0] == pytest.approx(16.118, abs=1e-3)


def test_expected_cost_prices_each_error_by_its_kind() -> None:
    y, score = np.array([0, 1, 1, 0]), np.array([0.9, 0.1, 0.9, 0.1])
    found = task_metrics(
        TaskKind.BINARY,
        y,
        score,
        block=np.zeros(4, dtype=np.int64),
        blocks=1,
        costs=Costs(threshold=0.5, false_positive=1.0, false_negative=3.0),
    )
    assert value(found["expected_cost"].statistic, 1) == 1.0  # one false alarm at 1, one miss at 3, of four rows


def test_a_calibrated_forecast_expects_the_loss_it_gets() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(200_000)
    y = (rng.random(len(p)) < p).astype(np.int64)
    assert metrics.expected_log_loss_rows(p).mean() == pytest.approx(metrics.log_loss_rows(y, p).mean(), abs=0.005)


def test_the_gain_is_positive_where_the_challenger_is_better_whatever_the_metric() -> None:
    y, score, block = rows(2000)
    noisy = (score + np.random.default_rng(0).normal(0, 0.3, len(y))).clip(0.01, 0.99)
    ours, theirs = (
        task_metrics(TaskKind.BINARY, y, each.clip(0.01, 0.99), block=block, blocks=12, costs=Costs(threshold=0.5))
        for each in (score, noisy)
    )
    assert value(blockwise.gain(ours["auc"], theirs["auc"])) > 0
    assert value(blockwise.gain(ours["log_loss"], theirs["log_loss"])) > 0
