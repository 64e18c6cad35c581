"""Gate `slices`: is any declared group of rows served worse than the bound allows?

Each slice of enough rows and blocks is tested for an excess loss above the bound; the tests of one release share a
false discovery rate, so that many small slices do not stop a good model by chance. A slice too small to judge is named,
as an advisory check, never silently dropped.

What a search over all features found (`stages/slice_search.py`) is told too: measured on rows that did not choose it,
so its q-value is honest. It is advice, because nobody asked for those groups before; `searched: required` makes it
bind, and then declared and searched slices share the false discovery rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Protocol

from annotated_types import Ge, Gt, Lt

from lockgate.core.estimates import count, number, read_estimate, unit_of, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, doubted, report


class Binding(StrEnum):
    """What a finding of the search means."""

    OFF = "off"
    ADVISORY = "advisory"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the slices gate asks for.

    Attributes:
        worse_fraction: With a champion: the loss in a slice may exceed the champion's on the same rows by this share of
            the champion's overall loss.
        excess_fraction: Without one, for probabilities: the loss in a slice may exceed what the answers themselves
            expect, compared with the rest, by this share of the overall loss. Coarse by intent: a slice whose base rate
            moved costs up to a third of it on real data, swapped classes cost more than half.
        error_ratio: Without one, for values: the mean squared error in a slice may be this many times the overall one.
        fdr: False discovery rate that the tests of one release share.
        min_rows: A slice of fewer rows is named, not judged.
        min_blocks: A slice in fewer blocks is named, not judged.
        searched: What a searched slice that breaks the same bound means: off (no search is made), advisory (told), or
            required (blocks as a declared one does).
    """

    worse_fraction: Annotated[float, Ge(0), Lt(1)] = 0.05
    excess_fraction: Annotated[float, Gt(0)] = 0.5
    error_ratio: Annotated[float, Gt(1)] = 4.0
    fdr: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    min_rows: Annotated[int, Ge(30)] = 200
    min_blocks: Annotated[int, Ge(5)] = 10
    searched: Binding = Binding.ADVISORY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slice:
    """One measured slice, read back."""

    name: str
    rows: int
    blocks: int
    given: Json
    excess: Mapping[str, float] | None
    min_rows: int | None  # its own, where it has one
    claims: tuple[Mapping[str, float] | None, ...]  # of a searched one: what must be above 0 too
    searched: bool = False

    def p_value(self, bound: float) -> float | None:
        """Return the p-value of all that is claimed of it; None where a number is missing."""
        from lockgate.core.slices import worse_than  # scipy takes a second; reading a spec imports every gate

        claims = [(self.excess, bound), *((each, 0.0) for each in self.claims)]
        found = [worse_than(each["estimate"], each["se"], self.blocks, at) for each, at in claims if each is not None]
        return max(found) if len(found) == len(claims) else None


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge every declared slice; a slice without its numbers is an ERROR, however small."""
    found = evidence.measurements
    measured = _read(found.get("slices"))
    declared = found.get("declared")
    bound = excess_bound(found, thresholds)
    if measured is None or bound is None or not isinstance(declared, Sequence) or isinstance(declared, str):
        reason = "the measurements hold no slices, no overall loss or no basis; measure again"
        return report(
            GATE.name, GATE.stage, [compare("slices", None, 0.0, Direction.AT_LEAST, reason=reason)], evidence.digest
        )
    lost = [] if count(found.get("n")) == 0 else _lost([str(name) for name in declared], found, measured)
    large = [each for each in measured if _is_large(each, thresholds)]
    small = [each for each in measured if not _is_large(each, thresholds)]
    searched, told = _searched(found.get("searched"), thresholds)
    binding = thresholds.searched is Binding.REQUIRED
    families = [[*large, *searched]] if binding else [large, searched]
    checks = [*lost, _judged_any(len(large), len(declared))]
    checks += [check for family in families for check in _judged(family, bound, thresholds)]
    checks += [*_unlisted(found.get("unlisted"), thresholds), *told, *(_named(each, thresholds) for each in small)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _lost(declared: Sequence[str], found: Mapping[str, Json], measured: Sequence[_Slice]) -> list[Check]:
    """Return an ERROR for declared columns of which no slice was measured, nor counted as one too many."""
    if count(within(found.get("unlisted"), "slices")) != 0:
        return []
    lost = [name for name in declared if not any(_is_of(name, each.name, declared) for each in measured)]
    reason = f"no slice of {', '.join(lost)} was measured; mend the spec's slices, or measure again"
    return [compare("slices_measured", None, 1.0, Direction.AT_LEAST, unit="slices", reason=reason)] if lost else []


def _is_of(declared: str, name: str, others: Sequence[str]) -> bool:
    """Tell whether a slice is of a declared column, or pair of columns: `a=x & b=y` is of `a & b` and not of `a`."""
    first, _, second = declared.partition(" & ")
    if second:
        return (name.startswith(f"{first}=") and f" & {second}=" in name) or name.startswith(f"{declared}=")
    pairs = [f" & {other.removeprefix(f'{first} & ')}=" for other in others if other.startswith(f"{first} & ")]
    return name.startswith(f"{first}=") and not any(pair in name for pair in pairs)


def _is_large(each: _Slice, thresholds: Thresholds) -> bool:
    least = thresholds.min_rows if each.min_rows is None else each.min_rows
    return each.rows >= least and each.blocks >= thresholds.min_blocks


def _read(given: Json) -> list[_Slice] | None:
    if not isinstance(given, Sequence) or isinstance(given, str):
        return None
    read = []
    for each in given:
        name, rows, blocks = within(each, "slice"), count(within(each, "n")), count(within(each, "blocks"))
        least = within(each, "min_rows")
        if not isinstance(name, str) or rows is None or blocks is None or (least is not None and count(least) is None):
            return None
        excess = within(each, "excess")
        claims = tuple(
            read_estimate(within(each, claim))
            for claim in ("beyond_parents", "beside")
            if within(each, claim) is not None
        )
        read.append(
            _Slice(
                name=name,
                rows=rows,
                blocks=blocks,
                given=excess,
                excess=read_estimate(excess),
                min_rows=count(least),
                claims=claims,
            )
        )
    return read


def _searched(given: Json, thresholds: Thresholds) -> tuple[list[_Slice], list[Check]]:
    """Return the searched slices to judge, and the check that a search was made."""
    if thresholds.searched is Binding.OFF:
        return [], []
    made, found, why = within(given, "searched"), _read(within(given, "findings")), within(given, "reason")
    check = compare(
        "slices_searched",
        number(within(given, "candidates")) if found is not None else None,
        1.0,
        Direction.AT_LEAST,
        unit="slices",
        required=thresholds.searched is Binding.REQUIRED,
        reason="no slice is large enough to search; lengthen the holdout",
    )
    if made is False and isinstance(why, str):  # a search that cannot be made is not one that broke
        return [], [replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"no slices were searched: {why}")]
    return [replace(each, searched=True) for each in found or []], [doubted(check)]


class ExcessLimits(Protocol):
    """How much more a group of rows may lose, by what it is compared with; see `Thresholds`."""

    @property
    def worse_fraction(self) -> float: ...  # noqa: D102 - see `Thresholds`
    @property
    def excess_fraction(self) -> float: ...  # noqa: D102
    @property
    def error_ratio(self) -> float: ...  # noqa: D102


def excess_bound(found: Json, thresholds: ExcessLimits) -> float | None:
    """Return the most excess loss a slice may have, in the loss's own unit; None where measurements name no basis."""
    overall = number(within(found, "overall_loss"))
    factors = {
        "champion": thresholds.worse_fraction,
        "expected": thresholds.excess_fraction,
        "overall": thresholds.error_ratio - 1.0,
    }
    basis = within(found, "basis")
    if overall is None or not isinstance(basis, str) or basis not in factors:
        return None
    return factors[basis] * overall


