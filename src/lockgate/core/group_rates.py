"""The rates a task's groups are compared by: for each a value of every row, and which rows count.

binary       selection_rate        decided positive                 of all rows
             true_positive_rate    decided positive                 of rows that were positive
             false_positive_rate   decided positive                 of rows that were not
             precision             was positive                     of rows decided positive
             base_rate             was positive; the data's, not the model's
             mean_error            probability minus what happened, as calibration in the large
multiclass   recall:<class>        decided for the class            of rows of the class
             selection_rate:<class>
both         accuracy, loss
regression   mean_error (answer minus value), mean_absolute_error, loss
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.fairness import Rate, group_sums
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slice_scan import Coded


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRate:
    """One rate: the mean of `value` over the rows that count.

    Attributes:
        value: Shape [n].
        counts: 1 where a row counts, else 0; shape [n].
        is_share: See `Rate`.
        has_ratio: See `Rate`.
        unit: See `Rate`.
    """

    value: Floats
    counts: Floats
    is_share: bool = True
    has_ratio: bool = True
    unit: str = "fraction"

    def overall(self) -> float:
        """Return the rate of all rows; NaN where none counts."""
        counted = float(self.counts.sum())
        return float((self.value * self.counts).sum() / counted) if counted else float("nan")

    def by_group(self, groups: Coded, block: Ints, blocks: int) -> Rate:
        """Return its sums by group and block."""
        numerator, denominator = (
            group_sums(each, groups.codes, len(groups.labels), block, blocks)
            for each in (self.value * self.counts, self.counts)
        )
        return Rate(
            numerator=numerator,
            denominator=denominator,
            is_share=self.is_share,
            has_ratio=self.has_ratio,
            unit=self.unit,
        )


def value_rates(y: Floats, score: Floats, unit: str) -> dict[str, RowRate]:
    """Return the rates of a regression.

    >>> value_rates(np.array([1.0, 3.0]), np.array([2.0, 2.0]), "min")["mean_absolute_error"].overall()
    1.0
    """
    every, error = np.ones(len(y)), score - y
    return {
        "mean_error": RowRate(value=error, counts=every, is_share=False, has_ratio=False, unit=unit),
        "mean_absolute_error": RowRate(value=np.abs(error), counts=every, is_share=False, unit=unit),
    }


def binary_rates(y: Ints, decided: Ints, score: Floats) -> dict[str, RowRate]:
    """Return the rates of a binary classification.

    Args:
        y: 0 or 1, shape [n].
        decided: What each row is decided for, 0 or 1, shape [n].
        score: Probability of class 1, shape [n].

    >>> found = binary_rates(np.array([1, 1, 0]), np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]))
    >>> found["true_positive_rate"].overall(), found["false_positive_rate"].overall(), found["precision"].overall()
    (0.5, 0.0, 1.0)
    """
    every, happened, said = np.ones(len(y)), y.astype(np.float64), decided.astype(np.float64)
    return {
        "accuracy": RowRate(value=(decided == y).astype(np.float64), counts=every),
        "selection_rate": RowRate(value=said, counts=every),
        "true_positive_rate": RowRate(value=said, counts=happened),
        "false_positive_rate": RowRate(value=said, counts=1 - happened),
        "precision": RowRate(value=happened, counts=said),
        "base_rate": RowRate(value=happened, counts=every),
        "mean_error": RowRate(value=score - happened, counts=every, is_share=False, has_ratio=False),
    }


def class_rates(y: Ints, decided: Ints, classes: Sequence[str]) -> dict[str, RowRate]:
    """Return the rates of a classification into several classes.

    Args:
        y: Class index, shape [n].
        decided: Class index each row is decided for, shape [n].
        classes: The first so many classes, those whose recall is wanted.

    >>> class_rates(np.array([0, 1, 1]), np.array([0, 1, 0]), ("a", "b"))["recall:b"].overall()
    0.5
    """
    every = np.ones(len(y))
    rates = {"accuracy": RowRate(value=(decided == y).astype(np.float64), counts=every)}
    for k, name in enumerate(classes):
        said = (decided == k).astype(np.float64)
        rates[f"recall:{name}"] = RowRate(value=said, counts=(y == k).astype(np.float64))
        rates[f"selection_rate:{name}"] = RowRate(value=said, counts=every)
    return rates
