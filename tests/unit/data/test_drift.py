"""Frozen bins, shares and sizes of shift."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lockgate.core.drift import BINS, EPSILON, drift, psi, reference_profile, total_variation
from lockgate.core.ids import Json, to_json

DRAW = np.random.default_rng(5)
NORMAL = DRAW.normal(size=20_000)
WORDS = DRAW.choice(np.array(["x", "y", "z"], dtype=object), size=20_000, p=[0.6, 0.3, 0.1])


def compared(reference: np.ndarray, now: np.ndarray, *, numeric: bool = True) -> dict[str, Json]:
    names = (("v",), ()) if numeric else ((), ("v",))
    found = drift(reference_profile({"v": reference}, *names), {"v": now})["v"]
    assert isinstance(found, dict)
    return found


def test_psi_by_hand() -> None:
    assert psi(np.array([0.2, 0.8]), np.array([0.4, 0.6])) == pytest.approx(0.2 * np.log(2) + (-0.2) * np.log(0.75))


def test_psi_of_equal_shares_is_zero_and_of_disjoint_ones_is_bounded() -> None:
    shares = np.array([0.5, 0.5, 0.0])
    assert psi(shares, shares) == 0.0
    assert psi(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(2 * (1 - EPSILON) * -np.log(EPSILON))


def test_total_variation_is_symmetric_and_at_most_one() -> None:
    assert total_variation(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0


def test_the_profile_is_json_and_its_shares_sum_to_one() -> None:
    values = NORMAL.copy()
    values[:500] = np.nan
    profile = reference_profile({"v": values, "w": WORDS}, ("v",), ("w",))
    again = json.loads(json.dumps(to_json(profile)))
    assert again == profile
    number, words = again["numeric"]["v"], again["categorical"]["w"]
    assert len(number["edges"]) == BINS - 1
    assert sum(number["shares"]) == pytest.approx(1)
    assert number["shares"][-1] == pytest.approx(500 / 20_000)
    assert words["values"] == ["x", "y", "z"]
    assert sum(words["shares"]) == pytest.approx(1)


def test_the_reference_does_not_drift_from_itself() -> None:
    assert compared(NORMAL, NORMAL)["psi"] == 0.0
    assert compared(WORDS, WORDS, numeric=False)["psi"] == 0.0


def test_another_sample_of_the_same_law_hardly_drifts() -> None:
    assert compared(NORMAL[:10_000], NORMAL[10_000:])["psi"] < 0.005


def test_a_shift_is_measured_in_reference_standard_deviations() -> None:
    found = compared(NORMAL, NORMAL + NORMAL.std())
    assert found["shift_sd"] == pytest.approx(1.0)
    assert found["psi"] > 0.5


def test_equal_deciles_are_merged_and_a_constant_column_can_be_compared() -> None:
    constant = np.full(1000, 3.0)
    assert compared(constant, constant)["psi"] == 0.0
    found = compared(constant, constant - 1)
    assert found["total_variation"] == 1.0
    assert found["shift_sd"] is None


def test_values_that_went_missing_are_a_shift() -> None:
    found = compared(NORMAL, np.where(np.arange(20_000) % 2, NORMAL, np.nan))
    assert found["missing"] == 0.5
    assert found["total_variation"] == pytest.approx(0.5, abs=0.01)


def test_a_column_of_nothing_can_be_profiled_and_compared() -> None:
    nothing = np.full(1000, np.nan)
    assert compared(nothing, nothing)["psi"] == 0.0
    assert compared(nothing, np.ones(1000))["total_variation"] == 1.0


@pytest.mark.parametrize("gone", [None, float("nan"), "__missing__"])
def test_a_missing_word_is_missing_however_it_is_written(gone: object) -> None:
    now = WORDS.copy()
    now[:5000] = gone
    assert compared(WORDS, now, numeric=False)["missing"] == 0.25


def test_rare_values_beside_a_common_one_are_seen() -> None:
    rain = np.where(np.arange(10_000) % 50 == 0, 0.3, 0.0)  # dry but for 2 %
    found = compared(rain, np.where(np.arange(10_000) % 4 == 0, 0.3, 0.0))
    assert found["total_variation"] == pytest.approx(0.23)


def test_infinite_values_do_not_spoil_the_profile() -> None:
    values = np.where(np.arange(1000) < 5, np.inf, NORMAL[:1000])
    found = compared(values, values)
    assert (found["psi"], found["shift_sd"]) == (0.0, 0.0)


def test_a_profile_of_what_the_model_saw_agrees_with_the_raw_rows() -> None:
    tenths = np.round(NORMAL, 1) + 0.02
    assert compared(tenths.astype(np.float32), tenths)["psi"] == 0.0
    assert compared(np.full(500, 1e300), np.full(500, 1e300))["psi"] == 0.0


def test_words_never_seen_are_counted_apart() -> None:
    now = WORDS.copy()
    now[:2000] = "novel"
    assert compared(WORDS, now, numeric=False)["others"] == 0.1


def test_a_column_that_is_not_there_is_left_out_so_that_the_judge_misses_it() -> None:
    profile = reference_profile({"v": NORMAL, "w": WORDS}, ("v",), ("w",))
    assert set(drift(profile, {"v": NORMAL})) == {"v"}
    assert drift({}, {"v": NORMAL}) == {}
