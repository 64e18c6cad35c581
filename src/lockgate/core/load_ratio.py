"""How many times slower one arm answers than another, with an interval, and how different an arm looks from itself.

The unit is the window, not the request: requests of one moment share what else the machine did. Windows are drawn
with replacement, in each arm alone (cluster bootstrap; Davison and Hinkley 1997, 3.8), and the standard error of the
log ratio is widened by Student's t with G - 1 degrees of freedom, G the fewer windows: a plain percentile interval
over a dozen clusters covers too little.

    ratio = max(quantile of A, floor) / max(quantile of B, floor)

Below the generator's own floor nothing can be told apart. The A/A ratio is the same figure for one arm's windows taken
alternately: what this machine shows, in this run, between two things that are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lockgate.core.intervals import Estimate, t_quantile
from lockgate.core.load import quantile
from lockgate.core.metrics import Floats

_DRAWS = 1000
_SEED = 20130101  # ours: fixed, so that anyone gets the same digits from the same samples
_WINDOWS_MIN = 3  # ours: fewer have no spread worth the name


def latency_ratio(first_ms: float, second_ms: float, floor_ms: float) -> float:
    """Return how many times slower the first is; what lies below the generator's floor cannot be told apart.

    >>> latency_ratio(4.0, 1.0, 2.0), latency_ratio(8.0, 4.0, 2.0), latency_ratio(1.0, 1.0, 2.0)
    (2.0, 2.0, 1.0)
    """
    return max(first_ms, floor_ms) / max(second_ms, floor_ms)


def ratio_interval(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], q: float, floor_ms: float
) -> Estimate:
    """Return the ratio of two arms' q-quantiles of latency with its two-sided 95 % interval.

    Args:
        first: The latencies (ms) of each of an arm's windows.
        second: The other arm's.
        q: In 0..1.
        floor_ms: The generator's own floor, > 0.

    Returns:
        `value` is NaN without requests on either side, or without a floor; bounds and `se` (of the log ratio) are NaN
        with fewer than three windows on a side.
    """
    nothing = float("nan")
    arms = [[list(window) for window in arm if len(window)] for arm in (first, second)]
    if not all(arms) or not (math.isfinite(floor_ms) and floor_ms > 0):
        return Estimate(value=nothing, low=nothing, high=nothing, se=nothing)
    pooled = [[each for window in arm for each in window] for arm in arms]
    value = latency_ratio(quantile(pooled[0], q), quantile(pooled[1], q), floor_ms)
    fewest = min(len(arm) for arm in arms)
    if fewest < _WINDOWS_MIN:
        return Estimate(value=value, low=nothing, high=nothing, se=nothing)
    rng = np.random.default_rng(_SEED)
    drawn = [np.log(np.maximum(_quantiles(arm, q, rng), floor_ms)) for arm in arms]
    # a bootstrap of G clusters has the variance of (G - 1) / G of theirs
    se = float(np.std(drawn[0] - drawn[1])) * math.sqrt(fewest / (fewest - 1))
    wide = se * t_quantile(0.975, fewest - 1)
    return Estimate(value=value, low=value * math.exp(-wide), high=value * math.exp(wide), se=se)


def self_ratio(windows: Sequence[Sequence[float]], q: float, floor_ms: float) -> Estimate:
    """Return the A/A ratio of one arm: its every other window against those between."""
    return ratio_interval(windows[::2], windows[1::2], q, floor_ms)


def _quantiles(windows: Sequence[Sequence[float]], q: float, rng: np.random.Generator) -> Floats:
    """Return the pooled q-quantile of each draw of windows, [draws]."""
    values = np.array([each for window in windows for each in window])
    window = np.repeat(np.arange(len(windows)), [len(each) for each in windows])
    order = np.argsort(values, kind="stable")
    taken = rng.multinomial(len(windows), np.full(len(windows), 1 / len(windows)), size=_DRAWS)
    reached = np.cumsum(taken[:, window[order]], axis=1)
    at = (reached < np.ceil(q * reached[:, -1:])).sum(axis=1)
    return np.asarray(values[order][at])
