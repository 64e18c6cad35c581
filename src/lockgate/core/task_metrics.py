"""The metrics of each task, and how decisions are made and priced.

binary        auc, log_loss, brier, expected_cost, accuracy, precision, recall, calibration_error,
              calibration_slope, calibration_intercept, bias
multiclass    log_loss, brier, accuracy, macro_f1, macro_auc, calibration_error and calibration_slope of the
              likeliest class; expected_cost where a cost matrix is declared
regression    rmse, mae, r2, bias, calibration_slope, calibration_intercept

All but the rank metrics are sums over rows; `block_statistics` and `calibration` define each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lockgate.core import metrics
from lockgate.core.block_statistics import (
    Metric,
    Statistic,
    auc,
    block_sums,
    calibration_error,
    macro_auc,
    macro_f1,
    mean,
    r2,
    ratio,
    root,
)
from lockgate.core.calibration import logistic_line, straight_line
from lockgate.core.contract import TaskKind
from lockgate.core.decisions import cheapest_class
from lockgate.core.metrics import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """How decisions are made and priced.

    Attributes:
        threshold: On the probability of class 1; None outside binary tasks.
        false_positive: Price of a false alarm.
        false_negative: Price of a miss.
        matrix: Multiclass: price by what happened (row) and what was decided (column), by class index. Rows are then
            decided for the class of least expected price; None: for the likeliest.
    """

    threshold: float | None
    false_positive: float = 1.0
    false_negative: float = 1.0
    matrix: tuple[tuple[float, ...], ...] | None = None


def loss_name(task: TaskKind) -> str:
    """Return the metric that a task is compared by unless the spec says otherwise."""
    return "rmse" if task is TaskKind.REGRESSION else "log_loss"


def loss(task: TaskKind, y: Floats | Ints, score: Floats, *, block: Ints, blocks: int) -> Statistic:
    """Return the metric of `loss_name` alone, for answers that are only compared with."""
    if task is TaskKind.REGRESSION:
        return root(mean((score - y) ** 2, block, blocks))
    return mean(metrics.log_loss_rows(np.asarray(y, dtype=np.int64), score), block, blocks)


def decided(score: Floats, costs: Costs) -> Ints:
    """Return the class index each row is decided for, shape [n]; see `Costs`."""
    if score.ndim == 2 and costs.matrix is not None:
        return cheapest_class(score, np.array(costs.matrix, np.float64))
    return metrics.decisions(score, costs.threshold)


def task_metrics(  # noqa: PLR0913 - the rows, how they hang together, and how they are decided; most are keywords
    task: TaskKind,
    y: Floats | Ints,
    score: Floats,
    *,
    block: Ints,
    blocks: int,
    costs: Costs,
    unit: str = "1",
) -> Mapping[str, Metric]:
    """Return every metric of a task over one set of answers.

    Args:
        task: What is predicted.
        y: Class index or value, shape [n].
        score: Probability, value, or probabilities [n, classes]; finite.
        block: Block index of each row, 0..blocks-1, shape [n].
        blocks: How many blocks.
        costs: How decisions are made and priced; classes only.
        unit: Unit of the value; regression only.
    """
    if task is TaskKind.REGRESSION:
        return _regression(np.asarray(y, dtype=np.float64), score, block, blocks, unit)
    labels = np.asarray(y, dtype=np.int64)
    if task is TaskKind.MULTICLASS:
        return _multiclass(labels, score, block, blocks, costs)
    return _binary(labels, score, block, blocks, costs)


def _binary(y: Ints, score: Floats, block: Ints, blocks: int, costs: Costs) -> dict[str, Metric]:
    threshold = 0.5 if costs.threshold is None else costs.threshold
    called = metrics.decisions(score, threshold)
    right = (called == y).astype(np.float64)
    cost = metrics.cost_rows(y, score, threshold, costs.false_positive, costs.false_negative)
    hits, alarms, events = (block_sums(rows.astype(np.float64), block, blocks) for rows in (called * y, called, y))
    return {
        "auc": _share(auc(y, score, block, blocks)),
        "log_loss": _loss(mean(metrics.log_loss_rows(y, score), block, blocks), "nat"),
        "brier": _loss(mean(metrics.brier_rows(y, score), block, blocks), "1"),
        "expected_cost": _loss(mean(cost, block, blocks), "cost"),
        "accuracy": _share(mean(right, block, blocks)),
        "precision": _share(ratio(hits, alarms)),
        "recall": _share(ratio(hits, events)),
        "calibration_error": _loss(calibration_error(y, score, block, blocks), "fraction"),
        **_line(logistic_line(y, score, block, blocks), "logit"),
        "bias": Metric(higher_is_better=None, unit="fraction", statistic=mean(score - y, block, blocks)),
    }


def _multiclass(y: Ints, score: Floats, block: Ints, blocks: int, costs: Costs) -> dict[str, Metric]:
    called = decided(score, costs)
    right = (called == y).astype(np.float64)
    likeliest = (metrics.decisions(score, None) == y).astype(np.int64)
    surest = score.max(axis=1) if len(score) else np.empty(0)
    slope, _ = logistic_line(likeliest, surest, block, blocks)
    found = {
        "log_loss": _loss(mean(metrics.log_loss_rows(y, score), block, blocks), "nat"),
        "brier": _loss(mean(metrics.brier_rows(y, score), block, blocks), "1"),
        "accuracy": _share(mean(right, block, blocks)),
        "macro_f1": _share(macro_f1(y, called, score.shape[1], block, blocks)),
        "macro_auc": _share(macro_auc(y, score, block, blocks)),
        "calibration_error": _loss(calibration_error(likeliest, surest, block, blocks), "fraction"),
        "calibration_slope": Metric(higher_is_better=None, unit="1", statistic=slope),
    }
    if costs.matrix is not None:
        cost = np.array(costs.matrix)[y, called]
        found["expected_cost"] = _loss(mean(cost, block, blocks), "cost")
    return found


def _regression(y: Floats, value: Floats, block: Ints, blocks: int, unit: str) -> dict[str, Metric]:
    error = value - y
    return {
        "rmse": _loss(root(mean(error**2, block, blocks)), unit),
        "mae": _loss(mean(np.abs(error), block, blocks), unit),
        "r2": Metric(higher_is_better=True, unit="1", statistic=r2(y, value, block, blocks), highest=1.0),
        "bias": Metric(higher_is_better=None, unit=unit, statistic=mean(error, block, blocks)),
        **_line(straight_line(y, value, block, blocks), unit),
    }


def _line(found: tuple[Statistic, Statistic], unit: str) -> dict[str, Metric]:
    slope, intercept = found
    return {
        "calibration_slope": Metric(higher_is_better=None, unit="1", statistic=slope),
        "calibration_intercept": Metric(higher_is_better=None, unit=unit, statistic=intercept),
    }


def _share(statistic: Statistic) -> Metric:
    return Metric(higher_is_better=True, unit="fraction", statistic=statistic, lowest=0.0, highest=1.0)


def _loss(statistic: Statistic, unit: str) -> Metric:
    return Metric(higher_is_better=False, unit=unit, statistic=statistic, lowest=0.0)
