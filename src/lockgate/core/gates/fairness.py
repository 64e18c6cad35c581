"""Gate `fairness`: is any group of the declared sensitive columns served worse than the others, or than before?

What blocks without being asked for, once `sensitive` names a column, and why:

    loss of a group    above the champion's on the same rows, or above what it should cost: the same bound as any
                       declared slice has. A defect for whoever the group is; nobody has to choose a notion of fairness
    error rates        binary: true and false positive rates (equalised odds, Hardt, Price and Srebro 2016);
                       multiclass: the recall of each class. Apart by more than 0.1 beyond doubt
    mean error         regression: apart by more than a fifth of the root mean squared error beyond doubt

What does not, because it is a choice of policy: equal selection rates and equal precision. Where base rates differ, no
model has equal error rates, equal precision and calibration at once (Chouldechova 2017; Kleinberg, Mullainathan and
Raghavan 2017), so they are told, and bind where declared: `selection_ratio: 0.8` is the four-fifths rule.

No sensitive column declared: one required check passes and says so, and one of advice asks whether that is right. To
leave people out by not naming a column is a decision of the spec's author, on record in the spec; it is no missing
measurement. Measurements without `declared` at all are an ERROR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.contract import TaskKind
from lockgate.core.estimates import items, number, same_confidence, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.fairness_checks import Limits, Proof, gap_checks, loss_checks, ratio_checks, size_checks
from lockgate.core.gates.slices import excess_bound
from lockgate.core.ids import Json, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report


class MustShow(StrEnum):
    """What the data must show about a difference between groups."""

    BY_RISK = "by_risk"
    GAP = "gap"
    NO_GAP = "no_gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the fairness gate asks for; everything but the first check needs a column in `sensitive`.

    Attributes:
        rate_gap: Most by which true or false positive rates, or the recall of a class, may differ between two groups;
            null: told, not judged. 0.1 is the conventional band of equal opportunity (Bellamy et al. 2018, AIF360).
        error_gap_fraction: Regression: most by which the mean error may differ between two groups, as a share of the
            root mean squared error; null: told, not judged. 0.2 is Cohen's small effect (1988).
        selection_ratio: Binary: least selection rate of a group over that of the most selected one; null: told, not
            judged. 0.8 is the four-fifths rule (EEOC 1978, 29 CFR 1607.4 D).
        must_show: gap (a difference blocks when it is beyond the bound beyond doubt), no_gap (it blocks unless it is
            within the bound beyond doubt), by_risk (no_gap for a model of risk: high, else gap).
        worse_fraction: With a champion: the loss of a group may exceed the champion's on the same rows by this share of
            the champion's overall loss.
        excess_fraction: Without one, for probabilities: as `slices.excess_fraction`.
        error_ratio: Without one, for values: as `slices.error_ratio`.
        fdr: False discovery rate that the losses of all groups share.
        min_rows: A group of fewer rows is named, not judged.
        min_blocks: A group in fewer blocks is named, not judged.
        min_events: A rate over fewer rows is not compared.
        most_detectable: A rate so uncertain that only a larger difference could be shown (80 % power) is not compared.
        every_group: Whether a group too small to judge makes the gate inconclusive.
        confidence: Two-sided confidence of intervals, over all pairs of groups at once.
    """

    rate_gap: Annotated[float, Gt(0), Lt(1)] | None = 0.1
    error_gap_fraction: Annotated[float, Gt(0)] | None = 0.2
    selection_ratio: Annotated[float, Gt(0), Le(1)] | None = None
    must_show: MustShow = MustShow.BY_RISK
    worse_fraction: Annotated[float, Ge(0), Lt(1)] = 0.05
    excess_fraction: Annotated[float, Gt(0)] = 0.5
    error_ratio: Annotated[float, Gt(1)] = 4.0
    fdr: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    min_rows: Annotated[int, Ge(30)] = 200
    min_blocks: Annotated[int, Ge(5)] = 10
    min_events: Annotated[int, Ge(10)] = 30
    most_detectable: Annotated[float, Gt(0), Lt(1)] = 0.2
    every_group: bool = False
    confidence: Annotated[float, Ge(0.8), Lt(1)] = 0.95

    @property
    def limits(self) -> Limits:
        """When a group is large enough."""
        return Limits(
            min_rows=self.min_rows,
            min_blocks=self.min_blocks,
            min_events=self.min_events,
            most_detectable=self.most_detectable,
        )


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge every group of every declared column; passes, and says why, where the spec declares none."""
    found = evidence.measurements
    declared, columns = _texts(found.get("declared")), _by_column(found.get("columns"))
    measured = declared is not None and set(columns) == set(declared)
    first = _declared(declared, measured=measured)
    if declared is None or not declared or not measured:
        checks = [first, _considered()] if first.verdict is Verdict.PASS else [first]
        return report(GATE.name, GATE.stage, checks, evidence.digest)
    limits = thresholds.limits
    checks = [first, same_confidence(found, thresholds.confidence)]
    for name, column in columns.items():
        checks += size_checks(name, column, limits, every_group=thresholds.every_group)
        checks += _gaps(name, column, found, thresholds)
        if found.get("task") == TaskKind.BINARY:
            checks += ratio_checks(name, column, thresholds.selection_ratio, limits)
    checks += loss_checks(columns, excess_bound(found, thresholds), thresholds.fdr, limits)
    checks += _crossed(found, thresholds)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _texts(given: Json) -> list[str] | None:
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(each, str) for each in given):
        return None
    return [str(each) for each in given]


def _by_column(given: Json) -> dict[str, Json]:
    return {str(within(each, "column")): each for each in items(given)}


def _declared(declared: list[str] | None, *, measured: bool) -> Check:
    check = compare(
        "declared_groups",
        float(len(declared)) if declared is not None and measured else None,
        0.0,
        Direction.AT_LEAST,
        unit="columns",
        reason="the measurements do not hold the groups of every declared sensitive column; measure again",
    )
    if check.verdict is not Verdict.PASS or declared is None:
        return check
    said = f"compared by {', '.join(declared)}" if declared else "the spec declares no sensitive column"
    return _said(check, check.verdict, said)


def _considered() -> Check:
    """Ask, without blocking, whether it is right that no column is declared."""
    check = compare(
        "sensitive_columns_named", 0.0, 1.0, Direction.AT_LEAST, unit="columns", required=False, reason="see below"
    )
    return _said(
        check,
        Verdict.INCONCLUSIVE,
        "no group was compared; where answers touch people, name the columns in the spec's `sensitive`",
    )


def _said(check: Check, verdict: Verdict, reason: str) -> Check:
    return replace(check, verdict=verdict, reason=reason)


def _gaps(name: str, column: Json, found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Return the checks of every judged rate of one column.

    Of several classes some may be too rare to compare anywhere; that is advice while the recall of another can be.
    """
    bounds, proof = _bounds(found, thresholds), _proof(found, thresholds)
    made = [
        check
        for rate, bound in bounds.items()
        for check in gap_checks(name, column, rate, bound, thresholds.limits, proof)
    ]
    rare = [check for check in made if check.verdict is Verdict.INCONCLUSIVE and check.observed is None]
    if found.get("task") != TaskKind.MULTICLASS or len(rare) == len(bounds):
        return made
    return [replace(check, required=False) if check in rare else check for check in made]


