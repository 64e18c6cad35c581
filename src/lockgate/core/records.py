"""Reads back what `to_json` wrote: the record's JSON as the value it came from, with the same digest.

Exact on purpose: an integer stays one where a float is declared, because `1` and `1.0` hash differently and the value
read back must be the value that was hashed.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Literal, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from lockgate.core.ids import Json, as_float
from lockgate.errors import IntegrityError

T = TypeVar("T")


def read_record(kind: type[T], value: Json) -> T:
    """Return the dataclass value that `to_json` turned into `value`; keys it does not declare are ignored.

    Args:
        kind: A frozen dataclass of dataclasses, enums, times, tuples, mappings and JSON.
        value: Its JSON form.

    Raises:
        IntegrityError: The JSON is not of this form; says where.
    """
    read: T = _read(kind, value, kind.__name__)
    return read


def _read(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - driven by annotations, which are values here
    kind = _bare(kind)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_union(kind, value, where)
    if is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, where)
    if origin is tuple:
        return _read_tuple(kind, value, where)
    if origin in (frozenset, set):
        return origin(_read(get_args(kind)[0], each, where) for each in _sequence(value, where))
    if origin in (dict, Mapping) or origin is getattr(Mapping, "__origin__", Mapping):
        of = get_args(kind)[1]
        return {key: _read(of, each, f"{where}.{key}") for key, each in _mapping(value, where).items()}
    return _read_scalar(kind, value, where)


def _bare(kind: Any) -> Any:  # noqa: ANN401 - an annotation
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        elif isinstance(kind, NewType):
            kind = kind.__supertype__
        else:
            return kind


def _read_union(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - as `_read`
    arms = [arm for arm in get_args(kind) if arm is not types.NoneType]
    # More than one arm is JSON itself (`Json`, `Scalar`): what was written is what is read.
    return value if value is None or len(arms) > 1 else _read(arms[0], value, where)


def _read_dataclass(kind: type[Any], value: Any, where: str) -> Any:  # noqa: ANN401 - as `_read`
    given, arguments = _mapping(value, where), {}
    hints = _hints(cast("Hashable", kind))
    for field in fields(kind):
        if field.name in given:
            arguments[field.name] = _read(hints[field.name], given[field.name], f"{where}.{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise IntegrityError(f"{where} has no {field.name!r}; it holds {', '.join(sorted(given)) or 'nothing'}")
    return kind(**arguments)


@lru_cache(maxsize=256)
def _hints(kind: Hashable) -> dict[str, Any]:
    # `Json` names itself, which no evaluation ends; it is read as it stands anyway.
    return get_type_hints(kind, localns={"Json": Any})


def _read_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:  # noqa: ANN401 - as `_read`
    given, of = _sequence(value, where), get_args(kind)
    if len(of) == 2 and of[1] is Ellipsis:
        return tuple(_read(of[0], each, f"{where}[{i}]") for i, each in enumerate(given))
    if len(given) != len(of):
        raise IntegrityError(f"{where} holds {len(given)} values, not {len(of)}")
    return tuple(_read(arm, each, f"{where}[{i}]") for i, (arm, each) in enumerate(zip(of, given, strict=True)))


def _read_scalar(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - as `_read`
    try:
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(value)
        if kind is datetime:
            return datetime.fromisoformat(value)
        if kind is float:
            return as_float(value) if isinstance(value, str) else _of((int, float), value)
        if kind in (int, str, bool):
            return _of((kind,), value)
    except (TypeError, ValueError) as wrong:
        raise IntegrityError(f"{where} is {value!r}, which is no {kind.__name__}") from wrong
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise IntegrityError(f"{where} is {value!r}, which is none of {get_args(kind)}")
    return value


def _of(kinds: tuple[type, ...], value: Any) -> Any:  # noqa: ANN401 - as `_read`
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(value)
    return value


def _mapping(value: Json, where: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise IntegrityError(f"{where} is {type(value).__name__}, not an object")
    return value


def _sequence(value: Json, where: str) -> Sequence[Json]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise IntegrityError(f"{where} is {type(value).__name__}, not a list")
    return value
