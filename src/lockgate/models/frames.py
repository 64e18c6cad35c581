"""From a frame of rows to what models take: one way, used by fitting, native scoring and the graph alike.

Numbers are float32 and a missing one is NaN; strings are text and a missing one is `MISSING`. float32 before anything
else, because the graph sees float32: a threshold fitted between two float64 values that are one float32 would make
the two answer differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.labels import class_indices
from lockgate.core.learning.windows import weights_by_age
from lockgate.core.spec import ReleaseSpec, Window
from lockgate.errors import BadInput
from lockgate.models.trainer import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labelled rows in the form that trainers take.

    Attributes:
        features: float32 numeric columns, then object columns of strings; n rows, in the spec's order.
        label: int64 class index, or float64 value for regression; [n].
        block: Index of each row's block in the order of days or names, [n]; None where it was not read, or a row has
            none.
        weight: What each row weighs in a fit, float64 [n] with a mean of 1; None: all the same.
    """

    features: pd.DataFrame
    label: NDArray[np.int64] | NDArray[np.float64]
    block: NDArray[np.int64] | None = None
    weight: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.label)


def numeric_matrix(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float32]:
    """Return float32 [n, k]; a null is NaN.

    Raises:
        BadInput: A column is absent, or holds something that is no number.
    """
    matrix = np.empty((len(frame), len(columns)), dtype=np.float32)
    for at, name in enumerate(columns):
        try:
            matrix[:, at] = _column(frame, name).to_numpy(dtype=np.float32, na_value=np.nan)
        except (TypeError, ValueError) as wrong:
            raise BadInput(f"column {name!r} must hold numbers: {wrong}", column=name) from wrong
    return matrix


def graph_matrix(frame: pd.DataFrame, form: GraphForm) -> NDArray[np.float32]:
    """Return float32 [n, k + coded]: the numbers, then each coded string column as its code, NaN for what has none."""
    numbers = numeric_matrix(frame, form.numeric_columns)
    if not form.coded:
        return numbers
    strings = string_matrix(frame, [column.name for column in form.coded])
    codes = np.empty(strings.shape, dtype=np.float32)
    for at, column in enumerate(form.coded):
        known = {value: float(code) for code, value in enumerate(column.values) if value != form.missing_string}
        codes[:, at] = pd.Series(strings[:, at], dtype=object).map(known).to_numpy(dtype=np.float32)
    return np.hstack([numbers, codes])


def string_matrix(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.object_]:
    """Return strings as an object array [n, c]; a null is `MISSING`, anything else its text."""
    matrix = np.empty((len(frame), len(columns)), dtype=object)
    for at, name in enumerate(columns):
        column = _column(frame, name)
        values = column.astype(object).to_numpy(copy=True)
        absent = column.isna().to_numpy(dtype=bool)
        values[absent] = MISSING
        if not isinstance(column.dtype, pd.StringDtype):
            values = np.array([value if type(value) is str else str(value) for value in values], dtype=object)
        matrix[:, at] = values
    return matrix


def native_frame(frame: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Return the frame that fitted estimators take: float32 columns, then object columns of strings."""
    numbers = pd.DataFrame(numeric_matrix(frame, numeric), columns=list(numeric))
    strings = pd.DataFrame(string_matrix(frame, categorical), columns=list(categorical), dtype=object)
    return pd.concat([numbers, strings], axis=1)


def labelled_rows(frame: pd.DataFrame, spec: ReleaseSpec) -> Rows:
    """Return the rows that have a label.

    Raises:
        BadInput: A column is absent or of the wrong type, or a label is none of the classes.
    """
    label = _column(frame, spec.data.label)
    there = label.notna().to_numpy(dtype=bool)
    values = label[there]
    if spec.task.kind is TaskKind.REGRESSION:
        target: NDArray[np.int64] | NDArray[np.float64] = values.to_numpy(dtype=np.float64)
    else:
        target = class_indices(values.tolist(), spec.task.classes)
    features = native_frame(frame[there], spec.data.numeric, spec.data.categorical)
    block = block_codes(frame[there], spec) if block_column(spec) in frame.columns else None
    return Rows(features=features, label=target, block=block, weight=_weights(frame[there], spec))


def columns_read(spec: ReleaseSpec) -> list[str]:
    """Return the columns that `labelled_rows` reads, each once."""
    times = [spec.data.time] if spec.retraining.window is Window.WEIGHTED else []
    return list(dict.fromkeys([*spec.data.features, spec.data.label, block_column(spec), *times]))


def _weights(frame: pd.DataFrame, spec: ReleaseSpec) -> NDArray[np.float64] | None:
    """Return what each row weighs by its age, where the spec asks for that and the times were read."""
    half_life_days = spec.retraining.half_life_days
    if spec.retraining.window is not Window.WEIGHTED or half_life_days is None or spec.data.time not in frame.columns:
        return None
    times = pd.to_datetime(frame[spec.data.time], utc=True)
    age_days = np.asarray((times.max() - times) / pd.Timedelta(days=1), dtype=np.float64)
    return weights_by_age(age_days, float(half_life_days))


def block_column(spec: ReleaseSpec) -> str:
    """Return the column that says which block a row is in."""
    return spec.data.time if spec.split.block == "day" else spec.split.block


def block_codes(frame: pd.DataFrame, spec: ReleaseSpec) -> NDArray[np.int64] | None:
    """Return the block of each row, int64 [n], numbered in the order of days or names; None if a row is in none."""
    column = _column(frame, block_column(spec))
    by_day = spec.split.block == "day"
    codes, _ = pd.factorize(pd.to_datetime(column, utc=True).dt.floor("D") if by_day else column, sort=True)
    return None if (codes < 0).any() else np.asarray(codes, dtype=np.int64)


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame.columns:
        raise BadInput(f"column {name!r} is missing; the rows have {', '.join(map(str, frame.columns))}", column=name)
    return frame[name]
