"""How much of the label one feature gives away."""

from __future__ import annotations

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.leakage import cells, label_codes, leakage_scores, missing_purity, single_feature_score

DRAW = np.random.default_rng(3)
N = 6_000
LABEL = (DRAW.random(N) < 0.2).astype(np.int64)
CLASSES = ("no", "yes")


def score(
    values: np.ndarray, target: np.ndarray = LABEL, kind: TaskKind = TaskKind.BINARY, n_classes: int = 2
) -> float:
    found = single_feature_score(cells(values), target, kind, n_classes)["score"]
    assert isinstance(found, float)
    return found


def test_noise_scores_like_chance() -> None:
    assert score(DRAW.normal(size=N)) == pytest.approx(0.5, abs=0.03)


def test_the_label_itself_scores_one() -> None:
    assert score(LABEL.astype(float)) == 1.0


def test_a_score_does_not_care_which_way_the_feature_points() -> None:
    leak = LABEL + DRAW.normal(scale=0.4, size=N)
    assert score(leak) > 0.9
    assert score(-leak) == pytest.approx(score(leak), abs=0.005)


def test_a_feature_that_tells_at_both_ends_is_found() -> None:
    assert score(np.where(LABEL == 1, DRAW.choice([-3.0, 3.0], size=N), DRAW.normal(scale=0.5, size=N))) > 0.95


def test_an_identifier_scores_like_chance_because_halves_score_each_other() -> None:
    ids = np.array([f"row-{i}" for i in range(N)], dtype=object)
    assert score(ids) == pytest.approx(0.5, abs=0.02)


def test_a_category_that_means_the_label_scores_high() -> None:
    words = np.where(LABEL == 1, "cancelled", "flown").astype(object)
    assert score(words) == 1.0


def test_a_value_lost_by_the_event_scores_high() -> None:
    assert score(np.where(LABEL == 1, np.nan, DRAW.normal(size=N))) == 1.0


def test_a_leak_of_one_rare_class_shows_in_the_worst_class() -> None:
    target = DRAW.choice(3, size=N, p=[0.6, 0.37, 0.03])
    found = single_feature_score(cells((target == 2).astype(float)), target, TaskKind.MULTICLASS, 3)
    assert found["worst_class"] == 2
    assert found["worst_score"] == 1.0
    assert float(str(found["score"])) < 0.8


def test_classes_with_few_rows_are_left_out() -> None:
    target = np.where(np.arange(N) < 30, 1, 0)
    assert single_feature_score(cells(target.astype(float)), target, TaskKind.BINARY, 2)["score"] is None


def test_a_regression_is_scored_by_the_share_of_variance() -> None:
    target = DRAW.normal(size=N)
    kind = TaskKind.REGRESSION
    assert score(target * 2 + 1, target, kind) > 0.95
    assert score(DRAW.normal(size=N), target, kind) == pytest.approx(0, abs=0.02)
    half = target + DRAW.normal(size=N)  # explains half of its variance
    assert score(half, target, kind) == pytest.approx(0.5, abs=0.05)


def test_a_target_that_does_not_vary_has_no_score() -> None:
    assert single_feature_score(cells(DRAW.normal(size=N)), np.ones(N), TaskKind.REGRESSION)["score"] is None


def test_missing_that_means_a_class_is_pure_and_missing_at_random_is_not() -> None:
    half_of_them = (LABEL == 1) & (np.arange(N) % 2 == 0)
    pure = missing_purity(half_of_them, LABEL, 2)
    assert pure["class"] == 1
    assert float(str(pure["purity"])) > 0.98
    assert float(str(missing_purity(DRAW.random(N) < 0.3, LABEL, 2)["purity"])) < 0.1


def test_a_few_missing_values_prove_nothing() -> None:
    few = np.zeros(N, dtype=bool)
    few[np.flatnonzero(LABEL == 1)[:8]] = True
    assert float(str(missing_purity(few, LABEL, 2)["purity"])) < 0.7


def test_missing_that_means_the_commonest_class_needs_more_than_its_share() -> None:
    rare = (DRAW.random(N) < 0.03).astype(np.int64)
    gone = np.zeros(N, dtype=bool)
    gone[np.flatnonzero(rare == 0)[:40]] = True  # all of class 0, which 97 % are anyway
    assert float(str(missing_purity(gone, rare, 2)["purity"])) < 0.5


def test_scores_of_all_features_name_classes_in_words() -> None:
    told = leakage_scores({"leak": LABEL.astype(float)}, LABEL, TaskKind.BINARY, CLASSES)
    assert told["leak"] == {
        "score": 1.0,
        "worst_score": 1.0,
        "worst_class": "yes",
        "missing": {"purity": 0.0, "class": None, "n": 0},
    }


def test_labels_become_indices_and_strange_ones_minus_one() -> None:
    assert label_codes(["yes", "no", "perhaps"], CLASSES).tolist() == [1, 0, -1]


def test_infinite_values_have_a_cell() -> None:
    assert len(np.unique(cells(np.array([-np.inf, 0.0, 1.0, np.inf, np.nan])))) == 5
