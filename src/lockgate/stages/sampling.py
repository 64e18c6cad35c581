"""The rows that evaluation judges: labelled, answered, grouped in blocks, and unknown to the champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, Json
from lockgate.core.intervals import group_blocks
from lockgate.core.labels import class_indices
from lockgate.core.metrics import Floats, Ints
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, MeasurementError

if TYPE_CHECKING:
    import pandas as pd

PROBABILITY_SLACK = 1e-3
"""Ours: float32 probabilities of some hundred classes sum to 1 within this; what does not is no distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionScores:
    """What the champion now serving answers on the same rows.

    Attributes:
        bundle: Its digest.
        scores: As `Scores.challenger`; None when it could not be scored.
        known_keys: The key columns of every row it was fitted on, early stopping included; None when unknown.
        threshold: Its own decision threshold.
        unscored_because: Why `scores` or `known_keys` is None; for the report.
    """

    bundle: Digest
    scores: Floats | None
    known_keys: pd.DataFrame | None
    threshold: float | None = None
    unscored_because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Answers on every row of the holdout, in its order.

    Attributes:
        challenger: Probability of the second class [n], value [n], or probabilities [n, classes].
        naive: The same from the training part's base rate or mean; see `naive_scores`.
        simple: The same from a linear model of the same features; None when there is none.
        champion: None only when the ledger shows that there never was one.
        threshold: The challenger's decision threshold; binary only. None: the spec's.
        simple_facts: What the simple model is and was fitted on; or `unfitted_because`.
    """

    challenger: Floats
    naive: Floats
    simple: Floats | None
    champion: ChampionScores | None
    threshold: float | None = None
    simple_facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows that are judged.

    Attributes:
        frame: The rows.
        y: Class index or value, shape [n].
        score: The challenger's answers, float64.
        block: Group of each row, 0..blocks-1, shape [n].
        blocks: How many groups; intervals are clustered by them.
        kept: Their positions in the holdout, shape [n].
        asked: Rows of the holdout.
        unlabelled: Rows of the holdout without a label.
        invalid: Labelled rows that the challenger answered with no number.
    """

    frame: pd.DataFrame
    y: Floats | Ints
    score: Floats
    block: Ints
    blocks: int
    kept: Ints
    asked: int
    unlabelled: int
    invalid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows on which challenger and champion are compared.

    Attributes:
        sample: The rows, those the champion knew left out.
        champion: Its answers to them, float64.
        threshold: Its decision threshold; None: the spec's.
        known: Rows left out because it was fitted on them.
        invalid: Rows left out because it answered with no number.
    """

    sample: Sample
    champion: Floats
    threshold: float | None
    known: int
    invalid: int


def naive_scores(spec: ReleaseSpec, train_labels: pd.Series, rows: int) -> Floats:
    """Return the answers of a model that knows the training part's base rate or mean and nothing else.

    Args:
        spec: The release's spec.
        train_labels: Labels of the training part; nulls are left out.
        rows: How many answers.

    Raises:
        MeasurementError: No label is there, or one is none of the classes.
    """
    known = train_labels.dropna()
    if not len(known):
        raise MeasurementError("the training part has no label, so there is no base rate to compare with")
    target = _target(spec, known)
    if spec.task.kind is TaskKind.REGRESSION:
        return np.full(rows, float(target.mean()))
    counts = np.bincount(target.astype(np.int64), minlength=len(spec.task.classes))
    shares = counts / counts.sum()
    return np.full(rows, shares[1]) if spec.task.kind is TaskKind.BINARY else np.tile(shares, (rows, 1))


def take_sample(spec: ReleaseSpec, holdout: pd.DataFrame, answers: Floats) -> Sample:
    """Return the labelled, answered rows of a holdout.

    Raises:
        MeasurementError: Answers do not fit the rows, a label is none of the classes, or a column is missing.
    """
    score = shaped(spec, answers, len(holdout), "challenger")
    labelled = _column(holdout, spec.data.label).notna().to_numpy(dtype=bool)
    answered = is_valid(spec.task.kind, score)
    kept = np.flatnonzero(labelled & answered)
    frame = holdout.iloc[kept]
    block, blocks = _blocks(spec, frame)
    return Sample(
        frame=frame,
        y=_target(spec, frame[spec.data.label]),
        score=score[kept],
        block=block,
        blocks=blocks,
        kept=kept,
        asked=len(holdout),
        unlabelled=int((~labelled).sum()),
        invalid=int((labelled & ~answered).sum()),
    )


def compare_with(spec: ReleaseSpec, sample: Sample, champion: ChampionScores | None) -> Comparison | None:
    """Return the rows on which both can be judged fairly; None when there is no champion, or it was not scored.

    Raises:
        MeasurementError: The champion's answers do not fit the rows, or its keys cannot be compared with theirs.
    """
    if champion is None or champion.scores is None or champion.known_keys is None:
        return None
    theirs = shaped(spec, champion.scores, sample.asked, "champion")[sample.kept]
    known = _known(sample.frame, champion.known_keys, spec.data.key)
    answered = is_valid(spec.task.kind, theirs)
    inside = np.flatnonzero(~known & answered)
    frame = sample.frame.iloc[inside]
    block, blocks = _blocks(spec, frame)
    return Comparison(
        sample=Sample(
            frame=frame,
            y=sample.y[inside],
            score=sample.score[inside],
            block=block,
            blocks=blocks,
            kept=sample.kept[inside],
            asked=sample.asked,
            unlabelled=sample.unlabelled,
            invalid=sample.invalid,
        ),
        champion=theirs[inside],
        threshold=champion.threshold,
        known=int(known.sum()),
        invalid=int((~known & ~answered).sum()),
    )


def shaped(spec: ReleaseSpec, answers: Floats, rows: int, whose: str) -> Floats:
    """Return answers as float64 of the task's shape.

    Raises:
        MeasurementError: They are of another shape; says which was expected.
    """
    given = np.asarray(answers, dtype=np.float64)
    expected = (rows, len(spec.task.classes)) if spec.task.kind is TaskKind.MULTICLASS else (rows,)
    if given.shape != expected:
        raise MeasurementError(f"the {whose}'s answers have shape {given.shape}; these rows need {expected}")
    return given


def is_valid(task: TaskKind, score: Floats) -> NDArray[np.bool_]:
    """Tell which answers are numbers, and for classes probabilities, shape [n]."""
    if task is TaskKind.REGRESSION:
        return np.isfinite(score)
    inside = (score >= 0.0) & (score <= 1.0)  # NaN is neither
    if task is TaskKind.BINARY:
        return inside
    return np.asarray(inside.all(axis=1) & (np.abs(score.sum(axis=1) - 1.0) <= PROBABILITY_SLACK))


def _target(spec: ReleaseSpec, label: pd.Series) -> Floats | Ints:
    try:
        if spec.task.kind is TaskKind.REGRESSION:
            return label.to_numpy(dtype=np.float64)
        return class_indices(label.tolist(), spec.task.classes)
    except (BadInput, TypeError, ValueError) as wrong:
        raise MeasurementError(f"column {spec.data.label!r} holds a label that cannot be read: {wrong}") from wrong


def _blocks(spec: ReleaseSpec, frame: pd.DataFrame) -> tuple[Ints, int]:
    """Return the group of each row by the spec's block, in the order of the blocks' names or days."""
    import pandas as pd

    by_day = spec.split.block == "day"
    column = _column(frame, spec.data.time if by_day else spec.split.block)
    codes, names = pd.factorize(pd.to_datetime(column, utc=True).dt.floor("D") if by_day else column, sort=True)
    if (codes < 0).any():
        raise MeasurementError(f"{int((codes < 0).sum())} rows have no {spec.split.block}, so they are in no block")
    return group_blocks(codes.astype(np.int64), len(names))


def _known(frame: pd.DataFrame, known: pd.DataFrame, key: tuple[str, ...]) -> NDArray[np.bool_]:
    """Tell which rows have a key that the champion was fitted on, shape [n]."""
    ours, theirs = (_keys(each, key) for each in (frame, known))
    if not len(theirs):
        return np.zeros(len(ours), dtype=bool)
    for name in key:
        # 7 and "7" would never meet, every row would look unknown, and the champion would be judged on its own homework
        if ours[name].dtype.kind != theirs[name].dtype.kind:
            raise MeasurementError(
                f"key {name!r} is {ours[name].dtype} here and {theirs[name].dtype} in the champion's rows; "
                "they cannot be compared, so rows it was fitted on cannot be told apart"
            )
    met = ours.merge(theirs.drop_duplicates(), how="left", on=list(key), indicator="met")
    return (met["met"] == "both").to_numpy(dtype=bool)


def _keys(frame: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """Return the key columns in one form: times as UTC, text as objects, whole numbers as int64."""
    import pandas as pd

    columns: dict[str, pd.Series] = {}
    for name in key:
        column = _column(frame, name).reset_index(drop=True)
        if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
            columns[name] = pd.to_datetime(column, utc=True).dt.as_unit("ns")
        elif column.dtype.kind in "iu":
            columns[name] = column.astype("int64")
        elif column.dtype.kind in "fb":
            columns[name] = column
        else:
            columns[name] = column.astype(object)
    return pd.DataFrame(columns)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise MeasurementError(f"column {name!r} is not in these rows; they have {', '.join(map(str, frame.columns))}")
    return frame[name]
