"""Features in bins: the only form in which values of rows reach a page.

A bin is named by its bounds or its category, and only when enough rows share it; the ends of a range are left open, for
the least and the largest value are somebody's. Columns that requests must not log, keys and the entity are not named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.metrics import Floats, Ints
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.perturbing import column, numbers

if TYPE_CHECKING:
    import pandas as pd

BINS = 10
"""Ours: deciles; finer ones leave too few rows a bin and block on a small holdout."""
CATEGORIES = 20
"""Ours: the commonest are named, the others stand together."""
LEAST_ROWS = 20
"""Ours: a bin of fewer rows is not named, so that nobody is described by it."""
MISSING = "(missing)"
OTHER = "(other)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binned:
    """A feature in bins.

    Attributes:
        feature: Its name.
        bins: What each bin is called.
        member: Index of each row's bin, shape [n].
    """

    feature: str
    bins: tuple[str, ...]
    member: Ints


def withheld(spec: ReleaseSpec) -> frozenset[str]:
    """Return the columns whose values are not shown to anybody."""
    log = spec.serving.log
    return frozenset({*log.hashed, *log.omitted, *spec.data.key, *([spec.data.entity] if spec.data.entity else [])})


def binned(spec: ReleaseSpec, frame: pd.DataFrame) -> list[Binned]:
    """Return every feature that may be shown, in bins.

    Raises:
        MeasurementError: A feature is missing, or a numeric one holds no numbers.
    """
    hidden = withheld(spec)
    numeric = [_numeric(name, numbers(frame, name)) for name in spec.data.numeric if name not in hidden]
    return numeric + [_categorical(frame, name) for name in spec.data.categorical if name not in hidden]


def texts(frame: pd.DataFrame, name: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return a column as text, shape [n]; null is `MISSING`."""
    values = column(frame, name)
    text = values.astype(str).to_numpy(dtype=object, copy=True)
    text[values.isna().to_numpy(dtype=bool)] = MISSING
    return np.asarray(text)


def _numeric(name: str, values: Floats) -> Binned:
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if len(distinct) <= BINS:
        edges = distinct[1:]  # one bin a value
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
        edges = edges[edges > distinct[0]]
        if not len(edges):  # nine tenths hold the least value (no rain): the others are what there is to divide
            edges = np.unique(np.quantile(known[known > distinct[0]], [0.0, 1 / 3, 2 / 3]))
    member = np.searchsorted(edges, values, side="right").astype(np.int64)
    single = len(distinct) <= BINS
    names = [_bounds(edges, at, distinct if single else None) for at in range(len(edges) + 1)]
    member[~np.isfinite(values)] = len(names)
    return _tidy(name, [*names, MISSING], member)


def _bounds(edges: Floats, at: int, single: Floats | None) -> str:
    if single is not None and len(single):
        return f"{single[at]:.4g}"
    if not len(edges):
        return "(all)"
    if at == 0:
        return f"below {edges[0]:.4g}"
    return f"{edges[-1]:.4g} or more" if at == len(edges) else f"{edges[at - 1]:.4g} to {edges[at]:.4g}"


def _categorical(frame: pd.DataFrame, name: str) -> Binned:
    import pandas as pd

    codes, found = pd.factorize(column(frame, name), sort=False)
    sizes = np.bincount(codes[codes >= 0], minlength=len(found))
    order = np.argsort(-sizes, kind="stable")[:CATEGORIES]
    kept = [int(code) for code in order]
    place = np.full(len(found) + 1, len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    place[-1] = len(kept) + 1  # code -1: null
    return _tidy(name, [*(str(found[code]) for code in kept), OTHER, MISSING], place[codes])


def _tidy(name: str, bins: list[str], member: Ints) -> Binned:
    """Put bins that are too small to be named with the others, and leave out those without a row."""
    sizes = np.bincount(member, minlength=len(bins))
    names = [each if size >= LEAST_ROWS or each == MISSING else OTHER for each, size in zip(bins, sizes, strict=True)]
    there = sorted({each for each, size in zip(names, sizes, strict=True) if size}, key=names.index)
    place = np.array([there.index(each) if each in there else 0 for each in names], dtype=np.int64)
    return Binned(feature=name, bins=tuple(there), member=place[member] if len(member) else member)
