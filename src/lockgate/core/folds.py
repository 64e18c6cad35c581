"""Cross-validation over whole blocks: which fold each block is in, and what a handful of fold results says.

Rows of one block never stand on both sides, or the fold would be scored on what it was fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.intervals import CONFIDENCE, t_quantile
from lockgate.core.metrics import Ints


def fold_of_blocks(sizes: Ints, folds: int, *, seed: int | None) -> Ints:
    """Return the fold of each block, shape [blocks], so that folds have about equally many rows.

    Args:
        sizes: Rows of each block, in the order of the blocks (time); shape [blocks].
        folds: How many folds; with fewer blocks than folds, some folds are empty.
        seed: Draws the order in which blocks are dealt out; None keeps neighbours together, as time asks.

    >>> fold_of_blocks(np.array([5, 5, 5, 5, 5, 5]), 3, seed=None).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    order = np.arange(len(sizes)) if seed is None else np.random.default_rng(seed).permutation(len(sizes))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2  # a block goes where its middle row falls
    found = np.empty(len(sizes), dtype=np.int64)
    found[order] = np.minimum((middle * folds / max(1, int(sizes.sum()))).astype(np.int64), folds - 1)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A mean over folds with its corrected interval.

    Attributes:
        mean: Of the folds.
        low: Lower bound of the two-sided interval.
        high: Upper bound.
        p_value: Two-sided, of a mean of 0.
    """

    mean: float
    low: float
    high: float
    p_value: float


def corrected_t(values: Sequence[float], test_over_train: float, *, confidence: float = CONFIDENCE) -> Corrected | None:
    """Return the mean of fold results with an interval that knows the folds share training rows.

    Folds overlap in what they are fitted on, so their results vary less than independent ones would, and a plain t test
    is too sure. The variance of the mean is taken as s^2 (1 / J + n_test / n_train), with J - 1 degrees of freedom.

    Args:
        values: One result a fold, finite; from folds that were drawn at random.
        test_over_train: Rows scored over rows fitted on, of one fold; above 0.
        confidence: Two-sided, in 0..1.

    Returns:
        None with fewer than two folds, or where a value is not finite.

    Source: Nadeau and Bengio 2003, Inference for the Generalization Error, eq. 11.

    >>> found = corrected_t([0.1, 0.2, 0.3], test_over_train=0.5)  # s = 0.1; sqrt(0.01 * (1 / 3 + 1 / 2)) = 0.0912871
    >>> round(found.mean, 6), round(found.high, 4)  # 0.2 + t(.975, 2) * 0.0912871
    (0.2, 0.5928)
    """
    folds = len(values)
    if folds < 2 or not all(math.isfinite(each) for each in values):
        return None
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    mean = float(np.mean(values))
    se = float(np.sqrt(np.var(values, ddof=1) * (1 / folds + test_over_train)))
    wide = t_quantile((1.0 + confidence) / 2, folds - 1) * se
    if se == 0:
        return Corrected(mean=mean, low=mean, high=mean, p_value=0.0 if mean else 1.0)
    p_value = float(2.0 * special.stdtr(folds - 1, -abs(mean) / se))
    return Corrected(mean=mean, low=mean - wide, high=mean + wide, p_value=p_value)
