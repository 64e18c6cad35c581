"""Read measurements out of evidence without ever raising: what is not there, or is no number, is None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lockgate.core.ids import Json, as_float


def value_at(measurements: Mapping[str, Json], path: str) -> Json:
    """Return what stands at a dotted path; None when any step is missing."""
    at: Json = measurements
    for step in path.split("."):
        if not isinstance(at, Mapping) or step not in at:
            return None
        at = at[step]
    return at


def number(measurements: Mapping[str, Json], path: str) -> float | None:
    """Return the number at a dotted path; None when it is missing, no number, or NaN. Infinities stay.

    >>> number({"a": {"b": 2}}, "a.b"), number({}, "a.b"), number({"a": "NaN"}, "a")
    (2.0, None, None)
    """
    try:
        found = as_float(value_at(measurements, path))
    except TypeError:
        return None
    return None if math.isnan(found) else found


def count(measurements: Mapping[str, Json], path: str) -> int | None:
    """Return the whole number at a dotted path; None when it is missing, no whole number, or below 0.

    >>> count({"n": 3}, "n"), count({"n": -1}, "n"), count({"n": 2.5}, "n")
    (3, None, None)
    """
    found = number(measurements, path)
    whole = found is not None and math.isfinite(found) and found >= 0 and found == int(found)
    return int(found) if whole and found is not None else None


def names(measurements: Mapping[str, Json], path: str, *, most: int = 5) -> str:
    """Return the first few strings of the list at a dotted path, joined for a sentence; "" when there are none."""
    found = value_at(measurements, path)
    if isinstance(found, str) or not isinstance(found, Sequence):
        return ""
    told = ", ".join(str(each) for each in found[:most])
    return f"{told} and {len(found) - most} more" if len(found) > most else told
