"""How much a server's memory grows with the requests it answers: slope, interval, and the series for the page.

    rss = level + growth_bytes * requests        least squares over the readings at the target rate

The unit of the interval is a stretch of the run: readings are looked at in a dozen stretches, one left out at a time
(`core.intervals`), because neighbouring readings hardly differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.intervals import block_interval
from lockgate.core.metrics import Floats

POINTS = 60
"""A page shows no more readings than this."""
_STRETCHES = 12
_READINGS_MIN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a server's memory.

    Attributes:
        at_s: From the start of the test.
        rss_bytes: Resident set.
    """

    at_s: float
    rss_bytes: float


def growth(readings: Sequence[Reading], due_s: Sequence[float], start_s: float, end_s: float) -> dict[str, object]:
    """Return how memory grew between two moments.

    Args:
        readings: In order.
        due_s: When each request to this server was due, from the start of the test; any order.
        start_s: Readings before it are start-up and warm-up.
        end_s: Readings after it are overload.

    Returns:
        readings, requests (between the two moments), grown_bytes (last minus first reading), and estimate, low, high,
        se in bytes a request; NaN where there are too few readings or no requests.

    >>> looks = [Reading(at_s=float(t), rss_bytes=1000.0 + 80.0 * t) for t in range(24)]
    >>> found = growth(looks, [t / 4 for t in range(96)], 0.0, 24.0)  # four requests a second
    >>> round(found["estimate"], 6), found["grown_bytes"]
    (20.0, 1840.0)
    """
    inside = [each for each in readings if start_s <= each.at_s <= end_s]
    sorted_due = np.sort(np.asarray(due_s, dtype=np.float64))
    at = np.array([each.at_s for each in inside])
    x = np.searchsorted(sorted_due, at, side="right").astype(np.float64)
    y = np.array([each.rss_bytes for each in inside], dtype=np.float64)
    requests = int(x[-1] - x[0]) if len(x) else 0
    told: dict[str, object] = {
        "readings": len(inside),
        "requests": requests,
        "grown_bytes": float(y[-1] - y[0]) if len(y) else float("nan"),
    }
    if len(inside) < _READINGS_MIN or not requests:
        return told | dict.fromkeys(("estimate", "low", "high", "se"), float("nan"))
    stretch = np.arange(len(x)) * _STRETCHES // len(x)
    return told | block_interval(_Slope(x - x.mean(), y - y.mean(), stretch), _STRETCHES).to_json()


class _Slope:
    """The least-squares slope by the weights of stretches."""

    def __init__(self, x: Floats, y: Floats, stretch: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        self._sums = [np.bincount(stretch, each, _STRETCHES) for each in (np.ones_like(x), x, y, x * x, x * y)]

    def __call__(self, weights: Floats) -> Floats:
        """Return the slope for each row of weights, [k]."""
        n, x, y, xx, xy = (weights @ each for each in self._sums)
        spread = n * xx - x * x
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(spread > 0, (n * xy - x * y) / spread, np.nan))


def thinned(readings: Sequence[Reading], most: int = POINTS) -> list[list[float]]:
    """Return at most so many readings as [at_s, rss_bytes], evenly spread, both ends included.

    >>> thinned([Reading(at_s=at, rss_bytes=100.0) for at in range(5)], most=3)
    [[0, 100.0], [2, 100.0], [4, 100.0]]
    """
    if len(readings) > most:
        step = (len(readings) - 1) / (most - 1)
        readings = [readings[round(at * step)] for at in range(most)]
    return [[round(each.at_s, 2), each.rss_bytes] for each in readings]
