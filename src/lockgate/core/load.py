"""The arithmetic of a load test: what to send when, and what the latencies add up to. Times in s, latencies in ms.

    ramp (stairs 25, 50, 75 % of the target) -> steady (100 %) -> soak (100 %, if asked for) -> spike (200 %)
    -> knee (stairs 400, 800, 1600 %, open loop alone, an arm's later ones left out once it falls behind)

Inside each phase the arms take turns in short windows (A B B A, then the echo server), so that whatever else the
machine does meets both arms alike, and the generator's own floor is measured in the same minutes. What overloads a
server comes last, so that it disturbs nothing that is judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

CHALLENGER, CHAMPION, ECHO = "challenger", "champion", "echo"
STEADY, SOAK, SPIKE, KNEE = "steady", "soak", "spike", "knee"
_STAIRS = (0.25, 0.5, 0.75)
_SPIKE_FACTOR = 2.0
_KNEE_FACTORS = (4.0, 8.0, 16.0)
_RAMP_SHARE, _SPIKE_SHARE, _KNEE_SHARE = 0.2, 0.08, 0.12  # ours: the steady rest, which is judged, stays 60 %
_WINDOWS = 30  # ours: six rounds of A B B A E; windows are the unit of the ratio's interval, fewer say little
_SOAK_WINDOW_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of the test in which one arm is asked at one rate.

    Attributes:
        start_s: From the start of the test.
        end_s: From the start of the test.
        arm: challenger, champion, or echo (a bare server: the generator's floor).
        phase: ramp-25, ramp-50, ramp-75, steady, soak, spike, or knee-400 to knee-1600.
        rate_rps: Requests a second offered to the arm.
    """

    start_s: float
    end_s: float
    arm: str
    phase: str
    rate_rps: float

    @property
    def overloads(self) -> bool:
        """Whether the rate is above the target: what fails here breaks no promise."""
        return self.phase == SPIKE or self.searches

    @property
    def searches(self) -> bool:
        """Whether it looks for the knee; the open loop sends alone then."""
        return self.phase.startswith(KNEE)


def plan(duration_s: float, target_rps: float, *, champion: bool, soak_s: float = 0.0) -> tuple[Window, ...]:
    """Return the windows of a test, in order and without gaps.

    Args:
        duration_s: The whole declared window but for the soak, > 0.
        target_rps: The rate of the steady phase, > 0.
        champion: Whether there is a champion to alternate with.
        soak_s: So much longer at the target rate; 0 for none.

    >>> [w.arm for w in plan(20.0, 50.0, champion=True) if w.phase == "steady"][:5]
    ['challenger', 'champion', 'champion', 'challenger', 'echo']
    """
    arms = (CHALLENGER, CHAMPION) if champion else (CHALLENGER,)
    turns = (CHALLENGER, CHAMPION, CHAMPION, CHALLENGER, ECHO) if champion else (CHALLENGER, CHALLENGER, ECHO)
    ramp_s, spike_s, knee_s = (duration_s * share for share in (_RAMP_SHARE, _SPIKE_SHARE, _KNEE_SHARE))
    steady_s = (duration_s - ramp_s - spike_s - knee_s) / _WINDOWS
    soaks = len(turns) * max(1, round(soak_s / _SOAK_WINDOW_S / len(turns))) if soak_s else 0
    ramp = [(f"ramp-{share * 100:.0f}", share, ramp_s / len(_STAIRS)) for share in _STAIRS]
    high = [(f"{KNEE}-{factor * 100:.0f}", factor, knee_s / len(_KNEE_FACTORS)) for factor in _KNEE_FACTORS]
    stretches = [(length / len(arms), arm, phase, target_rps * at) for phase, at, length in ramp for arm in arms]
    stretches += [(steady_s, arm, STEADY, target_rps) for arm, _ in zip(cycle(turns), range(_WINDOWS), strict=False)]
    stretches += [(soak_s / soaks, arm, SOAK, target_rps) for arm, _ in zip(cycle(turns), range(soaks), strict=False)]
    last = [(SPIKE, _SPIKE_FACTOR, spike_s), *high]
    stretches += [(length / len(arms), arm, phase, target_rps * at) for phase, at, length in last for arm in arms]
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

    In windows that look for the knee the open loop sends everything.

    Args:
        windows: From `plan`.
        share: The generator's part of the offered rate, in 0..1.

    Returns:
        Seconds from the start of the plan, with the window each belongs to: in the middle of equal steps.
    """
    due = []
    for each in windows:
        part = 1.0 if each.searches else share
        count = max(1, round((each.end_s - each.start_s) * each.rate_rps * part))
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


def histogram_quantile_low(buckets: Mapping[float, float], q: float) -> float:
    """Return the lower edge of the bucket that holds the q-quantile: never above the true one; 0 in the first.

    >>> histogram_quantile_low({0.01: 90, 0.1: 99, float("inf"): 100}, 0.95)
    0.01
    """
    upper = histogram_quantile(buckets, q)
    return upper if math.isnan(upper) else max((edge for edge in buckets if edge < upper), default=0.0)


def histogram_between(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """Return the cumulative histogram of what came between two readings of a counter.

    >>> histogram_between({0.1: 2.0, 1.0: 5.0}, {0.1: 3.0, 1.0: 9.0})
    {0.1: 1.0, 1.0: 4.0}
    """
    return {edge: after[edge] - before.get(edge, 0.0) for edge in after}


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
