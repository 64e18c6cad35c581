"""Rows that stand where they should not: counted by 64-bit hashes of what makes two rows the same.

Ten million rows are 80 MB so. The chance that two different ones share a hash is n^2 / 2^65 (birthday bound), under 3
in a million at ten million rows; it would show as a duplicate that is none, never hide one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]


def repeated_rows(parts: Sequence[Hashes]) -> int:
    """Return how many rows of all parts together would have to go until no hash stands twice.

    >>> repeated_rows([np.array([1, 2, 2], dtype=np.uint64), np.array([2, 3], dtype=np.uint64)])
    2
    """
    every = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    return len(every) - len(np.unique(every))


def shared_values(one: Hashes, other: Hashes) -> int:
    """Return how many distinct hashes stand in both.

    >>> shared_values(np.array([1, 2, 2], dtype=np.uint64), np.array([2, 2, 3], dtype=np.uint64))
    1
    """
    return len(np.intersect1d(one, other))


def rows_found_in(rows: Hashes, others: Hashes) -> int:
    """Return how many of `rows` have their hash among `others`.

    >>> rows_found_in(np.array([1, 2, 2], dtype=np.uint64), np.array([2, 3], dtype=np.uint64))
    2
    """
    return int(np.isin(rows, others).sum()) if len(rows) and len(others) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinShares:
    """How many rows of a later part have a twin in train.

    Attributes:
        share: Of the later part's rows; None without rows.
        natural: Of the rows of train that stood for it; None without any.
        held: How many those were.
    """

    share: float | None
    natural: float | None
    held: int


def twin_shares(train: Hashes, later: Hashes, *, in_time: bool) -> TwinShares:
    """Return the share of a later part's rows that have a twin in train, and the share that would be natural.

    Rows may be alike by themselves (few features, few values). How many are is taken from train alone: a twentieth of
    its rows against the rest, few enough that the rest is as good as all (the natural share is then at most 0.02 too
    low). What the later part has beyond that was copied.

    Args:
        train: Hashes of features and label, in the order of time.
        later: The same of validation or holdout.
        in_time: Whether the split is by time: then the last rows of train stand for the later part. Else the parts
            are a mixture of all times, and so are the rows that stand for it: chosen by a hash of their place.

    >>> train = np.arange(100, dtype=np.uint64)
    >>> twin_shares(train, np.arange(90, 110, dtype=np.uint64), in_time=True)  # 90 to 99 of 20
    TwinShares(share=0.5, natural=0.0, held=5)
    """
    share = rows_found_in(later, train) / len(later) if len(later) and len(train) else None
    size = len(train) // 20
    if not size:
        return TwinShares(share=share, natural=None, held=0)
    held = np.zeros(len(train), dtype=bool)
    if in_time:
        held[-size:] = True
    else:  # Knuth's multiplicative hash of the place: the same rows every time, evenly spread
        spread = np.arange(len(train), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        held[np.argpartition(spread, size)[:size]] = True
    return TwinShares(share=share, natural=rows_found_in(train[held], train[~held]) / size, held=size)
