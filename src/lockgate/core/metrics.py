"""Metrics over labels and answers: what each number means, on one set of rows.

Everything here is a function of arrays alone. Intervals and comparisons need the blocks that rows come from; they are
built in `block_statistics` from the same row-wise losses, and equal these functions where every block counts once.

Answers are float32 on the wire, so a probability is clipped to [1e-7, 1 - 1e-7] before its logarithm is taken: anything
closer to 0 or 1 is rounding, and one such row would otherwise decide the mean alone.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockgate.core.decisions import from_threshold, likeliest_class

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

CLIP = 1e-7
"""Ours: about the resolution of float32 below 1 (6e-8); bounds the log loss of one row at 16.1."""

CALIBRATION_BINS = 10
"""Guo et al. 2017, On Calibration of Modern Neural Networks, use 15 on 10,000 rows; ten keep small holdouts stable."""


def log_loss_rows(y: Ints, score: Floats) -> Floats:
    """Return the negative log likelihood of each row, in nats.

    Args:
        y: Class index, shape [n].
        score: Probability of class 1, shape [n]; or of every class, shape [n, classes]. NaN gives NaN.

    Source: Good 1952, Rational Decisions: `-ln P(y)`.

    >>> log_loss_rows(np.array([1, 0]), np.array([0.5, 0.2])).round(4).tolist()
    [0.6931, 0.2231]
    """
    given = np.where(y == 1, score, 1.0 - score) if score.ndim == 1 else score[np.arange(len(y)), y]
    return np.asarray(-np.log(np.clip(given, CLIP, 1.0 - CLIP)))


def expected_log_loss_rows(score: Floats) -> Floats:
    """Return the log loss each row would have on average if its own probabilities were true: their entropy, in nats.

    Args:
        score: As for `log_loss_rows`. NaN gives NaN.

    >>> expected_log_loss_rows(np.array([0.5])).round(4).tolist()
    [0.6931]
    """
    whole = np.column_stack([1.0 - score, score]) if score.ndim == 1 else score
    clipped = np.clip(whole, CLIP, 1.0 - CLIP)
    return np.asarray(-(whole * np.log(clipped)).sum(axis=1))


def brier_rows(y: Ints, score: Floats) -> Floats:
    """Return the squared distance of each row's probabilities from what happened.

    For two classes in the half form, `(p - y)^2` in 0..1; for more, summed over the classes, in 0..2. NaN gives NaN.

    Source: Brier 1950, Verification of Forecasts Expressed in Terms of Probability.

    >>> brier_rows(np.array([1, 0]), np.array([0.5, 0.2])).round(4).tolist()
    [0.25, 0.04]
    """
    if score.ndim == 1:
        return np.asarray((score - y) ** 2)
    happened = np.eye(score.shape[1])[y]
    return np.asarray(((score - happened) ** 2).sum(axis=1))


def cost_rows(y: Ints, score: Floats, threshold: float, false_positive: float, false_negative: float) -> Floats:
    """Return what each decision cost: nothing when right, else the price of that kind of error.

    Args:
        y: 0 or 1, shape [n].
        score: Probability of class 1, shape [n]; a row is decided positive at `threshold` or above.
        threshold: In 0..1.
        false_positive: Price of deciding 1 when 0 happened.
        false_negative: Price of deciding 0 when 1 happened.

    >>> cost_rows(np.array([1, 0, 1]), np.array([0.2, 0.9, 0.8]), 0.5, 1.0, 5.0).tolist()
    [5.0, 1.0, 0.0]
    """
    decided = score >= threshold
    return np.where(decided & (y == 0), false_positive, 0.0) + np.where(~decided & (y == 1), false_negative, 0.0)


def decisions(score: Floats, threshold: float | None) -> Ints:
    """Return the class index each row is decided for: by threshold for one probability, else the likeliest class."""
    if score.ndim == 1:
        return from_threshold(score, 0.5 if threshold is None else threshold).astype(np.int64)
    return np.asarray(likeliest_class(score), dtype=np.int64)


def auc(y: Ints, score: Floats) -> float:
    """Return the area under the ROC curve: the share of (positive, negative) pairs ranked right, ties counting half.

    Args:
        y: 0 or 1, shape [n].
        score: Shape [n]; any order-preserving scale.

    Returns:
        In 0..1; NaN when a class is absent or a score is NaN.

    Source: Hanley and McNeil 1982; computed from mid-ranks (Mann and Whitney 1947).

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    from scipy.stats import rankdata  # type: ignore[import-untyped]  # no stubs installed

    positives = int((y == 1).sum())
    negatives = len(y) - positives
    if not positives or not negatives or np.isnan(score).any():
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def calibration_bins(score: Floats) -> Ints:
    """Return the bin of each probability, shape [n]: equal widths over 0..1, so that two models share the edges."""
    return np.asarray(np.clip((score * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1))


def calibration_error(y: Ints, score: Floats) -> float:
    """Return the expected calibration error: mean |observed share - mean probability| over bins, weighted by rows.

    Args:
        y: 0 or 1, shape [n].
        score: Probability of class 1, shape [n]; NaN gives NaN.

    Source: Naeini, Cooper and Hauskrecht 2015 (equal-width bins). Biased upwards on few rows: noise counts as error.

    >>> round(calibration_error(np.array([0, 1, 1, 1]), np.array([0.15, 0.15, 0.95, 0.95])), 4)
    0.2
    """
    if not len(y) or np.isnan(score).any():
        return float("nan")
    bins = calibration_bins(score)
    gap = np.bincount(bins, weights=y - score, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(y))


def macro_f1(confusion: Floats) -> Floats:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    Args:
        confusion: Counts, shape [..., actual, decided].

    Returns:
        In 0..1, shape [...]. A class that neither happened nor was decided is left out of the mean; NaN if all are.

    Source: van Rijsbergen 1979, Information Retrieval; macro form as in scikit-learn.

    >>> float(macro_f1(np.array([[1.0, 1.0], [0.0, 2.0]])).round(4))
    0.7333
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    there = total > 0
    f1 = np.divide(2 * right, total, out=np.zeros_like(total, dtype=np.float64), where=there)
    classes = there.sum(axis=-1)
    return np.asarray(np.divide(f1.sum(axis=-1), classes, out=np.full(classes.shape, np.nan), where=classes > 0))
