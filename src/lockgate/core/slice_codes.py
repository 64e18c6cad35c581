"""Columns as slices: ranges of numbers, single values, and a code for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import isqrt

import numpy as np

from lockgate.core.metrics import Floats, Ints
from lockgate.core.slice_scan import Coded

MISSING = "(missing)"


def bins_for(rows: int, least: int, most: int = 8) -> int:
    """Return into how many ranges to cut a number so that a pair of two still holds `least` rows on average.

    Args:
        rows: Rows to share out.
        least: Rows a pair should hold.
        most: Ours: with eight ranges the outermost holds an eighth; more of them add tests faster than they add shape.

    >>> bins_for(50_000, 100), bins_for(2_500, 100), bins_for(200, 100)
    (8, 5, 2)
    """
    return min(most, max(2, isqrt(rows // least)))


def coded_ranges(name: str, values: Floats, edges: Sequence[float]) -> Coded:
    """Return the ranges below, between and from the edges, and one more slice for what is missing.

    Args:
        name: The column.
        values: Shape [n]; NaN is missing.
        edges: Ascending; a value at an edge belongs to the range that starts there.

    >>> found = coded_ranges("age", np.array([17.0, 18.0, np.nan]), [18.0, 65.0])
    >>> found.labels, found.codes.tolist()
    (('<18', '[18, 65)', '>=65', '(missing)'), [0, 1, 3])
    """
    shown = [f"{edge:.6g}" for edge in edges]
    between = [f"[{low}, {high})" for low, high in pairwise(shown)]
    codes = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right")
    codes = np.where(np.isnan(values), len(edges) + 1, codes).astype(np.int64)
    return Coded(name=name, codes=codes, labels=(f"<{shown[0]}", *between, f">={shown[-1]}", MISSING))


def coded_numbers(name: str, values: Floats, bins: int) -> Coded:
    """Return a number as so many ranges of about as many rows each, or as its values where there are no more of them.

    Args:
        name: The column.
        values: Shape [n]; NaN is missing.
        bins: At least 2. Ties can make it fewer.

    >>> coded_numbers("x", np.array([1.0, 2.0, 3.0, 4.0]), 2).labels
    ('<3', '>=3', '(missing)')
    >>> coded_numbers("dow", np.array([1.0, 0.0, np.nan, 1.0]), 4).labels
    ('0', '1', '(missing)')
    """
    known = np.sort(values[~np.isnan(values)])
    starts = np.flatnonzero(np.diff(known)) + 1
    if len(starts) < bins:
        distinct = known[np.concatenate([[0], starts])] if len(known) else known
        codes = np.searchsorted(distinct, values)
        codes = np.where(np.isnan(values), len(distinct), codes).astype(np.int64)
        return Coded(name=name, codes=codes, labels=(*(f"{value:.6g}" for value in distinct), MISSING))
    at = known[np.arange(1, bins) * len(known) // bins]
    return coded_ranges(name, values, np.unique(at[at > known[0]]).tolist() or [float(known[starts[0]])])


def coded_values(name: str, codes: Ints, labels: Sequence[str], kept: Sequence[int]) -> Coded:
    """Return some values of a column as slices, in the order given; rows of another value are in none.

    Args:
        name: The column.
        codes: Value of each row, 0..len(labels)-1, shape [n]; -1 stays -1.
        labels: What the values are called.
        kept: Which of them are slices.

    >>> coded_values("city", np.array([0, 1, 2]), ("oslo", "rome", "lima"), [2, 0]).codes.tolist()
    [1, -1, 0]
    """
    place = np.full(len(labels) + 1, -1, dtype=np.int64)  # the last one answers code -1
    place[list(kept)] = np.arange(len(kept))
    return Coded(name=name, codes=place[codes], labels=tuple(labels[k] for k in kept))


def crossed(first: Coded, second: Coded) -> Coded:
    """Return every pair of a slice of one column with a slice of another, as `first=a & second=b` without `first=`.

    >>> one = Coded(name="city", codes=np.array([0, 1]), labels=("oslo", "rome"))
    >>> both = crossed(one, Coded(name="age", codes=np.array([-1, 0]), labels=("<18",)))
    >>> both.labels, both.codes.tolist()
    (('oslo & age=<18', 'rome & age=<18'), [-1, 1])
    """
    labels = tuple(f"{one} & {second.name}={other}" for one in first.labels for other in second.labels)
    inside = (first.codes >= 0) & (second.codes >= 0)
    codes = np.where(inside, first.codes * len(second.labels) + second.codes, -1)
    return Coded(name=first.name, codes=codes, labels=labels)
