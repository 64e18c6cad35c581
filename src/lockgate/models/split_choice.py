"""Chooses the splits by which many rows are ordered before they go through a model's trees, see `core.row_order`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np

from lockgate.core.row_order import BITS, RowOrder, Split

_QUANTILES: Final = tuple(at / 2**level for level in range(1, 6) for at in range(1, 2**level, 2))


class MetSplit(NamedTuple):
    """One node of one tree.

    Attributes:
        column: Of the graph's matrix.
        threshold: On it.
        met: How many training rows came to the node, in any unit that all nodes share.
        left: How many of them went left.
    """

    column: int
    threshold: float
    met: float
    left: float

    @property
    def doubt(self) -> float:
        """How many rows differ there from a random other one: met times the Gini impurity of the ways they take."""
        share = self.left / self.met if self.met > 0 else 0.0
        return self.met * 2 * share * (1 - share)


def row_order(nodes: Iterable[MetSplit]) -> RowOrder | None:
    """Return the order by the splits at which rows differ most; None where there is none."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for node in nodes:
        if node.doubt > 0:
            found[node.column].append((node.threshold, node.doubt))
    splits = list(_telling(found))
    return RowOrder(splits) if splits else None


def _telling(found: dict[int, list[tuple[float, float]]]) -> Iterator[Split]:
    """Yield the middle split of each column, the column of most doubt first, then the quarters, then the eighths."""
    columns = sorted(found, key=lambda column: (-sum(doubt for _, doubt in found[column]), column))
    yielded: set[Split] = set()
    for quantile in _QUANTILES:
        for column in columns:
            split = (column, _quantile(found[column], quantile))
            if split not in yielded:
                yielded.add(split)
                yield split
            if len(yielded) == BITS:
                return


def _quantile(weighted: list[tuple[float, float]], quantile: float) -> float:
    """Return the threshold below which the share `quantile` of a column's doubt lies."""
    thresholds, doubts = np.array(sorted(weighted)).T
    reached = np.cumsum(doubts)
    return float(thresholds[np.searchsorted(reached, quantile * reached[-1])])
