"""Training twice, for real: what can be repeated passes, what cannot is stopped for its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.trainer import IsolatedTrainer
from lockgate.core.contract import TaskKind
from lockgate.core.gates import reproducibility
from lockgate.core.gates.reproducibility import Thresholds
from lockgate.core.spec import ReleaseSpec, SearchSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.reproducing import measure_reproducibility
from lockgate.stages.train import train
from tests.unit.models.rows import judged, snapshot_in, spec_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
FAMILIES = [
    ("xgboost", TaskKind.MULTICLASS),
    ("xgboost", TaskKind.REGRESSION),
    ("logistic", TaskKind.BINARY),
    ("linear", TaskKind.REGRESSION),
    ("random_forest", TaskKind.BINARY),
]


def twice(spec: ReleaseSpec, folder: Path) -> tuple[GateReport, dict[str, Any]]:
    """Train and measure as stage train_model does."""
    spec = replace(spec, gates={"reproducibility": Thresholds()})
    held = snapshot_in(folder / "snapshot", spec.task.kind)
    trainer = IsolatedTrainer(PROJECT)
    fit = train(trainer, spec, held, folder).fit
    measured: dict[str, Any] = measure_reproducibility(trainer, spec, held, fit, folder)
    return judged(reproducibility.GATE, measured), measured


def own(name: str, **training: Any) -> ReleaseSpec:
    return spec_of(family="estimator", estimator=f"tests.wandering_estimators:{name}", **training)


def test_a_fit_that_is_the_same_again_passes_without_repeating_its_search(tmp_path: Path) -> None:
    section = SearchSection(space={"max_depth": (2, 6)}, trials=3, time_budget_s=60.0)
    report, measured = twice(spec_of(parameters={"n_estimators": 20}, search=section), tmp_path)
    assert report.verdict is Verdict.PASS, report.reason
    assert measured["refit"]["rows"] == measured["reloaded"]["rows"] == 1500
    assert measured["refit"]["digests"][0] == measured["refit"]["digests"][1]
    assert "not repeated" in measured["search"]
    assert "cause" not in measured


@pytest.mark.soak
@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_every_family_is_the_same_again(family: str, kind: TaskKind, tmp_path: Path) -> None:
    report, _ = twice(spec_of(kind, family), tmp_path)
    assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize("name", ["unseeded", "by_the_clock"])
def test_a_fit_that_draws_without_its_seed_is_stopped_and_told_so(name: str, tmp_path: Path) -> None:
    report, measured = twice(own(name, threads=1), tmp_path)
    assert report.verdict is Verdict.FAIL
    assert measured["cause"] == "randomness"
    assert measured["refit"]["largest"] > 0
    assert measured["reloaded"]["differing"] == 0
    assert "random_state" in report.reason
    assert f"by up to {measured['refit']['largest']:.3g}" in report.reason


@pytest.mark.soak
def test_a_fit_that_depends_on_the_race_of_its_threads_is_stopped_and_names_the_parameter(tmp_path: Path) -> None:
    report, measured = twice(own("by_the_race", threads=2), tmp_path)
    assert report.verdict is Verdict.FAIL
    assert measured["cause"] == "threads"
    assert "set training.threads: 1" in report.reason
