"""A wrong spec says which key, what was there and what is allowed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from lockgate.core.gates.registry import GATES
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec, read_spec

ROOT = Path(__file__).resolve().parents[3]

SMALL: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "binary", "classes": ["no", "yes"]},
    "data": {"suite": "toy", "label": "y", "time": "t", "key": ["id"], "numeric": ["a"], "categorical": ["b"]},
}


def changed(path: str, value: object) -> dict[str, Any]:
    given = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    place = given
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return given


def test_a_small_spec_has_safe_defaults_and_every_gates_thresholds() -> None:
    spec = parse_spec(SMALL)
    assert spec.approval.mode.value == "human"
    assert {name: type(value) for name, value in spec.gates.items()} == {g.name: g.thresholds for g in GATES}


def test_the_same_spec_has_the_same_digest_and_a_changed_threshold_another() -> None:
    assert parse_spec(SMALL).digest == parse_spec(copy.deepcopy(SMALL)).digest
    assert parse_spec(SMALL).digest != parse_spec(changed("gates.quality", {"auc_floor": 0.7})).digest


@pytest.mark.parametrize("path", sorted((ROOT / "deployments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_spec_of_the_checkout_is_read(path: Path) -> None:
    spec = read_spec(path)
    assert isinstance(spec, ReleaseSpec)
    assert spec.name == path.stem


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("dta", {}, "unknown key 'dta'; did you mean 'data'"),
        ("split.holdout_day", 3, "split: unknown key 'holdout_day'; did you mean 'holdout_days'"),
        ("slices", [{"colum": "b"}], "slices: unknown key 'colum'; did you mean 'column'"),
        ("gates.qualty", {}, "unknown key 'qualty'; did you mean 'quality'"),
        ("gates.quality", {"auc_flor": 0.7}, "gates.quality: unknown key 'auc_flor'; did you mean 'auc_floor'"),
        ("gates.quality", {"auc_floor": 2}, "gates.quality: auc_floor: .*less than or equal to 1"),
        ("split.holdout_days", "21", "split.holdout_days: .*valid integer; got '21'"),
        ("split.holdout_days", 0, "split.holdout_days: .*greater than 0"),
        ("task.kind", "ranking", "task.kind: .*'binary', 'multiclass' or 'regression'"),
        ("data.numeric", ["a", "y"], "'y' is the label and cannot be a feature"),
        ("data.forbidden", ["b"], "'b' is a forbidden column and cannot be a feature"),
        ("data.numeric", ["b"], "column 'b' is named twice"),
        ("data.key", [], "data.key: "),
        ("data.prepare", "no-colon", "data.prepare: 'no-colon' is not of the form package.module:function"),
        ("task.classes", ["only"], "task.classes: a binary task has exactly two"),
        ("model.name", "Not A Name", "model.name: "),
        ("training.family", "estimator", "training: family: estimator and training.estimator go together"),
        ("split.method", "group", "split.group: name the column"),
        ("retraining.schedule", "monthly", "is not a cron of five fields"),
        ("approval", {"timeout_s": 10, "remind_before_s": 20}, "remind_before_s is 20; it must be less than"),
        ("model", {"name": "toy", "risk": "high"}, None),
        ("serving.requests.out_of_range", "maybe", "serving.requests.out_of_range: .*'refuse', 'clip' or 'flag'"),
        ("serving.requests.out_of_rnage", "clip", "unknown key 'out_of_rnage'; did you mean 'out_of_range'"),
        ("serving.log.hashed", ["no_such_column"], "neither a feature nor the entity"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(path: str, value: object, says: str | None) -> None:
    given = changed(path, value)
    if says is None:
        given["approval"] = {"mode": "when_all_pass"}
        says = "approval.mode: when_all_pass is not allowed for a model of risk: high"
    with pytest.raises(ConfigError, match=says):
        parse_spec(given)


def test_a_missing_section_is_named() -> None:
    given = copy.deepcopy(SMALL)
    del given["task"]
    with pytest.raises(ConfigError, match="task: Field required"):
        parse_spec(given)


@pytest.mark.parametrize("given", [None, [], "text", 3])
def test_something_that_is_no_mapping_is_refused(given: object) -> None:
    with pytest.raises(ConfigError, match="a spec is a mapping of sections"):
        parse_spec(given)


def test_a_spec_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("{}")
    with pytest.raises(ConfigError, match=r"no spec toy.yaml .* specs there: other"):
        read_spec(tmp_path / "toy.yaml")


def test_a_file_that_is_no_yaml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("model: {name: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        read_spec(path)


@pytest.mark.parametrize(
    "path",
    [
        "gates.champion.margin",
        "gates.parity.difference",
        "gates.drift.psi",
        "gates.stress.p95_ms",
        "gates.slices.excess_fraction",
        "gates.batch.history_high",
        "costs.false_positive",
    ],
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_number_without_end_is_refused_because_no_gate_could_fail_by_it(path: str, value: float) -> None:
    with pytest.raises(ConfigError, match="finite"):
        parse_spec(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gates.training.improvement", -1.0),
        ("gates.training.overfit_gap", 5.0),
        ("gates.privacy.findings", -1),
    ],
)
def test_a_threshold_that_no_candidate_could_miss_is_refused(path: str, value: float) -> None:
    with pytest.raises(ConfigError, match=path.rpartition(".")[2]):
        parse_spec(changed(path, value))
