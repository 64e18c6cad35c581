"""The batch gate: is there enough, fresh enough and balanced enough data to release a model from?

Judges `stages/validate_data.py`'s measurements. Every age is counted from the release's `as_of`, taken from the data,
never from the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive, Seconds
from lockgate.core.verdict import Check, Direction, GateReport, compare, report

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a release needs of its data.

    Attributes:
        rows: Fewest rows in the newest batch; fewer is most often half a file.
        train_rows: Fewest labelled rows to train on.
        batch_age_s: Longest time from the newest row of the newest batch to `as_of`; more means that an old file
            landed after newer ones.
        label_lag_s: Longest time from `as_of` (the newest labelled row) to the newest row of the newest batch; more
            means that labels stopped arriving.
        unlabelled_share: Largest share of rows without a label in the newest batch.
        class_share: Smallest share of the rarest class among the training rows; classification only.
    """

    rows: Positive = 100
    train_rows: Positive = 500
    batch_age_s: Seconds = 45 * _DAY_S
    label_lag_s: Seconds = 7 * _DAY_S
    unlabelled_share: Fraction = 0.25
    class_share: Fraction = 0.005


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_batch`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [*_volume(seen, thresholds), *_freshness(seen, thresholds), *_labels(seen, thresholds)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _volume(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            "batch_rows",
            number(seen, "rows"),
            thresholds.rows,
            Direction.AT_LEAST,
            unit="rows",
            reason="the newest batch is small; is the file whole? else lower gates.batch.rows",
        ),
        compare(
            "train_rows",
            number(seen, "train_rows"),
            thresholds.train_rows,
            Direction.AT_LEAST,
            unit="rows",
            reason="too few labelled rows to train on; land more, or lower gates.batch.train_rows",
        ),
        compare(
            "duplicate_share",
            number(seen, "duplicate_share"),
            0,
            Direction.EQUAL,
            unit="fraction",
            n=count(seen, "split_rows"),
            reason="rows with one key stand more than once in the split; find out how they passed ingestion",
        ),
    ]


def _freshness(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            "batch_age",
            number(seen, "batch_age_s"),
            thresholds.batch_age_s,
            Direction.AT_MOST,
            unit="s",
            reason="the newest batch holds old rows: newer ones landed before it; start the release by hand with a "
            "higher gates.batch.batch_age_s if that is meant",
        ),
        compare(
            "label_lag",
            number(seen, "label_lag_s"),
            thresholds.label_lag_s,
            Direction.AT_MOST,
            unit="s",
            reason="labels stop long before the newest rows; land the labels that are due",
        ),
    ]


def _labels(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    unlabelled = compare(
        "unlabelled_share",
        number(seen, "unlabelled_share"),
        thresholds.unlabelled_share,
        Direction.AT_MOST,
        unit="fraction",
        n=count(seen, "rows"),
        reason="too many rows of the newest batch have no label; land the labels that are due",
    )
    if value_at(seen, "label.kind") == "regression":
        balance = compare(
            "label_values",
            number(seen, "label.distinct"),
            2,
            Direction.AT_LEAST,
            n=count(seen, "train_rows"),
            reason="the label has one value only; there is nothing to learn",
        )
    else:
        rarest = value_at(seen, "label.rarest")
        balance = compare(
            "rarest_class_share",
            number(seen, "label.rarest_share"),
            thresholds.class_share,
            Direction.AT_LEAST,
            unit="fraction",
            n=count(seen, "train_rows"),
            reason=f"class {rarest} hardly occurs in the training rows; land more of it, or merge classes",
        )
    return [unlabelled, balance]


GATE = Gate(
    name="batch",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="Enough fresh, labelled data",
)
