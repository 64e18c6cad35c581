"""What changed between the columns a champion was made for and those of the newest rows.

The champion's side is its `contract.json`: name, type, nullable, categories and range of every input, the classes and
the unit. A change of form (a column more or less, another type, another label) is told as such; a change of values
(missing, new categories, out of range) with the share of rows it concerns, because weather and timetables bring a few
new values every month. Which change binds is the gate's matter: see `core/gates/schema.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lockgate.core.columns import Coded, Column, coded, is_number, missing_values
from lockgate.core.contract import ColumnType
from lockgate.core.estimates import number
from lockgate.core.ids import Json

MOST_NAMED = 5
"""New categories that are told by name; the rest is counted."""
_LONGEST_NAME = 40


class ChangeKind(StrEnum):
    """How a column differs from the champion's contract."""

    ADDED = "added"
    REMOVED = "removed"
    RETYPED = "retyped"
    NULLABLE = "nullable"
    CATEGORIES = "categories"
    RANGE = "range"
    LABEL = "label"


def form_changes(
    contract: Mapping[str, Json], types: Mapping[str, ColumnType], label: str, target: Mapping[str, Json]
) -> list[dict[str, Json]]:
    """Return the columns that came, went or changed their type, and what changed about the label.

    Args:
        contract: The champion's `contract.json`.
        types: The spec's features, by name.
        label: The label's column.
        target: `task`, `classes` and `unit` now, as in a contract.

    Returns:
        `column`, `kind`, `was` and `is` in words.

    Raises:
        ValueError: The contract has no list of inputs, or one of them no name.
    """
    inputs = {name: str(column.get("type")) for name, column in _inputs(contract).items()}
    added = [_change(n, ChangeKind.ADDED, "not there", t.value) for n, t in types.items() if n not in inputs]
    removed = [_change(n, ChangeKind.REMOVED, t, "not there") for n, t in inputs.items() if n not in types]
    retyped = [
        _change(n, ChangeKind.RETYPED, inputs[n], t.value)
        for n, t in types.items()
        if n in inputs and inputs[n] != t.value
    ]
    wrong = [
        _change(label, ChangeKind.LABEL, f"{fact} {_words(contract.get(fact))}", f"{fact} {_words(now)}")
        for fact, now in target.items()
        if _words(contract.get(fact)) != _words(now)
    ]
    return [*added, *removed, *retyped, *wrong]


def value_changes(contract: Mapping[str, Json], columns: Mapping[str, Column]) -> list[dict[str, Json]]:
    """Return the columns whose values do not keep to the contract.

    Args:
        contract: The champion's `contract.json`.
        columns: Values now, by column; those that the contract does not hold, or holds with another type, are left to
            `form_changes`.

    Returns:
        `column`, `kind`, `was` and `is` in words, `share` (of all rows), `n` (rows). For a range also `far_share`: of
        rows that lie beyond it by more than its whole width (any distance, where it has none).

    Raises:
        ValueError: The contract has no list of inputs, or one of them no name.
    """
    found: list[dict[str, Json]] = []
    for name, was in _inputs(contract).items():
        if name not in columns or is_number(columns[name]) != (was.get("type") == ColumnType.NUMBER.value):
            continue
        values = columns[name]
        if len(values) == 0:
            continue
        found += _newly_missing(name, was, values)
        found += _new_categories(name, was, values) if not is_number(values) else _out_of_range(name, was, values)
    return found


def _newly_missing(name: str, was: Mapping[str, Json], values: Column) -> list[dict[str, Json]]:
    missing = int(missing_values(values).sum())
    if not missing or was.get("nullable") is not False:
        return []
    change = _change(name, ChangeKind.NULLABLE, "always there", f"missing in {missing} of {len(values)} rows")
    return [{**change, "share": missing / len(values), "n": len(values)}]


def _new_categories(name: str, was: Mapping[str, Json], values: Column) -> list[dict[str, Json]]:
    known = was.get("categories")
    if not isinstance(known, Sequence) or isinstance(known, str):
        return []
    words = values if isinstance(values, Coded) else coded(values)
    rows, told = words.counts(), {str(each) for each in known}
    novel = [place for place, value in enumerate(words.values) if value not in told and rows[place]]
    if not novel:
        return []
    novel.sort(key=lambda place: (-rows[place], words.values[place]))
    named = ", ".join(words.values[place][:_LONGEST_NAME] for place in novel[:MOST_NAMED])
    more = f" and {len(novel) - MOST_NAMED} more" if len(novel) > MOST_NAMED else ""
    change = _change(name, ChangeKind.CATEGORIES, f"{len(told)} values", f"also {named}{more}")
    return [{**change, "share": float(rows[novel].sum()) / len(words), "n": len(words)}]


def _out_of_range(name: str, was: Mapping[str, Json], values: Column) -> list[dict[str, Json]]:
    low, high = number(was.get("minimum")), number(was.get("maximum"))
    numbers = _floats(values)
    known = numbers[~np.isnan(numbers)]
    if low is None or high is None or not len(known):
        return []
    low, high = _outwards(low, -np.inf), _outwards(high, np.inf)
    outside = int(((known < low) | (known > high)).sum())
    if not outside:
        return []
    far = int(((known < low - (high - low)) | (known > high + (high - low))).sum())
    change = _change(name, ChangeKind.RANGE, f"{low:.6g} to {high:.6g}", f"{known.min():.6g} to {known.max():.6g}")
    return [{**change, "share": outside / len(numbers), "far_share": far / len(numbers), "n": len(numbers)}]


def _outwards(bound: float, towards: float) -> float:
    """Return the next float32 beyond a bound: contracts hold what a model saw, raw rows hold float64."""
    with np.errstate(over="ignore"):  # beyond the largest float32 there is infinity
        return float(np.nextafter(np.float32(bound), np.float32(towards)))


def _floats(values: Column) -> NDArray[np.float64]:
    if isinstance(values, Coded):
        raise TypeError("a column of strings has no range")
    return values.astype(np.float64, copy=False)


def _inputs(contract: Mapping[str, Json]) -> dict[str, Mapping[str, Json]]:
    listed = contract.get("inputs")
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ValueError("the champion's contract has no list of inputs")  # noqa: TRY004 - wrong content, not type
    if any(not isinstance(each, Mapping) or not isinstance(each.get("name"), str) for each in listed):
        raise ValueError("an input of the champion's contract has no name")
    return {str(each["name"]): each for each in listed if isinstance(each, Mapping)}


def _change(column: str, kind: ChangeKind, was: str, now: str) -> dict[str, Json]:
    return {"column": column, "kind": kind.value, "was": was, "is": now}


def _words(value: Json) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(each) for each in value)
    return str(value)