def _judged_any(judged: int, declared: int) -> Check:
    least = 1 if declared else 0
    return compare(
        "slices_judged",
        float(judged),
        least,
        Direction.AT_LEAST,
        unit="slices",
        n=judged,
        n_min=least,
        reason="every declared slice is too small to judge; lengthen the holdout or declare coarser slices",
    )


def _unlisted(given: Json, thresholds: Thresholds) -> list[Check]:
    """Return a check for slices that were counted, not measured: too many of them, none may be large."""
    slices, largest = count(within(given, "slices")), count(within(given, "largest"))
    if slices == 0:
        return []
    check = compare(
        "largest_unlisted_slice",
        None if slices is None or largest is None else float(largest),
        thresholds.min_rows - 1,
        Direction.AT_MOST,
        unit="rows",
        reason="a slice large enough to judge was left out, there are too many; name values in the spec's slices",
    )
    return [doubted(check)]  # not judged, which is not the same as bad


def _judged(family: Sequence[_Slice], bound: float, thresholds: Thresholds) -> list[Check]:
    """Return a check of each slice of those that share one false discovery rate."""
    from lockgate.core.intervals import rounded  # see `_Slice.p_value`
    from lockgate.core.slices import adjusted

    p_values = [each.p_value(bound) for each in family]
    ready = iter(rounded(q) for q in adjusted([p for p in p_values if p is not None]))
    shared = zip(family, p_values, strict=True)
    return [_check(each, None if p is None else next(ready), bound, thresholds) for each, p in shared]


def _check(each: _Slice, q_value: float | None, bound: float, thresholds: Thresholds) -> Check:
    excess = each.excess
    name = f"{each.name} (found by the search)" if each.searched else each.name
    return compare(
        "q_value_of_searched_excess_loss" if each.searched else "q_value_of_excess_loss",
        q_value,
        thresholds.fdr,
        Direction.AT_LEAST,
        slice=each.name,
        n=each.rows,
        required=not each.searched or thresholds.searched is Binding.REQUIRED,
        estimate=None if excess is None else excess["estimate"],
        interval=None if excess is None else (excess["low"], excess["high"]),
        reason=f"loss in {name} exceeds its reference by more than {bound:.3g} {unit_of(each.given)}; "
        "look at its rows first",
    )


def _named(each: _Slice, thresholds: Thresholds) -> Check:
    excess = each.excess
    least = thresholds.min_rows if each.min_rows is None else each.min_rows
    return Check(
        name="too_small_to_judge",
        observed=float(each.rows),
        threshold=float(least),
        direction=Direction.AT_LEAST,
        verdict=Verdict.INCONCLUSIVE,
        reason=f"{each.name} has {each.rows} rows in {each.blocks} blocks; "
        f"{least} in {thresholds.min_blocks} are needed",
        unit="rows",
        required=False,
        slice=each.name,
        n=each.rows,
        estimate=None if excess is None else excess["estimate"],
    )


GATE = Gate(
    name="slices", stage=Stage.EVALUATE, thresholds=Thresholds, judge=judge, title="No group of rows left behind"
)
