"""The line through a reliability plot is the one that statsmodels fits, and its interval leaves out whole blocks."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]

from lockgate.core.block_statistics import Statistic
from lockgate.core.calibration import logistic_line, straight_line
from lockgate.core.intervals import block_interval

BLOCKS = 25


def answered(seed: int = 0, n: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, answers that are too extreme (the true slope is 0.6, the intercept -0.3), and blocks."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, n)
    y = (rng.random(n) < 1 / (1 + np.exp(0.3 - 0.6 * logit))).astype(np.int64)
    return y, 1 / (1 + np.exp(-logit)), np.repeat(np.arange(BLOCKS), n // BLOCKS)


def at_ones(statistic: Statistic, blocks: int = BLOCKS) -> float:
    return float(statistic(np.ones((1, blocks)))[0])


def fitted(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    found = sm.Logit(y, sm.add_constant(np.log(score / (1 - score)))).fit(disp=0)
    return np.asarray(found.params)


def test_the_logistic_line_is_the_one_of_statsmodels() -> None:
    y, score, block = answered()
    slope, intercept = logistic_line(y, score, block, BLOCKS)
    assert [at_ones(intercept), at_ones(slope)] == pytest.approx(fitted(y, score), abs=1e-7)


def test_leaving_one_block_out_moves_the_line_as_a_new_fit_would() -> None:
    y, score, block = answered()
    slope, _ = logistic_line(y, score, block, BLOCKS)
    one_step = slope(1.0 - np.eye(BLOCKS))
    anew = np.array([fitted(y[block != k], score[block != k])[1] for k in range(BLOCKS)])
    moved = np.abs(anew - at_ones(slope)).max()
    assert np.abs(one_step - anew).max() < 0.02 * moved


def test_the_interval_of_the_slope_holds_the_truth_and_not_one() -> None:
    y, score, block = answered()
    slope, _ = logistic_line(y, score, block, BLOCKS)
    found = block_interval(slope, BLOCKS)
    assert found.low < 0.6 < found.high < 1.0


def test_the_straight_line_is_the_one_of_least_squares_also_far_from_zero() -> None:
    rng = np.random.default_rng(1)
    value = 1e5 + rng.normal(0, 3, 2000)
    y = 40.0 + 0.9 * value + rng.normal(0, 2, 2000)
    block = np.repeat(np.arange(BLOCKS), 80)
    slope, intercept = straight_line(y, value, block, BLOCKS)
    expected = np.polyfit(value - 1e5, y, 1)
    assert at_ones(slope) == pytest.approx(expected[0], rel=1e-9)
    assert at_ones(intercept) == pytest.approx(expected[1] - 1e5 * expected[0], rel=1e-6)


@pytest.mark.parametrize(
    ("y", "score"),
    [
        (np.array([0, 1, 0, 1]), np.full(4, 0.4)),  # nothing to draw a line through
        (np.array([1, 1, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4])),  # one class
        (np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])),  # separated: steeper is always better
        (np.empty(0, dtype=np.int64), np.empty(0)),
    ],
)
def test_where_no_line_is_best_there_is_none(y: np.ndarray, score: np.ndarray) -> None:
    slope, intercept = logistic_line(y, score, np.arange(len(y)), len(y))
    ones = np.ones((1, len(y)))
    assert np.isnan([slope(ones)[0], intercept(ones)[0]]).all()


def test_answers_that_do_not_vary_have_no_straight_line() -> None:
    slope, _ = straight_line(np.array([1.0, 2.0]), np.array([3.0, 3.0]), np.arange(2), 2)
    assert np.isnan(slope(np.ones((1, 2)))[0])
