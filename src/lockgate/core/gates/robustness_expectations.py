"""What the spec expects of the answers, for the robustness gate: changes that must not matter, or have a known sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lockgate.core.bounds import at_most
from lockgate.core.estimates import count, number, read_estimate, within
from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, Verdict, compare


def expectation_checks(given: Json, rows: int) -> list[Check]:
    """Return one check an expectation.

    Args:
        given: `expectations` of the measurements; anything but a list is an ERROR.
        rows: One that speaks of fewer rows than this says nothing.
    """
    if isinstance(given, str) or not isinstance(given, Sequence):
        reason = "declared expectations were not measured; measure again"
        return [compare("expectations", None, 0.0, Direction.AT_MOST, reason=reason)]
    return [_expectation(each, rows) for each in given]


def _expectation(each: Json, least: int) -> Check:
    kind, asked = within(each, "kind"), within(each, "asked")
    name = kind if kind in ("invariant", "directional") else "expectation"
    allowed, rows = number(within(each, "rows_fraction")), count(within(each, "n"))
    violations = within(each, "violations")
    if rows is not None and rows < least:
        reason = f"only {rows} rows speak to this: {asked}; declare values that occur, or lengthen the holdout"
        check = compare(name, float(rows), least, Direction.AT_LEAST, reason=reason, unit="rows")
        return replace(check, verdict=Verdict.INCONCLUSIVE, slice=f"{asked}", n=rows)
    bound = -1.0 if allowed is None else allowed
    reason = f"declared in the spec: {asked}; look at the column's values, or widen what the spec allows"
    check = at_most(name, violations if allowed is not None else None, bound, each, reason, shown=True)
    found = read_estimate(violations)
    if allowed == 0 and found is not None and found["estimate"] == 0 and rows:
        # "never" is no share to estimate: a search for a counter-example, that found none among so many rows
        check = replace(check, verdict=Verdict.PASS, observed=0.0, reason=f"no counter-example among {rows} rows")
    return replace(check, slice=f"{asked}", unit="fraction")
