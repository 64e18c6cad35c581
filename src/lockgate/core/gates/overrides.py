"""What a spec asks of its gates otherwise than they ask by themselves: an approver must see where a bound was moved.

A bound may be moved so far that nothing fails by it any more. No rule can tell a wise bound from such a one, so each
that is not the gate's own is named, with what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from lockgate.core.gates import Gate
from lockgate.core.ids import to_json


def overrides(gates: Sequence[Gate], asked: Mapping[str, Any]) -> tuple[str, ...]:
    """Return every threshold that is not the gate's own, in the order of the gates.

    Args:
        gates: The one list of gates.
        asked: Each gate's thresholds by gate name (`spec.gates`); a gate not named keeps its own.

    Returns:
        One phrase each, `gates.quality.auc_floor is 0.57 (by itself 0.6)`.
    """
    return tuple(
        f"gates.{gate.name}.{field.name} is {_told(now)} (by itself {_told(own)})"
        for gate in gates
        if gate.name in asked
        for field in fields(gate.thresholds)
        if (now := getattr(asked[gate.name], field.name, None)) != (own := getattr(gate.thresholds(), field.name))
    )


def _told(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ", ".join(_entry(each) for each in value) or "empty"
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _entry(value: object) -> str:
    """Return one entry of a list; of a group of values the values alone, joined."""
    named = to_json(value)
    return " ".join(str(each) for each in named.values()) if isinstance(named, Mapping) else str(named)
