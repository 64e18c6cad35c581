"""What the spec expects of changes to one column: that they do not matter, or in which direction they do.

Each expectation is tried on rows of the holdout that it speaks of, at most `drawn.ROWS` of them, drawn with the
release's seed: for an invariance those that hold one of its values (a Boeing asked about as an Airbus), for a direction
those where the column is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.metrics import Floats
from lockgate.core.robustness import Blocks, share
from lockgate.core.spec import DirectionalSection, Effect, InvariantSection, ReleaseSpec, Scalar
from lockgate.stages.drawn import ROWS, answered, judged_rows
from lockgate.stages.examination import Examination
from lockgate.stages.perturbing import column, numbers

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.core.metrics import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """Rows an expectation was tried on: by how much each answer went wrong at worst, in the answer's own unit."""

    wrong: Floats
    blocks: Blocks


def measure_expectations(examination: Examination, confidence: float) -> Iterator[dict[str, Json]]:
    """Yield the measurement of every expectation that the spec declares.

    Raises:
        MeasurementError: A column that it names is missing.
    """
    declared = examination.spec.robustness
    for invariant in declared.invariant:
        tried = _vary(examination, invariant)
        yield _told("invariant", invariant, _asked_invariant(invariant), tried, confidence)
    for directional in declared.directional:
        tried = _step(examination, directional)
        yield _told("directional", directional, _asked_directional(directional), tried, confidence)


def _told(
    kind: str, asked: InvariantSection | DirectionalSection, words: str, tried: _Tried, confidence: float
) -> dict[str, Json]:
    broken = ~(tried.wrong <= asked.tolerance)  # no answer breaks it too
    finite = tried.wrong[np.isfinite(tried.wrong)]
    return {
        "kind": kind,
        "column": asked.column,
        "asked": words,
        "n": len(broken),
        "violations": share(broken, tried.blocks, confidence).to_json(),
        "largest": rounded(float(finite.max())) if len(finite) else None,
        "tolerance": asked.tolerance,
        "rows_fraction": asked.rows_fraction,
    }


def _asked_invariant(asked: InvariantSection) -> str:
    among = ", ".join(_word(value) for value in asked.values)  # noqa: PD011 - a field of the spec
    return f"{asked.column} among {among} does not change the answer by more than {asked.tolerance:g}"


def _asked_directional(asked: DirectionalSection) -> str:
    moves = "lower" if asked.answer is Effect.NOT_LOWER else "raise"
    of = "the answer" if asked.of is None else f"the chance of {asked.of}"
    return f"{asked.column} {asked.step:+g} does not {moves} {of} by more than {asked.tolerance:g}"


def _word(value: Scalar) -> str:
    return "null" if value is None else str(value)


def _vary(examination: Examination, asked: InvariantSection) -> _Tried:
    """Ask about rows that hold one of the values as if they held each of the others."""
    values = asked.values  # noqa: PD011 - a field of the spec, not of a frame
    whole = column(judged_rows(examination).frame, asked.column)
    known = [value for value in values if value is not None]
    speaks = whole.isin(known).to_numpy(dtype=bool)
    if None in values:
        speaks |= whole.isna().to_numpy(dtype=bool)
    frame, before, blocks = _rows(examination, speaks)
    worst = np.zeros(len(frame))
    for value in values if len(frame) else ():
        after = answered(examination, examination.ask, _set(frame, asked.column, value))
        worst = np.maximum(worst, np.inf if after is None else _apart(before, after))
    return _Tried(wrong=worst, blocks=blocks)


def _step(examination: Examination, asked: DirectionalSection) -> _Tried:
    """Ask about rows after a step, and measure how far the answer went the wrong way."""
    whole = numbers(judged_rows(examination).frame, asked.column)
    frame, before, blocks = _rows(examination, np.isfinite(whole))
    if not len(frame):
        return _Tried(wrong=np.zeros(0), blocks=blocks)
    stepped = frame.assign(**{asked.column: numbers(frame, asked.column) + asked.step})
    after = answered(examination, examination.ask, stepped)
    if after is None:
        return _Tried(wrong=np.full(len(frame), np.inf), blocks=blocks)
    rose = _of(examination.spec, asked, after) - _of(examination.spec, asked, before)
    wrong = -rose if asked.answer is Effect.NOT_LOWER else rose
    return _Tried(wrong=np.where(np.isnan(wrong), np.inf, np.maximum(wrong, 0.0)), blocks=blocks)


def _of(spec: ReleaseSpec, asked: DirectionalSection, answers: Floats) -> Floats:
    """Return the answer that a direction speaks of, shape [n]."""
    if spec.task.kind is TaskKind.MULTICLASS and asked.of is not None:
        return answers[:, spec.task.classes.index(asked.of)]
    return answers


def _apart(before: Floats, after: Floats) -> Floats:
    moved = np.abs(after - before)
    worst = moved.max(axis=1) if moved.ndim == 2 else moved
    return np.where(np.isnan(worst), np.inf, worst)


def _set(frame: pd.DataFrame, name: str, value: Scalar) -> pd.DataFrame:
    """Return the rows with one value throughout a column, null in the column's own type."""
    if value is None:
        return frame.assign(**{name: frame[name].where(np.zeros(len(frame), dtype=bool))})
    return frame.assign(**{name: value})


def _rows(
    examination: Examination, speaks: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> tuple[pd.DataFrame, Floats, Blocks]:
    """Return the rows that are tried, with the answers they have and their blocks."""
    sample = judged_rows(examination)
    picked: Ints = np.flatnonzero(speaks)
    if len(picked) > ROWS:
        rng = np.random.default_rng([examination.spec.training.seed, 3])
        picked = np.sort(rng.choice(picked, size=ROWS, replace=False))
    blocks = Blocks(of=sample.block[picked], count=sample.blocks)
    return sample.frame.iloc[picked].reset_index(drop=True), sample.score[picked], blocks
