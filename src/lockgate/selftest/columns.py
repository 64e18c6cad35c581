"""Which columns and rows a fault takes, for any spec; and why it cannot be made where there are none."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.contract_diff import ChangeKind
from lockgate.core.gates.schema import AcceptedChange
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.selftest.fault import SEED

if TYPE_CHECKING:
    import pandas as pd


def draw(part: str = "") -> np.random.Generator:
    """Return a generator that draws the same for the same part, every time."""
    return np.random.default_rng([SEED, *part.encode()])


def some(names: tuple[str, ...], share: float) -> list[str]:
    """Return so large a share of names, at least one, in the spec's order."""
    return list(names[: max(1, math.ceil(len(names) * share - 1e-9))])


def chosen(rows: int, share: float, part: str = "") -> NDArray[np.bool_]:
    """Return a mask of `rows` with so large a share set, drawn."""
    mask = np.zeros(rows, dtype=np.bool_)
    mask[draw(part).permutation(rows)[: round(rows * share)]] = True
    return mask


def with_features(
    spec: ReleaseSpec, *, numeric: tuple[str, ...] = (), categorical: tuple[str, ...] = ()
) -> ReleaseSpec:
    """Return the spec with more features, which somebody accepted as an addition to the champion's contract."""
    data = replace(
        spec.data, numeric=(*spec.data.numeric, *numeric), categorical=(*spec.data.categorical, *categorical)
    )
    added = tuple(AcceptedChange(column=name, kind=ChangeKind.ADDED) for name in (*numeric, *categorical))
    schema = spec.gates["schema"]
    gates = {**spec.gates, "schema": replace(schema, accept=(*schema.accept, *added))}
    return replace(spec, data=data, gates=gates)


def is_regression(spec: ReleaseSpec) -> bool:
    """Tell whether values are predicted."""
    return spec.task.kind is TaskKind.REGRESSION


def told_by_label(rows: pd.DataFrame, spec: ReleaseSpec) -> NDArray[np.float64]:
    """Return the label as a number of mean 0 and deviation 1: what a column known after the event holds."""
    label = rows[spec.data.label]
    if is_regression(spec):
        values = label.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = label.map({name: float(at) for at, name in enumerate(spec.task.classes)}).to_numpy(dtype=np.float64)
    spread = float(np.nanstd(values)) or 1.0
    told: NDArray[np.float64] = (values - np.nanmean(values)) / spread
    return np.nan_to_num(told)


def rarest(rows: pd.DataFrame, spec: ReleaseSpec) -> str:
    """Return the class with the fewest rows."""
    counts = rows[spec.data.label].value_counts()
    return min(spec.task.classes, key=lambda name: int(counts.get(name, 0)))


def largest_value(rows: pd.DataFrame, column: str) -> object:
    """Return the most frequent value of a column."""
    return rows[column].value_counts().index[0]


def without(share_of: str, count: int, least: int) -> str | None:
    """Return why there is too little of something, or None."""
    return None if count >= least else f"the spec has {count} {share_of}; it takes {least}"


def numbers(spec: ReleaseSpec) -> str | None:
    """Need one numeric feature."""
    return without("numeric features", len(spec.data.numeric), 1)


def two_numbers(spec: ReleaseSpec) -> str | None:
    """Need two numeric features."""
    return without("numeric features", len(spec.data.numeric), 2)


def strings(spec: ReleaseSpec) -> str | None:
    """Need one string feature."""
    return without("categorical features", len(spec.data.categorical), 1)


def classes(spec: ReleaseSpec) -> str | None:
    """Need classes."""
    return "a regression has no classes" if is_regression(spec) else None


def slices(spec: ReleaseSpec) -> str | None:
    """Need a declared slice."""
    return without("declared slices", len(spec.slices), 1)


def groups(spec: ReleaseSpec) -> str | None:
    """Need a sensitive column."""
    return without("sensitive columns", len(spec.sensitive), 1)


def by_time(spec: ReleaseSpec) -> str | None:
    """Need a split by time."""
    return None if spec.split.method is SplitMethod.TIME else f"the split is by {spec.split.method.value}, not by time"


def refused_duplicates(spec: ReleaseSpec) -> str | None:
    """Need duplicates to be refused."""
    return None if spec.data.duplicates == "refuse" else "the spec keeps the last of rows with one key"
