"""The parity gate: does the graph that ships answer like the estimator that was evaluated?

Judged on the whole holdout and on rows made to be hard: one float32 step around every split, missing values, strings
never seen, and single rows against batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Stage
from lockgate.core.spec import Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, report

GROUPS = {
    "holdout": "the whole holdout",
    "boundaries": "rows one float32 step around every split",
    "missing": "rows with missing values",
    "unseen": "rows with strings never seen in training",
    "single_row": "single rows against the same rows in a batch",
}
_NEEDS = {"boundaries": "columns.numeric", "unseen": "columns.categorical"}
_REASON = (
    "the converted graph does not answer like the estimator on {}; its worst rows are in parity.json of the release"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """How far apart two equal models may be.

    Attributes:
        difference: Largest difference of a probability, or of a value as a share of its size. 1e-5: thirty times the
            largest of any faithful conversion measured (3.6e-7; log-link regressions 3.3e-6 of their size), and a
            thousandth of the smallest silent error (0.010).
        rows: Fewer holdout rows say nothing.
    """

    difference: Annotated[float, Gt(0)] = 1e-5
    rows: Positive = 100


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.package`'s measurements; a group that was not measured is an ERROR check."""
    checks = [check for group in GROUPS for check in _group(evidence, group, thresholds)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _group(evidence: Evidence, group: str, thresholds: Thresholds) -> Iterator[Check]:
    seen = evidence.measurements
    if group in _NEEDS and count(seen, _NEEDS[group]) == 0:
        return  # the model has no such column, so there is no such row
    rows = count(seen, f"groups.{group}.rows")
    enough = thresholds.rows if group == "holdout" else 1
    reason = _REASON.format(GROUPS[group])
    yield compare(
        f"{group}_difference",
        number(seen, f"groups.{group}.max_difference") if rows is not None else None,
        thresholds.difference,
        Direction.AT_MOST,
        n=rows,
        n_min=enough,
        reason=reason,
    )
    yield compare(
        f"{group}_not_finite",
        number(seen, f"groups.{group}.not_finite") if rows is not None else None,
        0,
        Direction.EQUAL,
        unit="rows",
        n=rows,
        n_min=enough,
        reason=f"an answer is NaN, infinite or of another shape: {reason}",
    )
    if value_at(seen, "task") != "regression":
        yield compare(
            f"{group}_flip_margin",
            number(seen, f"groups.{group}.flip_margin") if rows is not None else None,
            thresholds.difference,
            Direction.AT_MOST,
            n=rows,
            n_min=enough,
            reason=f"a decision turned that was no tie: {reason}",
        )


GATE = Gate(
    name="parity", stage=Stage.PACKAGE, thresholds=Thresholds, judge=judge, title="The graph answers like the estimator"
)
