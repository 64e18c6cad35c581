"""The arithmetic of a load test: what to send when, and what the latencies add up to. Times in s, latencies in ms.

    ramp (stairs 25, 50, 75 % of the target)  ->  steady (100 %)  ->  spike (200 %)

Inside each phase the arms take turns in short windows (A B B A, then the echo server), so that whatever else the
machine does meets both arms alike, and the generator's own floor is measured in the same minutes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

CHALLENGER, CHAMPION, ECHO = "challenger", "champion", "echo"
STEADY, SPIKE = "steady", "spike"
_STAIRS = (0.25, 0.5, 0.75)
_RAMP_SHARE, _SPIKE_SHARE = 0.3, 0.1  # ours: stairs long enough to see a knee; the steady rest is what is judged
_SPIKE_FACTOR = 2.0
_WINDOWS = 15  # ours: three rounds of A B B A E; short enough that slow drifts of the machine meet both arms


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of the test in which one arm is asked at one rate.

    Attributes:
        start_s: From the start of the test.
        end_s: From the start of the test.
        arm: challenger, champion, or echo (a bare server: the generator's floor).
        phase: ramp-25, ramp-50, ramp-75, steady or spike.
        rate_rps: Requests a second offered to the arm.
    """

    start_s: float
    end_s: float
    arm: str
    phase: str
    rate_rps: float


def plan(duration_s: float, target_rps: float, *, champion: bool) -> tuple[Window, ...]:
    """Return the windows of a test, in order and without gaps.

    Args:
        duration_s: The whole declared window, > 0.
        target_rps: The rate of the steady phase, > 0.
        champion: Whether there is a champion to alternate with.

    >>> [w.arm for w in plan(20.0, 50.0, champion=True) if w.phase == "steady"][:5]
    ['challenger', 'champion', 'champion', 'challenger', 'echo']
    """
    arms = (CHALLENGER, CHAMPION) if champion else (CHALLENGER,)
    turns = (CHALLENGER, CHAMPION, CHAMPION, CHALLENGER, ECHO) if champion else (CHALLENGER, CHALLENGER, ECHO)
    ramp_s, spike_s = duration_s * _RAMP_SHARE, duration_s * _SPIKE_SHARE
    steady_s = (duration_s - ramp_s - spike_s) / _WINDOWS
    stretches = [
        (ramp_s / len(_STAIRS) / len(arms), arm, f"ramp-{share * 100:.0f}", target_rps * share)
        for share in _STAIRS
        for arm in arms
    ]
    stretches += [(steady_s, arm, STEADY, target_rps) for arm, _ in zip(cycle(turns), range(_WINDOWS), strict=False)]
    stretches += [(spike_s / len(arms), arm, SPIKE, target_rps * _SPIKE_FACTOR) for arm in arms]
    return tuple(_laid_out(stretches))


def _laid_out(stretches: Sequence[tuple[float, str, str, float]]) -> Iterator[Window]:
    at = 0.0
    for length, arm, phase, rate in stretches:
        yield Window(start_s=at, end_s=at + length, arm=arm, phase=phase, rate_rps=rate)
        at += length


def window_at(windows: Sequence[Window], at_s: float) -> Window | None:
    """Return the window that holds a moment; None before the first and after the last."""
    return next((each for each in windows if each.start_s <= at_s < each.end_s), None)


def intended_starts(windows: Sequence[Window], share: float) -> tuple[tuple[float, Window], ...]:
    """Return when each request of an open loop is due: evenly within each window, at `share` of its rate.

    Args:
        windows: From `plan`.
        share: The generator's part of the offered rate, in 0..1.
    """
    due = []
    for each in windows:
        count = max(1, round((each.end_s - each.start_s) * each.rate_rps * share))
        step = (each.end_s - each.start_s) / count
        due += [(each.start_s + (index + 0.5) * step, each) for index in range(count)]
    return tuple(due)


def quantile(sample: Sequence[float], q: float) -> float:
    """Return the q-quantile as the order statistic of rank ceil(q n) (inverse of the empirical distribution).

    NaN for an empty sample. An observed value, never an interpolation: a stall that happened is not averaged away.

    >>> quantile([5.0, 1.0, 2.0, 4.0, 3.0], 0.5), quantile(range(1, 101), 0.95)
    (3.0, 95)
    """
    if not sample:
        return math.nan
    return sorted(sample)[max(math.ceil(q * len(sample)), 1) - 1]


