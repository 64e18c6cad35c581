"""Read a release spec: YAML in, one frozen `ReleaseSpec` out, or an error that names the key and what is allowed.

Types and ranges are checked by pydantic against the dataclasses of `core/spec.py`; unknown keys by walking the same
dataclasses (a misspelt key must never mean "default"); what only makes sense together by `_refuse`.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import yaml

from lockgate.core.contract import TaskKind
from lockgate.core.ids import is_model_name
from lockgate.core.learning.spec_rules import retraining_problems, with_automation
from lockgate.core.robustness_rules import robustness_problems
from lockgate.core.rollout.course_rules import rollout_problems
from lockgate.core.spec import ApprovalMode, ReleaseSpec, Risk, SplitMethod
from lockgate.core.spec_numbers import LARGEST_SPEC_BYTES, endless, too_great
from lockgate.errors import ConfigError

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def read_spec(path: Path) -> ReleaseSpec:
    """Read and check one spec.

    Raises:
        ConfigError: The file is missing, no YAML, or holds something that is not allowed.
    """
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"there is no spec {path.name} in {path.parent}; specs there: {', '.join(there) or 'none'}")
    if path.stat().st_size > LARGEST_SPEC_BYTES:
        raise ConfigError(f"{path} is {path.stat().st_size} bytes; a spec has at most {LARGEST_SPEC_BYTES}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as broken:  # a number of thousands of digits, lists without end
        raise ConfigError(f"{path} is not YAML: {broken}") from broken
    return parse_spec(given, where=path.name)


def parse_spec(given: object, *, where: str = "spec") -> ReleaseSpec:
    """Check the content of a spec and return it with every default resolved.

    Args:
        given: What the YAML holds.
        where: Named in front of every error.

    Raises:
        ConfigError: Something is not allowed; the message has the path of the key.
    """
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: a spec is a mapping of sections; allowed: {', '.join(_keys(ReleaseSpec))}")
    _refuse_unknown(given, ReleaseSpec, where)
    for path, wrong in endless(given):
        raise ConfigError(f"{where}: {path}: {wrong}", path=path)
    body = dict(given)
    gates = body.pop("gates", None) or {}
    spec: ReleaseSpec = _validated(ReleaseSpec, body | {"gates": {}}, where)
    spec = _with_gates(spec, gates, where)
    for path, wrong in too_great(given):
        raise ConfigError(f"{where}: {path}: {wrong}", path=path)
    asks = (body.get("approval") or {}).get("mode") == ApprovalMode.HUMAN
    problems = [*retraining_problems(spec, asks_for_people=asks), *_refuse(spec := with_automation(spec))]
    for problem in problems:
        raise ConfigError(f"{where}: {problem}")
    return spec


def _with_gates(spec: ReleaseSpec, given: object, where: str) -> ReleaseSpec:
    from lockgate.core.gates.registry import GATES, names

    if not isinstance(given, dict):
        raise ConfigError(f"{where}: gates is a mapping of gate to thresholds; gates: {', '.join(names(GATES))}")
    unknown = sorted(set(given) - set(names(GATES)), key=str)
    if unknown:
        raise ConfigError(_unknown_key(f"{where}: gates", str(unknown[0]), names(GATES)))
    resolved = {}
    for gate in GATES:
        thresholds = given.get(gate.name) or {}
        path = f"{where}: gates.{gate.name}"
        _refuse_unknown(thresholds, gate.thresholds, path)
        resolved[gate.name] = _validated(gate.thresholds, thresholds, path)
    return replace(spec, gates=resolved)


def _validated(kind: type[Any], given: object, where: str) -> Any:  # noqa: ANN401 - pydantic returns what it is asked for
    from pydantic import ValidationError

    try:
        # JSON mode is the strict one that still reads a list as a tuple and a word as an enum.
        return _adapter(cast("Hashable", kind)).validate_json(json.dumps(given, default=str), strict=True)
    except TypeError as wrong:
        raise ConfigError(f"{where}: a key that is no text: {wrong}; put it in quotes") from wrong
    except ValidationError as wrong:
        first = wrong.errors()[0]
        path = ".".join(str(part) for part in first["loc"]) or "(top)"
        more = f" (and {wrong.error_count() - 1} more)" if wrong.error_count() > 1 else ""
        got = f"; got {first['input']!r}" if first["type"] != "missing" else ""
        raise ConfigError(f"{where}: {path}: {first['msg']}{got}{more}", path=path) from wrong


@cache
def _adapter(kind: type[Any]) -> Any:  # noqa: ANN401 - pydantic's own, which is imported when a spec is read
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _refuse_unknown(given: object, kind: type[Any], where: str) -> None:
    if not isinstance(given, dict):
        raise ConfigError(f"{where}: expected keys and values, got {given!r}; allowed: {', '.join(_keys(kind))}")
    sections = _sections(cast("Hashable", kind))
    for key, value in given.items():
        if key not in sections:
            raise ConfigError(_unknown_key(where, str(key), _keys(kind)), key=str(key))
        inner = sections[key]
        if inner is None:
            continue
        listed = value if isinstance(value, list) else [value]
        for each in listed:
            if isinstance(each, dict):
                _refuse_unknown(each, inner, f"{where}: {key}")


@cache
def _sections(kind: type[Any]) -> Mapping[str, type[Any] | None]:
    """Return the dataclass that each key of one holds; None for a key that holds none."""
    return {key: _section(hint) for key, hint in get_type_hints(kind).items()}


def _section(hint: object) -> type[Any] | None:
    """Return the dataclass that a hint holds: itself, `X | None` or `tuple[X, ...]`."""
    if isinstance(hint, type) and is_dataclass(hint):
        return hint
    if get_origin(hint) in (Union, types.UnionType, tuple):
        return next((found for arg in get_args(hint) if (found := _section(arg))), None)
    return None


def _keys(kind: type[Any]) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _unknown_key(where: str, key: str, allowed: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{where}: unknown key {key!r}{hint} Allowed: {', '.join(allowed)}"


def _refuse(spec: ReleaseSpec) -> Iterator[str]:
    """Yield what is wrong with the spec as a whole."""
    yield from _refuse_columns(spec)
    yield from _refuse_groups(spec)
    yield from _refuse_serving(spec)
    yield from _refuse_task(spec)
    yield from _refuse_training(spec)
    yield from robustness_problems(spec)
    yield from rollout_problems(spec.rollout, spec.data.label_delay_s)
    if not is_model_name(spec.name):
        yield f"model.name: {spec.name!r} must be 2 to 48 of a-z, 0-9 and '-', a letter first"
    if spec.approval.mode is ApprovalMode.WHEN_ALL_PASS and spec.model.risk is Risk.HIGH:
        yield "approval.mode: when_all_pass is not allowed for a model of risk: high; use human"
    if spec.approval.mode is ApprovalMode.WHEN_ALL_PASS and spec.approval.four_eyes:
        yield "approval.four_eyes asks for people, and approval.mode: when_all_pass for none; use human"
    if getattr(spec.gates["reproducibility"], "refit", None) == "never" and spec.model.risk is Risk.HIGH:
        yield "gates.reproducibility.refit: never is not allowed for a model of risk: high; use always"
    if spec.approval.remind_before_s >= spec.approval.timeout_s:
        asked, most = spec.approval.remind_before_s, spec.approval.timeout_s
        yield f"approval.remind_before_s is {asked:g}; it must be less than approval.timeout_s, which is {most:g}"
    if spec.split.method is SplitMethod.GROUP and not spec.split.group:
        yield "split.group: name the column that keeps rows together, or use method: time"
    if spec.data.duplicates not in ("refuse", "keep_last"):
        yield f"data.duplicates: {spec.data.duplicates!r}; allowed: refuse, keep_last"


def _refuse_columns(spec: ReleaseSpec) -> Iterator[str]:
    data, features = spec.data, spec.data.features
    if not features:
        yield "data: no features; name columns in data.numeric or data.categorical"
    twice = sorted({name for name in features if features.count(name) > 1})
    if twice:
        yield f"data: column {twice[0]!r} is named twice among the features"
    for name, why in ((data.label, "the label"), *((each, "a forbidden column") for each in data.forbidden)):
        if name in features:
            yield f"data: {name!r} is {why} and cannot be a feature; take it out of numeric and categorical"


def _refuse_groups(spec: ReleaseSpec) -> Iterator[str]:
    """Yield what is wrong with the slices and the sensitive columns."""
    for section in spec.slices:
        for each in (section, section.across) if section.across else (section,):
            ways = [way for way in ("values", "edges", "bins") if getattr(each, way) is not None]
            if len(ways) > 1:
                yield f"slices: {each.column!r} has {' and '.join(ways)}; give one of them"
            if each.edges is not None and list(each.edges) != sorted(set(each.edges)):
                yield f"slices: the edges of {each.column!r} must ascend, each once; got {list(each.edges)}"
        if section.across is not None and section.across.column == section.column:
            yield f"slices: {section.column!r} across itself holds nothing new; name another column"
    for part in spec.rollout.subpopulations:
        if part.column not in set(spec.data.features).difference(spec.serving.log.hashed, spec.serving.log.omitted):
            yield f"rollout.subpopulations: {part.column!r} is not logged with requests; name a feature that is"
    if len(set(spec.sensitive)) != len(spec.sensitive):
        yield "sensitive: a column is named twice"


def _refuse_serving(spec: ReleaseSpec) -> Iterator[str]:
    known = {*spec.data.features, spec.data.entity}
    for key, columns in (("hashed", spec.serving.log.hashed), ("omitted", spec.serving.log.omitted)):
        for name in columns:
            if name not in known:
                yield f"serving.log.{key}: {name!r} is neither a feature nor the entity; requests do not carry it"


def _refuse_task(spec: ReleaseSpec) -> Iterator[str]:
    kind, classes = spec.task.kind, spec.task.classes
    if kind is TaskKind.BINARY and len(classes) != 2:
        yield "task.classes: a binary task has exactly two, the positive one second"
    if kind is TaskKind.MULTICLASS and len(classes) < 3:
        yield "task.classes: a multiclass task has three or more; with two use binary"
    if kind is TaskKind.REGRESSION and classes:
        yield "task.classes: a regression has none"
    if len(set(classes)) != len(classes):
        yield "task.classes: a class is named twice"
    yield from _refuse_costs(spec)


def _refuse_costs(spec: ReleaseSpec) -> Iterator[str]:
    matrix, classes = spec.costs.matrix, spec.task.classes
    if matrix is None:
        return
    if spec.task.kind is not TaskKind.MULTICLASS:
        yield f"costs.matrix is for multiclass tasks; a {spec.task.kind} one has false_positive and false_negative"
        return
    named = ", ".join(classes)
    if set(matrix) != set(classes):
        yield f"costs.matrix must have one row for each class that can happen ({named}); it has {', '.join(matrix)}"
        return
    for row, costs in matrix.items():
        if set(costs) | {row} != set(classes):
            yield f"costs.matrix.{row} must price each decision ({named}); it prices {', '.join(costs) or 'none'}"
        elif costs.get(row, 0.0) >= min(price for decided, price in costs.items() if decided != row):
            given = ", ".join(f"{decided} {price:g}" for decided, price in costs.items())
            yield f"costs.matrix.{row}: deciding {row!r} when it happens must cost less than any other; it has {given}"


def _refuse_training(spec: ReleaseSpec) -> Iterator[str]:
    training = spec.training
    named: Mapping[str, str | None] = {
        "training.estimator": training.estimator,
        "data.prepare": spec.data.prepare,
        "data.sample": spec.data.sample,
    }
    for key, reference in named.items():
        if reference is not None and not _REFERENCE.fullmatch(reference):
            yield f"{key}: {reference!r} is not of the form package.module:function"
    if (training.family == "estimator") != (training.estimator is not None):
        yield "training: family: estimator and training.estimator go together; give both or neither"
    if training.search is not None and training.search.time_budget_s >= training.time_limit_s:
        budget, limit = training.search.time_budget_s, training.time_limit_s
        yield (
            f"training.search.time_budget_s is {budget:g}; it must be less than training.time_limit_s ({limit:g}), "
            "which also covers the last fit"
        )
