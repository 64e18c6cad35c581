"""From the tests of all sub-populations of a column to one finding: which is harmed, which is too small to say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from lockgate.core.online import failures
from lockgate.core.online.guardrails import Finding, State
from lockgate.core.online.populations import Populations, PopulationTest, population_tests

_NAMED: Final = 5  # populations that a sentence names; the rest are counted
Judged = tuple[PopulationTest, Finding]


def population_finding(
    name: str, populations: Populations, alpha: float, judge: Callable[[PopulationTest, float], Finding]
) -> Finding:
    """Return what the sub-populations of a column say together.

    Args:
        name: The guardrail's.
        populations: What was counted.
        alpha: Chance that any of them is called harmed at any look where none is.
        judge: Judges one test at its part of the error.

    Returns:
        HARM where any test shows harm, else BROKEN where any is not to be trusted, else UNMET where one is too small or
        has no data and the spec does not let it pass, else CLEAR. `observed` is how far the nearest is on its way to
        harm: log e-value over the one that is needed, at least 0; 1 is harm, and so is the threshold.
    """
    tests = list(population_tests(populations))
    part = alpha / populations.tests if populations.tests > 0 else math.nan
    if not 0 < part < 1 or len(populations.values) > populations.most:
        told = f"{len(populations.values)} populations and an error split over {populations.most}"
        return Finding(guardrail=name, state=State.BROKEN, observed=math.nan, threshold=1.0, reason=told)
    found = [(test, judge(test, part)) for test in tests]
    state, reason = _state(populations, found, part)
    return Finding(guardrail=name, state=state, observed=_nearest(found), threshold=1.0, reason=reason)


def _state(populations: Populations, found: Sequence[Judged], part: float) -> tuple[State, str]:
    for state in (State.HARM, State.BROKEN):
        bad = next(((test, said) for test, said in found if said.state is state), None)
        if bad is not None:
            return state, f"{populations.column}={bad[0].value.value}, {bad[0].name}: {bad[1].reason}"
    if not populations.values:
        return State.UNMET, f"no request has named its {populations.column} yet"
    missing = _missing(populations, found)
    if missing and not _may_pass(populations, missing):
        return State.UNMET, f"{len(missing)} of {len(populations.values)} cannot be told yet: {_listed(missing)}"
    told = [each for each in populations.values if each.value not in missing]
    smallest = min(told, key=lambda each: each.smaller)
    seen, least = max((failures.detectable(each.failures, part), each.value) for each in told)
    said = (
        f"{len(told)} clear, the smallest {smallest.value} with {smallest.smaller} entities of an arm; could have "
        f"shown {_times(seen)} the failures in {least}, the least visible"
    )
    passed = f"; passed by as the spec allows: {_listed(missing)}" if missing else ""
    return State.CLEAR, said + passed


def _may_pass(populations: Populations, missing: dict[str, str]) -> bool:
    """Tell whether a promotion may go by all that are missing: each is small, and not every one there is."""
    small = {each.value for each in populations.values if each.smaller < populations.fewest}
    return populations.may_be_small and small.issuperset(missing) and len(missing) < len(populations.values)


def _missing(populations: Populations, found: Sequence[Judged]) -> dict[str, str]:
    """Return why a population cannot be told, by its value."""
    missing = {
        each.value: f"{each.smaller} of {populations.fewest} entities of an arm"
        for each in populations.values
        if each.smaller < populations.fewest
    }
    for test, said in found:
        if said.state is not State.CLEAR and test.value.value not in missing:
            missing[test.value.value] = f"{test.name}: {said.reason}"
    return missing


def _listed(missing: dict[str, str]) -> str:
    named = ", ".join(f"{value} ({why})" for value, why in list(missing.items())[:_NAMED])
    return named if len(missing) <= _NAMED else f"{named} and {len(missing) - _NAMED} more"


def _times(ratio: float) -> str:
    return "no multiple of" if math.isinf(ratio) else f"{ratio:.3g} times"


def _nearest(found: Sequence[Judged]) -> float:
    """Return how far the nearest test is on its way; of means only whether it is there."""
    return max((_way(test, said) for test, said in found), default=0.0)


def _way(test: PopulationTest, said: Finding) -> float:
    if said.state is State.HARM:
        return max(said.observed / said.threshold, 1.0) if test.failures is not None else 1.0
    if test.failures is None or not math.isfinite(said.observed):
        return 0.0
    return max(said.observed / said.threshold, 0.0)
