"""Gate `robustness`: does the model keep its head when its input is not what it should be?

    asked about                          must hold                                            binds
    nulls, unseen strings, noise,        every answer is a number, a probability for classes  always
    extremes, columns or rows reversed
    nulls the holdout has, unseen        no worse than so many times the naive answer; not    always; with a
    strings, declared noise              surely harder hit than the champion                  champion
    a tiny change, declared noise        answers and decisions stay where they are            always
    what the spec expects                invariances and directions hold                      always
    nulls and noise nobody declared      the same                                             advisory

One check stands for all columns of a kind: the worst of them is shown, and named where it does not pass. A model that
answers everything alike fails here too: nothing moves it, and that is no robustness.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.bounds import at_most, too_few, worst
from lockgate.core.estimates import count, enough, items, number, read_estimate, same_confidence, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.robustness_expectations import expectation_checks
from lockgate.core.ids import Json, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, not_applicable, report

KINDS = ("null", "tenth_null", "unseen_category", "noise", "tiny_change")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the robustness gate asks for.

    Attributes:
        times_naive: With a column missing, unseen or shaken as it can be, the loss may be at most this many times that
            of the naive answer, at the interval's upper bound. Above 1 the model does harm just when it should fall
            back on what else it knows.
        beyond_champion_fraction: A change may add this much more loss than it adds to the champion's, as a share of the
            naive answer's loss, before it is a fault. Judged beyond doubt, at the interval's lower bound.
        moved_by: An answer has moved when it changed by more than this: of probability, or in standard deviations of
            the label.
        moved_fraction: Share of answers that a tiny change or a declared measurement error may move, at the interval's
            upper bound.
        flips_fraction: Share of decisions that it may change; classes only.
        commonest_fraction: Largest share of rows that may have one and the same answer.
        order_tolerance: Answers may differ by this much when columns or rows come in another order; on the scale of
            `moved_by`. Above the rounding of float32 sums.
        expectation_rows: A declared expectation that speaks of fewer rows than this says nothing.
        min_rows: Fewer sampled rows than this say nothing.
        min_blocks: Fewer blocks than this say nothing.
        confidence: Two-sided confidence of every interval.
    """

    times_naive: Annotated[float, Ge(1)] = 1.5
    beyond_champion_fraction: Annotated[float, Gt(0)] = 0.05
    moved_by: Annotated[float, Gt(0), Le(1)] = 0.2
    moved_fraction: Annotated[float, Gt(0), Lt(1)] = 0.05
    flips_fraction: Annotated[float, Gt(0), Lt(1)] = 0.15
    commonest_fraction: Annotated[float, Gt(0), Lt(1)] = 0.99
    order_tolerance: Annotated[float, Gt(0), Lt(0.01)] = 1e-5
    expectation_rows: Annotated[int, Ge(30)] = 100
    min_rows: Annotated[int, Ge(30)] = 500
    min_blocks: Annotated[int, Ge(5)] = 20
    confidence: Annotated[float, Ge(0.8), Lt(1)] = 0.95


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge answers to changed rows; what was not asked, or not measured, is an ERROR check."""
    found = evidence.measurements
    counts = enough(found, thresholds.min_rows, thresholds.min_blocks)
    shown = not any(check.verdict is Verdict.INCONCLUSIVE for check in counts)
    each = items(found.get("perturbations"))
    checks = [*counts, same_confidence(found, thresholds.confidence), _same_bound(found, thresholds)]
    checks += [_commonest(found, thresholds), *_valid(found, each), *_orders(found, thresholds)]
    checks += [*_losses(found, each, thresholds, shown), *_moves(found, each, thresholds, shown)]
    checks += expectation_checks(found.get("expectations"), thresholds.expectation_rows)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _same_bound(found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    return compare(
        "moved_by",
        number(found.get("moved_by")),
        thresholds.moved_by,
        Direction.AT_MOST,
        reason="answers were counted as moved by a coarser bound than the gate asks for; measure again",
    )


def _commonest(found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    return compare(
        "commonest_answer",
        number(found.get("commonest_fraction")),
        thresholds.commonest_fraction,
        Direction.AT_MOST,
        unit="fraction",
        n=count(found.get("n")),
        reason="the model answers (almost) every row alike; it learned nothing, or lost its inputs on the way",
    )


def _valid(found: Mapping[str, Json], perturbations: Sequence[Json]) -> list[Check]:
    """Return one check a kind: no row without a number, or a probability, for an answer."""
    checks = []
    for kind in KINDS:
        of_kind = [each for each in perturbations if within(each, "kind") == kind]
        if not of_kind and kind in ("tenth_null", "unseen_category"):
            continue  # no column is ever null, or none holds strings; what must be there is refused below
        invalid = [count(within(each, "invalid")) for each in of_kind]
        whole = None if not invalid or None in invalid else float(sum(each or 0 for each in invalid))
        bad = [_named(each) for each, rows in zip(of_kind, invalid, strict=True) if rows]
        checks.append(_no_invalid(kind, whole, f" ({', '.join(bad[:5])})" if bad else "", _rows(of_kind)))
    extremes = found.get("extremes")
    column = within(extremes, "worst")
    told = f" ({column} first)" if isinstance(column, str) else ""
    invalid_rows = number(within(extremes, "invalid"))
    return [*checks, _no_invalid("extremes", invalid_rows, told, count(within(extremes, "n")))]


def _no_invalid(kind: str, observed: float | None, told: str, n: int | None) -> Check:
    return compare(
        f"invalid_answers_{kind}",
        observed,
        0.0,
        Direction.AT_MOST,
        unit="rows",
        n=n,
        reason=f"the model has no valid answer to {kind.replace('_', ' ')} rows{told}; have it impute, or refuse such "
        "requests by its contract",
    )


def _rows(of_kind: Sequence[Json]) -> int | None:
    counted = [count(within(each, "n")) for each in of_kind]
    return None if None in counted else sum(each or 0 for each in counted)


def _named(each: Json) -> str:
    column = within(each, "column")
    return column if isinstance(column, str) else "several columns"


def _orders(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            f"{name[:-1]}_order",
            number(within(found.get("order"), name)),
            thresholds.order_tolerance,
            Direction.AT_MOST,
            n=count(within(found.get("order"), "n")),
            reason=f"the order in which {name} come changes answers; take columns by name and rows one by one",
        )
        for name in ("columns", "rows")
    ]


def _losses(found: Json, perturbations: Sequence[Json], thresholds: Thresholds, shown: bool) -> list[Check]:
    checks = []
    for kind in KINDS:
        of_kind = [each for each in perturbations if within(each, "kind") == kind]
        expected = [each for each in of_kind if within(each, "expected") is not False]  # not said: it binds
        others = [each for each in of_kind if within(each, "expected") is False]
        if expected:
            checks.append(worst([_loss(kind, each, thresholds, shown) for each in expected]))
            checks += _beyond(kind, expected, found, thresholds, shown)
        if others:
            hardest = worst([_loss(kind, each, thresholds, shown) for each in others])
            checks.append(replace(hardest, name=f"{hardest.name}_elsewhere", required=False))
    return checks


def _loss(kind: str, each: Json, thresholds: Thresholds, shown: bool) -> Check:
    reason = (
        f"with {_named(each)} {_done(kind)}, the loss is over {thresholds.times_naive:g} times the naive answer's; "
        "train with such rows, or take the column out"
    )
    return at_most(f"loss_{kind}", within(each, "loss_ratio"), thresholds.times_naive, each, reason, shown=shown)


def _beyond(kind: str, expected: Sequence[Json], found: Json, thresholds: Thresholds, shown: bool) -> list[Check]:
    """Return whether a change hits us surely harder than the champion."""
    name = f"extra_loss_{kind}"
    if within(found, "champion") is False:
        reason = "the ledger shows that there never was a champion; the bound on the naive answer binds instead"
        return [not_applicable(name, Direction.AT_MOST, reason)]
    if number(within(found, "champion_loss")) is None:
        return [compare(name, None, 0.0, Direction.AT_MOST, reason="the champion was not scored on the same rows")]
    answered = [each for each in expected if within(each, "beyond_champion") is not None]
    checks = [_harder(name, kind, each, thresholds, shown) for each in answered]
    return [worst(checks)] if checks else [_unanswered(name, kind, thresholds)]


def _unanswered(name: str, kind: str, thresholds: Thresholds) -> Check:
    """Say, without blocking, that nothing was compared: the bound on the naive answer binds all the same."""
    reason = f"the champion has no valid answer with a column {_done(kind)}, so nothing is there to compare with"
    least = thresholds.beyond_champion_fraction
    check = compare(name, None, least, Direction.AT_MOST, unit="fraction", required=False, reason=reason)
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _harder(name: str, kind: str, each: Json, thresholds: Thresholds, shown: bool) -> Check:
    extra = read_estimate(within(each, "beyond_champion"))
    check = compare(
        name,
        None if extra is None else extra["low"],
        thresholds.beyond_champion_fraction,
        Direction.AT_MOST,
        unit="fraction",
        n=count(within(each, "n")),
        estimate=None if extra is None else extra["estimate"],
        interval=None if extra is None else (extra["low"], extra["high"]),
        reason=f"{_named(each)} {_done(kind)} costs more than it costs the champion, beyond doubt; compare how the two "
        "were trained for it",
    )
    return check if shown else too_few(check)


def _moves(found: Json, perturbations: Sequence[Json], thresholds: Thresholds, shown: bool) -> list[Check]:
    """Return whether answers and decisions stay put under tiny changes and within measurement error."""
    checks = []
    parts: list[tuple[str, Callable[[Json], Json], float]] = [
        ("moved", lambda each: within(within(each, "change"), "moved"), thresholds.moved_fraction)
    ]
    if within(found, "task") != "regression":
        parts.append(("flips", lambda each: within(each, "flips"), thresholds.flips_fraction))
    for kind in ("tiny_change", "noise"):
        of_kind = [each for each in perturbations if within(each, "kind") == kind]
        if not of_kind:
            reason = "stability was not measured; measure again"
            checks.append(compare(f"moved_{kind}", None, thresholds.moved_fraction, Direction.AT_MOST, reason=reason))
        for part, read, bound in parts:
            for expected in (True, False):
                these = [each for each in of_kind if (within(each, "expected") is not False) is expected]
                if these:
                    first = worst([_stays(part, kind, each, read(each), bound=bound, shown=shown) for each in these])
                    named = first if expected else replace(first, name=f"{first.name}_elsewhere", required=False)
                    checks.append(named)
    return checks


def _stays(  # noqa: PLR0913 - a check has this many facts
    part: str, kind: str, each: Json, given: Json, *, bound: float, shown: bool
) -> Check:
    what = "answers move" if part == "moved" else "decisions change"
    reason = f"{what} when {_named(each)} is {_done(kind)}; smooth the model, or coarsen what it reads"
    return at_most(f"{part}_{kind}", given, bound, each, reason, shown=shown, unit="fraction")


def _done(kind: str) -> str:
    return {
        "null": "null",
        "tenth_null": "null in a tenth of rows",
        "unseen_category": "a string that was never seen",
        "noise": "read with its measurement error",
        "tiny_change": "changed by a thousandth of its spread",
    }.get(kind, kind)


GATE = Gate(
    name="robustness",
    stage=Stage.EVALUATE,
    thresholds=Thresholds,
    judge=judge,
    title="Keeps its head when the input is not as it should be",
)