def _proof(found: Mapping[str, Json], thresholds: Thresholds) -> Proof:
    """Return what must be shown; a model whose risk is not measured is treated as one of high risk."""
    if thresholds.must_show is MustShow.BY_RISK:
        return Proof.GAP if found.get("risk") == "low" else Proof.NO_GAP
    return Proof(str(thresholds.must_show))


def _bounds(found: Mapping[str, Json], thresholds: Thresholds) -> dict[str, float | None]:
    """Return the rates whose differences are judged, with the most they may be; None where it cannot be known."""
    task = found.get("task")
    if task == TaskKind.REGRESSION:
        rmse, fraction = number(found.get("rmse")), thresholds.error_gap_fraction
        return {} if fraction is None else {"mean_error": None if rmse is None else fraction * rmse}
    if thresholds.rate_gap is None:
        return {}
    if task == TaskKind.BINARY:
        return dict.fromkeys(("true_positive_rate", "false_positive_rate"), thresholds.rate_gap)
    classes = _texts(found.get("classes"))
    return dict.fromkeys([f"recall:{each}" for each in classes or [""]], thresholds.rate_gap)


def _crossed(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Return advice on groups of two columns: the same differences, told and never binding."""
    checks: list[Check] = []
    for each in items(found.get("intersections")):
        name = str(within(each, "column"))
        for rate, bound in _bounds(found, thresholds).items():
            compared = within(within(within(each, "gaps"), rate), "judged")
            if isinstance(compared, Sequence) and len(compared) > 1:
                checks += gap_checks(name, each, rate, bound, thresholds.limits, Proof.GAP, required=False)
    return checks


GATE = Gate(
    name="fairness",
    stage=Stage.EVALUATE,
    thresholds=Thresholds,
    judge=judge,
    title="No group of people served worse",
)
