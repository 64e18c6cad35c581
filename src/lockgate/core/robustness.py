"""How far an answer moves, and what it costs, when its input is changed: every number with its uncertainty by block.

The rows are changed elsewhere (`stages/perturbing.py`); here are two answers to the same rows. Two scales are used:

    change       |after - before| of the probability, the largest over classes; of a value, in standard deviations of
                 the label, so that one bound serves every task
    loss ratio   mean loss after the change / mean loss of the naive answer (base rate or mean) on the same rows;
                 1 means that the changed input is worth nothing, above 1 that it does harm
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.core.block_statistics import Statistic, block_sums
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import CONFIDENCE, Estimate, block_interval, rounded
from lockgate.core.metrics import Floats, Ints

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Which block each row is of.

    Attributes:
        of: Block index of each row, 0..count-1, shape [n].
        count: How many blocks.
    """

    of: Ints
    count: int


def answer_change(task: TaskKind, before: Floats, after: Floats, spread: float) -> Floats:
    """Return how far each answer moved, shape [n], never negative.

    Args:
        task: What is predicted.
        before: Probability of class 1 [n], value [n], or probabilities [n, classes].
        after: The same rows' answers to the changed input. NaN gives NaN.
        spread: Regression: standard deviation of the label, above 0; else ignored.

    >>> answer_change(TaskKind.BINARY, np.array([0.2, 0.5]), np.array([0.5, 0.5]), 1.0).round(6).tolist()
    [0.3, 0.0]
    >>> answer_change(TaskKind.REGRESSION, np.array([10.0]), np.array([4.0]), 3.0).tolist()
    [2.0]
    """
    moved = np.abs(after - before)
    if moved.ndim == 2:
        moved = moved.max(axis=1)
    return np.asarray(moved / spread if task is TaskKind.REGRESSION else moved)


def share(hits: Bools, blocks: Blocks, confidence: float = CONFIDENCE) -> Estimate:
    """Return the share of rows that were hit, with its interval clustered by block.

    Where every row agrees, blocks do not differ and the interval by block has no width; the exact binomial bound
    (Clopper and Pearson 1934) of independent rows is then the least that may be claimed.

    Args:
        hits: Shape [n].
        blocks: Of the same rows; blocks without a row are left out.
        confidence: Two-sided, in 0..1.

    Returns:
        In 0..1; NaN throughout without rows.

    >>> found = share(np.zeros(100, dtype=bool), Blocks(of=np.arange(100) % 5, count=5))
    >>> found.value, round(found.high, 4)  # 1 - 0.025 ** (1 / 100)
    (0.0, 0.0362)
    """
    n = len(hits)
    if not n:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), se=float("nan"))
    ones = np.ones(n)
    found = ratio_interval(hits.astype(np.float64), ones, blocks, confidence, lowest=0.0, highest=1.0)
    if 0 < int(hits.sum()) < n:
        return found
    beyond = float(((1.0 - confidence) / 2) ** (1.0 / n))
    low, high = (found.value, 1.0 - beyond) if found.value == 0 else (beyond, found.value)
    return Estimate(value=found.value, low=low, high=high, se=0.0)


def ratio_interval(  # noqa: PLR0913 - a ratio, its blocks, and where it can be
    numerator: Floats,
    denominator: Floats,
    blocks: Blocks,
    confidence: float = CONFIDENCE,
    *,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> Estimate:
    """Return sum(numerator) / sum(denominator) over rows, with its interval clustered by block.

    Blocks in which no row is are left out: they are no observation of nothing.

    Args:
        numerator: Shape [n], finite.
        denominator: Shape [n], finite.
        blocks: Of the same rows.
        confidence: Two-sided, in 0..1.
        lowest: The ratio cannot be less.
        highest: The ratio cannot be more.

    >>> ratio_interval(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0), Blocks(of=np.arange(3), count=3)).value
    1.0
    """
    there = block_sums(np.ones(len(numerator)), blocks.of, blocks.count) > 0
    over, under = (block_sums(each, blocks.of, blocks.count)[there] for each in (numerator, denominator))
    return block_interval(_ratio(over, under), int(there.sum()), confidence=confidence, lowest=lowest, highest=highest)


def _ratio(over: Floats, under: Floats) -> Statistic:
    def statistic(weights: Floats) -> Floats:
        whole = weights @ under
        return np.asarray(np.divide(weights @ over, whole, out=np.full(len(weights), np.nan), where=whole != 0))

    return statistic


def extra_loss(  # noqa: PLR0913 - five losses of the same rows
    before: Floats,
    after: Floats,
    champion_before: Floats,
    champion_after: Floats,
    naive: Floats,
    *,
    blocks: Blocks,
    confidence: float,
) -> Estimate:
    """Return how much more loss a change adds to us than to the champion, as a share of the naive answer's loss.

    (mean(after - before) - mean(champion_after - champion_before)) / mean(naive), over the same rows. The naive answer
    is the scale, because a good model's own loss is small: doubling it may be nothing that anybody notices.

    >>> days = Blocks(of=np.arange(3), count=3)
    >>> found = extra_loss(*(np.full(3, x) for x in (1.0, 1.5, 2.0, 2.1, 4.0)), blocks=days, confidence=0.95)
    >>> round(found.value, 6)
    0.1
    """
    added = (after - before) - (champion_after - champion_before)
    return ratio_interval(added, naive, blocks, confidence)


def noise_scale(values: Floats, fraction: float) -> float:
    """Return the standard deviation of the noise that stands for measurement error where none was declared.

    Args:
        values: A column, shape [n]; NaN is left out.
        fraction: Of its standard deviation.

    Returns:
        0 for a column of whole numbers: it is counted, not measured, and a fifth of an engine is no error of anything.

    >>> noise_scale(np.array([1.0, 2.0, np.nan]), 0.1)
    0.0
    >>> round(noise_scale(np.array([0.5, 1.0, 1.5, 2.0]), 0.1), 4)
    0.0559
    """
    known = values[np.isfinite(values)]
    if not len(known) or (known == np.round(known)).all():
        return 0.0
    return float(fraction * known.std())


def commonest_fraction(answers: Floats) -> float:
    """Return the share of rows that have the commonest answer, to six decimals; NaN without rows.

    >>> commonest_fraction(np.array([0.1, 0.1, 0.1, 0.4]))
    0.75
    """
    if not len(answers):
        return float("nan")
    _, counts = np.unique(np.round(answers, 6), axis=0, return_counts=True)
    return float(counts.max() / len(answers))


def told_change(change: Floats, moved_by: float, blocks: Blocks, confidence: float) -> dict[str, Json]:
    """Return how answers moved as JSON: 99th percentile, largest, and the share that moved by more than a bound."""
    known = change[np.isfinite(change)]
    return {
        "p99": rounded(float(np.quantile(known, 0.99))) if len(known) else None,
        "largest": rounded(float(known.max())) if len(known) else None,
        "moved": share(~(change <= moved_by), blocks, confidence).to_json(),
    }
