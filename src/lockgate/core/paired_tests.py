"""McNemar's and DeLong's tests: second opinions on two models' answers to the same rows, row by row.

Both take rows to be independent. Rows of one day or site are not, so these tests are surer than they may be: they are
shown beside the comparison by block (`intervals`), never instead of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.core.metrics import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """Rows that one decided right and the other wrong.

    Attributes:
        only_first: Rows that only the first decided right.
        only_second: Rows that only the second decided right.
        p_value: Two-sided, exact; 1 where they never differ.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeLong:
    """Two areas under the ROC curve, on the same rows.

    Attributes:
        first: The first's AUC.
        second: The second's.
        se: Standard error of their difference.
        p_value: Two-sided, of no difference.
    """

    first: float
    second: float
    se: float
    p_value: float


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> McNemar:
    """Test whether two models are right equally often.

    Args:
        first_right: Whether the first decided each row right, shape [n].
        second_right: The same of the second.

    Source: McNemar 1947; exact form: of the rows where they differ, each is the first's with chance 1/2.

    >>> one, other = np.array([True] * 9 + [False]), np.array([False] * 8 + [True] * 2)
    >>> found = mcnemar(one, other)
    >>> found.only_first, found.only_second, round(found.p_value, 4)  # 2 * (1 + 9) / 2 ** 9
    (8, 1, 0.0391)
    """
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    up, down = int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())
    p_value = min(1.0, 2.0 * float(special.bdtr(min(up, down), up + down, 0.5))) if up + down else 1.0
    return McNemar(only_first=up, only_second=down, p_value=p_value)


def delong(y: Ints, first: Floats, second: Floats) -> DeLong | None:
    """Test whether two scores rank positives above negatives equally well.

    Args:
        y: 0 or 1, shape [n].
        first: Scores of the first, shape [n]; finite, any order-preserving scale.
        second: Scores of the second.

    Returns:
        None with fewer than two rows of a class. The p-value is 1 where the standard error is 0.

    Source: DeLong, DeLong and Clarke-Pearson 1988; mid-rank form in O(n log n) by Sun and Xu 2014, Fast Implementation
    of DeLong's Algorithm, eq. 7 to 10.

    >>> y = np.array([1, 1, 1, 0, 0, 0])
    >>> found = delong(y, np.array([0.9, 0.8, 0.4, 0.5, 0.2, 0.1]), np.array([0.9, 0.3, 0.4, 0.5, 0.2, 0.1]))
    >>> round(found.first, 4), round(found.second, 4), round(found.se, 4)
    (0.8889, 0.7778, 0.1571)
    """
    from scipy import special

    positive = y == 1
    ups, downs = int(positive.sum()), int((~positive).sum())
    if min(ups, downs) < 2:
        return None
    parts = [_components(positive, score) for score in (first, second)]
    of_ups, of_downs = (parts[0][k] - parts[1][k] for k in (0, 1))
    variance = float(of_ups.var(ddof=1) / ups + of_downs.var(ddof=1) / downs)
    se = float(np.sqrt(max(variance, 0.0)))
    areas = [float(each[0].mean()) for each in parts]
    gap = areas[0] - areas[1]
    p_value = 1.0 if se == 0 else float(2.0 * special.ndtr(-abs(gap) / se))
    return DeLong(first=areas[0], second=areas[1], se=se, p_value=p_value)


def _components(positive: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Return for each positive the share of negatives below it, and for each negative that of positives above it."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]  # no stubs installed

    ups, downs = score[positive], score[~positive]
    ranks = rankdata(score)
    below = (ranks[positive] - rankdata(ups)) / len(downs)
    above = 1.0 - (ranks[~positive] - rankdata(downs)) / len(ups)
    return below, above
