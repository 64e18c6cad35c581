"""How far a column has moved from where it was: frozen bins, shares in them, and the size of the shift.

The bins are frozen when a model is fitted (`reference_profile`, a part of its bundle) and never drawn again, so that
months later the same edges are compared. The size of a shift decides; its p value and the size that mere chance gives
stand beside it, because with 25,000 rows everything is significant and with 200 nothing is sure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lockgate.core.columns import Coded, Column, coded
from lockgate.core.ids import Json
from lockgate.core.shift import adjusted, homogeneity, noise_floor

SCHEMA_VERSION = 1
BINS = 10
"""Deciles: the convention that PSI's action levels (0.1 look, 0.25 act) come from (Siddiqi, Credit Risk Scorecards)."""
MAX_CATEGORIES = 50
"""The commonest values are kept apart and the rest is one bin: rare values would only add noise."""
EPSILON = 1e-4
"""Stands for an empty bin's share, where the logarithm has no value; PSI can then not exceed about 9.2 a feature."""


def reference_profile(
    columns: Mapping[str, Column], numeric: Sequence[str], categorical: Sequence[str]
) -> dict[str, Json]:
    """Freeze every column's bins and the share of rows in each.

    Args:
        columns: Values by column, each of shape (n,). NaN (numbers) and None or NaN (strings) are missing, and have a
            bin of their own.
        numeric: Columns cut at their deciles; equal deciles are merged.
        categorical: Columns counted by value, the `MAX_CATEGORIES` commonest apart.

    Returns:
        JSON: `{"schema_version", "rows", "numeric": {column: {"edges", "shares", "mean", "sd"}}, "categorical":
        {column: {"values", "shares"}}}`. Shares sum to 1: of a number's bins (`edge_bins`) in order, then missing; of
        a category's values in order, then all others, then missing. Mean and standard deviation are of the finite
        values, None when there are none. An edge that is infinite is written as `Infinity` by `ids.to_json`.
    """
    rows = len(next(iter(columns.values()))) if columns else 0
    return {
        "schema_version": SCHEMA_VERSION,
        "rows": rows,
        "numeric": {name: _numeric_profile(columns[name]) for name in numeric},
        "categorical": {name: _categorical_profile(columns[name]) for name in categorical},
    }


