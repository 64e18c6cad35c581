"""Is a shift more than chance, and how large is it: tests of two samples, effect sizes, and the false discovery rate.

Sources: Yurdakul 2018 (law of PSI when nothing moved); Cramer 1946 (V); Benjamini and Hochberg 1995 (FDR); Cochran 1954
(least expected count of a chi-square cell); Vallender 1974 (first Wasserstein distance on the line).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special  # type: ignore[import-untyped]  # no stubs published

LEAST_EXPECTED = 5.0
"""Cells that expect fewer rows in either sample are counted as one: below it the chi-square law is off (Cochran)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Homogeneity:
    """Whether two samples fall into the same bins alike.

    Attributes:
        p_value: Of the chi-square test; None when a sample is empty, 1 when there is one bin.
        cramers_v: Effect size, 0 (alike) to 1 (no bin in common); None when a sample is empty.
        cells: Bins that were compared, the rare ones counted as one.
    """

    p_value: float | None
    cramers_v: float | None
    cells: int


def homogeneity(expected: NDArray[np.float64], actual: NDArray[np.float64]) -> Homogeneity:
    """Test two rows of counts for one law.

    Args:
        expected: Rows of the reference in each bin, shape (bins,), not negative.
        actual: Rows now, the same bins.

    >>> found = homogeneity(np.array([50.0, 50.0]), np.array([25.0, 75.0]))
    >>> round(found.cramers_v, 4), round(found.p_value, 5)  # chi2 = 200 (50*75 - 50*25)^2 / (75*125*100*100) = 13.33
    (0.2582, 0.00026)
    """
    n, m = float(actual.sum()), float(expected.sum())
    if n <= 0 or m <= 0:
        return Homogeneity(p_value=None, cramers_v=None, cells=0)
    table = _without_rare(np.stack([expected, actual]))
    fitted = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / (n + m)
    statistic = float(np.sum((table - fitted) ** 2 / fitted))
    degrees = table.shape[1] - 1
    p_value = float(special.chdtrc(degrees, statistic)) if degrees else 1.0
    v = float(np.sqrt(statistic / (n + m)))  # of two samples: min(rows, columns) - 1 is 1
    return Homogeneity(p_value=p_value, cramers_v=v, cells=table.shape[1])


def noise_floor(bins: int, n: int, m: int, *, confidence: float = 0.95) -> float | None:
    """Return the PSI that two samples of one law stay below with this confidence: chi2(bins - 1) * (1/n + 1/m).

    Args:
        bins: Bins that hold rows, the rare ones counted as one (`Homogeneity.cells`).
        n: Rows of one sample.
        m: Rows of the other.

    Returns:
        None when a sample is empty.

    >>> round(noise_floor(10, 500, 1_000_000), 3)  # 16.919 / 500
    0.034
    """
    if n <= 0 or m <= 0:
        return None
    if bins < 2:
        return 0.0
    return float(special.chdtri(bins - 1, 1.0 - confidence)) * (1.0 / n + 1.0 / m)


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for the false discovery rate (Benjamini and Hochberg), in their order.

    >>> [round(q, 3) for q in adjusted([0.01, 0.04, 0.03, 0.5])]  # 0.01*4/1; 0.04*4/3 for both; 0.5
    [0.04, 0.053, 0.053, 0.5]
    """
    if not len(p_values):
        return []
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    q = np.empty(len(p))
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return [float(each) for each in q]


def wasserstein_sd(reference: NDArray[np.float64], now: NDArray[np.float64]) -> float | None:
    """Return the first Wasserstein distance in standard deviations of the reference: how far a value moved on average.

    Args:
        reference: Values, shape (m,). What is not finite is left out, here and in `now`.
        now: Values, shape (n,).

    Returns:
        None when either has no finite value, or the reference does not vary.

    >>> wasserstein_sd(np.array([0.0, 2.0]), np.array([3.0, 5.0]))  # every value moved by 3, the deviation is 1
    3.0
    """
    then, later = np.sort(reference[np.isfinite(reference)]), np.sort(now[np.isfinite(now)])
    spread = float(then.std()) if len(then) else 0.0
    if spread <= 0 or not len(later):
        return None
    every = np.sort(np.concatenate([then, later]))
    below_then = np.searchsorted(then, every[:-1], side="right") / len(then)
    below_now = np.searchsorted(later, every[:-1], side="right") / len(later)
    return float(np.sum(np.abs(below_then - below_now) * np.diff(every))) / spread


def _without_rare(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join the bins that expect too few rows in the smaller sample; drop the empty ones."""
    table = table[:, table.sum(axis=0) > 0]
    least = table.sum(axis=0) * (table.sum(axis=1).min() / table.sum())
    rare = least < LEAST_EXPECTED
    if rare.sum() < 2:
        return table
    return np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
