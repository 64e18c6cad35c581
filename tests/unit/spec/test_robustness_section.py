"""What the answer must withstand: a wrong expectation says which column, what is wrong and what is allowed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lockgate.core.spec import Effect
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec

SMALL: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "multiclass", "classes": ["a", "b", "c"]},
    "data": {"suite": "toy", "label": "y", "time": "t", "key": ["id"], "numeric": ["n"], "categorical": ["s"]},
}
INVARIANT = {"column": "s", "values": ["u", "v"], "tolerance": 0.1}
DIRECTIONAL = {"column": "n", "step": 1, "answer": "not_lower", "of": "b"}


def with_section(section: dict[str, Any], kind: str = "multiclass") -> dict[str, Any]:
    given = copy.deepcopy(SMALL) | {"robustness": section}
    if kind == "regression":
        given["task"] = {"kind": "regression"}
    return given


def test_a_section_is_read_with_its_defaults() -> None:
    spec = parse_spec(with_section({"noise": {"n": 0.5}, "invariant": [INVARIANT], "directional": [DIRECTIONAL]}))
    assert spec.robustness.noise == {"n": 0.5}
    assert spec.robustness.invariant[0].rows_fraction == 0.0
    assert spec.robustness.directional[0].answer is Effect.NOT_LOWER


def test_without_a_section_nothing_is_expected() -> None:
    assert parse_spec(SMALL).robustness.invariant == ()


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"noise": {"m": 1.0}}, "robustness.noise: 'm' is no numeric feature; those are n"),
        ({"noise": {"s": 1.0}}, "robustness.noise: 's' is no numeric feature"),
        ({"noise": {"n": 0}}, "greater than 0"),
        ({"nois": {}}, "unknown key 'nois'; did you mean 'noise'"),
        ({"invariant": [INVARIANT | {"column": "m"}]}, "robustness.invariant: 'm' is no feature; those are n, s"),
        ({"invariant": [INVARIANT | {"colum": "s"}]}, "unknown key 'colum'; did you mean 'column'"),
        ({"invariant": [INVARIANT | {"values": ["u"]}]}, "at least 2"),
        ({"invariant": [INVARIANT | {"values": ["u", "u"]}]}, "a value is named twice"),
        ({"invariant": [INVARIANT | {"values": ["u", 1]}]}, "is categorical, so its values must be text or null"),
        (
            {"invariant": [INVARIANT | {"column": "n"}]},
            "is numeric, so its values must be numbers or null; got 'u', 'v'",
        ),
        ({"invariant": [INVARIANT | {"rows_fraction": 1}]}, "less than 1"),
        ({"directional": [DIRECTIONAL | {"column": "s"}]}, "robustness.directional: 's' is no numeric feature"),
        ({"directional": [DIRECTIONAL | {"step": 0}]}, "a step of 0.* changes nothing"),
        ({"directional": [DIRECTIONAL | {"answer": "up"}]}, "'not_lower' or 'not_higher'"),
        ({"directional": [DIRECTIONAL | {"of": "d"}]}, "of is 'd'; name the class whose probability is meant: a, b, c"),
        ({"directional": [{k: v for k, v in DIRECTIONAL.items() if k != "of"}]}, "of is None; name the class"),
    ],
)
def test_what_is_wrong_is_named(section: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_spec(with_section(section))


def test_a_class_is_for_tasks_of_several() -> None:
    with pytest.raises(ConfigError, match="of is for multiclass tasks"):
        parse_spec(with_section({"directional": [DIRECTIONAL]}, kind="regression"))
