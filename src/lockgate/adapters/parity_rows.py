"""Makes the rows on which a wrong conversion shows: around splits, missing, never seen, far out, one column at a time.

Every maker starts from real rows and changes one column in each, so that what is wrong is wrong for that column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import GraphForm

Splits = Mapping[str, NDArray[np.float32]]
_BOUNDARY_ROWS = 12_000  # ours: 0.3 s of scoring; every split of a small model, an even choice of a large one's
_MISSING_ROWS = 500
_SWEEP_POINTS = 33  # ours: the quantiles a reader would plot, and what lies around them
_SWEEP_STARTS = 3
_SWEEP_STRINGS = 100  # ours: of a column with more values an even choice; the holdout holds the rest
_UNSEEN = ("never seen in training", "", " ", "__other__", "é中\U0001f6eb", "0", "nan", "None", "NULL", "x" * 1000)
_FAR = (1e3, 1e6, 1e9, 1e12)  # the largest as `core.probes` asks the server: its square is still a float32
_TINY = (0.0, -0.0, 1e-12, -1e-12, 1.1754944e-38, 1e-45)  # the last two: smallest normal and subnormal float32


@dataclass(frozen=True, slots=True)
class Family:
    """Rows of one kind.

    Attributes:
        rows: A frame that has every feature.
        changed: Which column of each row was changed; "" where none, or all, were.
    """

    rows: pd.DataFrame
    changed: tuple[str, ...]


def boundary_rows(frame: pd.DataFrame, form: GraphForm, splits: Splits, seed: int) -> Family:
    """Return real rows in which one number is a split, the float32 just below or above it, or a double in between.

    A column without splits (a linear model has none) is taken at its own values instead. The doubles are a third of a
    step off the split: both sides must round them to float32 before they compare, as the wire's numbers are doubles.

    Args:
        frame: Rows to start from.
        form: Names the columns.
        splits: Values by column.
        seed: Draws the rows to start from.
    """
    columns = form.numeric_columns
    budget = max(1, _BOUNDARY_ROWS // max(len(columns), 1) // 5)
    made = _Maker(frame, seed)
    for name in columns:
        at = _spread(splits.get(name, own_values(frame, name)), budget)
        with np.errstate(over="ignore"):  # what is infinite is left out below
            below, above = (np.nextafter(at, np.float32(limit)) for limit in (-np.inf, np.inf))
        exact, step = at.astype(np.float64), above.astype(np.float64) - at.astype(np.float64)
        values = np.concatenate([exact, below, above, exact + step / 3, exact - step / 3])
        made.add(name, values[np.isfinite(values)])
    return made.family()


def missing_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> Family:
    """Return real rows in which one column is missing, each column in turn, and rows in which all are."""
    columns = form.numeric_columns + form.categorical
    each = max(1, _MISSING_ROWS // (len(columns) + 1))
    made = _Maker(frame, seed)
    for name in columns:
        made.add(name, _nothing(name, form, each))
    made.add_all({name: _nothing(name, form, each) for name in columns}, each)
    return made.family()


def unseen_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> Family:
    """Return real rows in which one string, each column in turn, is one that training never saw.

    Among them values of the other columns (a graph that shares one vocabulary would take them for its own), the empty
    string, and known values in another case or with a space: what a careless encoder makes equal.
    """
    made = _Maker(frame, seed)
    for name in form.categorical:
        others = [str(frame[other].iloc[0]) for other in form.categorical if other != name and len(frame)]
        known = own_strings(frame, name)[:3]
        similar = [text for each in known for text in (f"{each} ", f" {each}", each.swapcase(), each * 2)]
        made.add(name, [*_UNSEEN, *others, *similar] * 2)
    return made.family()


def extreme_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> Family:
    """Return real rows in which one number is far outside what it ever was, or as near to zero as float32 goes."""
    made = _Maker(frame, seed)
    for name in form.numeric_columns:
        own = own_values(frame, name)
        least, most = (float(own[0]), float(own[-1])) if len(own) else (0.0, 1.0)
        around = (least, most, least - 1, most + 1, 2 * least - most, 2 * most - least)
        made.add(name, np.array([*around, *_TINY, *_FAR, *(-far for far in _FAR)] * 2))
    return made.family()


def infinite_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> Family:
    """Return real rows in which one number is infinite, or the largest float32."""
    largest = float(np.finfo(np.float32).max)
    made = _Maker(frame, seed)
    for name in form.numeric_columns:
        made.add(name, np.array([np.inf, -np.inf, largest, -largest] * 2))
    return made.family()


def sweep_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> Family:
    """Return a few real rows with each column in turn led through all its values, null included."""
    made = _Maker(frame, seed, starts=_SWEEP_STARTS)
    for name in form.numeric_columns:
        own = own_values(frame, name)
        points = np.quantile(own, np.linspace(0, 1, _SWEEP_POINTS)) if len(own) else np.array([0.0])
        made.sweep(name, [*points.tolist(), np.nan])
    for name in form.categorical:
        known = own_strings(frame, name)
        step = max(1, len(known) // _SWEEP_STRINGS)
        made.sweep(name, [*known[::step], _UNSEEN[0], None])
    return made.family()


def own_values(frame: pd.DataFrame, name: str) -> NDArray[np.float32]:
    """Return a number column's distinct finite values, ascending."""
    values: NDArray[np.float32] = np.unique(frame[name].to_numpy(dtype=np.float32, na_value=np.nan))
    finite: NDArray[np.float32] = values[np.isfinite(values)]
    return finite


