"""Metrics as functions of how often each block of rows counts.

Rows of one block (a day, a site) are not independent, so blocks are what is left out or weighted. A metric is reduced
once to sums by block; then any weighting is a few small matrix products, however many rows there are:

    mean loss      sum_g w_g S_g / sum_g w_g N_g
    AUC            w' M w / (w'P)(w'Q),   M[g, h] = pairs (positive of g, negative of h) ranked right, ties half

A `Statistic` takes weights, shape [k, blocks], and returns values, shape [k]; NaN where undefined.
Weights of one for every block give the plain metric of `metrics.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from lockgate.core import metrics
from lockgate.core.metrics import Floats, Ints

Statistic: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric of a task.

    Attributes:
        higher_is_better: The direction of improvement; None where neither is (bias).
        unit: "1", "nat", "fraction", or the unit of the value.
        statistic: Its value by block weights.
        lowest: It cannot be less.
        highest: It cannot be more.
    """

    higher_is_better: bool | None
    unit: str
    statistic: Statistic
    lowest: float = -np.inf
    highest: float = np.inf


def block_sums(values: Floats, block: Ints, blocks: int) -> Floats:
    """Return the sum of `values` by block, shape [blocks]."""
    return np.asarray(np.bincount(block, weights=values, minlength=blocks))


def ratio(numerator: Floats, denominator: Floats) -> Statistic:
    """Return the statistic sum(numerator) / sum(denominator) of two sums by block; NaN over nothing."""
    return lambda weights: _divide(weights @ numerator, weights @ denominator)


def mean(values: Floats, block: Ints, blocks: int) -> Statistic:
    """Return the mean of row values, shape [n]."""
    return ratio(block_sums(values, block, blocks), block_sums(np.ones(len(values)), block, blocks))


def auc(y: Ints, score: Floats, block: Ints, blocks: int) -> Statistic:
    """Return the area under the ROC curve, ties counting half; O(rows x blocks) once, then no row is touched again.

    Source: weighted Mann-Whitney; the block form is that of Obuchowski 1997 for clustered ROC data.
    """
    _, code = np.unique(score, return_inverse=True)
    size = int(code.max(initial=0)) + 1
    positive = y == 1
    where, whose = code[positive], block[positive]
    ranked = np.zeros((blocks, blocks))
    for other in range(blocks):
        beaten = np.bincount(code[(block == other) & ~positive], minlength=size).astype(np.float64)
        below = np.cumsum(beaten) - beaten / 2
        ranked[:, other] = block_sums(below[where], whose, blocks)
    ups = block_sums(positive.astype(np.float64), block, blocks)
    downs = block_sums((~positive).astype(np.float64), block, blocks)

    def value(weights: Floats) -> Floats:
        pairs = (weights @ ups) * (weights @ downs)
        return _divide(((weights @ ranked) * weights).sum(axis=1), pairs)

    return value


def calibration_error(y: Ints, score: Floats, block: Ints, blocks: int) -> Statistic:
    """Return the expected calibration error over fixed, equal-width bins."""
    bins = metrics.CALIBRATION_BINS
    place = block * bins + metrics.calibration_bins(score)
    gaps = np.bincount(place, weights=y - score, minlength=blocks * bins).reshape(blocks, bins)
    rows = block_sums(np.ones(len(y)), block, blocks)
    return lambda weights: _divide(np.abs(weights @ gaps).sum(axis=1), weights @ rows)


def macro_f1(y: Ints, decided: Ints, classes: int, block: Ints, blocks: int) -> Statistic:
    """Return the macro F1 of decisions."""
    cells = classes * classes
    place = block * cells + y * classes + decided
    counts = np.bincount(place, minlength=blocks * cells).reshape(blocks, cells).astype(np.float64)
    return lambda weights: metrics.macro_f1((weights @ counts).reshape(-1, classes, classes))


def macro_auc(y: Ints, score: Floats, block: Ints, blocks: int) -> Statistic:
    """Return the mean over classes of the AUC of each class against the rest; NaN when a class is absent."""
    each = [auc((y == k).astype(np.int64), score[:, k], block, blocks) for k in range(score.shape[1])]
    return lambda weights: np.asarray(np.mean([one(weights) for one in each], axis=0))


def r2(y: Floats, value: Floats, block: Ints, blocks: int) -> Statistic:
    """Return the coefficient of determination, 1 - SSE / SST; NaN where the label does not vary."""
    # about the mean, so that SST does not cancel for values far from zero
    centred = y - (y.mean() if len(y) else 0.0)
    rows, s1 = block_sums(np.ones(len(y)), block, blocks), block_sums(centred, block, blocks)
    s2, sse = block_sums(centred**2, block, blocks), block_sums((y - value) ** 2, block, blocks)

    def statistic(weights: Floats) -> Floats:
        total = weights @ s2 - _divide((weights @ s1) ** 2, weights @ rows)
        return 1.0 - _divide(weights @ sse, np.where(total > 0, total, 0.0))

    return statistic


def root(statistic: Statistic) -> Statistic:
    """Return the square root of a statistic."""
    return lambda weights: np.sqrt(statistic(weights))


def gain(challenger: Metric, champion: Metric) -> Statistic:
    """Return by how much the challenger is better, positive is better; the difference itself where neither is."""
    sign = -1.0 if challenger.higher_is_better is False else 1.0
    return lambda weights: sign * (challenger.statistic(weights) - champion.statistic(weights))


def skill(loss: Statistic, reference: Statistic) -> Statistic:
    """Return the share of the reference's loss that is saved, 1 - loss / reference; NaN over a reference of 0.

    Source: Murphy 1988, Skill Scores Based on the Mean Square Error.
    """
    return lambda weights: 1.0 - _divide(loss(weights), reference(weights))


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    undefined = np.full(np.shape(denominator), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=undefined, where=denominator != 0))
