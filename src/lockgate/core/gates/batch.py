"""The batch gate: is there enough, fresh enough and balanced enough data to release a model from?

Judges `stages/validate_data.py`'s measurements. Every age is counted from the release's `as_of`, taken from the data,
never from the clock on the wall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive, Seconds
from lockgate.core.verdict import Check, Direction, GateReport, compare, not_applicable, report

_DAY_S = 86_400.0
MIN_HISTORY = 3
"""Fewer earlier batches have no usual size; the comparison with them is then shown and does not block."""


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
        history_low: Smallest size of the newest batch, as a share of the median of the twelve before it. Binds once
            there are three. 0.5: ours; a file that is half there.
        history_high: Largest size, likewise. 3: ours; a file written twice over, or of another period.
        champion_rows_low: Fewest rows fitted on, as a share of what the champion was fitted on.
        copied_share: Largest share of rows of the split that are alike in everything but their key. 0.05: ours; rows
            of few columns and coarse times may be alike by themselves, then raise it.
        label_shift: Largest shift of the training label against the champion's: total variation of the class shares
            (0 to 1), or for values the Wasserstein distance in standard deviations. 0.25: ours; the demo's rarest and
            commonest month of late flights are 0.19 apart.
    """

    rows: Positive = 100
    train_rows: Positive = 500
    batch_age_s: Seconds = 45 * _DAY_S
    label_lag_s: Seconds = 7 * _DAY_S
    unlabelled_share: Fraction = 0.25
    class_share: Fraction = 0.005
    history_low: Fraction = 0.5
    history_high: Annotated[float, Gt(1)] = 3.0
    champion_rows_low: Fraction = 0.5
    copied_share: Fraction = 0.05
    label_shift: Annotated[float, Gt(0)] = 0.25


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.validate_data.measure_batch`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [
        *_volume(seen, thresholds),
        *_history(seen, thresholds),
        *_freshness(seen, thresholds),
        *_labels(seen, thresholds),
        *_against_champion(seen, thresholds),
    ]
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
        compare(
            "copied_share",
            number(seen, "copied_share"),
            thresholds.copied_share,
            Direction.AT_MOST,
            unit="fraction",
            n=count(seen, "split_rows"),
            reason="rows are alike in everything but their key: were they copied? Take the copies out, or raise "
            "gates.batch.copied_share if rows like these are honest",
        ),
    ]


def _history(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Compare the newest batch's size with that of the batches before it; shown alone while there are few."""
    batches = count(seen, "history.batches")
    median = count(seen, "history.median_rows")
    few = batches is not None and batches < MIN_HISTORY
    asked = (
        ("batch_rows_low", thresholds.history_low, Direction.AT_LEAST, "small", "whole", "history_low"),
        ("batch_rows_high", thresholds.history_high, Direction.AT_MOST, "large", "written once", "history_high"),
    )
    return [
        compare(
            name,
            number(seen, "history.ratio"),
            limit,
            side,
            unit="fraction",
            required=not few,
            n=batches,
            n_min=MIN_HISTORY,
            reason=f"the newest batch is {what} beside those before it (median {median} rows); is the file {should}? "
            f"else change gates.batch.{key}",
        )
        for name, limit, side, what, should, key in asked
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


def _against_champion(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Compare training rows and label with the champion's; where its rows are gone, say so and do not block."""
    if "champion" in seen and seen["champion"] is None:
        reason = "there never was a champion to compare with"
        least = thresholds.champion_rows_low
        return [not_applicable("champion_rows_ratio", Direction.AT_LEAST, reason, threshold=least, unit="fraction")]
    gone = value_at(seen, "label_shift.unknown")
    return [
        compare(
            "champion_rows_ratio",
            number(seen, "rows_ratio"),
            thresholds.champion_rows_low,
            Direction.AT_LEAST,
            unit="fraction",
            n=count(seen, "champion_rows"),
            reason="there are far fewer rows to fit than the champion had; is the table whole, split.train_window_days "
            "as meant? else lower gates.batch.champion_rows_low",
        ),
        compare(
            "label_shift",
            number(seen, "label_shift.shift"),
            thresholds.label_shift,
            Direction.AT_MOST,
            required=not isinstance(gone, str),
            n=count(seen, "label_shift.n"),
            reason=f"the champion's training rows cannot be read: {gone}"
            if isinstance(gone, str)
            else "the label is spread quite otherwise than when the champion was fitted; is it defined as before? If "
            "the world changed so much, raise gates.batch.label_shift",
        ),
    ]


GATE = Gate(
    name="batch",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="Enough fresh, labelled data",
)
