"""The line through a reliability plot, as statistics of block weights: slope 1 and intercept 0 mean calibrated.

    probabilities    logit P(y = 1) = a + b logit(p)      Cox 1958, Two Further Applications of a Model for Binary
                                                          Regression; b < 1: answers too extreme, a < 0: too high
    values           y = a + b value                      Mincer and Zarnowitz 1969, Evaluation of Economic Forecasts

The logistic line has no closed form, so its value at other weights is one Newton step from the fit at equal weights:
exact there, and first-order right where one block is left out (the one-step jackknife; Pregibon 1981).
"""

from __future__ import annotations

import numpy as np

from lockgate.core.block_statistics import Statistic, block_sums
from lockgate.core.metrics import CLIP, Floats, Ints

_STEPS = 25  # ours: Newton on two parameters is done in six to eight
_FLAT = 1e-9  # ours: answers that vary less than this, relative, have no slope


def logistic_line(y: Ints, score: Floats, block: Ints, blocks: int) -> tuple[Statistic, Statistic]:
    """Return slope and intercept of what happened on the logit of the answers.

    Args:
        y: 0 or 1, shape [n].
        score: Probability of 1, shape [n], clipped to [1e-7, 1 - 1e-7]; finite.
        block: Block index of each row, 0..blocks-1, shape [n].
        blocks: How many blocks.

    Returns:
        Statistics of slope and intercept (logits); NaN where answers are constant, one class is absent, or the
        classes are separated by the answers, so that no finite line is best.

    >>> y, p = np.array([0, 1, 1, 0, 1, 1]), np.array([0.2, 0.2, 0.2, 0.8, 0.8, 0.8])
    >>> slope, intercept = logistic_line(y, p, np.arange(6), 6)
    >>> one = np.ones((1, 6))  # 2 of 3 happened at both, so the slope is 0 and the intercept logit(2 / 3) = ln 2
    >>> round(abs(float(slope(one)[0])), 6), round(float(intercept(one)[0]), 6)
    (0.0, 0.693147)
    """
    clipped = np.clip(score, CLIP, 1.0 - CLIP)
    x = np.log(clipped / (1.0 - clipped))
    fitted = _fit(y, x)
    if fitted is None:
        return _undefined, _undefined
    a, b = fitted
    expected = _expit(a + b * x)
    spread = expected * (1.0 - expected)
    off = y - expected
    gradient = np.column_stack([block_sums(each, block, blocks) for each in (off, off * x)])
    curved = np.column_stack([block_sums(each, block, blocks) for each in (spread, spread * x, spread * x * x)])

    def step(weights: Floats) -> tuple[Floats, Floats]:
        return _solve(weights @ curved, weights @ gradient)

    return (lambda weights: b + step(weights)[1]), (lambda weights: a + step(weights)[0])


def straight_line(y: Floats, value: Floats, block: Ints, blocks: int) -> tuple[Statistic, Statistic]:
    """Return slope and intercept of the label on the answers, by least squares.

    Args:
        y: Label, shape [n]; finite.
        value: Answer, shape [n]; finite.
        block: Block index of each row, shape [n].
        blocks: How many blocks.

    Returns:
        Statistics of slope ("1") and intercept (the label's unit); NaN where the answers do not vary.

    >>> y, value = np.array([1.0, 3.0, 5.0]), np.array([0.0, 1.0, 2.0])
    >>> [round(float(one(np.ones((1, 3)))[0]), 6) for one in straight_line(y, value, np.arange(3), 3)]
    [2.0, 1.0]
    """
    centre = float(value.mean()) if len(value) else 0.0  # so that sums of squares do not cancel far from zero
    x = value - centre
    if not len(x) or float(x.std()) <= _FLAT * max(1.0, abs(centre)):
        return _undefined, _undefined
    moments = np.column_stack([block_sums(each, block, blocks) for each in (np.ones(len(x)), x, x * x)])
    joint = np.column_stack([block_sums(each, block, blocks) for each in (y, y * x)])

    def solved(weights: Floats) -> tuple[Floats, Floats]:
        return _solve(weights @ moments, weights @ joint)

    def intercept(weights: Floats) -> Floats:
        at_centre, slope = solved(weights)
        return at_centre - slope * centre

    return (lambda weights: solved(weights)[1]), intercept


def _fit(y: Ints, x: Floats) -> tuple[float, float] | None:
    """Return intercept and slope by Newton's method; None where there is no finite best line."""
    if not len(x) or float(x.std()) <= _FLAT or not 0 < int(y.sum()) < len(y):
        return None
    a, b = 0.0, 1.0
    for _ in range(_STEPS):
        expected = _expit(a + b * x)
        spread, off = expected * (1.0 - expected), y - expected
        moments = np.array([[spread.sum(), spread @ x, spread @ (x * x)]])
        da, db = (float(each[0]) for each in _solve(moments, np.array([[off.sum(), off @ x]])))
        if not np.isfinite(da) or not np.isfinite(db):
            return None
        longest = max(abs(da), abs(db))
        shrink = min(1.0, 2.0 / longest) if longest else 1.0  # a long first step from far off would overshoot
        a, b = a + shrink * da, b + shrink * db
        if longest < 1e-10 * max(1.0, abs(a), abs(b)):
            return a, b
    return None


def _solve(moments: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Solve [[m0, m1], [m1, m2]] (a, b) = (r0, r1), row by row; NaN where singular."""
    m0, m1, m2 = moments.T
    determinant = m0 * m2 - m1 * m1
    sound = determinant > 1e-12 * np.abs(m0 * m2)
    safe = np.where(sound, determinant, 1.0)
    a = np.where(sound, (m2 * right[:, 0] - m1 * right[:, 1]) / safe, np.nan)
    b = np.where(sound, (m0 * right[:, 1] - m1 * right[:, 0]) / safe, np.nan)
    return a, b


def _expit(z: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _undefined(weights: Floats) -> Floats:
    return np.full(len(weights), np.nan)
