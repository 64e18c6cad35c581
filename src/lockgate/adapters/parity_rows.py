"""Makes the rows on which a wrong conversion shows: around splits, missing, never seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import GraphForm

_BOUNDARY_ROWS = 3_000  # ours: 0.1 s of scoring; a wrong scaler shows in one row of three
_MISSING_ROWS = 500
_UNSEEN = ("never seen in training", "", " ", "__other__", "é中\U0001f6eb", "0", "nan", "None")


def boundary_rows(
    frame: pd.DataFrame, form: GraphForm, splits: Mapping[str, NDArray[np.float32]], seed: int
) -> pd.DataFrame:
    """Return real rows in which one number is a split, or the float32 just below or above it.

    A column without splits (a linear model has none) is taken at its own values instead.

    Args:
        frame: Rows to start from; not empty.
        form: Names the columns.
        splits: Values by column.
        seed: Draws the rows to start from.
    """
    columns = form.numeric_columns
    if not columns or frame.empty:
        return frame.iloc[:0]
    rng = np.random.default_rng(seed)
    budget = max(1, _BOUNDARY_ROWS // len(columns) // 3)
    made = []
    for name in columns:
        values = _spread(splits.get(name, _own_values(frame, name)), budget)
        below, above = (np.nextafter(values, np.float32(limit)) for limit in (-np.inf, np.inf))
        values = np.concatenate([values, below, above])
        values = values[np.isfinite(values)]
        rows = frame.iloc[rng.integers(len(frame), size=len(values))].copy()
        rows[name] = values
        made.append(rows)
    return pd.concat(made, ignore_index=True)


def missing_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> pd.DataFrame:
    """Return real rows in which one column is missing, each column in turn, and rows in which all are."""
    columns = form.numeric_columns + form.categorical
    if frame.empty:
        return frame
    rng = np.random.default_rng(seed)
    each = max(1, _MISSING_ROWS // (len(columns) + 1))
    made = []
    for names in (*((name,) for name in columns), columns):
        rows = frame.iloc[rng.integers(len(frame), size=each)].copy()
        for name in names:
            rows[name] = np.float32(np.nan) if name in form.numeric_columns else None
        made.append(rows)
    return pd.concat(made, ignore_index=True)


def unseen_rows(frame: pd.DataFrame, form: GraphForm, seed: int) -> pd.DataFrame:
    """Return real rows in which one string, each column in turn, is one that training never saw.

    Among them values of the other columns: a graph that shares one vocabulary would take them for its own.
    """
    if not form.categorical or frame.empty:
        return frame.iloc[:0]
    rng = np.random.default_rng(seed)
    made = []
    for name in form.categorical:
        others = [str(frame[other].iloc[0]) for other in form.categorical if other != name]
        values = [*_UNSEEN, *others] * 3
        rows = frame.iloc[rng.integers(len(frame), size=len(values))].copy()
        rows[name] = values
        made.append(rows)
    return pd.concat(made, ignore_index=True)


def _own_values(frame: pd.DataFrame, name: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = np.unique(frame[name].to_numpy(dtype=np.float32, na_value=np.nan))
    finite: NDArray[np.float32] = values[np.isfinite(values)]
    return finite


def _spread(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return at most so many of some ascending values, evenly spread, both ends included."""
    if len(values) <= most:
        return values.astype(np.float32)
    at = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return np.asarray(values[at], dtype=np.float32)
