"""The stress gate: does the bundle hold its service level at the target rate, and is it no slower than the champion?

Judges what `stages/stress.py` measured. Latency is judged on the open loop (from the intended start, so that a stall
is not hidden), with the server's own histogram as the second witness. A load generator that was itself too slow has
shown nothing: its latencies can pass nothing and fail nothing, so the gate is inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive, Seconds
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The service level, and the test that must show it.

    Attributes:
        target_rps: Requests a second of the steady phase.
        duration_s: The declared window: ramp, steady and spike together.
        p95_ms: 95th percentile of latency at the target rate, at its upper confidence bound.
        p99_ms: The same for the 99th percentile.
        error_fraction: Share of requests up to the target rate that may fail or carry another digest.
        achieved_fraction: Share of the target rate that must be answered well and in time.
        champion_ratio: p95 of the challenger over p95 of the champion, both in the same run.
        generator_floor_fraction: p95 of the generator against a bare echo server, as a share of `p95_ms`; above it the
            generator is the slow part and the gate is inconclusive.
        requests_min: Fewer requests at the target rate behind a percentile say nothing.
    """

    target_rps: Seconds = 50.0
    duration_s: Seconds = 20.0
    p95_ms: Seconds = 100.0
    p99_ms: Seconds = 250.0
    error_fraction: Fraction = 0.0
    achieved_fraction: Fraction = 0.95
    champion_ratio: Seconds = 1.5
    generator_floor_fraction: Fraction = 0.5
    requests_min: Positive = 100


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.stress.measure_stress`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    generator = _generator(seen, thresholds)
    judged = [
        _latency(seen, "p95", thresholds.p95_ms, thresholds),
        _latency(seen, "p99", thresholds.p99_ms, thresholds),
        _achieved(seen, thresholds),
        _ratio(seen, thresholds),
        _server(seen, thresholds),
    ]
    if generator.verdict is Verdict.INCONCLUSIVE:
        judged = [_unsure(each, generator.reason) for each in judged]
    checks = [generator, *judged, _errors(seen, thresholds), _witnessed(seen), *_advisory(seen, thresholds)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _generator(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    check = compare(
        "generator_floor",
        number(seen, "generator.p95_ms"),
        thresholds.p95_ms * thresholds.generator_floor_fraction,
        Direction.AT_MOST,
        unit="ms",
        n=count(seen, "generator.asked"),
        reason="the load generator itself is slow on this machine; end other work and run stress_test again",
    )
    return replace(check, verdict=Verdict.INCONCLUSIVE) if check.verdict is Verdict.FAIL else check


def _unsure(check: Check, reason: str) -> Check:
    """Return the check as inconclusive when it would have failed: the generator may be what was slow."""
    return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason) if check.verdict is Verdict.FAIL else check


def _latency(seen: Mapping[str, Json], which: str, limit_ms: float, thresholds: Thresholds) -> Check:
    estimate = number(seen, f"challenger.steady.{which}_ms")
    upper = number(seen, f"challenger.steady.{which}_upper_ms")
    check = compare(
        f"latency_{which}",
        upper if estimate is not None else None,
        limit_ms,
        Direction.AT_MOST,
        unit="ms",
        n=count(seen, "challenger.steady.asked") or 0,
        n_min=thresholds.requests_min,
        estimate=estimate,
        reason=f"slower than gates.stress.{which}_ms at the target rate; make the model smaller, or lower the target",
    )
    if check.verdict is Verdict.INCONCLUSIVE:
        return replace(check, reason=f"too few requests for {which}; raise gates.stress.duration_s or target_rps")
    if check.verdict is Verdict.FAIL and estimate is not None and estimate <= limit_ms:
        reason = f"{which} itself is within the limit and its upper bound is not: too few requests to tell"
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=f"{reason}; raise gates.stress.duration_s")
    return check


def _achieved(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    return compare(
        "achieved_rate",
        number(seen, "challenger.steady.achieved_rps"),
        thresholds.achieved_fraction * thresholds.target_rps,
        Direction.AT_LEAST,
        unit="1/s",
        n=count(seen, "challenger.steady.asked"),
        reason="the server did not keep up; make the model smaller, or lower gates.stress.target_rps",
    )


def _ratio(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    if "champion" in seen and seen["champion"] is None:
        return Check(
            name="champion_ratio",
            observed=None,
            threshold=None,
            direction=Direction.AT_MOST,
            verdict=Verdict.NOT_APPLICABLE,
            reason="there never was a champion to compare with",
        )
    check = compare(
        "champion_ratio",
        number(seen, "ratio.p95"),
        thresholds.champion_ratio,
        Direction.AT_MOST,
        n=count(seen, "champion.steady.asked") or 0,
        n_min=thresholds.requests_min,
        reason="the challenger answers slower than the champion, side by side in the same run",
    )
    if number(seen, "champion.error_fraction") not in (None, 0.0):
        reason = "requests to the champion failed in this run, so its latency says nothing; run stress_test again"
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)
    noise = number(seen, "ratio.yardstick")
    if check.verdict is Verdict.FAIL and (noise is None or (check.observed or 0) <= thresholds.champion_ratio * noise):
        reason = "the champion differs from itself by as much as is missing; end other work and run stress_test again"
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)
    return check


def _server(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    return compare(
        "server_p95",
        number(seen, "challenger.server.p95_ms"),
        thresholds.p95_ms,
        Direction.AT_MOST,
        unit="ms",
        n=count(seen, "challenger.server.asked"),
        reason="the server's own histogram says it is slower than gates.stress.p95_ms",
    )


def _witnessed(seen: Mapping[str, Json]) -> Check:
    sent, counted = number(seen, "challenger.server.sent"), number(seen, "challenger.server.asked")
    return compare(
        "witnessed_fraction",
        counted / sent if counted is not None and sent else None,
        0.95,
        Direction.AT_LEAST,
        unit="fraction",
        n=count(seen, "challenger.server.sent"),
        reason="the server counted fewer requests than the generators say they sent; see both logs",
    )


def _errors(seen: Mapping[str, Json], thresholds: Thresholds) -> Check:
    return compare(
        "error_fraction",
        number(seen, "challenger.error_fraction"),
        thresholds.error_fraction,
        Direction.AT_MOST,
        unit="fraction",
        n=count(seen, "challenger.asked") or 0,
        n_min=1,
        reason=f"requests failed or were answered by another bundle: {value_at(seen, 'challenger.errors')}",
    )


def _advisory(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            "locust_p95",
            number(seen, "challenger.locust.p95_ms"),
            thresholds.p95_ms,
            Direction.AT_MOST,
            unit="ms",
            n=count(seen, "challenger.locust.asked"),
            required=False,
            reason="Locust's closed loop saw a higher latency than the service level",
        ),
        compare(
            "spike_p95",
            number(seen, "challenger.spike.p95_ms"),
            thresholds.p99_ms,
            Direction.AT_MOST,
            unit="ms",
            n=count(seen, "challenger.spike.asked"),
            required=False,
            reason="twice the target rate is more than the server holds",
        ),
    ]


GATE = Gate(name="stress", stage=Stage.STRESS, thresholds=Thresholds, judge=judge, title="Holds its service level")
