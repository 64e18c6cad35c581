"""The checks of the fairness gate on one sensitive column.

A column's measurements (`stages/fairness.py`) name the groups a rate was compared over. Which groups are large enough
is decided again here, from their own numbers: where the two disagree, the thresholds are not those that were measured
with, and the check is an ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from lockgate.core.estimates import count, items, number, read_estimate, unit_of, within
from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, Verdict, compare, doubted


class Proof(StrEnum):
    """What must be shown about a difference for the gate to block, or not to."""

    GAP = "gap"
    NO_GAP = "no_gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a group is large enough to be judged; see the gate's `Thresholds`."""

    min_rows: int
    min_blocks: int
    min_events: int
    most_detectable: float


def groups_of(column: Json) -> list[Json]:
    """Return the groups of a column; nothing where there are none to read."""
    return list(items(within(column, "groups")))


def is_large(group: Json, limits: Limits) -> bool:
    """Tell whether a group has rows and blocks enough to be judged at all."""
    rows, blocks = count(within(group, "n")), count(within(group, "blocks"))
    return rows is not None and blocks is not None and rows >= limits.min_rows and blocks >= limits.min_blocks


def is_comparable(group: Json, rate: str, limits: Limits) -> bool:
    """Tell whether one rate of a group is known well enough to be compared."""
    from lockgate.core.intervals import detectable  # scipy takes a second; reading a spec imports every gate

    given = within(within(group, "rates"), rate)
    found, events, blocks = read_estimate(given), count(within(given, "n")), count(within(given, "blocks"))
    if found is None or events is None or blocks is None or not is_large(group, limits):
        return False
    if events < limits.min_events or blocks < limits.min_blocks:
        return False
    return unit_of(given) != "fraction" or detectable(found["se"], blocks) <= limits.most_detectable


def size_checks(name: str, column: Json, limits: Limits, *, every_group: bool) -> list[Check]:
    """Return the checks that there are groups to compare, and name those that are too small."""
    groups = groups_of(column)
    large = [each for each in groups if is_large(each, limits)]
    small = [each for each in groups if not is_large(each, limits)]
    checks = [
        compare(
            "groups_judged",
            float(len(large)) if groups else None,
            2.0,
            Direction.AT_LEAST,
            unit="groups",
            slice=name,
            n=len(large),
            n_min=2,
            reason=f"fewer than two groups of {name} are large enough to compare; lengthen the holdout",
        )
    ]
    checks += [_small(each, limits, required=every_group) for each in small]
    return checks + _unlisted(name, within(column, "unlisted"), limits)


def _small(group: Json, limits: Limits, *, required: bool) -> Check:
    rows, blocks = count(within(group, "n")), count(within(group, "blocks"))
    name = str(within(group, "group"))
    check = compare(
        "too_small_to_judge",
        None if rows is None or blocks is None else float(rows),
        limits.min_rows,
        Direction.AT_LEAST,
        unit="rows",
        slice=name,
        n=rows,
        required=required,
        reason="its size was not measured; measure again",
    )
    if check.verdict is Verdict.ERROR:
        return replace(check, required=True)
    said = f"{name} has {rows} rows in {blocks} blocks; {limits.min_rows} in {limits.min_blocks} are needed"
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason=said)


def _unlisted(name: str, given: Json, limits: Limits) -> list[Check]:
    groups, largest = count(within(given, "groups")), count(within(given, "largest"))
    if groups == 0:
        return []
    check = compare(
        "largest_unlisted_group",
        None if groups is None or largest is None else float(largest),
        limits.min_rows - 1,
        Direction.AT_MOST,
        unit="rows",
        slice=name,
        reason=f"{name} has more groups than are compared, one of them large; land a coarser column",
    )
    return [doubted(check)]  # not judged, which is not the same as bad


def gap_checks(  # noqa: PLR0913, PLR0917 - one rate of one column against one bound; the last is a keyword
    name: str,
    column: Json,
    rate: str,
    bound: float | None,
    limits: Limits,
    proof: Proof,
    *,
    required: bool = True,
) -> list[Check]:
    """Return the check of how far the groups are apart in one rate, and one of advice where the data cannot say."""
    given = within(within(column, "gaps"), rate)
    check = f"{rate.replace(':', '_of_').replace(' ', '_')}_gap"
    words = rate.replace("_", " ").replace(":", " of ")
    kept = [str(within(each, "group")) for each in groups_of(column) if is_comparable(each, rate, limits)]
    compared = within(given, "judged")
    if given is None or compared != kept or bound is None:
        reason = f"the difference in {words} was not measured for the groups the thresholds name; measure again"
        missing = compare(check, None, bound or 0.0, Direction.AT_MOST, slice=name, reason=reason)
        return [replace(missing, required=required)]
    if len(kept) < 2:
        said = f"fewer than two groups of {name} have rows enough to compare the {words}; lengthen the holdout"
        alone = compare(check, 0.0, bound, Direction.AT_MOST, slice=name, n=len(kept), n_min=2, reason=said)
        return [replace(alone, observed=None, required=required)]
    return _judged_gap(check, words, name, given, bound, proof, required=required)


