"""The mean of values in [0, 1] at any look, exact at any number of them: a confidence sequence by betting.

For every candidate mean m two gamblers start with 1: one bets that values lie above m, the other that they lie below.
Both bet from the past alone, so at the true mean neither can expect to win, and the fortunes stay below 2 / alpha
for ever with probability 1 - alpha (Ville). The candidates nobody got rich on are the interval.

The state is the fortunes over a fixed grid of candidates: its size does not grow. It depends on the order of values.

Source: Waudby-Smith and Ramdas 2023, Estimating means of bounded random variables by betting, JRSS-B 86(1), section
4.1 and theorem 3 (hedged capital, predictable plug-in bets, truncated at 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELLS = 200
"""Candidates are sin^2(pi j / 400), j = 0..200. Ours: bounds are rounded outwards to the next one, by at most 0.008 in
the middle and 0.0016 at 0.01, where rates live."""
TRUNCATION = 0.5  # no gambler stakes more than half of what would ruin it; 1/2 or 3/4 in the paper


@dataclass(frozen=True, slots=True, kw_only=True)
class Wealth:
    """The running state.

    Attributes:
        alpha: Error that bets are sized for, in 0..1.
        n: Values seen.
        total: Their sum.
        around: Sum of squared distances, each from the mean as it was estimated with that value.
        above: Log fortune of the gambler on "above m", by candidate; empty before the first value.
        below: The other's.
    """

    alpha: float
    n: int = 0
    total: float = 0.0
    around: float = 0.0
    above: tuple[float, ...] = ()
    below: tuple[float, ...] = ()


def observe(state: Wealth, values: Sequence[float]) -> Wealth:
    """Return the state after some more values, in the order given.

    Args:
        state: What was before.
        values: In [0, 1], any number of them.

    Raises:
        ValueError: A value is NaN or outside [0, 1]; nothing that is missing may count.

    Source: equations 24 to 26 of the paper above.

    >>> state = observe(Wealth(alpha=0.05), [1.0])
    >>> round(math.exp(state.above[100]), 4)  # m = 1/2: the bet is min(sqrt(2 log 40 / (log 2 / 4)), 1) = 1
    1.5
    """
    above, below = (np.asarray(each) if each else np.zeros(CELLS + 1) for each in (state.above, state.below))
    grid, n, total, around = _grid(), state.n, state.total, state.around
    highest_up, highest_down = TRUNCATION / np.maximum(grid, 1e-12), TRUNCATION / np.maximum(1.0 - grid, 1e-12)
    for value in values:
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"a value of {value} is outside 0..1; scale it, or leave it out and count it as missing")
        variance = (0.25 + around) / (n + 1)
        bet = math.sqrt(2.0 * math.log(2.0 / state.alpha) / (variance * (n + 1) * math.log(n + 2)))
        above = above + np.log1p(np.minimum(bet, highest_up) * (value - grid))
        below = below + np.log1p(np.minimum(bet, highest_down) * (grid - value))
        n, total = n + 1, total + value
        around += (value - (0.5 + total) / (n + 1)) ** 2
    return Wealth(
        alpha=state.alpha, n=n, total=total, around=around, above=tuple(above.tolist()), below=tuple(below.tolist())
    )


def interval(state: Wealth) -> tuple[float, float]:
    """Return an interval that holds at all looks at once with probability 1 - alpha, exactly, at any number of values.

    Returns:
        (0, 1) before the first value; NaN for a state that is not of this module's making.

    Source: theorem 3 of the paper above; each gambler may be given half of alpha.

    >>> low, high = interval(observe(Wealth(alpha=0.05), [0.0] * 100))
    >>> low, round(high, 3)  # (1 + m / (2 (1 - m)))^100 = 40 at m = .0699; the next candidate up
    (0.0, 0.074)
    """
    sizes = {len(state.above), len(state.below)}
    if not 0 < state.alpha < 1:
        return math.nan, math.nan
    if sizes == {0} and state.n == 0:
        return 0.0, 1.0
    if sizes != {CELLS + 1}:
        return math.nan, math.nan
    rich = math.log(2.0 / state.alpha)
    grid = _grid()
    # fortunes fall in m for "above" and rise for "below": what is rejected is an end of the grid
    low = grid[np.asarray(state.above) >= rich].max(initial=0.0)
    high = grid[np.asarray(state.below) >= rich].min(initial=1.0)
    return float(low), float(high)


def difference_interval(challenger: Wealth, champion: Wealth) -> tuple[float, float]:
    """Return an interval for the challenger's mean less the champion's, at all looks at once.

    Returns:
        Error at most the sum of both states' alphas (give each half); (-1, 1) before the first values; NaN as there.

    Source: the union bound.

    >>> difference_interval(Wealth(alpha=0.025), Wealth(alpha=0.025))
    (-1.0, 1.0)
    """
    (low, high), (low_other, high_other) = interval(challenger), interval(champion)
    return low - high_other, high - low_other


def _grid() -> NDArray[np.float64]:
    return np.sin(np.pi * np.arange(CELLS + 1) / (2 * CELLS)) ** 2
