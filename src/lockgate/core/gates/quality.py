"""Gate `quality`: is the challenger good enough on its own, whatever the champion does?

Every check is absolute, so it binds on the first release too. The pessimistic bound of the interval must hold; where
the estimate holds and its bound does not, the data cannot say: INCONCLUSIVE. Neither lets a release through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from lockgate.core.contract import TaskKind
from lockgate.core.estimates import at_least, count, enough, number, read_estimate, same_confidence, unit_of, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the quality gate asks for.

    Attributes:
        auc_floor: Binary: least area under the ROC curve, at the interval's lower bound. 0.5 is guessing.
        macro_auc_floor: Multiclass: least mean one-against-rest AUC, at the lower bound.
        r2_floor: Regression: least share of the label's variance explained, at the lower bound.
        skill_floor: Least share of the naive answer's loss that is saved, at the lower bound. The naive answer is the
            training part's base rate or mean; a constant model saves exactly 0, so the floor is above 0.
        calibration_error: Most expected calibration error; advisory.
        min_rows: Fewer labelled holdout rows than this say nothing.
        min_blocks: Fewer blocks than this say nothing: below 20, intervals over blocks cover too little.
        unlabelled_fraction: Largest share of the holdout's rows that may have no label, and so were not judged. 0.5:
            ours; beyond it most of what the model answers is not known to be right.
        min_class_rows: Fewer rows of the rarest class than this say nothing.
        confidence: Two-sided confidence of every interval.
        holdout_uses: Advisory: most earlier releases judged on exactly these rows. 5: ours; by then the chance that one
            of as many equal challengers looks better at 2.5 % is one in eight.
    """

    auc_floor: Annotated[float, Ge(0.5), Le(1)] = 0.60
    macro_auc_floor: Annotated[float, Ge(0.5), Le(1)] = 0.55
    r2_floor: Annotated[float, Ge(0), Le(1)] = 0.10
    skill_floor: Annotated[float, Gt(0), Lt(1)] = 0.001
    calibration_error: Annotated[float, Ge(0), Le(1)] = 0.05
    min_rows: Annotated[int, Ge(30)] = 500
    min_blocks: Annotated[int, Ge(5)] = 20
    unlabelled_fraction: Annotated[float, Ge(0), Lt(1)] = 0.5
    min_class_rows: Annotated[int, Ge(5)] = 30
    confidence: Annotated[float, Ge(0.8), Lt(1)] = 0.95
    holdout_uses: Annotated[int, Ge(0)] = 5


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge the challenger alone; a missing or malformed measurement is an ERROR check."""
    found = evidence.measurements
    counts = enough(found, thresholds.min_rows, thresholds.min_blocks)
    if found.get("task") != TaskKind.REGRESSION:
        counts.append(_rarest(found, thresholds))
    checks = [*counts, same_confidence(found, thresholds.confidence), _answers(found), _labelled(found, thresholds)]
    shown = not any(check.verdict is Verdict.INCONCLUSIVE for check in counts)
    checks += [_floor(found, thresholds, shown), _skill(found, thresholds, shown)]
    checks += _advice(found, thresholds)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _rarest(found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    rarest = found.get("rarest_class_rows")
    return compare(
        "rarest_class_rows",
        number(rarest),
        thresholds.min_class_rows,
        Direction.AT_LEAST,
        unit="rows",
        n=count(rarest),
        n_min=thresholds.min_class_rows,
        reason="the rarest class is hardly there; wait for more data or lengthen the holdout",
    )


def _answers(found: Mapping[str, Json]) -> Check:
    return compare(
        "invalid_answers",
        number(found.get("invalid_answers")),
        0.0,
        Direction.AT_MOST,
        unit="rows",
        reason="the model answered rows with NaN, infinity or no probability; mend the estimator",
    )


def _labelled(found: Mapping[str, Json], thresholds: Thresholds) -> Check:
    asked, unlabelled = count(found.get("asked")), count(found.get("unlabelled"))
    return compare(
        "unlabelled_fraction",
        None if asked is None or unlabelled is None else unlabelled / max(asked, 1),
        thresholds.unlabelled_fraction,
        Direction.AT_MOST,
        unit="fraction",
        n=asked,
        n_min=1,
        reason="most rows of the holdout have no label, so the rest says little about them; land the labels that are "
        "due, or raise gates.quality.unlabelled_fraction",
    )


def _floor(found: Mapping[str, Json], thresholds: Thresholds, shown: bool) -> Check:
    task = found.get("task")
    floors = {
        TaskKind.BINARY.value: ("auc", thresholds.auc_floor),
        TaskKind.MULTICLASS.value: ("macro_auc", thresholds.macro_auc_floor),
        TaskKind.REGRESSION.value: ("r2", thresholds.r2_floor),
    }
    if not isinstance(task, str) or task not in floors:
        return compare("task", None, 1.0, Direction.EQUAL, reason=f"the measurements name the task {task!r}")
    name, floor = floors[task]
    return at_least(
        name,
        within(found.get("metrics"), name),
        floor,
        n=found.get("n"),
        shown=shown,
        reason="the model ranks or explains too little to be used; look at features, label and drift",
    )


def _skill(found: Mapping[str, Json], thresholds: Thresholds, shown: bool) -> Check:
    return at_least(
        "skill_over_naive",
        within(found.get("skill"), "naive"),
        thresholds.skill_floor,
        n=found.get("n"),
        shown=shown,
        reason="the model does not beat the training part's base rate or mean; nothing was learned that still holds",
    )


def _advice(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    checks = [*_over_simple(found), *_uses(found, thresholds)]
    error = read_estimate(within(found.get("metrics"), "calibration_error"))
    if error is not None:
        checks.append(
            compare(
                "calibration_error",
                error["estimate"],
                thresholds.calibration_error,
                Direction.AT_MOST,
                unit="fraction",
                required=False,
                estimate=error["estimate"],
                interval=(error["low"], error["high"]),
                n=count(found.get("n")),
                reason="probabilities are off; decisions at a threshold shift with them",
            )
        )
    bias = read_estimate(within(found.get("metrics"), "bias"))
    if bias is not None:
        checks.append(_unbiased(bias, found))
    return checks


def _over_simple(found: Mapping[str, Json]) -> list[Check]:
    """Return the check against the linear model; none where nobody asked for one."""
    simple, facts = within(found.get("skill"), "simple"), found.get("simple")
    if simple is None and not facts:
        return []
    why = within(facts, "unfitted_because")
    reason = "a linear model does as well; consider shipping the simpler one"
    if simple is None:
        reason = why if isinstance(why, str) else "the linear model answered no numbers"
    return [at_least("skill_over_simple", simple, 0.0, n=found.get("n"), required=False, reason=reason)]


def _uses(found: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Return the check on how often these rows were judged on before; none where nobody counted."""
    uses = found.get("holdout_uses")
    if uses is None:
        return []
    return [
        compare(
            "holdout_uses",
            number(within(uses, "same")),
            thresholds.holdout_uses,
            Direction.AT_MOST,
            unit="releases",
            required=False,
            reason="releases were picked on these rows too often for them to count as unseen; land newer data",
        )
    ]


def _unbiased(bias: Mapping[str, float], found: Mapping[str, Json]) -> Check:
    """Calibration in the large: is zero a plausible mean error?"""
    nearest = max(bias["low"], -bias["high"], 0.0)
    return compare(
        "bias",
        nearest,
        0.0,
        Direction.AT_MOST,
        unit=unit_of(within(found.get("metrics"), "bias")),
        required=False,
        estimate=bias["estimate"],
        interval=(bias["low"], bias["high"]),
        n=count(found.get("n")),
        reason=f"answers are {'higher' if bias['estimate'] > 0 else 'lower'} than what happened, on average; "
        "has the label moved since the training rows?",
    )


GATE = Gate(name="quality", stage=Stage.EVALUATE, thresholds=Thresholds, judge=judge, title="Good enough on its own")