def quantile_upper(sample: Sequence[float], q: float, confidence: float = 0.95) -> float:
    """Return an upper confidence bound of the q-quantile, free of any distribution.

    The order statistic of rank k is one at confidence P(Binomial(n, q) < k) (Conover, Practical Nonparametric
    Statistics, 3.2). With fewer than log(1 - confidence) / log(q) requests (59 for p95, 299 for p99) no order statistic
    reaches that confidence; the largest value is returned then. NaN for an empty sample.

    >>> quantile_upper(range(1, 60), 0.95), quantile_upper(range(1, 1001), 0.95)
    (59, 962)
    """
    if not sample:
        return math.nan
    # here, not above: the load generators import this module and must start fast
    from scipy import stats  # type: ignore[import-untyped]  # no stubs installed

    rank = int(stats.binom.ppf(confidence, len(sample), q)) + 1
    return sorted(sample)[min(rank, len(sample)) - 1]


def histogram_quantile(buckets: Mapping[float, float], q: float) -> float:
    """Return the q-quantile of a cumulative histogram as the upper edge of its bucket: never below the true one.

    Args:
        buckets: Upper edge (s; infinity for the last) to the count of values at or below it, as Prometheus writes.
        q: In 0..1.

    Returns:
        The edge, in the edges' unit; NaN for a histogram without values; infinity when it lies beyond the last edge.

    >>> histogram_quantile({0.01: 90, 0.1: 99, float("inf"): 100}, 0.95)
    0.1
    """
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0
    if total <= 0:
        return math.nan
    return next(edge for edge in edges if buckets[edge] >= q * total)


def histogram_between(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """Return the cumulative histogram of what came between two readings of a counter."""
    return {edge: after[edge] - before.get(edge, 0.0) for edge in after}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happened at one offered rate.

    Attributes:
        offered_rps: What was asked for.
        achieved_rps: What was answered well and in time.
        p50_ms: Median latency from the intended start; a queue that grows moves it, a single stall does not.
    """

    offered_rps: float
    achieved_rps: float
    p50_ms: float


def knee(steps: Sequence[Step], *, floor_ms: float, factor: float = 3.0, kept: float = 0.9) -> float | None:
    """Return the first offered rate beyond the knee of the latency curve; None when it was not reached.

    Beyond the knee the answers no longer keep up (`achieved < kept * offered`), or the latency is more than `factor`
    times what it was at the lowest rate or at the generator's floor, whichever is larger. Ours: "find the knee, then
    stop", as inference recommenders do, on stairs too short for a fit.
    """
    ordered = sorted(steps, key=lambda each: each.offered_rps)
    if not ordered:
        return None
    limit = factor * max(ordered[0].p50_ms, floor_ms)
    for each in ordered:
        if each.achieved_rps < kept * each.offered_rps or each.p50_ms > limit:
            return each.offered_rps
    return None


def latency_ratio(challenger_ms: float, champion_ms: float, floor_ms: float) -> float:
    """Return how many times slower the challenger is; what lies below the generator's floor cannot be told apart.

    >>> latency_ratio(4.0, 1.0, 2.0), latency_ratio(8.0, 4.0, 2.0), latency_ratio(1.0, 1.0, 2.0)
    (2.0, 2.0, 1.0)
    """
    return max(challenger_ms, floor_ms) / max(champion_ms, floor_ms)


def yardstick(windows_ms: Sequence[Sequence[float]], q: float, floor_ms: float) -> float:
    """Return how different one arm looks from itself: A/A ratio of every other window, >= 1; NaN with one window.

    Args:
        windows_ms: The latencies of each of the arm's windows, in order.
        q: The quantile that is compared.
        floor_ms: See `latency_ratio`.
    """
    first = [each for window in windows_ms[::2] for each in window]
    second = [each for window in windows_ms[1::2] for each in window]
    if not first or not second:
        return math.nan
    ratio = latency_ratio(quantile(first, q), quantile(second, q), floor_ms)
    return max(ratio, 1 / ratio)


def read_histogram(text: str, name: str, model: str) -> dict[float, float]:
    r"""Return a model's histogram of a Prometheus page, every arm added up: upper edge to count, infinity last.

    Args:
        text: The page, text format 0.0.4.
        name: The histogram's name, without `_bucket`.
        model: Value of the label `model`.

    >>> read_histogram('h_bucket{model="m",arm="a",le="0.1"} 3\nh_bucket{model="n",le="0.1"} 9', "h", "m")
    {0.1: 3.0}
    """
    found: dict[float, float] = {}
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        metric, _, labels = head.partition("{")
        if metric == f"{name}_bucket" and f'model="{model}"' in labels:
            edge = float(labels.partition('le="')[2].partition('"')[0])
            found[edge] = found.get(edge, 0.0) + float(value)
    return found
