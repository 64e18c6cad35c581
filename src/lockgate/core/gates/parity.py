"""The parity gate: does the graph that ships answer like the estimator that was evaluated?

A search for a counter-example: the whole holdout, rows made to be hard (one float32 step around every split, missing
values, strings never seen, far out values, every column led through its values), the same rows asked otherwise (columns
in another order, single rows, other batches), what climbing from the worst rows found, and the bundle as the
production server answers it. A decision that turns counts where the estimator's answer is farther from the boundary
than the bound; nearer ones are ties, and are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Positive
from lockgate.core.verdict import Check, Direction, GateReport, compare, report

GROUPS = {
    "holdout": "the whole holdout",
    "boundaries": "rows one float32 step around every split",
    "missing": "rows with missing values",
    "unseen": "rows with strings never seen in training",
    "extreme": "rows with a number far outside its range",
    "sweep": "rows in which one column is led through all its values",
    "search": "rows found by climbing from the worst ones",
    "column_order": "rows whose columns come in another order",
    "single_row": "rows asked one by one",
    "batch_sizes": "rows in batches of several sizes",
    "served": "rows answered over HTTP by the production server",
}
ADVISORY = {"infinite": "rows with an infinite number, or the largest float32"}
_NEEDS = {"boundaries": "numeric", "extreme": "numeric", "infinite": "numeric", "unseen": "categorical"}
_REASON = (
    "the converted graph does not answer like the estimator on {}; see the row: lockgate parity RELEASE --family {}"
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
    seen = evidence.measurements
    checks = [check for group in GROUPS for check in _group(seen, group, thresholds)]
    checks += [check for group in ADVISORY for check in _group(seen, group, thresholds, required=False)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _group(seen: Mapping[str, Json], group: str, thresholds: Thresholds, *, required: bool = True) -> Iterator[Check]:
    if group in _NEEDS and count(seen, f"columns.{_NEEDS[group]}") == 0:
        return  # the model has no such column, so there is no such row
    rows = count(seen, f"groups.{group}.rows")
    if not required and not rows:
        return  # the estimator itself refuses such rows
    reason = _REASON.format({**GROUPS, **ADVISORY}[group], group)
    judged = [
        ("difference", "max_difference", thresholds.difference, "1", _problem(seen, group) or reason),
        (
            "not_finite",
            "not_finite",
            0,
            "rows",
            _problem(seen, group) or f"an answer is NaN, infinite or none: {reason}",
        ),
    ]
    if value_at(seen, "task") != "regression":
        turned = f"a decision turned that was no tie: {reason}"
        judged.append(("flip_margin", "flip_margin", thresholds.difference, "1", turned))
    for name, fact, threshold, unit, words in judged:
        yield compare(
            f"{group}_{name}",
            number(seen, f"groups.{group}.{fact}") if rows is not None else None,
            threshold,
            Direction.EQUAL if fact == "not_finite" else Direction.AT_MOST,
            unit=unit,
            n=rows,
            n_min=thresholds.rows if group == "holdout" else 1,
            reason=words,
            required=required,
        )


def _problem(seen: Mapping[str, Json], group: str) -> str | None:
    """Return why a group could not be asked at all; None where it was."""
    problem = value_at(seen, f"groups.{group}.problem")
    return problem if isinstance(problem, str) else None


GATE = Gate(
    name="parity", stage=Stage.PACKAGE, thresholds=Thresholds, judge=judge, title="The graph answers like the estimator"
)
