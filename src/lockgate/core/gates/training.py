"""The training gate: did the fit end well, learn something, and learn more than the training rows by heart?

Losses are compared with the loss of the best constant of the same rows: a month with more positives has a higher log
loss for every model, and that is not overfitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le, Lt

from lockgate.core.estimates import read_estimate
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Stage
from lockgate.core.spec import Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a fit must reach.

    Attributes:
        improvement: Smallest share by which the validation loss must be below that of the constant the training rows
            suggest. 0.005: ours; less is not worth serving.
        overfit_gap: Largest difference between validation and training of loss over the loss of that part's own
            constant (0: knows all, 1: knows nothing). Binds at the estimate: a validation of a few days has a wide
            interval, which is shown, and every rote learner is far above. 0.4: ours; on the demo data boosted trees
            stopped early stay below 0.2 and a forest below 0.35; trees that learned the rows by heart are above 0.6.
        rows: Fewer labelled rows of either part say nothing.
    """

    improvement: Annotated[float, Ge(0), Lt(1)] = 0.005
    overfit_gap: Annotated[float, Ge(0), Le(1)] = 0.4
    rows: Positive = 100


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge the facts of a fit (`models.fit_process.fit`); a number that is not there is an ERROR check."""
    checks = [
        _flag(evidence, "converged", "the solver stopped before it was done; raise max_iter, or scale the data"),
        _flag(evidence, "finite", "an answer or a loss is not a number; lower the learning rate, or look at the data"),
        _improvement(evidence, thresholds),
        _overfit_gap(evidence, thresholds),
        _last_round(evidence),
        _search_edges(evidence),
    ]
    return report(GATE.name, GATE.stage, [check for check in checks if check is not None], evidence.digest)


def _flag(evidence: Evidence, name: str, reason: str) -> Check:
    found = value_at(evidence.measurements, name)
    observed = float(found) if isinstance(found, bool) else None
    return compare(name, observed, 1.0, Direction.EQUAL, reason=reason)


def _improvement(evidence: Evidence, thresholds: Thresholds) -> Check:
    loss = number(evidence.measurements, "loss.validation")
    constant = number(evidence.measurements, "loss.validation_of_train_constant")
    return compare(
        "improvement_over_constant",
        None if loss is None or not constant else 1 - loss / constant,
        thresholds.improvement,
        Direction.AT_LEAST,
        unit="fraction",
        n=_rows(evidence),
        n_min=thresholds.rows,
        reason="on validation the model is hardly better than a constant; add features, or land more data",
    )


def _overfit_gap(evidence: Evidence, thresholds: Thresholds) -> Check:
    shares = [_share_unknown(evidence, part) for part in ("validation", "train")]
    gap = None if shares[0] is None or shares[1] is None else shares[0] - shares[1]
    measured = read_estimate(evidence.measurements.get("overfit_gap"))
    return compare(
        "overfit_gap",
        gap,
        thresholds.overfit_gap,
        Direction.AT_MOST,
        n=_rows(evidence),
        n_min=thresholds.rows,
        estimate=gap if measured else None,
        interval=(measured["low"], measured["high"]) if measured else None,
        reason="the model knows the training rows far better than validation; use early stopping, or a simpler model",
    )


def _share_unknown(evidence: Evidence, part: str) -> float | None:
    loss = number(evidence.measurements, f"loss.{part}")
    constant = number(evidence.measurements, f"loss.{part}_of_own_constant")
    return None if loss is None or not constant else loss / constant


def _rows(evidence: Evidence) -> int:
    return min(count(evidence.measurements, f"rows.{part}") or 0 for part in ("train", "validation"))


def _last_round(evidence: Evidence) -> Check | None:
    best, fitted = (number(evidence.measurements, f"rounds.{name}") for name in ("best", "fitted"))
    if best is None or fitted is None:
        return None  # not a family that fits in rounds
    return compare(
        "rounds_after_best",
        fitted - best,
        1,
        Direction.AT_LEAST,
        unit="rounds",
        required=False,
        reason="validation was still improving at the last round; more rounds, or a higher learning rate, may help",
    )


def _search_edges(evidence: Evidence) -> Check | None:
    edges = value_at(evidence.measurements, "search.edges")
    if not isinstance(edges, Sequence) or isinstance(edges, str):
        return None  # nothing was searched
    ends = [
        f"{value_at(each, 'parameter')} ({value_at(each, 'end')} end)" for each in edges if isinstance(each, Mapping)
    ]
    return compare(
        "search_at_edge",
        len(edges),
        0,
        Direction.EQUAL,
        unit="parameters",
        required=False,
        reason=f"the best of the search lies at an end of its range: {', '.join(ends)}; widen training.search.space",
    )


GATE = Gate(name="training", stage=Stage.TRAIN, thresholds=Thresholds, judge=judge, title="The fit ended well")
