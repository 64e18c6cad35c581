"""The stress gate: does the bundle hold its service level at the target rate, and is it no slower than the champion?

Judges what `stages/stress.py` measured. Latency is judged on the open loop (from the intended start, so that a stall
is not hidden). Three things can make it say nothing, and then it is inconclusive: a load generator that was itself too
slow, a server whose own histogram contradicts what the generators saw, and a machine on which the champion differs from
itself by as much as the challenger differs from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.gates.stress_server import memory_growth, survived, witness, witnessed
from lockgate.core.ids import Json, Stage
from lockgate.core.spec import Fraction, Positive, Seconds
from lockgate.core.spec_sections.units import AboveZero, MaybeSeconds, Milliseconds, Ratio
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, doubted, not_applicable, report

_ECHO_SHARE = 0.95  # ours: what the generator must keep of the rate that it asks of a server


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The service level, and the test that must show it.

    Attributes:
        target_rps: Requests a second of the steady phase.
        duration_s: The declared window: ramp, steady, spike and the search for the knee together.
        soak_s: So much longer at the target rate, for leaks that show late; 0 for none.
        p95_ms: 95th percentile of latency at the target rate, at its upper confidence bound.
        p99_ms: The same for the 99th percentile.
        error_fraction: Share of requests up to the target rate that may fail or carry another digest.
        achieved_fraction: Share of the target rate that must be answered well and in time.
        champion_ratio: p50 and p95 of the challenger over those of the champion, both in the same run. Blocks where
            the ratio's interval lies beyond this and beyond what the champion differs from itself.
        memory_growth_bytes: Memory that the server may gain a request, once it gained 4 MiB. 20 kB: a good server
            gained 0.2 to 2 kB; 20 are 3.6 GB an hour at 50 a second. For smaller leaks lower it and set `soak_s`.
        generator_floor_fraction: p95 of the generator against a bare echo server, and p95 of how late it sends, as a
            share of `p95_ms`; above it the generator is the slow part and the gate is inconclusive.
        requests_min: Fewer requests at the target rate behind a percentile say nothing.
    """

    target_rps: Ratio = 50.0
    duration_s: Seconds = 20.0
    soak_s: MaybeSeconds = 0.0
    p95_ms: Milliseconds = 100.0
    p99_ms: Milliseconds = 250.0
    error_fraction: Fraction = 0.0
    achieved_fraction: Fraction = 0.95
    champion_ratio: Ratio = 1.5
    memory_growth_bytes: AboveZero = 20_000.0
    generator_floor_fraction: Fraction = 0.5
    requests_min: Positive = 100


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `stages.stress.measure_stress`'s measurements; a number that is not there is an ERROR check."""
    seen = evidence.measurements
    generator = _generator(seen, thresholds)
    contradicted = witness(seen, thresholds.p95_ms)
    limits = (("p95", thresholds.p95_ms), ("p99", thresholds.p99_ms))
    latency = [_latency(seen, which, limit_ms, thresholds) for which, limit_ms in limits]
    if contradicted.verdict is Verdict.INCONCLUSIVE:
        latency = [doubted(each, contradicted.reason) for each in latency]
    judged = [
        *latency,
        _achieved(seen, thresholds),
        _ratio(seen, "champion_ratio", "p95", thresholds),
        _ratio(seen, "champion_ratio_median", "p50", thresholds),
        _server(seen, thresholds),
    ]
    saturated = next((each for each in generator if each.verdict is Verdict.INCONCLUSIVE), None)
    if saturated is not None:
        judged = [doubted(each, saturated.reason) for each in judged]
    server = [survived(seen), witnessed(seen), contradicted, memory_growth(seen, thresholds.memory_growth_bytes)]
    checks = [*generator, *judged, _errors(seen, thresholds), *server, *_advisory(seen, thresholds)]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _generator(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    """Make the checks that the generator was fit to measure: a failure of its own is INCONCLUSIVE."""
    n = count(seen, "generator.asked")
    reason = "the load generator itself is slow on this machine; end other work and run stress_test again"
    limit_ms = thresholds.p95_ms * thresholds.generator_floor_fraction
    at_most, at_least = Direction.AT_MOST, Direction.AT_LEAST
    facts = (
        ("generator_floor", "p95_ms", limit_ms, at_most, "ms"),
        ("generator_late", "late_p95_ms", limit_ms, at_most, "ms"),
        ("generator_rate", "achieved_fraction", thresholds.achieved_fraction * _ECHO_SHARE, at_least, "fraction"),
    )
    made = [
        compare(name, number(seen, f"generator.{fact}"), limit, direction, unit=unit, n=n, reason=reason)
        for name, fact, limit, direction, unit in facts
    ]
    return [doubted(each) for each in made]


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


def _ratio(seen: Mapping[str, Json], name: str, which: str, thresholds: Thresholds) -> Check:
    """Compare a ratio with the limit: FAIL only where its interval lies beyond the limit and beyond the A/A noise."""
    if "champion" in seen and seen["champion"] is None:
        return not_applicable(name, Direction.AT_MOST, "there never was a champion to compare with")
    limit = thresholds.champion_ratio
    low, high = number(seen, f"ratio.{which}.low"), number(seen, f"ratio.{which}.high")
    check = compare(
        name,
        number(seen, f"ratio.{which}.estimate"),
        limit,
        Direction.AT_MOST,
        n=count(seen, "champion.steady.asked") or 0,
        n_min=thresholds.requests_min,
        reason=f"the challenger's {which} is higher than the champion's, side by side in the same run; make the model "
        "smaller, or raise gates.stress.champion_ratio",
        interval=None if low is None or high is None else (low, high),
    )
    if number(seen, "champion.error_fraction") not in (None, 0.0):
        reason = "requests to the champion failed in this run, so its latency says nothing; run stress_test again"
        return replace(check, verdict=Verdict.INCONCLUSIVE, reason=reason)
    noise = number(seen, f"self_ratio.{which}.high")
    if check.verdict is Verdict.FAIL and (low is None or noise is None or low <= max(limit, noise)):
        shown = "a factor that could not be measured" if noise is None else f"up to {noise:.2g} times"
        reason = (
            f"on this machine the champion differs from itself by {shown}; end other work and run stress_test again"
        )
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
        reason="the server's own histogram says it is slower than gates.stress.p95_ms; make the model smaller",
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
        reason=f"requests failed or were answered by another bundle, see the sandbox's log: "
        f"{value_at(seen, 'challenger.errors')}",
    )


def _advisory(seen: Mapping[str, Json], thresholds: Thresholds) -> list[Check]:
    return [
        compare(
            "knee",
            number(seen, "knee.rps"),
            thresholds.target_rps,
            Direction.AT_LEAST,
            unit="1/s",
            required=False,
            reason="the largest rate that keeps the service level is below gates.stress.target_rps; plan for "
            "less, or for more servers",
        ),
        compare(
            "locust_p95",
            number(seen, "challenger.locust.p95_ms"),
            thresholds.p95_ms,
            Direction.AT_MOST,
            unit="ms",
            n=count(seen, "challenger.locust.asked"),
            required=False,
            reason="Locust's closed loop saw a higher latency than the service level; look at its report",
        ),
        compare(
            "spike_p95",
            number(seen, "challenger.spike.p95_ms"),
            thresholds.p99_ms,
            Direction.AT_MOST,
            unit="ms",
            n=count(seen, "challenger.spike.asked"),
            required=False,
            reason="twice the target rate is more than the server holds; plan for peaks, or more servers",
        ),
    ]


GATE = Gate(name="stress", stage=Stage.STRESS, thresholds=Thresholds, judge=judge, title="Holds its service level")
