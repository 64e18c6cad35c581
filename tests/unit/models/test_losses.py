"""Losses, the loss of knowing nothing, and the threshold of least cost; numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.models.losses import cheapest_threshold, constant_loss, loss_of


def test_log_loss_by_hand() -> None:
    got = loss_of(TaskKind.BINARY, np.array([0.9, 0.2], dtype=np.float32), np.array([1, 0]))
    assert got == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)


def test_log_loss_of_several_classes_by_hand() -> None:
    answers = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    got = loss_of(TaskKind.MULTICLASS, answers, np.array([0, 1]))
    assert got == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)


def test_rmse_by_hand() -> None:
    assert loss_of(TaskKind.REGRESSION, np.array([1.0, 5.0]), np.array([1.0, 2.0])) == pytest.approx(math.sqrt(4.5))


def test_a_certain_wrong_answer_costs_much_and_not_infinity() -> None:
    assert loss_of(TaskKind.BINARY, np.array([1.0]), np.array([0])) == pytest.approx(-math.log(1e-7))


def test_nan_makes_the_loss_nan() -> None:
    assert math.isnan(loss_of(TaskKind.BINARY, np.array([0.5, np.nan]), np.array([0, 1])))


def test_the_constant_of_half_and_half_loses_ln_2() -> None:
    labels = np.array([0, 1, 0, 1])
    assert constant_loss(TaskKind.BINARY, labels, labels, 2) == pytest.approx(math.log(2))


def test_the_constant_of_a_regression_is_the_known_mean() -> None:
    got = constant_loss(TaskKind.REGRESSION, np.array([0.0, 2.0]), np.array([1.0, 4.0]), 0)
    assert got == pytest.approx(math.sqrt(4.5))


def test_dear_misses_lower_the_threshold() -> None:
    answers, labels = np.array([0.1, 0.2, 0.3, 0.6, 0.7]), np.array([0, 1, 0, 0, 1])
    even, _ = cheapest_threshold(answers, labels, false_positive=1, false_negative=1)
    dear, cost = cheapest_threshold(answers, labels, false_positive=1, false_negative=10)
    assert even == pytest.approx(0.65)
    assert dear == pytest.approx(0.15)
    assert cost == pytest.approx(2 / 5)


def test_equal_scores_are_never_cut_apart() -> None:
    answers, labels = np.array([0.4, 0.4, 0.4, 0.8]), np.array([0, 1, 0, 1])
    threshold, cost = cheapest_threshold(answers, labels, false_positive=1, false_negative=1)
    assert threshold == pytest.approx(0.6)
    assert cost == pytest.approx(1 / 4)


def test_the_threshold_agrees_with_trying_every_one() -> None:
    rng = np.random.default_rng(3)
    answers = rng.random(60).round(2).astype(np.float32)
    labels = (rng.random(60) < answers).astype(np.int64)
    threshold, cost = cheapest_threshold(answers, labels, false_positive=2, false_negative=3)

    def price(at: float) -> float:
        called = answers >= at
        return float(2 * (called & (labels == 0)).sum() + 3 * (~called & (labels == 1)).sum()) / 60

    assert cost == pytest.approx(price(threshold))
    assert cost == pytest.approx(min(price(at) for at in np.linspace(0.001, 1, 1000)))
    assert 0 < threshold <= 1
