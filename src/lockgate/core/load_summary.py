"""What the samples of a load test add up to: the stress gate's measurements. Pure.

plan          duration_s, soak_s, target_rps, windows
generator     the echo server's latencies, how late the open loop sent, what it kept of the rate
challenger    asked, errors, steady (p50, p95, p99 and bounds), locust, spike, soak, server (its own histogram)
champion      the same; None without one
ratio         p50, p95: challenger over champion, each with estimate, low, high; None without a champion
self_ratio    the same of one arm against itself: what this machine shows between equals
curve         by arm: offered_rps, p50_ms, p95_ms, p99_ms, ..., keeps (the service level; None: cannot say)
knee          of the challenger: rps, first_beyond_rps, limited_by; steps; champion_knee beside it
memory        by arm: estimate, low, high in bytes a request, grown_bytes, and the series [at_s, rss_bytes]
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from lockgate.core.ids import Json, to_json
from lockgate.core.load import (
    CHALLENGER,
    CHAMPION,
    ECHO,
    SOAK,
    SPIKE,
    STEADY,
    Window,
    histogram_quantile,
    histogram_quantile_low,
    quantile,
    quantile_upper,
)
from lockgate.core.load_curve import ServiceLevel, Step, keeps, knee
from lockgate.core.load_ratio import ratio_interval, self_ratio
from lockgate.core.load_witness import Between
from lockgate.core.memory_growth import Reading, growth, thinned

OPEN_LOOP, LOCUST = "open_loop", "locust"
_GRACE_S = 1.0  # ours: an answer this long after its window still counts as keeping up
_SETTLING = 0.25  # ours: pools and buffers fill in the first seconds at the target rate
_STEP_MIN = 5  # ours: fewer requests at one rate say nothing about a knee


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request of a load test.

    Attributes:
        generator: open_loop (latency from the intended start) or locust (closed loop: from the real one).
        window: Index of the window it was due in.
        due_s: Intended (open loop) or real start, from the start of the test.
        latency_ms: Until its whole answer, or until it failed.
        late_ms: How long after its intended start it was really sent; the generator's own fault.
        error: What went wrong; None when the answer was whole and of the bundle asked.
    """

    generator: str
    window: int
    due_s: float
    latency_ms: float
    late_ms: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """A whole load test.

    Attributes:
        windows: What was planned.
        samples: Every request of both generators, warm-up left out.
        histograms: Arm to the server's own cumulative histogram of the steady phase, upper edge (s) to count.
        between: Arm to when that histogram was really read; where it is not said, at the edges of the steady phase.
        memory: Arm to the readings of its server's memory, in order.
        cpu_s: CPU time of the generators.
    """

    windows: tuple[Window, ...]
    samples: tuple[Sample, ...]
    histograms: Mapping[str, Mapping[float, float]]
    between: Mapping[str, Between] = field(default_factory=dict)
    memory: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    cpu_s: float = 0.0


def summarise(run: LoadRun, level: ServiceLevel) -> dict[str, Json]:
    """Return the stress gate's measurements; `champion` and `ratio` are None when the run had no champion."""
    floor = {q: quantile(_latencies(run, ECHO, STEADY, OPEN_LOOP), q) for q in (0.5, 0.95)}
    arms = [arm for arm in (CHALLENGER, CHAMPION) if any(window.arm == arm for window in run.windows)]
    curves = {arm: _curve(run, arm) for arm in arms}
    measured = {
        "plan": {
            "duration_s": round(run.windows[-1].end_s, 6),
            "soak_s": round(sum(each.end_s - each.start_s for each in run.windows if each.phase == SOAK), 6),
            "target_rps": next(window.rate_rps for window in run.windows if window.phase == STEADY),
            "windows": len(run.windows),
        },
        "generator": _generator(run, floor[0.95]),
        CHALLENGER: _arm(run, CHALLENGER),
        CHAMPION: _arm(run, CHAMPION) if CHAMPION in arms else None,
        "ratio": _ratio(run, floor) if CHAMPION in arms else None,
        "self_ratio": _self_ratio(run, arms[-1], floor),
        "curve": {arm: [asdict(step) | {"keeps": keeps(step, level)} for step in curves[arm]] for arm in arms},
        "knee": {**knee(curves[CHALLENGER], level), "steps": [asdict(step) for step in curves[CHALLENGER]]},
        "champion_knee": knee(curves[CHAMPION], level) if CHAMPION in arms else None,
        "memory": {arm: _memory(run, arm) for arm in arms},
        "cost": {"generators_cpu_s": run.cpu_s},
    }
    result = to_json(measured)
    assert isinstance(result, dict)  # noqa: S101 - tells the type checker that an object stays one
    return result


