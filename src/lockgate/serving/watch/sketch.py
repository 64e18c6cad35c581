"""Distributions of scores and latencies: counts in bins that never change, so that two of them add up exactly.

A value falls into the first bin whose upper edge is not below it, as Prometheus has it. The edges within a decade are
those of the Renard series R10 (ISO 3), so that the edge above a quantile is at most 28 % above it. Probabilities have
bins of their own, fine towards 0 and 1, where rare events live.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt

_R10: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0)
_TAIL: Final = (0.001, 0.002, 0.005, 0.01, 0.02)
MAX_CLASSES: Final = 16  # ours: each is a histogram of 32 lines an arm
HIGHEST: Final = "highest"
_LEAST_DECADE, _MOST_DECADE = -3, 7  # of a regression's values; beyond them only the sign is told


def decades(first: int, last: int, steps: Sequence[float] = _R10) -> tuple[float, ...]:
    """Return the steps of every decade from 10^first up to 10^last, both among them.

    >>> decades(-1, 1, (1.0, 2.0, 5.0))
    (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
    """
    edges = [float(f"{step}e{exponent}") for exponent in range(first, last) for step in steps]
    return (*edges, float(f"1e{last}"))


class Bins:
    """Where one kind of value is counted.

    Attributes:
        edges: Upper edges, ascending; one more bin takes what is above the last.
        shown: Those of them that a page of counters shows.
    """

    __slots__ = ("_array", "edges", "shown")

    def __init__(self, edges: Sequence[float], shown: Sequence[float] | None = None) -> None:
        self.edges: Final = tuple(edges)
        self.shown: Final = self.edges if shown is None else tuple(shown)
        self._array: Final = np.array(self.edges)

    def empty(self) -> list[int]:
        """Return the counts of nothing."""
        return [0] * (len(self.edges) + 1)

    def count(self, values: npt.NDArray[np.float32]) -> list[int]:
        """Return how many of float32 [n] fall into each bin, [edges + 1]; NaN counts as above all."""
        # sorted first: looking up few edges among many values is thirty times faster than the reverse
        below = np.sort(values).searchsorted(self._array, side="right")
        found: list[int] = np.diff(below, prepend=0, append=len(values)).tolist()
        return found

    def cumulative(self, counts: Sequence[int]) -> list[tuple[str, float]]:
        """Return the shown edges as text with how many values lie at or below each, infinity last."""
        below = list(accumulate(counts))
        at = [(str(edge), float(below[bisect_left(self.edges, edge)])) for edge in self.shown]
        return [*at, ("+Inf", float(below[-1]))]

    def quantile(self, counts: Sequence[int], fraction: float) -> float | None:
        """Return the upper edge of the bin that holds a quantile; None without values, infinity above the last edge.

        >>> Bins((1.0, 2.0, 5.0)).quantile([3, 6, 1, 0], 0.5)
        2.0
        """
        below = list(accumulate(counts))
        if not below[-1]:
            return None
        index = bisect_left(below, fraction * below[-1])
        return self.edges[index] if index < len(self.edges) else float("inf")


_FAST = (5e-5, 6.3e-5, 8e-5, *decades(-4, -2))
LATENCY_S: Final = Bins((*_FAST, *decades(-2, 1)[1:]), (*_FAST, *decades(-2, 1, _R10[::2])[1:]))
"""Seconds, 50 us to 10 s; shown whole up to 10 ms, every second edge above."""

PROBABILITY: Final = Bins(
    (*_TAIL, *(round(0.05 * step, 2) for step in range(1, 20)), *(round(1 - edge, 3) for edge in reversed(_TAIL)), 1.0)
)
"""0 to 1."""


def _both_signs(steps: Sequence[float]) -> tuple[float, ...]:
    positive = decades(_LEAST_DECADE, _MOST_DECADE, steps)
    return (*(-edge for edge in reversed(positive)), 0.0, *positive)


VALUE: Final = Bins(_both_signs(_R10), _both_signs((1.0, 3.2)))
"""Any number: relative bins on both sides of nought."""

BINS: Final[Mapping[str, Bins]] = {"probability": PROBABILITY, "probabilities": PROBABILITY, "value": VALUE}
"""By the name of the model's output."""


class ScoreSketch:
    """The scores of one arm; nothing is computed until `fold`, once for many answers."""

    __slots__ = ("bins", "counts", "totals")

    def __init__(self, output: str) -> None:
        self.bins: Final = BINS[output]
        self.counts: list[list[int]] = []
        self.totals: list[float] = []

    def add(self, scores: Sequence[npt.NDArray[np.float32]]) -> None:
        """Count the scores of several answers, each float32 [rows] or [rows, classes], all of one kind.

        Of more classes than `MAX_CLASSES` only the highest probability of each row is counted.
        """
        joined = np.concatenate(scores)
        if joined.ndim > 1 and joined.shape[1] > MAX_CLASSES:
            joined = joined.max(axis=1)
        columns = np.ascontiguousarray(joined.reshape(len(joined), -1).T)
        while len(self.counts) < len(columns):
            self.counts.append(self.bins.empty())
            self.totals.append(0.0)
        for index, column in enumerate(columns):
            self.counts[index] = [a + b for a, b in zip(self.counts[index], self.bins.count(column), strict=True)]
            self.totals[index] += float(column.sum(dtype=np.float64))
