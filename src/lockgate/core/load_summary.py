"""What the samples of a load test add up to: the stress gate's measurements. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockgate.core.ids import Json, to_json
from lockgate.core.load import (
    CHALLENGER,
    CHAMPION,
    ECHO,
    SPIKE,
    STEADY,
    Step,
    Window,
    histogram_quantile,
    knee,
    latency_ratio,
    quantile,
    quantile_upper,
    yardstick,
)

OPEN_LOOP, LOCUST = "open_loop", "locust"
_GRACE_S = 1.0  # ours: an answer this long after its window still counts as keeping up
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
        cpu_s: CPU time of the generators.
    """

    windows: tuple[Window, ...]
    samples: tuple[Sample, ...]
    histograms: Mapping[str, Mapping[float, float]]
    cpu_s: float = 0.0


def summarise(run: LoadRun) -> dict[str, Json]:
    """Return the stress gate's measurements; `champion` is None when the run had no champion."""
    floor_ms = quantile(_latencies(run, ECHO, STEADY, OPEN_LOOP), 0.95)
    has_champion = any(window.arm == CHAMPION for window in run.windows)
    challenger = _arm(run, CHALLENGER)
    champion = _arm(run, CHAMPION) if has_champion else None
    measured = {
        "plan": {
            "duration_s": round(run.windows[-1].end_s, 6),
            "target_rps": next(window.rate_rps for window in run.windows if window.phase == STEADY),
            "windows": len(run.windows),
        },
        "generator": _generator(run, floor_ms),
        CHALLENGER: challenger,
        CHAMPION: champion,
        "ratio": _ratio(run, floor_ms) if has_champion else None,
        "knee": _knee(run, quantile(_latencies(run, ECHO, STEADY, OPEN_LOOP), 0.5)),
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
    late = [each.late_ms for each in run.samples if each.generator == OPEN_LOOP]
    return {
        "asked": len(echo),
        "p50_ms": quantile(echo, 0.5),
        "p95_ms": floor_ms,
        "late_p95_ms": quantile(late, 0.95),
        "locust_p50_ms": quantile(_latencies(run, ECHO, STEADY, LOCUST), 0.5),
        "locust_p95_ms": quantile(_latencies(run, ECHO, STEADY, LOCUST), 0.95),
        "achieved_fraction": _achieved(run, ECHO, STEADY) / _offered(run, ECHO, STEADY),
    }


def _arm(run: LoadRun, arm: str) -> dict[str, object]:
    up_to_target = [each for each in _of(run, arm) if run.windows[each.window].phase != SPIKE]
    errors = Counter(each.error for each in up_to_target if each.error is not None)
    open_loop = _latencies(run, arm, STEADY, OPEN_LOOP)
    spike = _latencies(run, arm, SPIKE, OPEN_LOOP)
    locust = _latencies(run, arm, STEADY, LOCUST)
    histogram = run.histograms.get(arm, {})
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
        },
        "locust": {"asked": len(locust), "p50_ms": quantile(locust, 0.5), "p95_ms": quantile(locust, 0.95)},
        "spike": {"asked": len(spike), "p95_ms": quantile(spike, 0.95), "achieved_rps": _achieved(run, arm, SPIKE)},
        "server": {
            "sent": len(_of(run, arm, STEADY)),
            "asked": histogram[max(histogram)] if histogram else 0,
            "p95_ms": histogram_quantile(histogram, 0.95) * 1000,
        },
    }


def _seconds(run: LoadRun, arm: str, phase: str) -> float:
    return sum(each.end_s - each.start_s for each in run.windows if (each.arm, each.phase) == (arm, phase))


def _offered(run: LoadRun, arm: str, phase: str) -> float:
    return next((each.rate_rps for each in run.windows if (each.arm, each.phase) == (arm, phase)), math.nan)


def _achieved(run: LoadRun, arm: str, phase: str) -> float:
    """Return the requests a second of both generators answered well, at most `_GRACE_S` after their window."""
    seconds = _seconds(run, arm, phase)
    return sum(_in_time(run, each) for each in _of(run, arm, phase)) / seconds if seconds else math.nan


def _in_time(run: LoadRun, sample: Sample) -> bool:
    answered_s = sample.due_s + sample.latency_ms / 1000
    return sample.error is None and answered_s <= run.windows[sample.window].end_s + _GRACE_S


def _ratio(run: LoadRun, floor_ms: float) -> dict[str, object]:
    p95 = {arm: quantile(_latencies(run, arm, STEADY, OPEN_LOOP), 0.95) for arm in (CHALLENGER, CHAMPION)}
    numbers = [index for index, each in enumerate(run.windows) if (each.arm, each.phase) == (CHAMPION, STEADY)]
    by_window = [
        [each.latency_ms for each in run.samples if each.window == number and each.generator == OPEN_LOOP]
        for number in numbers
    ]
    whole = all(math.isfinite(each) and each > 0 for each in (*p95.values(), floor_ms))
    return {
        "p95": latency_ratio(p95[CHALLENGER], p95[CHAMPION], floor_ms) if whole else math.nan,
        "yardstick": yardstick(by_window, 0.95, floor_ms) if whole else math.nan,
    }


def _knee(run: LoadRun, floor_ms: float) -> dict[str, object]:
    """Look for the knee on the open loop alone: it sends exactly what was planned."""
    phases = dict.fromkeys(each.phase for each in run.windows if each.arm == CHALLENGER)
    asked = {phase: _latencies(run, CHALLENGER, phase, OPEN_LOOP) for phase in phases}
    steps = [
        Step(
            offered_rps=_offered(run, CHALLENGER, phase),
            achieved_rps=_offered(run, CHALLENGER, phase) * _kept_up(run, phase),
            p50_ms=quantile(latencies, 0.5),
        )
        for phase, latencies in asked.items()
        if len(latencies) >= _STEP_MIN
    ]
    return {"steps": steps, "rps": knee(steps, floor_ms=floor_ms if math.isfinite(floor_ms) else 0.0)}


def _kept_up(run: LoadRun, phase: str) -> float:
    """Return the share of the challenger's open-loop requests of a phase that were answered well and in time."""
    sent = _of(run, CHALLENGER, phase, OPEN_LOOP)
    return sum(_in_time(run, each) for each in sent) / len(sent)


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