def _of(run: LoadRun, arm: str, phase: str | None = None, generator: str | None = None) -> list[Sample]:
    return [
        each
        for each in run.samples
        if run.windows[each.window].arm == arm
        and phase in (None, run.windows[each.window].phase)
        and generator in (None, each.generator)
    ]


def _latencies(run: LoadRun, arm: str, phase: str, generator: str | None = None) -> list[float]:
    return [each.latency_ms for each in _of(run, arm, phase, generator)]


def _generator(run: LoadRun, floor_ms: float) -> dict[str, object]:
    echo = _latencies(run, ECHO, STEADY, OPEN_LOOP)
    late = [
        each.late_ms for each in run.samples if each.generator == OPEN_LOOP and not run.windows[each.window].overloads
    ]
    return {
        "asked": len(echo),
        "p50_ms": quantile(echo, 0.5),
        "p95_ms": floor_ms,
        "late_p95_ms": quantile(late, 0.95),
        "locust_p50_ms": quantile(_latencies(run, ECHO, STEADY, LOCUST), 0.5),
        "locust_p95_ms": quantile(_latencies(run, ECHO, STEADY, LOCUST), 0.95),
        # the open loop alone: Locust's users may still wait for a slow arm when the echo server's turn comes
        "achieved_fraction": _kept(run, _of(run, ECHO, STEADY, OPEN_LOOP)),
    }


def _arm(run: LoadRun, arm: str) -> dict[str, object]:
    up_to_target = [each for each in _of(run, arm) if not run.windows[each.window].overloads]
    errors = Counter(each.error for each in up_to_target if each.error is not None)
    open_loop = _latencies(run, arm, STEADY, OPEN_LOOP)
    spike = _latencies(run, arm, SPIKE, OPEN_LOOP)
    locust = _latencies(run, arm, STEADY, LOCUST)
    histogram = run.histograms.get(arm, {})
    counted = histogram[max(histogram)] if histogram else 0
    seen_ms, to_count = _witnessed(run, arm, counted)
    return {
        "asked": len(up_to_target),
        "error_fraction": errors.total() / len(up_to_target) if up_to_target else math.nan,
        "errors": dict(errors.most_common(5)),
        "steady": {
            "asked": len(open_loop),
            "achieved_rps": _achieved(run, arm, STEADY),
            "p50_ms": quantile(open_loop, 0.5),
            "p95_ms": quantile(open_loop, 0.95),
            "p95_upper_ms": quantile_upper(open_loop, 0.95),
            "p99_ms": quantile(open_loop, 0.99),
            "p99_upper_ms": quantile_upper(open_loop, 0.99),
            "max_ms": max(open_loop, default=math.nan),
            "both_p95_ms": quantile(seen_ms, 0.95),
        },
        "locust": {"asked": len(locust), "p50_ms": quantile(locust, 0.5), "p95_ms": quantile(locust, 0.95)},
        "spike": {"asked": len(spike), "p95_ms": quantile(spike, 0.95), "achieved_rps": _achieved(run, arm, SPIKE)},
        "server": {
            "sent": to_count,
            "asked": counted,
            "p95_ms": histogram_quantile(histogram, 0.95) * 1000,
            "p95_low_ms": histogram_quantile_low(histogram, 0.95) * 1000,
        },
        "soak": _soak(_latencies(run, arm, SOAK, OPEN_LOOP)),
    }


def _witnessed(run: LoadRun, arm: str, counted: float) -> tuple[list[float], int]:
    """Return the latencies of the requests that the server's histogram may hold, and how many it had to count."""
    between = run.between.get(arm)
    if between is None:
        return (steady := _latencies(run, arm, STEADY)), len(steady)
    sent = _of(run, arm)
    times = [(each.due_s + each.late_ms / 1000, each.due_s + each.latency_ms / 1000) for each in sent]
    held_ms = [each.latency_ms for each, at in zip(sent, times, strict=True) if between.may_hold(*at)]
    return held_ms, between.to_count(times, counted)


def _soak(latencies: Sequence[float]) -> dict[str, object] | None:
    if not latencies:
        return None
    return {"asked": len(latencies), "p95_ms": quantile(latencies, 0.95), "p99_ms": quantile(latencies, 0.99)}


