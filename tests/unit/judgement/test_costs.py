"""A declared cost matrix decides and prices rows, and a wrong one is refused where it is written."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.decisions import cheapest_class
from lockgate.core.spec import CostsSection
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec
from lockgate.stages.deciding import decided_for
from tests.unit.judgement.scenes import measured_for, multiclass, scores_of, spec_of

CLASSES = ("a", "b", "c")
DEAR_MISS = {"a": {"b": 1.0, "c": 1.0}, "b": {"a": 1.0, "c": 1.0}, "c": {"a": 20.0, "b": 20.0}}
SPEC: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "multiclass", "classes": list(CLASSES)},
    "data": {"suite": "toy", "label": "y", "time": "t", "key": ["id"], "numeric": ["x"]},
}


def test_a_matrix_of_ones_decides_for_the_likeliest_class() -> None:
    rng = np.random.default_rng(0)
    score = rng.dirichlet(np.ones(4), 1000)
    assert (cheapest_class(score, 1.0 - np.eye(4)) == score.argmax(axis=1)).all()


def test_the_decision_is_the_one_of_least_expected_cost() -> None:
    rng = np.random.default_rng(1)
    score, matrix = rng.dirichlet(np.ones(3), 500), rng.random((3, 3))
    by_hand = [min(range(3), key=lambda k: sum(row[j] * matrix[j, k] for j in range(3))) for row in score]
    assert cheapest_class(score, matrix).tolist() == by_hand


def test_dear_misses_are_decided_for_more_often_and_cost_less_than_deciding_for_the_likeliest() -> None:
    frame, good = multiclass()
    spec = replace(spec_of(TaskKind.MULTICLASS), costs=CostsSection(matrix=DEAR_MISS))
    decided, likeliest = decided_for(spec, good, None), good.argmax(axis=1)
    assert (decided == 2).sum() > (likeliest == 2).sum()
    found: Any = measured_for("quality", spec, frame, scores_of(spec, frame, good))
    matrix = np.array(spec.costs.by_index(CLASSES))
    y = frame["label"].map({name: k for k, name in enumerate(CLASSES)}).to_numpy()
    cost = found["metrics"]["expected_cost"]
    assert cost["estimate"] == pytest.approx(matrix[y, decided].mean(), rel=1e-9)
    assert cost["high"] < matrix[y, likeliest].mean()
    assert found["metrics"]["accuracy"]["estimate"] == pytest.approx((decided == y).mean(), rel=1e-9)


def test_without_a_matrix_several_classes_have_no_expected_cost() -> None:
    frame, good = multiclass()
    spec = spec_of(TaskKind.MULTICLASS)
    found: Any = measured_for("quality", spec, frame, scores_of(spec, frame, good))
    assert "expected_cost" not in found["metrics"]


def parsed(matrix: object, **more: Any) -> Any:
    return parse_spec(copy.deepcopy(SPEC) | {"costs": {"matrix": matrix}} | more)


def test_a_whole_matrix_is_taken_and_right_decisions_cost_nothing() -> None:
    assert parsed(DEAR_MISS).costs.by_index(CLASSES) == ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (20.0, 20.0, 0.0))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ({"a": {"b": 1.0, "c": 1.0}, "b": {"a": 1.0, "c": 1.0}}, "one row for each class"),
        (DEAR_MISS | {"d": {}}, "one row for each class"),
        (DEAR_MISS | {"a": {"b": 1.0}}, "costs.matrix.a must price each decision"),
        (DEAR_MISS | {"a": {"b": 1.0, "c": 1.0, "d": 1.0}}, "costs.matrix.a must price each decision"),
        (DEAR_MISS | {"a": {"a": 2.0, "b": 1.0, "c": 3.0}}, "must cost less than any other"),
        (DEAR_MISS | {"a": {"b": -1.0, "c": 1.0}}, "greater than or equal to 0"),
        (DEAR_MISS | {"a": {"b": float("inf"), "c": 1.0}}, "costs.matrix.a.b: must be a finite number"),
    ],
)
def test_a_wrong_matrix_is_refused_with_its_place(matrix: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parsed(matrix)


def test_a_matrix_for_two_classes_is_refused() -> None:
    two = {"task": {"kind": "binary", "classes": ["no", "yes"]}}
    with pytest.raises(ConfigError, match="false_positive and false_negative"):
        parsed({"no": {"yes": 1.0}, "yes": {"no": 1.0}}, **two)
