"""Folds keep blocks whole, are fitted by the family that ships, and are only called random where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lockgate.core.contract import TaskKind
from lockgate.core.folds import corrected_t, fold_of_blocks
from lockgate.core.ids import Json, to_json
from lockgate.core.spec import EvaluationSection, ReleaseSpec, SplitMethod, SplitSection
from lockgate.errors import BadInput
from lockgate.models.fold_process import fit_folds
from lockgate.stages.folds import folds_section
from tests.unit.models.rows import rows, spec_of

FAST = {"n_estimators": 10, "max_depth": 3}


def test_folds_have_about_equally_many_rows_and_time_keeps_neighbours_together() -> None:
    sizes = np.random.default_rng(0).integers(50, 150, 40)
    fold = fold_of_blocks(sizes, 5, seed=None)
    assert (np.diff(fold) >= 0).all()
    rows_of = np.bincount(fold, weights=sizes)
    assert rows_of.max() / rows_of.min() < 1.3


def test_random_folds_are_dealt_out_by_the_seed() -> None:
    sizes = np.full(40, 100)
    one, again, other = (fold_of_blocks(sizes, 5, seed=seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    assert (np.diff(one) < 0).any()


def test_the_corrected_interval_is_wider_than_the_plain_one_and_has_the_published_form() -> None:
    values = [0.10, 0.14, 0.08, 0.12, 0.11]
    plain = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = corrected_t(values, test_over_train=0.25)
    assert found is not None
    ratio = (found.high - found.mean) / (plain.high - found.mean)
    assert ratio == pytest.approx(np.sqrt((1 / 5 + 0.25) / (1 / 5)), rel=1e-9)


def test_one_fold_says_nothing_of_its_spread() -> None:
    assert corrected_t([0.1], test_over_train=0.25) is None
    assert corrected_t([0.1, float("nan")], test_over_train=0.25) is None


def world(folder: Path, kind: TaskKind = TaskKind.BINARY, **more: Any) -> tuple[ReleaseSpec, list[str]]:
    """Write train and validation of 24 days, and return the spec and the files."""
    spec = spec_of(kind, parameters=FAST)
    evaluation = EvaluationSection(**({"folds": 3} | more))
    frame = rows(1200, kind)
    frame[spec.data.time] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(np.arange(1200) // 50, unit="D")
    paths = []
    for name, part in (("train", frame[:900]), ("validation", frame[900:])):
        part.to_parquet(folder / f"{name}.parquet")
        paths.append(str(folder / f"{name}.parquet"))
    return replace(spec, evaluation=evaluation), paths


def fitted(spec: ReleaseSpec, paths: list[str]) -> dict[str, Any]:
    given: Any = to_json(spec)
    found: Any = fit_folds(given, paths, FAST)
    return dict(found)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_row_is_scored_once_by_a_fit_that_never_saw_its_day(tmp_path: Path, kind: TaskKind) -> None:
    spec, paths = world(tmp_path, kind)
    found = fitted(spec, paths)
    assert sum(fold["n"] for fold in found["folds"]) == 1200
    assert sum(fold["blocks"] for fold in found["folds"]) == 24
    assert all(fold["n"] + fold["n_train"] + fold["n_chosen_on"] == 1200 for fold in found["folds"])
    shown = folds_section(spec, found)
    assert shown["lowest"] > 0.1  # type: ignore[operator]
    assert shown["corrected"] is None  # in order of time


def test_folds_of_a_group_split_are_random_and_corrected(tmp_path: Path) -> None:
    spec, paths = world(tmp_path)
    spec = replace(spec, split=SplitSection(method=SplitMethod.RANDOM))
    shown: Any = folds_section(spec, fitted(spec, paths))
    assert shown["random"] is True
    assert shown["corrected"]["low"] < shown["mean"] < shown["corrected"]["high"]


def test_folds_that_the_time_does_not_allow_are_counted(tmp_path: Path) -> None:
    spec, paths = world(tmp_path, folds_time_s=1e-9)
    found = fitted(spec, paths)
    assert (found["folds"], found["left_out"]) == ([], 3)
    assert "folds_time_s" in str(folds_section(spec, found)["reason"])


def test_fewer_days_than_folds_are_refused(tmp_path: Path) -> None:
    spec, paths = world(tmp_path, folds=20)
    with pytest.raises(BadInput, match="need more than"):
        fitted(spec, paths[:1])  # 18 days


def test_rows_in_no_block_are_refused(tmp_path: Path) -> None:
    spec, paths = world(tmp_path)
    with pytest.raises(BadInput, match="in no block"):
        fitted(replace(spec, split=SplitSection(block="c0")), paths)


@pytest.mark.parametrize("measured", [None, {}, {"folds": []}, {"folds": [{"loss": "NaN"}]}])
def test_what_was_not_measured_shows_no_number(measured: dict[str, Json] | None) -> None:
    spec = replace(spec_of(parameters=FAST), evaluation=EvaluationSection(folds=3))
    assert folds_section(spec, measured, "the process died")["reason"] == "the process died"
    assert folds_section(replace(spec, evaluation=EvaluationSection()), measured) == {"asked": 0}
