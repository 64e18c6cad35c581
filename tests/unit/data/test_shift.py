"""Tests of two samples and effect sizes, against scipy and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lockgate.core.columns import Coded, coded, missing_values
from lockgate.core.drift import drift, psi, reference_profile
from lockgate.core.shift import LEAST_EXPECTED, adjusted, homogeneity, noise_floor, wasserstein_sd

DRAW = np.random.default_rng(11)


def test_the_chi_square_is_scipys() -> None:
    then, now = np.array([310.0, 220.0, 90.0, 40.0]), np.array([280.0, 260.0, 70.0, 45.0])
    found = homogeneity(then, now)
    oracle = stats.chi2_contingency(np.stack([then, now]), correction=False)
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.cramers_v == pytest.approx(stats.contingency.association(np.stack([then, now]).astype(int)))


def test_bins_of_a_few_rows_are_judged_together() -> None:
    rare = np.full(20, LEAST_EXPECTED / 3)
    found = homogeneity(np.append(rare, 500.0), np.append(rare[::-1], 500.0))
    assert found.p_value == 1.0


def test_an_empty_sample_says_nothing_and_one_bin_never_differs() -> None:
    assert homogeneity(np.array([5.0, 5.0]), np.zeros(2)).p_value is None
    assert homogeneity(np.array([50.0, 0.0]), np.array([70.0, 0.0])).p_value == 1.0
    assert noise_floor(10, 0, 500) is None
    assert noise_floor(1, 500, 500) == 0.0


def test_the_adjusted_p_values_are_scipys() -> None:
    p = DRAW.random(40) ** 3
    assert adjusted(p.tolist()) == pytest.approx(stats.false_discovery_control(p).tolist())
    assert adjusted([]) == []


def test_the_wasserstein_distance_is_scipys_in_reference_deviations() -> None:
    then, now = DRAW.normal(size=900), DRAW.exponential(size=700)
    assert wasserstein_sd(then, now) == pytest.approx(stats.wasserstein_distance(then, now) / then.std())
    assert wasserstein_sd(np.ones(9), now) is None
    assert wasserstein_sd(then, np.array([np.nan, np.inf])) is None


def simulated(pairs: int, n: int, m: int) -> tuple[float, float]:
    """Return how often two samples of one law exceed the noise floor, and how often any of 8 columns is 'found'."""
    above, found = 0, 0
    names = tuple(f"v{i}" for i in range(8))
    for _ in range(pairs):
        then = {name: DRAW.normal(size=m) for name in names}
        told = drift(reference_profile(then, names, ()), {name: DRAW.normal(size=n) for name in names})
        facts = [each for each in told.values() if isinstance(each, dict)]
        above += sum(each["psi"] > each["noise_floor"] for each in facts)
        found += any(each["q_value"] < 0.05 for each in facts)
    return above / (pairs * len(names)), found / pairs


def test_equal_laws_stay_below_the_noise_floor_and_are_not_found() -> None:
    above, found = simulated(60, 900, 4000)
    assert above == pytest.approx(0.05, abs=0.035)  # 480 draws: two standard errors are 0.02
    assert found <= 0.15


@pytest.mark.soak
def test_equal_laws_are_found_no_more_often_than_the_false_discovery_rate() -> None:
    above, found = simulated(2000, 900, 4000)
    assert above == pytest.approx(0.05, abs=0.01)
    assert found <= 0.065


def test_a_small_shift_of_many_rows_is_sure_and_small() -> None:
    then, now = DRAW.normal(size=100_000), DRAW.normal(0.05, size=100_000)
    found = drift(reference_profile({"v": then}, ("v",), ()), {"v": now})["v"]
    assert isinstance(found, dict)
    assert found["q_value"] < 1e-6
    assert 0.001 < found["psi"] < 0.01
    assert found["cramers_v"] < 0.05


def test_a_category_that_swaps_has_a_large_v() -> None:
    then = np.array(["a", "b"] * 500, dtype=object)
    found = drift(reference_profile({"v": then}, (), ("v",)), {"v": np.array(["b"] * 1000, dtype=object)})["v"]
    assert isinstance(found, dict)
    assert found["cramers_v"] == pytest.approx(
        np.sqrt(1 / 3)
    )  # 500, 500 against 0, 1000: chi2 = 2000 / 3, V = sqrt(chi2 / 2000)


def test_codes_and_objects_give_the_same_profile_and_drift() -> None:
    words = DRAW.choice(np.array(["x", "y", None, "__missing__"], dtype=object), size=2000)
    codes = coded(words)
    assert missing_values(codes).tolist() == missing_values(words).tolist()
    profile = reference_profile({"v": words}, (), ("v",))
    assert profile == reference_profile({"v": codes}, (), ("v",))
    assert drift(profile, {"v": codes}) == drift(profile, {"v": words})


def test_a_column_of_codes_is_no_column_of_numbers() -> None:
    with pytest.raises(TypeError, match="name it under categorical"):
        reference_profile({"v": Coded(codes=np.zeros(3, dtype=np.int32), values=("a",))}, ("v",), ())


def test_psi_of_two_samples_is_what_the_floor_is_about() -> None:
    assert psi(np.array([0.5, 0.5]), np.array([0.52, 0.48])) < float(noise_floor(2, 500, 500) or 0)