def _judged_gap(  # noqa: PLR0913, PLR0917 - as `gap_checks`
    check: str, words: str, name: str, given: Json, bound: float, proof: Proof, *, required: bool
) -> list[Check]:
    difference = within(given, "difference")
    found, least = read_estimate(difference), number(within(given, "detectable"))
    ends = f"{within(given, 'lowest')} and {within(given, 'highest')}"
    seen = "" if least is None else f"; a difference of {least:.3g} would have been shown (80 % power)"
    pessimistic = None if found is None else found["low" if proof is Proof.GAP else "high"]
    made = compare(
        check,
        pessimistic,
        bound,
        Direction.AT_MOST,
        unit=unit_of(difference),
        slice=name,
        n=count(within(given, "n")),
        required=required,
        reason=f"{words} of {ends} is further apart than {bound:.3g}{seen}; look at what tells these groups apart",
    )
    if found is None:
        return [made]
    made = replace(made, estimate=found["estimate"], interval=(found["low"], found["high"]))
    unsure = found["low"] <= bound < (found["estimate"] if proof is Proof.GAP else found["high"])
    if not unsure:
        return [made]
    said = f"the data cannot say whether {words} of {ends} is within {bound:.3g} of each other{seen}"
    doubt = replace(made, verdict=Verdict.INCONCLUSIVE, reason=said)
    if proof is Proof.NO_GAP:
        return [doubt]
    return [made, replace(doubt, name=f"{check}_in_doubt", observed=found["estimate"], required=False)]


def ratio_checks(name: str, column: Json, declared: float | None, limits: Limits) -> list[Check]:
    """Return the four-fifths rule: required where it is declared, advice where it is not.

    FAIL when the ratio is below and the rates surely differ; INCONCLUSIVE when it is below and they may be equal, as
    the rule itself has it (29 CFR 1607.4 D: not where differences are based on small numbers and not significant).
    """
    given = within(within(column, "gaps"), "selection_rate")
    rule = 0.8 if declared is None else declared
    kept = [str(within(each, "group")) for each in groups_of(column) if is_comparable(each, "selection_rate", limits)]
    value, low, high = (number(within(within(given, "ratio"), each)) for each in ("estimate", "low", "high"))
    same = within(given, "judged") == kept
    whole = same and value is not None and low is not None and high is not None
    check = compare(
        "selection_rate_ratio",
        value if whole else None,
        rule,
        Direction.AT_LEAST,
        slice=name,
        unit="1",
        n=count(within(given, "n")),
        required=declared is not None,
        estimate=value if whole else None,
        interval=(low, high) if whole and low is not None and high is not None else None,
        reason=f"the least selected group of {name} ({within(given, 'lowest')}) is selected at less than {rule:.3g} of "
        f"the rate of the most selected ({within(given, 'highest')}); look at what tells these groups apart",
    )
    if same and len(kept) < 2:
        said = f"fewer than two groups of {name} are large enough to compare selection rates"
        return [replace(check, verdict=Verdict.INCONCLUSIVE, reason=said)]
    if check.verdict is Verdict.FAIL and high is not None and high >= 1.0:
        return [replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"{check.reason}, and the rates may be equal")]
    return [check]


def loss_checks(columns: Mapping[str, Json], bound: float | None, fdr: float, limits: Limits) -> list[Check]:
    """Return the check of the loss of each large group; all share one false discovery rate."""
    from lockgate.core.intervals import rounded  # see `is_comparable`
    from lockgate.core.slices import adjusted

    large = [each for column in columns.values() for each in groups_of(column) if is_large(each, limits)]
    judged = [each for each in large if not _is_lost(each, limits)]
    p_values = [_p_value(each, bound) for each in judged]
    ready = iter(rounded(q) for q in adjusted([p for p in p_values if p is not None]))
    pairs = zip(judged, p_values, strict=True)
    checks = [_loss_check(each, None if p is None else next(ready), bound, fdr) for each, p in pairs]
    return checks + [_lost(each, limits) for each in large if _is_lost(each, limits)]


def _is_lost(group: Json, limits: Limits) -> bool:
    """Tell whether too few rows of a large group are left where challenger and champion are compared."""
    rows, blocks = count(within(group, "excess_n")), count(within(group, "excess_blocks"))
    return rows is not None and blocks is not None and (rows < limits.min_rows or blocks < limits.min_blocks)


def _p_value(group: Json, bound: float | None) -> float | None:
    from lockgate.core.slices import worse_than

    found, blocks = read_estimate(within(group, "excess")), count(within(group, "excess_blocks"))
    if found is None or blocks is None or bound is None:
        return None
    return worse_than(found["estimate"], found["se"], blocks, bound)


def _loss_check(group: Json, q_value: float | None, bound: float | None, fdr: float) -> Check:
    given, name = within(group, "excess"), str(within(group, "group"))
    found = read_estimate(given)
    told = "a bound that is not known" if bound is None else f"more than {bound:.3g} {unit_of(given)}"
    return compare(
        "q_value_of_excess_loss",
        q_value,
        fdr,
        Direction.AT_LEAST,
        slice=name,
        n=count(within(group, "excess_n")),
        estimate=None if found is None else found["estimate"],
        interval=None if found is None else (found["low"], found["high"]),
        reason=f"loss in {name} exceeds its reference by {told}; the group is served worse than it should be",
    )


def _lost(group: Json, limits: Limits) -> Check:
    rows, name = count(within(group, "excess_n")), str(within(group, "group"))
    return Check(
        name="too_small_to_compare",
        observed=None if rows is None else float(rows),
        threshold=float(limits.min_rows),
        direction=Direction.AT_LEAST,
        verdict=Verdict.INCONCLUSIVE,
        reason=f"{rows} rows of {name} are left once those the champion was fitted on are gone; "
        f"{limits.min_rows} in {limits.min_blocks} blocks are needed",
        unit="rows",
        required=False,
        slice=name,
        n=rows,
    )