def psi(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Return the population stability index, the sum of (a - e) ln(a / e) over bins.

    Args:
        expected: Shares in the reference, shape (bins,).
        actual: Shares now, shape (bins,). Shares below `EPSILON` count as `EPSILON`.

    >>> round(psi(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)  # 0.25 ln 2 + 0.25 ln 1.5
    0.2747
    """
    a, e = np.maximum(actual, EPSILON), np.maximum(expected, EPSILON)
    return float(np.sum((a - e) * np.log(a / e)))


def total_variation(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> float:
    """Return half the sum of |a - e|: the share of rows that would have to change bin, from 0 to 1.

    >>> total_variation(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    0.25
    """
    return float(np.abs(actual - expected).sum() / 2)


def drift(profile: Mapping[str, Json], columns: Mapping[str, Column]) -> dict[str, Json]:
    """Compare columns with a reference profile.

    Args:
        profile: What `reference_profile` returned.
        columns: Values now, by column, each of shape (n,).

    Returns:
        By column: `psi`, `total_variation`, `n` (rows now), `missing` (share now), for numbers `shift_sd` (difference
        of means in reference standard deviations, None where it has none) and for strings `others` (share of values
        that the reference did not keep apart). Beside the sizes: `noise_floor` (the PSI that chance alone stays below
        19 times in 20), `cramers_v`, `p_value` (chi-square of homogeneity; rows taken as independent, so it is the
        least p value there can be) and `q_value` (adjusted over all columns by Benjamini and Hochberg); None where
        either side has no rows. A column of the profile that is not in `columns` is left out: the judge then finds it
        missing.
    """
    told: dict[str, dict[str, Json]] = {}
    rows = profile.get("rows")
    m = rows if isinstance(rows, int) else 0
    for name, reference in _section(profile, "numeric").items():
        if name in columns:
            told[name] = _numeric_drift(reference, columns[name], m)
    for name, reference in _section(profile, "categorical").items():
        if name in columns:
            told[name] = _categorical_drift(reference, columns[name], m)
    tested = {name: p for name, facts in told.items() if isinstance(p := facts["p_value"], float)}
    q_values = dict(zip(tested, adjusted(list(tested.values())), strict=True))
    return {name: {**facts, "q_value": q_values.get(name)} for name, facts in told.items()}


def quantile_edges(numbers: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Return the inner quantiles of `bins` equal shares, each a value of the data, equal ones merged.

    Args:
        numbers: Shape (n,); NaN is ignored, infinities are values like others.

    >>> quantile_edges(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]), 2).tolist(), quantile_edges(np.zeros(9), 4).tolist()
    ([3.0], [0.0])
    """
    known = numbers[~np.isnan(numbers)]
    if not len(known):
        return np.empty(0)
    return np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))


def edge_bins(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return each number's bin, 0 to 2 * len(edges): between two edges, or equal to one.

    A value that many rows share (no rain, a flag that is 0) is an edge; with a bin of its own it does not swallow the
    rare values beside it, which are the ones that tell.

    >>> edge_bins(np.array([-1.0, 0.0, 0.0, 0.2]), np.array([0.0])).tolist()
    [0, 1, 1, 2]
    """
    below, up_to = np.searchsorted(edges, numbers, side="left"), np.searchsorted(edges, numbers, side="right")
    return np.asarray(below + up_to, dtype=np.int64)


def as_seen(values: Column) -> NDArray[np.float64]:
    """Round numbers to float32, what a model sees of them, so that a profile of its inputs and raw rows agree."""
    if isinstance(values, Coded):
        raise TypeError("a column of strings has no numbers; name it under categorical")
    with np.errstate(over="ignore"):  # beyond float32 is infinite to the model too
        return values.astype(np.float32).astype(np.float64)


def _numeric_profile(values: Column) -> dict[str, Json]:
    numbers = as_seen(values)
    edges = quantile_edges(numbers, BINS)
    finite = numbers[np.isfinite(numbers)]
    return {
        "edges": edges.tolist(),
        "shares": _numeric_shares(numbers, edges).tolist(),
        "mean": float(finite.mean()) if len(finite) else None,
        "sd": float(finite.std()) if len(finite) else None,
    }


def _numeric_shares(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    missing = np.isnan(numbers)
    counts = np.bincount(edge_bins(numbers[~missing], edges), minlength=2 * len(edges) + 1)
    return np.append(counts, missing.sum()) / max(len(numbers), 1)


def _categorical_profile(values: Column) -> dict[str, Json]:
    words = values if isinstance(values, Coded) else coded(values)
    found = sorted(zip(words.values, words.counts().tolist(), strict=True), key=lambda each: (-each[1], each[0]))
    commonest = [value for value, rows in found[:MAX_CATEGORIES] if rows]
    return {"values": commonest, "shares": _categorical_shares(words, commonest).tolist()}


def _categorical_shares(values: Column, kept: Sequence[str]) -> NDArray[np.float64]:
    words = values if isinstance(values, Coded) else coded(values)
    places = words.among(kept)
    places[places < 0] = len(kept) + 1
    return np.bincount(places, minlength=len(kept) + 2) / max(len(places), 1)


def _numeric_drift(reference: Mapping[str, Json], values: Column, reference_rows: int) -> dict[str, Json]:
    numbers = as_seen(values)
    actual = _numeric_shares(numbers, _floats(reference["edges"]))
    known = numbers[np.isfinite(numbers)]
    mean, sd = reference["mean"], reference["sd"]
    shift: float | None = None
    if len(known) and isinstance(mean, float | int) and isinstance(sd, float | int) and sd > 0:
        shift = (float(known.mean()) - mean) / sd
    sizes = _sizes(_floats(reference["shares"]), actual, len(values), reference_rows)
    return {**sizes, "shift_sd": shift}


def _categorical_drift(reference: Mapping[str, Json], values: Column, reference_rows: int) -> dict[str, Json]:
    kept = reference["values"]
    expected = _floats(reference["shares"])
    actual = _categorical_shares(values, [str(each) for each in kept] if isinstance(kept, Sequence) else [])
    return {**_sizes(expected, actual, len(values), reference_rows), "others": float(actual[-2])}


def _sizes(expected: NDArray[np.float64], actual: NDArray[np.float64], n: int, m: int) -> dict[str, Json]:
    test = homogeneity(expected * m, actual * n)
    return {
        "psi": psi(expected, actual),
        "total_variation": total_variation(expected, actual),
        "n": n,
        "missing": float(actual[-1]),
        "noise_floor": noise_floor(test.cells, n, m),
        "cramers_v": test.cramers_v,
        "p_value": test.p_value,
    }


def _floats(values: Json) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)


def _section(profile: Mapping[str, Json], name: str) -> Mapping[str, Mapping[str, Json]]:
    found = profile.get(name, {})
    return found if isinstance(found, Mapping) else {}  # type: ignore[return-value]  # its form is reference_profile's