def _offered(run: LoadRun, arm: str, phase: str) -> float:
    return next((each.rate_rps for each in run.windows if (each.arm, each.phase) == (arm, phase)), math.nan)


def _achieved(run: LoadRun, arm: str, phase: str) -> float:
    """Return the requests a second of both generators answered well, at most `_GRACE_S` after their window."""
    seconds = sum(each.end_s - each.start_s for each in run.windows if (each.arm, each.phase) == (arm, phase))
    return sum(_in_time(run, each) for each in _of(run, arm, phase)) / seconds if seconds else math.nan


def _kept(run: LoadRun, sent: Sequence[Sample]) -> float:
    """Return the share that was answered well and in time; NaN of none."""
    return sum(_in_time(run, each) for each in sent) / len(sent) if sent else math.nan


def _in_time(run: LoadRun, sample: Sample) -> bool:
    answered_s = sample.due_s + sample.latency_ms / 1000
    return sample.error is None and answered_s <= run.windows[sample.window].end_s + _GRACE_S


def _by_window(run: LoadRun, arm: str) -> list[list[float]]:
    """Return the open loop's latencies of each steady window of an arm, in order."""
    found: dict[int, list[float]] = {
        index: [] for index, each in enumerate(run.windows) if (each.arm, each.phase) == (arm, STEADY)
    }
    for each in run.samples:
        if each.generator == OPEN_LOOP and each.window in found:
            found[each.window].append(each.latency_ms)
    return list(found.values())


def _ratio(run: LoadRun, floor_ms: Mapping[float, float]) -> dict[str, object]:
    ours, theirs = _by_window(run, CHALLENGER), _by_window(run, CHAMPION)
    return {f"p{q * 100:.0f}": ratio_interval(ours, theirs, q, ms).to_json() for q, ms in floor_ms.items()}


def _self_ratio(run: LoadRun, arm: str, floor_ms: Mapping[float, float]) -> dict[str, object]:
    """Return the A/A ratios of one arm, the champion's where there is one."""
    windows = _by_window(run, arm)
    return {"arm": arm} | {f"p{q * 100:.0f}": self_ratio(windows, q, ms).to_json() for q, ms in floor_ms.items()}


def _curve(run: LoadRun, arm: str) -> list[Step]:
    """Return what happened at each offered rate, on the open loop alone: it sends exactly what was planned."""
    phases = dict.fromkeys(each.phase for each in run.windows if each.arm == arm and each.phase != SOAK)
    steps = []
    for phase in phases:
        sent = _of(run, arm, phase, OPEN_LOOP)
        if len(sent) < _STEP_MIN:
            continue
        offered, latencies = _offered(run, arm, phase), [each.latency_ms for each in sent]
        steps.append(
            Step(
                phase=phase,
                offered_rps=offered,
                asked=len(sent),
                achieved_rps=offered * _kept(run, sent),
                error_fraction=sum(each.error is not None for each in sent) / len(sent),
                p50_ms=quantile(latencies, 0.5),
                p95_ms=quantile(latencies, 0.95),
                p99_ms=quantile(latencies, 0.99),
                late_p95_ms=quantile([each.late_ms for each in sent], 0.95),
            )
        )
    return steps


def _memory(run: LoadRun, arm: str) -> dict[str, object]:
    """Return an arm's growth at the target rate, and its readings over the whole run."""
    judged = [each for each in run.windows if each.phase in (STEADY, SOAK)]
    readings = run.memory.get(arm, ())
    due = [each.due_s for each in _of(run, arm)]
    start_s = judged[0].start_s + _SETTLING * (judged[-1].end_s - judged[0].start_s)
    return growth(readings, due, start_s, judged[-1].end_s) | {"series": thinned(readings)}


def as_samples(generator: str, told: Sequence[Sequence[Json]]) -> tuple[Sample, ...]:
    """Read the rows that a generator wrote: window, due_s, latency_ms, late_ms, error.

    Raises:
        ValueError: A row is not of that form.
    """
    samples = []
    for row in told:
        window, due, latency, late, error = row
        if not isinstance(window, int) or not all(isinstance(each, int | float) for each in (due, latency, late)):
            raise ValueError(f"{row!r} is no sample")
        samples.append(
            Sample(
                generator=generator,
                window=window,
                due_s=float(str(due)),
                latency_ms=float(str(latency)),
                late_ms=float(str(late)),
                error=None if error is None else str(error),
            )
        )
    return tuple(samples)