def own_strings(frame: pd.DataFrame, name: str) -> list[str]:
    """Return a string column's distinct values, ascending."""
    return sorted({str(value) for value in frame[name].dropna().unique()})


class _Maker:
    """Collects altered copies of real rows."""

    def __init__(self, frame: pd.DataFrame, seed: int, starts: int = 0) -> None:
        self._frame = frame
        self._rng = np.random.default_rng(seed)
        few = min(starts, len(frame))
        self._starts = self._rng.choice(len(frame), size=few, replace=False) if few else np.empty(0, dtype=np.int64)
        self._made: list[pd.DataFrame] = []
        self._changed: list[str] = []

    def add(self, name: str, values: Sequence[Any] | NDArray[Any]) -> None:
        """Add one row a value, each from a row drawn anew."""
        self.add_all({name: values}, len(values), name)

    def add_all(self, columns: Mapping[str, Sequence[Any] | NDArray[Any]], count: int, changed: str = "") -> None:
        """Add so many drawn rows with these columns replaced."""
        if self._frame.empty or not count:
            return
        rows = self._frame.iloc[self._rng.integers(len(self._frame), size=count)].copy()
        self._keep(rows, columns, changed)

    def sweep(self, name: str, values: Sequence[Any]) -> None:
        """Add every value to each of the starting rows."""
        if len(self._starts):
            rows = self._frame.iloc[np.repeat(self._starts, len(values))].copy()
            self._keep(rows, {name: list(values) * len(self._starts)}, name)

    def _keep(self, rows: pd.DataFrame, columns: Mapping[str, Sequence[Any] | NDArray[Any]], changed: str) -> None:
        for name, values in columns.items():
            rows[name] = values
        self._made.append(rows)
        self._changed += [changed] * len(rows)

    def family(self) -> Family:
        """Return what was added."""
        rows = pd.concat(self._made, ignore_index=True) if self._made else self._frame.iloc[:0]
        return Family(rows, tuple(self._changed))


def _nothing(name: str, form: GraphForm, count: int) -> list[float | None]:
    return [float("nan") if name in form.numeric_columns else None] * count


def _spread(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return at most so many of some ascending values, evenly spread, both ends included."""
    if len(values) <= most:
        return values.astype(np.float32)
    at = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return np.asarray(values[at], dtype=np.float32)
