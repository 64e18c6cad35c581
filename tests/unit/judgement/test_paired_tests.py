"""McNemar's and DeLong's tests agree with other implementations, and say what they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
from statsmodels.stats.contingency_tables import mcnemar as by_statsmodels  # type: ignore[import-untyped]
from statsmodels.stats.power import TTestPower  # type: ignore[import-untyped]

from lockgate.core.contract import TaskKind
from lockgate.core.paired_tests import delong, mcnemar
from lockgate.core.power import power_to_show
from lockgate.stages.comparisons import tests_section as section_of
from lockgate.stages.sampling import ChampionScores, Scores
from tests.unit.judgement.scenes import (
    CHAMPION,
    binary,
    examined,
    multiclass,
    naive,
    regression,
    scores_of,
    spec_of,
)

SCENES = {TaskKind.BINARY: binary, TaskKind.MULTICLASS: multiclass, TaskKind.REGRESSION: regression}


def two_scores(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.2).astype(np.int64)
    shared = rng.normal(size=n)
    first = np.round(y + shared + 0.5 * rng.normal(size=n), 1)  # rounded, so that many tie
    second = np.round(0.8 * y + shared + 0.5 * rng.normal(size=n), 1)
    return y, first, second


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_the_exact_test_of_statsmodels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 200)) < np.array([[0.7], [0.6]])
    found = mcnemar(first, second)
    table = [[0, found.only_first], [found.only_second, 0]]
    assert found.p_value == pytest.approx(by_statsmodels(table, exact=True).pvalue, abs=1e-12)


def test_models_that_never_differ_are_not_told_apart() -> None:
    right = np.array([True, False, True])
    assert mcnemar(right, right).p_value == 1.0


def by_definition(y: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The variance of DeLong et al. 1988, eq. 6, from every pair of a positive and a negative."""
    placed = []
    for score in (first, second):
        up, down = score[y == 1][:, None], score[y == 0][None]
        placed.append((up > down) + 0.5 * (up == down))
    gap = placed[0] - placed[1]
    of_ups, of_downs = gap.mean(axis=1), gap.mean(axis=0)
    return float(np.sqrt(of_ups.var(ddof=1) / len(of_ups) + of_downs.var(ddof=1) / len(of_downs)))


@pytest.mark.parametrize("seed", range(5))
def test_delong_by_ranks_is_delong_by_every_pair(seed: int) -> None:
    y, first, second = two_scores(600, seed)
    found = delong(y, first, second)
    assert found is not None
    assert found.first == pytest.approx(roc_auc_score(y, first), abs=1e-12)
    assert found.second == pytest.approx(roc_auc_score(y, second), abs=1e-12)
    assert found.se == pytest.approx(by_definition(y, first, second), rel=1e-10)


def test_delong_agrees_with_a_bootstrap_where_rows_are_independent() -> None:
    y, first, second = two_scores(3000, 7)
    found = delong(y, first, second)
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(400):
        drawn = rng.integers(0, len(y), len(y))
        one = delong(y[drawn], first[drawn], second[drawn])
        assert one is not None
        gaps.append(one.first - one.second)
    assert found is not None
    assert found.se == pytest.approx(np.std(gaps), rel=0.12)  # 400 draws: 3.5 % standard error, three of them


def test_delong_needs_two_rows_of_each_class() -> None:
    assert delong(np.array([0, 0, 1]), np.arange(3.0), np.arange(3.0)) is None


def test_equal_scores_are_not_told_apart() -> None:
    y, first, _ = two_scores(300, 1)
    found = delong(y, first, first)
    assert found is not None
    assert (found.se, found.p_value) == (0.0, 1.0)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_section_shows_the_tests_that_apply_to_the_task(kind: TaskKind) -> None:
    frame, good = SCENES[kind]()
    spec = spec_of(kind)
    found = section_of(examined(spec, frame, scores_of(spec, frame, good, 0.9 * good + 0.1 * good.mean(axis=0))))
    assert (found["mcnemar"] is None) == (kind is TaskKind.REGRESSION)
    assert (found["delong"] is None) == (kind is not TaskKind.BINARY)
    assert "surer than they may be" in str(found["word"])


def test_delong_is_surer_than_the_days_allow() -> None:
    frame, good = binary(days=40, rows=300)
    day = frame["time"].dt.day_of_year.to_numpy()
    swayed = 1 / (1 + np.exp(-(np.log(good / (1 - good)) + np.where(day % 7 == 0, 2.0, 0.0))))  # off on some days
    found = section_of(examined(spec_of(), frame, scores_of(spec_of(), frame, good, swayed)))
    assert found["delong"]["design_effect"] > 2  # type: ignore[index,call-overload]


def test_without_a_champion_or_its_answers_the_section_says_why() -> None:
    frame, good = binary()
    assert section_of(examined(spec_of(), frame, scores_of(spec_of(), frame, good)))["reason"]
    gone = ChampionScores(bundle=CHAMPION, scores=None, known_keys=None, unscored_because="its bundle is gone")
    unscored = Scores(challenger=good, naive=naive(TaskKind.BINARY, frame), simple=None, champion=gone)
    assert "its bundle is gone" in str(section_of(examined(spec_of(), frame, unscored))["reason"])


@pytest.mark.parametrize("blocks", [20, 40, 60])
@pytest.mark.parametrize("effect", [0.5, 2.0, 4.0])
def test_power_is_that_of_statsmodels(blocks: int, effect: float) -> None:
    theirs = TTestPower().power(effect / np.sqrt(blocks), nobs=blocks, alpha=0.025, alternative="larger")
    assert power_to_show(margin=effect, se=1.0, blocks=blocks) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize(("margin", "se", "blocks"), [(float("nan"), 1.0, 20), (1.0, float("nan"), 20), (1.0, 1.0, 1)])
def test_power_of_nothing_is_not_a_number(margin: float, se: float, blocks: int) -> None:
    assert np.isnan(power_to_show(margin, se, blocks))
