"""Checks of upper bounds, and the one that stands for many: the counterpart of `estimates.at_least`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockgate.core.estimates import count, read_estimate, within
from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, Verdict, compare

_WORSE_FIRST = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.PASS)


def at_most(  # noqa: PLR0913 - a check has this many facts
    name: str, given: Json, bound: float, each: Json, reason: str, *, shown: bool, unit: str = "1"
) -> Check:
    """Check an estimate's upper bound: FAIL when the estimate is beyond it, INCONCLUSIVE when only the interval is.

    Args:
        name: See `Check`.
        given: What `Estimate.to_json` wrote; anything else is an ERROR.
        bound: Largest value.
        each: The measurement it stands in; its `n` is how many rows are behind it.
        reason: Said when it does not pass.
        shown: False when there are too few rows or blocks for an interval to mean anything: INCONCLUSIVE.
        unit: See `Check`.
    """
    found = read_estimate(given)
    check = compare(
        name,
        None if found is None else found["high"],
        bound,
        Direction.AT_MOST,
        unit=unit,
        n=count(within(each, "n")),
        estimate=None if found is None else found["estimate"],
        interval=None if found is None else (found["low"], found["high"]),
        reason=reason,
    )
    if found is not None and not shown:
        return too_few(check)
    if check.verdict is Verdict.FAIL and found is not None and found["estimate"] <= bound:
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"the data cannot say whether this holds: {reason}")
    return check


def too_few(check: Check) -> Check:
    """Return the check as one that too few rows or blocks stand behind."""
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason="too few rows or blocks to judge this by")


def worst(checks: Sequence[Check]) -> Check:
    """Return the check that stands for all: the worst verdict, and of those the largest number."""
    return min(checks, key=lambda each: (_WORSE_FIRST.index(each.verdict), -(each.observed or 0.0)))
