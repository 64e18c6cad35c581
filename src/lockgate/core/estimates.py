"""Read measurements back and check them: numbers, estimates with intervals, and whether there is enough behind them.

Measurements are JSON that came through a ledger. What is missing, not finite or of another type reads as None, and a
check of None is an ERROR: nothing here raises, and nothing here passes for lack of a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, Verdict, compare


def number(given: Json) -> float | None:
    """Read a finite number; None for anything else.

    >>> number(2), number("2"), number(True), number(float("inf"))
    (2.0, None, None, None)
    """
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        return None
    return float(given)


def count(given: Json) -> int | None:
    """Read a count; None for anything that is not a whole number of at least 0.

    >>> count(3.0), count(2.5), count(-1)
    (3, None, None)
    """
    found = number(given)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def within(given: Json, name: str) -> Json:
    """Return what stands under a name; None where there is no such name, or nothing has names there."""
    return given.get(name) if isinstance(given, Mapping) else None


def items(given: Json) -> Sequence[Json]:
    """Return the items of a list; none for anything else. Where no list must be an ERROR, ask for the list itself.

    >>> items([1, 2]), items("ab"), items(None)
    ([1, 2], (), ())
    """
    return given if isinstance(given, Sequence) and not isinstance(given, str) else ()


def unit_of(given: Json) -> str:
    """Return the unit a measurement names; "1" when it names none."""
    unit = within(given, "unit")
    return unit if isinstance(unit, str) else "1"


def read_estimate(given: Json) -> Mapping[str, float] | None:
    """Read what `Estimate.to_json` wrote: estimate, low, high, se; None when it is not that, or not in that order."""
    found = {name: number(within(given, name)) for name in ("estimate", "low", "high", "se")}
    kept = {name: value for name, value in found.items() if value is not None}
    whole = len(kept) == len(found) and kept["low"] <= kept["estimate"] <= kept["high"] and kept["se"] >= 0
    return kept if whole else None


def enough(found: Mapping[str, Json], min_rows: int, min_blocks: int) -> list[Check]:
    """Return the checks that `n` rows in `blocks` blocks can say anything; INCONCLUSIVE where they cannot."""
    return [
        compare(
            name,
            number(found.get(key)),
            least,
            Direction.AT_LEAST,
            unit=name,
            n=count(found.get(key)),
            n_min=least,
            reason="too few to judge by; lengthen split.holdout_days or wait for more data",
        )
        for name, key, least in (("rows", "n", min_rows), ("blocks", "blocks", min_blocks))
    ]


def same_confidence(found: Mapping[str, Json], asked: float) -> Check:
    """Return the check that intervals were measured at the confidence the gate asks for."""
    return compare(
        "confidence",
        number(found.get("confidence")),
        asked,
        Direction.AT_LEAST,
        unit="fraction",
        reason="intervals were measured at a lower confidence than the gate asks for; measure again",
    )


def at_least(  # noqa: PLR0913 - a check has this many facts; all but three are keywords
    name: str,
    given: Json,
    floor: float,
    *,
    n: Json,
    reason: str,
    shown: bool = True,
    required: bool = True,
    unit: str = "1",
) -> Check:
    """Check an estimate's lower bound against a floor.

    PASS when the bound holds; FAIL when the estimate itself does not; INCONCLUSIVE between the two, where the data
    cannot say; ERROR when there is no estimate.

    Args:
        name: See `Check`.
        given: What `Estimate.to_json` wrote.
        floor: Least value.
        n: Rows behind it, as measured.
        reason: Said when it does not pass.
        shown: False when there are too few rows or blocks for an interval to mean anything: INCONCLUSIVE.
        required: See `Check`.
        unit: See `Check`.
    """
    found = read_estimate(given)
    words = name.replace("_", " ")
    low = None if found is None else found["low"]
    check = compare(name, low, floor, Direction.AT_LEAST, unit=unit, required=required, reason=reason, n=count(n))
    if found is not None:
        check = replace(check, estimate=found["estimate"], interval=(found["low"], found["high"]))
    if not shown and isinstance(given, Mapping):
        return replace(
            check, verdict=Verdict.INCONCLUSIVE, reason=f"too few rows, blocks or events to judge {words} by"
        )
    if check.verdict is Verdict.FAIL and found is not None and found["estimate"] >= floor:
        return replace(
            check, verdict=Verdict.INCONCLUSIVE, reason=f"the data cannot say whether {words} holds: {reason}"
        )
    return check
