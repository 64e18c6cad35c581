"""The difference of two rates: the score test's, as statsmodels has it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.proportion import test_proportions_2indep as score_test

from lockgate.core.online.means import Contrast, StepSums, Sums
from lockgate.core.online.rates import rate_effect


def ones(n: int, count: float) -> Sums:
    return Sums(n=n, total=float(count), squares=float(count))


def step(n: int, x: float, n_other: int, x_other: float) -> Contrast:
    return Contrast(steps=(StepSums(challenger=ones(n, x), champion=ones(n_other, x_other)),))


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 500), st.integers(50, 5000), st.floats(0.02, 0.5), st.floats(0.02, 0.5), st.floats(-0.1, 0.1))
def test_the_rates_at_the_margin_are_the_likeliest(n: int, m: int, rate: float, other: float, margin: float) -> None:
    x, y = max(round(n * rate), 1), max(round(m * other), 1)

    def unlikely(p: float) -> float:
        return -float(stats.binom.logpmf(x, n, p + margin) + stats.binom.logpmf(y, m, p))

    ends = (max(0.0, -margin) + 1e-9, min(1.0, 1.0 - margin) - 1e-9)
    p = float(optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-10}).x)
    expected = math.sqrt((p + margin) * (1 - p - margin) / n + p * (1 - p) / m)
    found = rate_effect(step(n, x, m, y), margin)
    assert found.se == pytest.approx(expected, rel=1e-4)
    assert found.value == pytest.approx(x / n - y / m)


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 500), st.integers(50, 5000), st.floats(0.02, 0.5), st.floats(0.02, 0.5))
def test_without_a_margin_it_is_the_score_test_of_statsmodels(n: int, m: int, rate: float, other: float) -> None:
    # with one its constrained rates are not the likeliest: the cubic's linear term has a count for a number of trials
    x, y = max(round(n * rate), 1), max(round(m * other), 1)
    found = rate_effect(step(n, x, m, y), 0.0)
    expected = score_test(x, n, y, m, value=0.0, method="score", compare="diff", correction=False)
    assert found.value / found.se == pytest.approx(float(expected.statistic), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        Contrast(steps=()),
        step(49, 3, 500, 30),
        step(100, math.nan, 500, 30),
        step(100, 101, 500, 30),
        step(100, -1, 500, 30),
        Contrast(steps=(StepSums(challenger=Sums(n=100, total=5.0, squares=9.0), champion=ones(100, 5)),)),
    ],
)
def test_what_is_no_rate_has_no_estimate(wrong: Contrast) -> None:
    assert math.isnan(rate_effect(wrong, 0.01).value)
    assert math.isnan(rate_effect(step(100, 5, 100, 5), 1.0).value)


def test_no_failure_at_all_still_has_a_standard_error() -> None:
    found = rate_effect(step(100, 0, 1000, 0), 0.01)
    assert found.value == 0.0
    assert found.se == pytest.approx(math.sqrt(0.01 * 0.99 / 100), rel=1e-4)
