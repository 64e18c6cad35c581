"""Which class an answer is decided for: one rule for evaluation, parity, replay and the server.

    binary      the second class from the threshold on, else the first
    multiclass  the likeliest class; where decisions have prices, the class of least expected price

Expected prices are summed class by class, every row for itself. A matrix product rounds otherwise for one row than for
a thousand, and equal rows must be decided alike however they were asked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import ModelContract, TaskKind

Floats: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = NDArray[Any]
Indices: TypeAlias = NDArray[Any]
Decider: TypeAlias = Callable[[Scores], Indices]


def decider(contract: ModelContract) -> Decider:
    """Return what decides as a contract says; for models that answer classes.

    It takes probabilities, shape [n] for binary and [n, classes] for multiclass, of either width of float, and returns
    the index of each row's class, shape [n]; bool for binary.

    Raises:
        ValueError: The contract is of a regression, whose answer is its decision.
    """
    match contract.task:
        case TaskKind.BINARY:
            return partial(from_threshold, threshold=_threshold(contract))
        case TaskKind.MULTICLASS:
            if contract.costs is None:
                return likeliest_class
            return partial(cheapest_class, matrix=np.array(contract.costs, np.float64))
        case TaskKind.REGRESSION:
            raise ValueError(f"model {contract.model!r} is a regression; it decides nothing")


def one_decider(contract: ModelContract) -> Callable[[float], bool] | None:
    """Return what decides for one row of a binary model from its probability as `decider` does; None for other tasks.

    The probability is a float32 read as a double, as `float` and `.item()` read it.
    """
    if contract.task is not TaskKind.BINARY:
        return None
    return partial(operator.le, _threshold(contract))


def _threshold(contract: ModelContract) -> float:
    return 0.5 if contract.threshold is None else contract.threshold


def decided_labels(contract: ModelContract, rows: Sequence[Sequence[float]]) -> list[str]:
    """Return the labels that a server decides for when it answers with these numbers, one a row.

    A server decides on float32 and writes it in the fewest digits that read back the same, so the numbers are taken as
    float32 again: the decimal itself may lie on the other side of a threshold.

    Args:
        contract: Of classes.
        rows: As they were on the wire: one number a row for binary, one a class for multiclass; finite.

    Raises:
        ValueError: The contract is of a regression, or a row is of another width.
    """
    width = len(contract.classes) if contract.task is TaskKind.MULTICLASS else 1
    for at, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"row {at}: {len(row)} numbers, not {width}")
    decide = decider(contract)
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is no probability; others say so
        scores = np.array(rows, np.float32).reshape(len(rows), width)
        indices = decide(scores if contract.task is TaskKind.MULTICLASS else scores[:, 0])
    return [contract.classes[each] for each in indices.tolist()]


def from_threshold(score: Scores, threshold: float) -> NDArray[np.bool_]:
    """Return whether each row is decided for the second class.

    Compared as doubles: the threshold is one, and rounding it to float32 could turn a decision.

    >>> from_threshold(np.array([0.2, 0.3], np.float32), 0.3).tolist()  # float32 has 0.3 a little above it
    [False, True]
    """
    return np.asarray(score.astype(np.float64) >= threshold)


def likeliest_class(score: Scores) -> Indices:
    """Return the class of the largest probability; the first of several. Shape [n, classes] to [n]."""
    return np.asarray(score.argmax(axis=1))


def cheapest_class(score: Scores, matrix: Floats) -> NDArray[np.int64]:
    """Return the class of least expected price by each row's own probabilities; the first of several.

    Args:
        score: Probabilities, shape [n, classes]; finite.
        matrix: Price by what happened (row) and what was decided (column), shape [classes, classes].

    Source: the Bayes decision rule, e.g. Elkan 2001, The Foundations of Cost-Sensitive Learning, eq. 1.

    >>> prices = np.array([[0.0, 1.0], [9.0, 0.0]])  # missing class 1 costs nine times a false alarm
    >>> cheapest_class(np.array([[0.8, 0.2], [0.95, 0.05]]), prices).tolist()  # 0.2 * 9 > 0.8; 0.05 * 9 < 0.95
    [1, 0]
    """
    return np.asarray(expected_prices(score, matrix).argmin(axis=1), dtype=np.int64)


def expected_prices(score: Scores, matrix: Floats) -> Floats:
    """Return what each decision is expected to cost, shape [n, classes]; arguments as for `cheapest_class`.

    >>> expected_prices(np.array([[0.75, 0.25]]), np.array([[0.0, 1.0], [8.0, 0.0]])).tolist()
    [[2.0, 0.75]]
    """
    chance = score.astype(np.float64)
    total: Floats = chance[:, :1] * matrix[0]
    for happened in range(1, len(matrix)):
        total += chance[:, happened : happened + 1] * matrix[happened]
    return total


def price_margins(score: Scores, matrix: Floats) -> Floats:
    """Return how far each row's probabilities are from another decision, shape [n]; arguments as for `cheapest_class`.

    The difference of the expected prices of a rival and of the decision taken, over half the sum of the absolute
    differences of their prices, least over the rivals. So it is a probability, and with a price of 1 for every wrong
    decision it is the difference of the two largest probabilities. A rival of the same prices throughout is none.
    Infinite without any rival.

    Source: the distance of a point from a hyperplane in the maximum norm is |w.x| / sum |w| (Holder), here twice that.

    >>> price_margins(np.array([[0.5, 0.3, 0.2]]), 1.0 - np.eye(3)).round(12).tolist()
    [0.2]
    >>> price_margins(np.array([[0.9, 0.1]]), np.array([[0.0, 1.0], [9.0, 0.0]])).round(12).tolist()  # a tie
    [0.0]
    """
    expected = expected_prices(score, matrix)
    taken = expected.argmin(axis=1)
    apart = np.array([np.abs(matrix - matrix[:, [each]]).sum(axis=0) / 2 for each in range(len(matrix))])[taken]
    behind = expected - expected.min(axis=1, keepdims=True)
    return np.asarray(np.divide(behind, apart, out=np.full_like(behind, np.inf), where=apart > 0).min(axis=1))
