"""Parameters: what is taken, what is refused, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lockgate.core.contract import TaskKind
from lockgate.errors import ConfigError
from lockgate.models import TRAINERS, trainer_of
from tests.unit.models.rows import spec_of

REFUSED = [
    ("xgboost", {"booster": "dart"}, "dart and gblinear do not convert faithfully"),
    ("xgboost", {"enable_categorical": True}, "strings are coded"),
    ("xgboost", {"num_parallel_tree": 4}, "use family: random_forest"),
    ("xgboost", {"eta": 0.1}, "say learning_rate"),
    ("xgboost", {"seed": 1}, r"set training\.seed"),
    ("xgboost", {"max_dept": 3}, "is no parameter of xgboost; allowed: base_score"),
    ("xgboost", {"max_depth": 0}, "a whole number from 1 to 16"),
    ("xgboost", {"max_depth": 3.0}, "a whole number"),
    ("xgboost", {"max_depth": True}, "a whole number"),
    ("xgboost", {"learning_rate": "fast"}, "a number from"),
    ("xgboost", {"learning_rate": float("nan")}, "a number from"),
    ("xgboost", {"objective": "reg:gamma"}, "is not for binary tasks; use binary:logistic"),
    ("xgboost", {"objective": "binary:logitraw"}, "it must be one of"),
    ("logistic", {"solver": "saga"}, "allowed: C, class_weight, max_iter"),
    ("logistic", {"class_weight": {"a": 1}}, "one of None, balanced"),
    ("random_forest", {"random_state": 3}, r"set training\.seed"),
]


@pytest.mark.parametrize(("family", "parameters", "message"), REFUSED)
def test_a_parameter_that_is_not_proved_is_refused(family: str, parameters: dict[str, Any], message: str) -> None:
    spec = spec_of(family=family, parameters=parameters)
    with pytest.raises(ConfigError, match=message):
        trainer_of(spec).check(spec)


def test_a_family_refuses_a_task_that_is_not_its_own() -> None:
    for family, kind in (("logistic", TaskKind.REGRESSION), ("linear", TaskKind.BINARY)):
        spec = spec_of(kind, family)
        with pytest.raises(ConfigError, match=f"{family} is for"):
            trainer_of(spec).check(spec)


def test_an_unknown_family_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="there is no 'lightgbm'; families: xgboost, logistic"):
        trainer_of(spec_of(family="lightgbm"))


def test_an_own_estimator_needs_its_function() -> None:
    with pytest.raises(ConfigError, match=r"training\.estimator is missing"):
        TRAINERS["estimator"].check(spec_of(family="estimator"))


def test_defaults_are_taken() -> None:
    for family, trainer in TRAINERS.items():
        kind = TaskKind.REGRESSION if family == "linear" else TaskKind.BINARY
        spec = spec_of(kind, family)
        trainer.check(replace(spec, training=replace(spec.training, estimator="a.b:c")))
