"""Rows as they arrive on a bad day: without a value, with a string nobody saw, measured with error, far out of range.

Every change is seeded and touches features only; labels, keys and blocks stay, so that losses can be compared row by
row. Frames are made one at a time: only one changed copy is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.robustness import noise_scale
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import MeasurementError

if TYPE_CHECKING:
    import pandas as pd

UNSEEN = "never seen before"
"""Ours: a string that no source writes; a family that takes it for a value it knows is wrong."""
NULL_FRACTION = 0.1
"""Ours: a tenth of the cells missing at once is a source that partly failed, short of one that is gone."""
NOISE_FRACTION = 0.01
"""Ours, where the spec declares no error: a hundredth of a column's spread is within what instruments promise."""
TINY_FRACTION = 0.001
"""Ours: a thousandth of a column's spread is rounding, another unit's last digit, another reading of the same thing."""
BEYOND = 10.0
"""Ours: times a column's range outside it; a wrong unit or a missing decimal point gets there."""
EXTREME_ROWS = 10_000
"""Ours: rows asked for all extremes together, a column's share of them each."""


class Kind(StrEnum):
    """What was done to the rows."""

    NULL = "null"
    NULLS = "tenth_null"
    UNSEEN = "unseen_category"
    NOISE = "noise"
    TINY = "tiny_change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbed:
    """Changed rows.

    Attributes:
        kind: What was done.
        column: To which column; None: to several.
        expected: Whether it can be expected to happen: the holdout has such nulls, the spec declares such an error,
            new strings always come.
        frame: The rows, changed.
    """

    kind: Kind
    column: str | None
    expected: bool
    frame: pd.DataFrame


def perturbed(spec: ReleaseSpec, rows: pd.DataFrame, nullable: Sequence[str], seed: int) -> Iterator[Perturbed]:
    """Yield the rows changed in every way that a model is asked to withstand.

    Args:
        spec: Names the features and their measurement errors.
        rows: Rows with all features.
        nullable: Features that were null in some row of the holdout.
        seed: Of the random changes.

    Raises:
        MeasurementError: A feature is missing.
    """
    for name in spec.data.features:
        yield Perturbed(kind=Kind.NULL, column=name, expected=name in nullable, frame=nulled(rows, name))
    rng = np.random.default_rng([seed, 1])
    for columns, expected in ((tuple(nullable), True), (spec.data.features, False)):
        if columns:
            yield Perturbed(kind=Kind.NULLS, column=None, expected=expected, frame=partly_null(rows, columns, rng))
    for name in spec.data.categorical:
        yield Perturbed(kind=Kind.UNSEEN, column=name, expected=True, frame=rows.assign(**{name: UNSEEN}))
    yield from _noisy(spec, rows, np.random.default_rng([seed, 2]))


def _noisy(spec: ReleaseSpec, rows: pd.DataFrame, rng: np.random.Generator) -> Iterator[Perturbed]:
    for name, error in spec.robustness.noise.items():
        frame = shaken(rows, {name: error}, rng)
        yield Perturbed(kind=Kind.NOISE, column=name, expected=True, frame=frame)
    scales = {name: noise_scale(numbers(rows, name), NOISE_FRACTION) for name in spec.data.numeric}
    together = {name: spec.robustness.noise.get(name, scale) for name, scale in scales.items()}
    yield Perturbed(kind=Kind.NOISE, column=None, expected=False, frame=shaken(rows, together, rng))
    tiny = {name: noise_scale(numbers(rows, name), TINY_FRACTION) for name in spec.data.numeric}
    yield Perturbed(kind=Kind.TINY, column=None, expected=True, frame=shaken(rows, tiny, rng))


def nulled(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows with every value of one column missing, of the type it had."""
    return rows.assign(**{name: column(rows, name).where(np.zeros(len(rows), dtype=bool))})


def partly_null(rows: pd.DataFrame, columns: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with `NULL_FRACTION` of the cells of some columns missing, each on its own."""
    changed = {name: column(rows, name).mask(rng.random(len(rows)) < NULL_FRACTION) for name in columns}
    return rows.assign(**changed)


def shaken(rows: pd.DataFrame, scales: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with normal noise of these standard deviations added; null stays null."""
    changed = {
        name: numbers(rows, name) + rng.normal(0.0, scale, len(rows)) for name, scale in scales.items() if scale > 0
    }
    return rows.assign(**changed)


def extremes(spec: ReleaseSpec, whole: pd.DataFrame, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield for every numeric column rows at its least and largest value, and far beyond both.

    Args:
        spec: Names the columns.
        whole: All rows of the holdout; a column's range is theirs.
        rows: Rows to change; the first few of them are.
    """
    share = max(1, EXTREME_ROWS // max(1, 4 * len(spec.data.numeric)))
    few = rows.iloc[:share]
    for name in spec.data.numeric:
        known = numbers(whole, name)
        known = known[np.isfinite(known)]
        if not len(known):
            continue
        low, high = float(known.min()), float(known.max())
        reach = BEYOND * max(high - low, abs(high), abs(low), 1.0)
        for value in (low, high, low - reach, high + reach):
            yield name, few.assign(**{name: value})


def numbers(rows: pd.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return a numeric column as float64 [n]; null is NaN."""
    try:
        return column(rows, name).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as wrong:
        raise MeasurementError(f"feature {name!r} must hold numbers: {wrong}") from wrong


def column(rows: pd.DataFrame, name: str) -> pd.Series:
    """Return a column.

    Raises:
        MeasurementError: There is none of that name.
    """
    if name not in rows.columns:
        raise MeasurementError(f"feature {name!r} is not in these rows; they have {', '.join(map(str, rows.columns))}")
    return rows[name]
