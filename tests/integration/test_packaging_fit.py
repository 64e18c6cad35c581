"""Fitting in isolation: killed and resumed, bounded, refused with the user's line; and what a spec may not ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.native_scorer import NativeScorer
from lockgate.adapters.trainer import IsolatedTrainer, check_training, read_fit
from lockgate.core.contract import TaskKind
from lockgate.core.gates import training
from lockgate.core.ids import Digest, to_json
from lockgate.core.spec import ReleaseSpec, SearchSection
from lockgate.core.verdict import Verdict
from lockgate.errors import BadInput, ConfigError, IntegrityError, MeasurementError
from lockgate.models.checkpoint import Checkpoint
from lockgate.models.search import search
from tests.dying_fits import die_in_a_fit
from tests.unit.models.rows import judged, rows, snapshot_in, spec_of

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
MINE = {"family": "estimator"}


def fit(spec: ReleaseSpec, folder: Path, **snapshot: Any) -> Any:
    held = snapshot_in(folder / "snapshot", spec.task.kind, **snapshot)
    return IsolatedTrainer(PROJECT).fit(spec, held, folder / "fit")


def test_a_fit_killed_in_the_middle_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    spec = spec_of(parameters={"n_estimators": 300, "learning_rate": 0.02}, early_stopping_rounds=None)
    whole = fit(spec, tmp_path / "whole")
    killed = tmp_path / "killed"
    held = snapshot_in(killed / "snapshot", spec.task.kind)
    parts = {part: str(held.folder / f"{part}.parquet") for part in ("train", "validation")}
    die_in_a_fit({"spec": to_json(spec), **parts, "out": str(killed / "fit")}, "checkpoint", kept=1)
    assert list((killed / "fit" / "checkpoint").glob("*.checkpoint")) != []
    assert not (killed / "fit" / "fit.json").exists()
    resumed = IsolatedTrainer(PROJECT).fit(spec, held, killed / "fit")
    assert resumed.facts["loss"] == whole.facts["loss"]
    assert resumed.facts["history"] == whole.facts["history"]
    frame = rows(500, seed=9, unseen=True)
    scores = [NativeScorer.load(each.folder).score(frame).tolist() for each in (whole, resumed)]
    assert scores[0] == scores[1]
    assert not (killed / "fit" / "checkpoint").exists()


def test_a_fit_that_is_done_is_not_fitted_again(tmp_path: Path) -> None:
    spec = spec_of(parameters={"n_estimators": 20})
    first = fit(spec, tmp_path)
    before = (tmp_path / "fit" / "model.skops").stat().st_mtime_ns
    assert fit(spec, tmp_path).facts == first.facts == read_fit(tmp_path / "fit").facts
    assert (tmp_path / "fit" / "model.skops").stat().st_mtime_ns == before


def test_other_parameters_are_another_fit(tmp_path: Path) -> None:
    first = fit(spec_of(parameters={"n_estimators": 20}), tmp_path)
    second = fit(spec_of(parameters={"n_estimators": 10}), tmp_path)
    assert first.facts["loss"] != second.facts["loss"]


def test_a_search_keeps_its_trials_and_uses_the_best(tmp_path: Path) -> None:
    section = SearchSection(space={"max_depth": (2, 8), "learning_rate": (0.001, 0.3)}, trials=4, time_budget_s=1e6)
    facts = fit(spec_of(parameters={"n_estimators": 30}, search=section), tmp_path).facts
    found: Any = facts["search"]
    assert len(found["trials"]) == 4
    best = min(found["trials"], key=lambda trial: trial["loss"])
    assert found["parameters"] == best["parameters"]
    assert facts["parameters"] == {"n_estimators": 30, **best["parameters"]}
    assert facts["loss"]["validation"] == pytest.approx(best["loss"], rel=1e-12)


def test_a_search_ends_with_its_time(tmp_path: Path) -> None:
    section = SearchSection(space={"max_depth": (2, 8)}, trials=1000, time_budget_s=0.2)
    found: Any = fit(spec_of(parameters={"n_estimators": 30}, search=section), tmp_path).facts["search"]
    assert 1 <= found["made"] < 1000


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    section = SearchSection(space={"x": (-3.0, 3.0), "y": ("a", "b", "c")}, trials=15, time_budget_s=1e9)
    tried: list[Mapping[str, Any]] = []

    def loss(parameters: Mapping[str, Any]) -> float:
        tried.append(parameters)
        return float(parameters["x"] - 1) ** 2 + (parameters["y"] != "b")

    def dies(parameters: Mapping[str, Any]) -> float:
        if len(tried) == 8:
            raise KeyboardInterrupt
        return loss(parameters)

    whole = search(section, 7, loss, Checkpoint(folder=tmp_path / "whole", key=Digest("a" * 64)))
    tried.clear()
    killed = Checkpoint(folder=tmp_path / "killed", key=Digest("a" * 64))
    with pytest.raises(KeyboardInterrupt):
        search(section, 7, dies, killed)
    resumed = search(section, 7, loss, killed)
    assert len(tried) == 15
    assert [(each["parameters"], each["loss"]) for each in resumed.trials] == [
        (each["parameters"], each["loss"]) for each in whole.trials
    ]
    assert resumed.parameters == whole.parameters


def test_an_estimator_of_the_user_is_fitted(tmp_path: Path) -> None:
    spec = spec_of(**MINE, estimator="tests.estimators:boosted", parameters={"n_estimators": 30})
    made = fit(spec, tmp_path)
    assert judged(training.GATE, made.facts).verdict is Verdict.PASS
    assert NativeScorer.load(made.folder).score(rows(50, seed=5)).shape == (50,)


def test_the_users_exception_comes_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"RuntimeError: the user's own bug \(tests/estimators\.py:\d+\)"):
        fit(spec_of(**MINE, estimator="tests.estimators:raising"), tmp_path)


def test_a_fit_beyond_its_time_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="time limit of 6 s"):
        fit(spec_of(**MINE, estimator="tests.estimators:hanging", time_limit_s=6.0), tmp_path)


def test_a_fit_beyond_its_memory_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="memory limit"):
        fit(spec_of(**MINE, estimator="tests.estimators:hungry"), tmp_path)


def test_boosting_beyond_its_memory_says_so(tmp_path: Path) -> None:
    spec = spec_of(parameters={"max_bin": 65536, "max_depth": 16}, memory_limit_bytes=700 * 1024**2)
    with pytest.raises(MeasurementError, match="memory limit"):
        fit(spec, tmp_path, n=60_000)


def test_rows_that_changed_after_the_freeze_are_refused(tmp_path: Path) -> None:
    held = snapshot_in(tmp_path / "snapshot")
    rows(1500, seed=99).to_parquet(held.folder / "train.parquet")
    with pytest.raises(IntegrityError, match="not what was frozen"):
        IsolatedTrainer(PROJECT).fit(spec_of(), held, tmp_path / "fit")


def test_a_label_that_is_no_class_is_bad_input(tmp_path: Path) -> None:
    spec = replace(spec_of(), task=replace(spec_of().task, classes=("no", "yes")))
    with pytest.raises(BadInput, match=r"label \d is none of the classes no, yes"):
        fit(spec, tmp_path)


def test_a_column_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    spec = replace(spec_of(), data=replace(spec_of().data, numeric=("x0", "absent")))
    with pytest.raises(BadInput, match="absent"):
        fit(spec, tmp_path)


def test_a_class_without_rows_is_bad_input(tmp_path: Path) -> None:
    spec = spec_of(TaskKind.MULTICLASS)
    spec = replace(spec, task=replace(spec.task, classes=("low", "middle", "high", "highest")))
    with pytest.raises(BadInput, match="class 'highest' has no training row"):
        fit(spec, tmp_path)


def test_a_label_the_objective_refuses_is_bad_input(tmp_path: Path) -> None:
    spec = spec_of(TaskKind.REGRESSION, parameters={"objective": "count:poisson"})
    spec = replace(spec, data=replace(spec.data, label="x0", numeric=("x1", "x2")))
    with pytest.raises(BadInput, match="XGBoost refuses the fit: label must be non-negative"):
        fit(spec, tmp_path)


def test_trees_that_learned_by_heart_are_stopped_by_the_gate(tmp_path: Path) -> None:
    parameters = {"n_estimators": 60, "learning_rate": 0.5, "max_depth": 16, "min_child_weight": 0, "reg_lambda": 0}
    facts = fit(spec_of(parameters=parameters, early_stopping_rounds=None), tmp_path).facts
    report = judged(training.GATE, facts)
    assert report.verdict is Verdict.FAIL
    assert "overfit_gap" in {check.name for check in report.checks if check.verdict is Verdict.FAIL}


def test_a_solver_that_did_not_finish_is_stopped_by_the_gate(tmp_path: Path) -> None:
    facts = fit(spec_of(family="logistic", parameters={"max_iter": 1}), tmp_path).facts
    report = judged(training.GATE, facts)
    assert report.verdict is Verdict.FAIL
    assert "the solver stopped before it was done" in report.reason


# -- when the spec is read ---------------------------------------------------------------------------------------------


def test_an_unfaithful_estimator_is_refused_when_the_spec_is_read() -> None:
    spec = spec_of(**MINE, estimator="tests.estimators:scaler_before_trees")
    with pytest.raises(ConfigError, match=r"StandardScaler before GradientBoostingClassifier.*take the scaler out"):
        check_training(spec, PROJECT)


def test_a_faithful_estimator_is_taken_when_the_spec_is_read() -> None:
    check_training(spec_of(**MINE, estimator="tests.estimators:boosted"), PROJECT)


def test_an_estimator_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match=r"tests\.estimators:absent cannot be imported"):
        check_training(spec_of(**MINE, estimator="tests.estimators:absent"), PROJECT)


def test_an_estimator_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="returned list, not an unfitted estimator"):
        check_training(spec_of(**MINE, estimator="tests.estimators:no_estimator"), PROJECT)


def test_a_search_outside_the_ranges_is_refused() -> None:
    spec = spec_of(search=SearchSection(space={"max_depth": (2, 99)}))
    with pytest.raises(ConfigError, match="max_depth is 99; it must be a whole number from 1 to 16"):
        check_training(spec, PROJECT)
