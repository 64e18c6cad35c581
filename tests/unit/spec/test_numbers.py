"""Every number of a spec has bounds: what is far out is refused where it is read, never met as an overflow later."""

from __future__ import annotations

import copy
import math
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from lockgate.core.gates.registry import GATES
from lockgate.core.rollout.step_list import steps_of
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec, read_spec

FAR_OUT = (10**9, 1e308, 10**30, -1, 0, math.nan, math.inf)
SIGNED = ("edges", "step")  # features may be below zero
FREE = ("training.parameters", "training.search.space", "robustness.invariant.0.values")  # not numbers of ours
ALLOWED = ("than", "finite", "between", "below", "integer", "not 0", "say how long")
WHOLE: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "multiclass", "classes": ["a", "b", "c"], "threshold": 0.5},
    "data": {"suite": "toy", "label": "y", "time": "t", "key": ["id"], "numeric": ["a"], "categorical": ["b"]},
    "split": {},
    "training": {"search": {"space": {"depth": [1, 2]}}},
    "slices": [{"column": "b", "across": {"column": "a"}}],
    "costs": {"matrix": {one: {two: 1.0 for two in "abc" if one != two} for one in "abc"}},
    "robustness": {
        "noise": {"a": 1.0},
        "invariant": [{"column": "b", "values": ["x", "y"], "tolerance": 0.1}],
        "directional": [{"column": "a", "step": 1.0, "answer": "not_lower", "of": "a"}],
    },
    "rollout": {
        "strategy": "canary",
        "steps": [{"set_weight": 0.5, "bake_s": 10}],
        "guardrails": {"score": {}, "quality": {}, "kpi": [{"name": "sales", "file": "sales.jsonl"}]},
        "plan": {"metric": "loss", "proxy": {"metric": "errors", "because": "it was compared"}},
        "subpopulations": [{"column": "b"}],
        "stability": {},
        "max_duration_s": 30 * 86_400,
    },
    "retraining": {},
    "monitoring": {},
    "gates": {},
}


def numeric(hint: Any) -> bool:
    """Tell whether a key takes a number (or a list or a mapping of them)."""
    if hint in (int, float):
        return True
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    if get_origin(hint) in (Union, types.UnionType) and str in inner:
        return False
    return any(numeric(each) for each in inner)


def section(hint: Any) -> type[Any] | None:
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    return next((found for each in get_args(hint) if (found := section(each)) is not None), None)


def paths(kind: type[Any], above: str = "") -> Iterator[str]:
    """Yield every key that takes numbers, with the place in lists that `WHOLE` has."""
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        path, hint = f"{above}{each.name}", hints[each.name]
        inner = section(hint)
        if path == "gates":
            for gate in GATES:
                yield from paths(gate.thresholds, f"gates.{gate.name}.")
        elif inner is not None:
            listed = any(get_origin(arg) is tuple for arg in (hint, *get_args(hint)))
            yield from paths(inner, f"{path}.{'0.' if listed else ''}")
        elif numeric(hint) and path not in FREE:
            yield path


NUMBERS = tuple(paths(ReleaseSpec))


def with_number(path: str, value: float) -> dict[str, Any]:
    """Return a spec that has one number at a key: alone, in a list, or in a mapping, as the key takes it."""
    given = copy.deepcopy(WHOLE)
    *parents, last = path.split(".")
    place: Any = given
    for name in parents:
        place = place[int(name)] if name.isdigit() else place.setdefault(name, {})
    shapes: dict[str, Any] = {"edges": [value], "looks": [value], "noise": {"a": value}}
    if last == "matrix":
        place[last]["a"]["b"] = value
    else:
        place[last] = shapes.get(last, value)
    if last in ("window_days", "half_life_days") and parents == ["retraining"]:
        place["window"] = {"window_days": "rolling", "half_life_days": "weighted"}[last]
    return given


def test_the_sweep_meets_the_keys_of_every_section() -> None:
    assert len(NUMBERS) > 150
    assert {
        "retraining.window_days",
        "rollout.guardrails.kpi.0.tolerated",
        "rollout.plan.proxy.sd",
        "slices.0.across.edges",
        "gates.stress.target_rps",
        "training.memory_limit_bytes",
        "robustness.noise",
        "costs.matrix",
    } <= set(NUMBERS)
    parse_spec(WHOLE)


@pytest.mark.parametrize("path", NUMBERS)
def test_a_number_that_is_far_out_is_refused_with_key_value_and_bounds_or_is_sensible(path: str) -> None:
    for value in FAR_OUT:
        try:
            spec = parse_spec(with_number(path, value))
        except ConfigError as refused:
            told = str(refused)
            assert path.rpartition(".")[2] in told, (value, told)
            assert repr(value) in told or f"{value:g}" in told, (value, told)
            assert any(word in told for word in ALLOWED), told
        else:
            assert math.isfinite(value), value
            assert abs(value) <= 1e15, value
            assert value >= 0 or path.rpartition(".")[2] in SIGNED, value
            assert value != 10**9 or not path.endswith(("_s", "_days", "_ms", ".days")), value
            used(spec)


def used(spec: ReleaseSpec) -> None:
    """Do with lengths of time and steps what every part of the line does with them."""
    steps_of(spec.rollout)
    for path in NUMBERS:
        value = at(spec, path)
        if value is not None and path.endswith(("_s", "_days", ".days")):
            unit = "seconds" if path.endswith("_s") else "days"
            assert datetime(2013, 1, 1, tzinfo=UTC) - timedelta(**{unit: value}) < datetime(2014, 1, 1, tzinfo=UTC)


def at(given: Any, path: str) -> Any:
    for name in path.split("."):
        if given is None:
            return None
        if isinstance(given, Mapping):
            given = given[name]
        else:
            given = given[int(name)] if name.isdigit() else getattr(given, name)
    return given


def test_numbers_of_a_search_may_be_of_any_size_and_must_be_numbers() -> None:
    given = copy.deepcopy(WHOLE)
    given["training"] = {"time_limit_s": math.inf}
    with pytest.raises(ConfigError, match=r"training\.time_limit_s: .*finite.*got inf"):
        parse_spec(given)
    given["training"] = {"parameters": {"missing": math.nan}}
    assert math.isnan(parse_spec(given).training.parameters["missing"])


@pytest.mark.parametrize("text", ["9" * 5000, "{[1]: 2}", "{2013-01-01: {}}", "[" * 700], ids=len)
def test_a_file_that_holds_no_readable_value_is_refused_as_such(tmp_path: Path, text: str) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(f"model: {{name: toy}}\nsplit: {text}\n")
    with pytest.raises(ConfigError, match=r"toy\.yaml"):
        read_spec(path)


def test_a_key_that_is_no_text_is_refused_where_any_name_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text("model: {name: toy}\nrobustness: {noise: {2013-01-01: 1.0}}\n")
    with pytest.raises(ConfigError, match=r"a key that is no text.*put it in quotes"):
        read_spec(path)
