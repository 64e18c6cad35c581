"""Says what each column contributed to an answer: Shapley values against a typical row, for any model.

A coalition is a set of columns that keep the request's values while all others have the typical row's; its worth is
the model's answer to that mixed row. A column's Shapley value is what it adds on average when columns join one by one
in every order. With few columns every coalition is asked; with more, orders are sampled in antithetic pairs, an order
and its reverse, which halves the variance or better:

    Strumbelj & Kononenko, Explaining prediction models and individual predictions (2014), the sampling
    Mitchell, Cooper, Frank & Holmes, Sampling Permutations for Shapley Value Estimation (2022), the antithetic pairs

Either way contributions and the typical row's answer add up to the answer, and all coalitions of a request are asked
in one run of the graph. The typical row is the bundle's own: medians and commonest categories of its reference
profile. Deterministic: the same request to the same bundle has the same explanation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from lockgate.core.contract import ColumnType, TaskKind
from lockgate.serving.model.columns import Columns, Encoded
from lockgate.serving.model.dataplane import OUTPUTS, ServedModel
from lockgate.serving.refusals import Reason, refuse

ROWS_AT_MOST: Final = 10
COALITIONS_A_ROW: Final = 1024
"""Ours: 22 antithetic pairs of 24 columns; 9 ms with 300 trees, and small contributions keep their sign."""
COALITIONS_A_REQUEST: Final = 2560
"""Ours: 256 for each of `ROWS_AT_MOST`, so that 8 columns are exact in any request."""
CELLS_AT_MOST: Final = 1 << 20
"""Ours: coalitions times columns of a request, 4 MB; about 700 columns of one row."""
_SEED: Final = 2014

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the columns of each row contributed to its answer.

    Attributes:
        columns: The contract's inputs, in order.
        contributions: float32 [rows, columns]; in the unit of the answer: a probability, or the regression's value.
            0 where a value is the typical one.
        baseline: float32 [rows], the answer to the typical row; it and a row's contributions add up to `answer`.
        answer: float32 [rows], the answer that is explained.
        of: The output that is explained: `probability`, `probabilities` or `value`.
        classes: For multiclass the class that each row is decided for, whose probability is explained; else None.
        exact: Whether every coalition was asked; otherwise the contributions are estimates.
    """

    columns: tuple[str, ...]
    contributions: npt.NDArray[np.float32]
    baseline: npt.NDArray[np.float32]
    answer: npt.NDArray[np.float32]
    of: str
    classes: tuple[str, ...] | None
    exact: bool


