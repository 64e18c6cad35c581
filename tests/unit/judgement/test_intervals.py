"""Intervals against statsmodels, scipy and a bootstrap of blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lockgate.core import block_statistics as blockwise
from lockgate.core.intervals import MOST_GROUPS, block_interval, detectable, group_blocks, rounded


def clustered(blocks: int = 25, rows: int = 40, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(blocks), rows)
    return rng.normal(1.0, 1.0, blocks * rows) + rng.normal(0, 0.5, blocks)[block], block


@pytest.mark.integration  # importing statsmodels takes over a second
def test_the_standard_error_of_a_mean_is_statsmodels_cluster_robust_one() -> None:
    statsmodels = pytest.importorskip("statsmodels.api")
    values, block = clustered()
    found = block_interval(blockwise.mean(values, block, 25), 25)
    fit = statsmodels.OLS(values, np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": block, "use_correction": False}
    )
    # equal blocks: the jackknife is the sandwich with G / (G - 1)
    assert found.se == pytest.approx(float(fit.bse[0]) * np.sqrt(25 / 24), rel=1e-9)


def test_the_interval_of_unskewed_block_means_is_students() -> None:
    means = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])  # symmetric: no skewness to widen for
    found = block_interval(blockwise.ratio(means, np.ones(5)), 5)
    low, high = stats.t.interval(0.95, 4, loc=0.0, scale=stats.sem(means))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_the_side_of_the_skew_is_wider_and_the_other_side_never_narrower() -> None:
    means = np.array([0.0, 0.1, -0.1, 0.05, -0.05, 0.0, 4.0])
    found = block_interval(blockwise.ratio(means, np.ones(7)), 7)
    t = stats.t.ppf(0.975, 6)
    assert found.high - found.value > 1.2 * t * found.se
    assert found.value - found.low == pytest.approx(t * found.se)


def test_the_standard_error_of_an_auc_agrees_with_a_bootstrap_of_blocks() -> None:
    rng = np.random.default_rng(4)
    block = np.repeat(np.arange(40), 60)
    score = rng.normal(size=2400)
    y = (rng.random(2400) < 1 / (1 + np.exp(1 - score - rng.normal(0, 0.5, 40)[block]))).astype(np.int64)
    statistic = blockwise.auc(y, score, block, 40)
    drawn = rng.multinomial(40, np.full(40, 1 / 40), size=2000).astype(float)
    assert block_interval(statistic, 40).se == pytest.approx(statistic(drawn).std(), rel=0.12)


def test_two_identical_models_differ_by_exactly_nothing() -> None:
    values, block = clustered()
    one = blockwise.mean(values, block, 25)
    found = block_interval(lambda weights: one(weights) - one(weights), 25)
    assert (found.value, found.low, found.high, found.se) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_fewer_than_three_blocks_have_no_interval(blocks: int) -> None:
    found = block_interval(blockwise.ratio(np.arange(blocks, dtype=float), np.ones(blocks)), blocks)
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_a_statistic_that_hangs_on_one_block_has_no_interval() -> None:
    y = np.array([0, 0, 0, 1])  # leave out the block of the only positive and no AUC is left
    found = block_interval(blockwise.auc(y, np.arange(4.0), np.arange(4), 4), 4)
    assert np.isnan(found.low)


def test_bounds_stay_where_the_statistic_can_be() -> None:
    found = block_interval(blockwise.ratio(np.array([1.0, 1.0, 0.9, 1.0]), np.ones(4)), 4, lowest=0.0, highest=1.0)
    assert found.high == 1.0


def test_many_blocks_are_joined_with_their_neighbours() -> None:
    group, groups = group_blocks(np.arange(1000), 1000)
    assert groups == MOST_GROUPS
    assert (np.diff(group) >= 0).all()
    assert np.bincount(group).tolist() == [10] * MOST_GROUPS


def test_more_power_or_confidence_needs_a_larger_difference() -> None:
    assert detectable(1.0, 21) < detectable(1.0, 21, power=0.9)
    assert detectable(1.0, 21) < detectable(1.0, 21, confidence=0.99)
    assert np.isnan(detectable(1.0, 1))


def test_rounding_hides_the_order_of_a_sum() -> None:
    assert rounded(sum([0.1] * 10)) == rounded(1.0)