def explain(model: ServedModel, columns: Columns) -> Explanation:
    """Explain the answers to a request.

    Args:
        model: What answers; its bundle holds the reference profile.
        columns: The request, as for `ServedModel.answer`; at most `ROWS_AT_MOST` rows.

    Raises:
        RequestRefused: There are too many rows or columns, the request does not fit the contract, or the bundle names
            no typical row.
        ModelFailed: The model has no answer to a coalition.
    """
    rows = max((len(values) for values in columns.values()), default=0)
    if rows > ROWS_AT_MOST:
        raise refuse(
            Reason.TOO_MANY_ROWS,
            f"explanations are made for at most {ROWS_AT_MOST} rows a request, this one holds {rows}; "
            "ask for them in parts, or without explanations",
        )
    asked = model.encoder.encode(columns, ROWS_AT_MOST)
    typical = model.encoder.encode({name: [value] for name, value in typical_row(model).items()}, 1)
    where = _where(model)
    differs = _differs(asked, typical)[:, where]
    share = min(COALITIONS_A_ROW, COALITIONS_A_REQUEST // asked.rows)
    active = differs.sum(axis=1).tolist()
    if sum(_coalitions(each, share) for each in active) * len(where) > CELLS_AT_MOST:
        raise refuse(
            Reason.NOT_EXPLAINABLE,
            f"explaining {asked.rows} rows of {len(where)} columns would cost too much; ask for fewer rows, or without "
            "explanations",
        )
    designs = [_design(each, share) for each in active]
    worth = _worth(model, asked, typical, _keeps(designs, differs, where))
    return _told(model, differs, designs, worth)


def typical_row(model: ServedModel) -> dict[str, float | str | None]:
    """Return the row that answers are explained against: each column's median or commonest category.

    A number that was missing more often than not is null, as is a string that was missing more often than any category
    was there.

    Raises:
        RequestRefused: The bundle has no reference profile, or not of these columns.
    """
    contract = model.contract
    try:
        profile = _PROFILE.decode(model.profile or b"{}")
        return {
            column.name: _median(profile.numeric[column.name])
            if column.type is ColumnType.NUMBER
            else _commonest(profile.categorical[column.name])
            for column in contract.inputs
        }
    except (msgspec.MsgspecError, KeyError) as lacking:
        raise refuse(
            Reason.NOT_EXPLAINABLE,
            f"the bundle of model {contract.model!r} names no typical row to explain against "
            f"(reference_profile.json: {lacking}); ask without explanations",
        ) from lacking


class _Numbers(msgspec.Struct):
    edges: list[float | str]  # an infinite one is written in words
    shares: list[float]


class _Strings(msgspec.Struct):
    values: list[str]
    shares: list[float]


class _Profile(msgspec.Struct):
    numeric: dict[str, _Numbers]
    categorical: dict[str, _Strings]


# made at import, by one thread: msgspec learns a type at its first use, and crashes where two threads do at once
_PROFILE: Final = msgspec.json.Decoder(_Profile)


def _median(column: _Numbers) -> float | None:
    """Return the median, which is one of the edges, from the shares of rows below, at and between them."""
    present = 1 - column.shares[-1] if column.shares else 0.0
    up_to = np.cumsum(column.shares[:-1])[1::2]  # at most the first edge, the second, ...
    at = int(np.searchsorted(up_to, present / 2 - 1e-9))
    if present <= 0.5 or at >= len(column.edges):
        return None
    edge = float(column.edges[at])
    return edge if math.isfinite(edge) else None


def _commonest(column: _Strings) -> str | None:
    """Return the commonest value; they are in the order of their shares, the last share is that of nulls."""
    return column.values[0] if column.values and column.shares[0] >= column.shares[-1] else None


@dataclass(frozen=True, slots=True)
class _Design:
    """Which coalitions of `n` columns are asked, and how their worths make Shapley values.

    Attributes:
        masks: bool [coalitions, n], True where a column keeps the request's value.
        before: Indices [n, steps] of the coalitions that each column joins.
        after: Indices [n, steps] of what they become by it.
        weights: float64 [n, steps] or [steps]: what a step counts for.
        empty: Index of the coalition that keeps no column.
        full: Index of the coalition that keeps all.
        exact: Whether every coalition is asked.
    """

    masks: Masks
    before: Indices
    after: Indices
    weights: Floats
    empty: int
    full: int
    exact: bool

    def values(self, worth: Floats) -> Floats:
        """Return each column's Shapley value, float64 [n], from the worth of each coalition."""
        steps: Floats = (worth[self.after] - worth[self.before]) * self.weights
        return np.asarray(steps.sum(axis=1), np.float64)


@lru_cache(maxsize=32)
def _design(n: int, coalitions_at_most: int) -> _Design:
    """Return what to ask for `n` columns: everything if that is allowed, else sampled orders, one pair at least."""
    return _every_coalition(n) if 2**n <= coalitions_at_most else _sampled_orders(n, _pairs(n, coalitions_at_most))


def _pairs(n: int, coalitions_at_most: int) -> int:
    """Return how many antithetic pairs of orders of `n` columns are asked."""
    return max(1, (coalitions_at_most - 2) // (2 * (n - 1)))


def _coalitions(n: int, coalitions_at_most: int) -> int:
    """Return how many coalitions `_design` asks, at most, without making it."""
    return 2**n if 2**n <= coalitions_at_most else 2 + _pairs(n, coalitions_at_most) * 2 * (n - 1)


def _every_coalition(n: int) -> _Design:
    """Return all coalitions; a step of column j into S counts |S|! (n - |S| - 1)! / n!, which is Shapley's formula.

    >>> _every_coalition(2).values(np.array([0.0, 1.0, 2.0, 9.0])).tolist()  # of {}, {0}, {1}, {0, 1}
    [4.0, 5.0]
    """
    numbers = np.arange(2**n)
    masks = (numbers[:, None] >> np.arange(n) & 1).astype(np.bool_)
    before = np.array([numbers[~masks[:, column]] for column in range(n)], np.intp).reshape(n, 2**n // 2)
    counted = np.array([math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n) for s in range(n)])
    weights = counted[masks.sum(axis=1)[before]]
    after = before | (1 << np.arange(n))[:, None]
    return _Design(masks, before, after, weights, 0, 2**n - 1, exact=True)


def _sampled_orders(n: int, pairs: int) -> _Design:
    """Return the coalitions that form on the way in sampled orders and their reverses; every step counts the same."""
    place = np.random.default_rng(_SEED).permuted(np.tile(np.arange(n), (pairs, 1)), axis=1)
    place = np.concatenate([place, n - 1 - place])  # [orders, n]: when each column joins
    forming = place[:, None, :] < np.arange(n + 1)[None, :, None]  # [orders, steps + 1, n]
    packed, found = np.unique(np.packbits(forming.reshape(-1, n), axis=1), axis=0, return_inverse=True)
    found = found.reshape(len(place), n + 1)  # the coalition of each order and step
    before, after = (np.take_along_axis(found, place + step, 1).T for step in (0, 1))
    masks = np.unpackbits(packed, axis=1, count=n).astype(np.bool_)
    weights = np.full(len(place), 1 / len(place))
    return _Design(masks, before, after, weights, int(found[0, 0]), int(found[0, -1]), exact=False)


def _where(model: ServedModel) -> Indices:
    """Return for each input of the contract its column in the graph's tensors: numbers, codes, then strings."""
    graph = model.contract.graph
    order = (*graph.numeric_columns, *(each.name for each in graph.coded), *graph.string_columns)
    return np.array([order.index(column.name) for column in model.contract.inputs], np.intp)


def _differs(asked: Encoded, typical: Encoded) -> Masks:
    """Tell which values are not the typical ones, [rows, columns of the tensors]; NaN is NaN."""
    both_null = np.isnan(asked.numbers) & np.isnan(typical.numbers)
    differs = [np.asarray((asked.numbers != typical.numbers) & ~both_null, np.bool_)]
    if asked.texts is not None and typical.texts is not None:
        differs.append(np.asarray(asked.texts != typical.texts, np.bool_))
    return np.concatenate(differs, axis=1)


def _keeps(designs: Sequence[_Design], differs: Masks, where: Indices) -> list[Masks]:
    """Return for each row which columns of the tensors its coalitions keep, [coalitions, columns]."""
    kept = []
    for design, active in zip(designs, differs, strict=True):
        keep = np.zeros((len(design.masks), len(where)), np.bool_)
        keep[:, where[active]] = design.masks
        kept.append(keep)
    return kept


def _worth(model: ServedModel, asked: Encoded, typical: Encoded, keeps: Sequence[Masks]) -> Sequence[Floats]:
    """Return the answers to each row's coalitions, float64 [coalitions, classes or 1], from one run."""
    keep = np.concatenate(keeps)
    row = np.repeat(np.arange(asked.rows), [len(each) for each in keeps])
    split = asked.numbers.shape[1]
    numbers = np.where(keep[:, :split], asked.numbers[row], typical.numbers)
    texts = None
    if asked.texts is not None and typical.texts is not None:
        texts = np.where(keep[:, split:], asked.texts[row], typical.texts)
    scores = model.run(numbers, texts).astype(np.float64).reshape(len(keep), -1)
    if not np.isfinite(scores).all():
        raise refuse(Reason.NOT_EXPLAINABLE, "the model has no finite answer between this row and the typical one")
    return np.split(scores, np.cumsum([len(each) for each in keeps])[:-1])


def _told(model: ServedModel, differs: Masks, designs: Sequence[_Design], worth: Sequence[Floats]) -> Explanation:
    """Put the answers to the coalitions together; for multiclass those of the class that each row is answered with."""
    contract = model.contract
    labels, decide = (contract.classes, model.decide) if contract.task is TaskKind.MULTICLASS else (None, None)
    shape = differs.shape
    contributions, ends, chosen = np.zeros(shape, np.float32), np.zeros((2, shape[0]), np.float32), []
    for at, (design, answers) in enumerate(zip(designs, worth, strict=True)):
        index = int(decide(answers[design.full][None])[0]) if decide is not None else 0
        contributions[at, differs[at]] = design.values(answers[:, index])
        ends[:, at] = answers[[design.empty, design.full], index]
        chosen.append(index)
    return Explanation(
        columns=tuple(column.name for column in contract.inputs),
        contributions=contributions,
        baseline=ends[0],
        answer=ends[1],
        of=OUTPUTS[contract.task][0],
        classes=None if labels is None else tuple(labels[index] for index in chosen),
        exact=all(design.exact for design in designs),
    )
