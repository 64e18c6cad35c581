from __future__ import annotations

from typing import Any

import pytest

from lockgate.core.gates import Gate, infra, staging, stress
from lockgate.core.verdict import GateReport, Verdict
from tests.unit.infra.measured import INFRA, STAGING, STRESS, changed, judged

GOOD = [(infra.GATE, INFRA), (stress.GATE, STRESS), (staging.GATE, STAGING)]


def failed(report: GateReport) -> list[str]:
    return [check.name for check in report.checks if check.required and check.verdict is Verdict.FAIL]


@pytest.mark.parametrize(("gate", "measurements"), GOOD)
def test_a_good_candidate_passes(gate: Gate, measurements: dict[str, Any]) -> None:
    report = judged(gate, measurements)
    assert report.verdict is Verdict.PASS
    assert {check.verdict for check in report.checks} == {Verdict.PASS}


@pytest.mark.parametrize(("gate", "measurements"), GOOD)
@pytest.mark.parametrize("nothing", [{}, {"tries": None}, {"challenger": 3, "generator": [], "champion": "x"}])
def test_without_measurements_a_gate_never_passes(gate: Gate, measurements: dict[str, Any], nothing: Any) -> None:
    del measurements
    report = judged(gate, nothing)
    assert report.verdict is Verdict.ERROR
    assert report.evidence is not None


JUDGED = {
    infra.GATE.name: [
        "tries.made",
        "tries.failed",
        "load_s_max",
        "peak_rss_bytes",
        "golden.wrong",
        "edge.bad",
        "malformed.accepted",
        "malformed.unnamed",
        "answers.server_errors",
    ],
    stress.GATE.name: [
        "generator.p95_ms",
        "challenger.steady.p95_ms",
        "challenger.steady.p95_upper_ms",
        "challenger.steady.p99_ms",
        "challenger.steady.p99_upper_ms",
        "challenger.steady.achieved_rps",
        "challenger.error_fraction",
        "challenger.server.p95_ms",
        "challenger.server.asked",
        "challenger.server.sent",
        "ratio.p95.estimate",
        "ratio.p50.estimate",
        "generator.late_p95_ms",
        "generator.achieved_fraction",
        "challenger.server.p95_low_ms",
        "challenger.steady.both_p95_ms",
        "memory.challenger.estimate",
    ],
    staging.GATE.name: [
        "switch.verified",
        "readback.other_digests",
        "smoke.failed",
        "golden.wrong",
        "malformed.accepted",
        "malformed.unnamed",
        "answers.server_errors",
    ],
}


@pytest.mark.parametrize("value", [..., None, "NaN", "much", [], {"deep": 1}], ids=str)
@pytest.mark.parametrize(
    ("gate", "measurements", "path"),
    [(gate, good, path) for gate, good in GOOD for path in JUDGED[gate.name]],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_missing_or_malformed_number_is_an_error(
    gate: Gate, measurements: dict[str, Any], path: str, value: Any
) -> None:
    assert judged(gate, changed(measurements, path, value)).verdict is Verdict.ERROR


@pytest.mark.parametrize("part", ["golden", "edge", "malformed", "answers"])
def test_nothing_asked_is_inconclusive(part: str) -> None:
    report = judged(infra.GATE, changed(INFRA, f"{part}.asked", 0))
    assert report.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        ("tries.failed", 1, "failed_tries"),
        ("tries.made", 2, "tries_made"),
        ("load_s_max", 30.1, "load_time"),
        ("peak_rss_bytes", 2 * 1024**3, "memory"),
        ("golden.wrong", 1, "wrong_answers"),
        ("edge.bad", 1, "edge_requests_failed"),
        ("malformed.accepted", 1, "malformed_accepted"),
        ("malformed.unnamed", 1, "malformed_unnamed"),
        ("answers.server_errors", 1, "server_errors"),
    ],
)
def test_the_infra_gate_stops_a_bad_candidate_for_that_reason(path: str, value: float, check: str) -> None:
    report = judged(infra.GATE, changed(INFRA, path, value))
    assert report.verdict is Verdict.FAIL
    assert failed(report) == [check]


def test_the_infra_gate_says_why_a_try_failed() -> None:
    broken = changed(changed(INFRA, "tries.failed", 1), "tries.reasons", ["try 2: the server died with code -24"])
    assert "the server died with code -24" in judged(infra.GATE, broken).reason


def test_a_server_that_died_before_it_was_asked_anything_is_a_failure_and_no_error() -> None:
    died = {
        "tries": {"made": 3, "failed": 3, "reasons": ["try 1: the server died with code -9"]},
        "load_s_max": None,
        "peak_rss_bytes": 1,
        "golden": {"asked": 0, "wrong": 0},
        "edge": {"asked": 0, "bad": 0},
        "malformed": {"asked": 0, "accepted": 0, "unnamed": 0},
        "answers": {"asked": 0, "server_errors": 0},
    }
    assert judged(infra.GATE, died).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        ("challenger.steady.p95_ms", 130.0, "latency_p95"),
        ("challenger.steady.p99_ms", 300.0, "latency_p99"),
        ("challenger.steady.achieved_rps", 40.0, "achieved_rate"),
        ("challenger.error_fraction", 0.01, "error_fraction"),
        ("challenger.server.p95_ms", 200.0, "server_p95"),
        ("ratio.p95", {"estimate": 1.8, "low": 1.6, "high": 2.0}, "champion_ratio"),
        ("ratio.p50", {"estimate": 9.8, "low": 7.6, "high": 12.0}, "champion_ratio_median"),
        ("memory.challenger", {"estimate": 2e6, "low": 1.5e6, "high": 2.5e6, "grown_bytes": 5e8}, "memory_growth"),
    ],
)
def test_the_stress_gate_stops_a_bad_candidate_for_that_reason(path: str, value: float, check: str) -> None:
    measurements = changed(STRESS, path, value)
    if path.endswith(("p95_ms", "p99_ms")) and "steady" in path:
        measurements = changed(measurements, path.replace("_ms", "_upper_ms"), value)
    report = judged(stress.GATE, measurements)
    assert report.verdict is Verdict.FAIL
    assert failed(report) == [check]


def test_a_saturated_generator_is_inconclusive_whatever_the_latencies_say() -> None:
    saturated = changed(STRESS, "generator.p95_ms", 60.0)
    assert judged(stress.GATE, saturated).verdict is Verdict.INCONCLUSIVE
    slow = changed(changed(saturated, "challenger.steady.p95_ms", 500.0), "challenger.steady.p95_upper_ms", 600.0)
    slow = changed(slow, "challenger.steady.achieved_rps", 10.0)
    assert judged(stress.GATE, slow).verdict is Verdict.INCONCLUSIVE


def test_errors_fail_even_under_a_saturated_generator() -> None:
    broken = changed(changed(STRESS, "generator.p95_ms", 60.0), "challenger.error_fraction", 0.5)
    assert judged(stress.GATE, broken).verdict is Verdict.FAIL


def test_a_percentile_within_the_limit_whose_bound_is_not_is_inconclusive() -> None:
    report = judged(stress.GATE, changed(STRESS, "challenger.steady.p99_upper_ms", 400.0))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "too few" in report.reason


def test_few_requests_are_inconclusive() -> None:
    report = judged(stress.GATE, changed(STRESS, "challenger.steady.asked", 20))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "raise gates.stress.duration_s" in report.reason


@pytest.mark.parametrize(("path", "value"), [("generator.late_p95_ms", 60.0), ("generator.achieved_fraction", 0.5)])
def test_a_generator_that_sends_late_or_too_little_is_inconclusive(path: str, value: float) -> None:
    slow = changed(changed(STRESS, path, value), "challenger.steady.achieved_rps", 10.0)
    report = judged(stress.GATE, slow)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "the load generator itself" in report.reason


@pytest.mark.parametrize("which", ["p50", "p95"])
def test_a_ratio_whose_interval_holds_the_limit_is_inconclusive(which: str) -> None:
    measured = changed(STRESS, f"ratio.{which}", {"estimate": 1.8, "low": 1.2, "high": 2.7})
    assert judged(stress.GATE, measured).verdict is Verdict.INCONCLUSIVE


def test_a_ratio_no_larger_than_the_champion_differs_from_itself_is_inconclusive() -> None:
    noisy = changed(STRESS, "ratio.p95", {"estimate": 1.8, "low": 1.6, "high": 2.0})
    noisy = changed(noisy, "self_ratio.p95.high", 1.7)
    report = judged(stress.GATE, noisy)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "1.7 times" in report.reason
    assert judged(stress.GATE, changed(noisy, "self_ratio.p95.high", None)).verdict is Verdict.INCONCLUSIVE


def test_a_ratio_far_beyond_what_the_champion_differs_from_itself_fails_on_a_noisy_machine_too() -> None:
    far = changed(STRESS, "ratio.p95", {"estimate": 6.0, "low": 4.0, "high": 9.0})
    assert judged(stress.GATE, changed(far, "self_ratio.p95.high", 2.7)).verdict is Verdict.FAIL


@pytest.mark.parametrize("counted", [0, 100, 300])
def test_a_server_that_counted_other_requests_than_were_sent_is_inconclusive(counted: int) -> None:
    report = judged(stress.GATE, changed(STRESS, "challenger.server.asked", counted))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert {c.name for c in report.checks if c.verdict is Verdict.INCONCLUSIVE} == {"witnessed_fraction"}


def test_a_server_that_took_longer_than_anybody_waited_is_a_contradiction() -> None:
    report = judged(stress.GATE, changed(STRESS, "challenger.server.p95_low_ms", 20.0))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "one of the clocks is wrong" in report.reason


def slow(server_ms: float) -> dict[str, Any]:
    """Return measurements in which the generators waited 400 ms."""
    measured = STRESS
    for name, value in {"p95_ms": 400.0, "p95_upper_ms": 410.0, "both_p95_ms": 400.0}.items():
        measured = changed(measured, f"challenger.steady.{name}", value)
    return changed(measured, "challenger.server.p95_ms", server_ms)


def test_time_that_the_server_does_not_account_for_makes_latency_inconclusive() -> None:
    report = judged(stress.GATE, slow(server_ms=2.0))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "lost between" in report.reason


def test_a_slow_server_that_says_so_itself_fails() -> None:
    report = judged(stress.GATE, slow(server_ms=250.0))
    assert report.verdict is Verdict.FAIL
    assert {"latency_p95", "server_p95"} <= set(failed(report))


def test_memory_that_grew_for_reasons_unknown_asks_for_a_soak() -> None:
    unsure = changed(STRESS, "memory.challenger", {"estimate": 3e4, "low": -1e4, "high": 7e4, "grown_bytes": 5e6})
    report = judged(stress.GATE, unsure)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "soak_s" in report.reason


def test_memory_that_an_allocator_takes_once_is_no_leak() -> None:
    once = changed(STRESS, "memory.challenger", {"estimate": 6e4, "low": 4e4, "high": 9e4, "grown_bytes": 3e6})
    assert judged(stress.GATE, once).verdict is Verdict.PASS
    assert judged(stress.GATE, changed(once, "memory.challenger.grown_bytes", None)).verdict is Verdict.FAIL


def test_a_knee_below_the_target_is_shown_and_does_not_block_by_itself() -> None:
    report = judged(stress.GATE, changed(STRESS, "knee.rps", 25.0))
    assert report.verdict is Verdict.PASS
    assert [c.name for c in report.checks if c.verdict is Verdict.FAIL] == ["knee"]


def test_failing_requests_to_the_champion_make_the_ratio_inconclusive() -> None:
    assert judged(stress.GATE, changed(STRESS, "champion.error_fraction", 0.2)).verdict is Verdict.INCONCLUSIVE


def test_a_first_release_has_no_champion_to_be_slower_than() -> None:
    first = changed(changed(STRESS, "champion", None), "ratio", None)
    report = judged(stress.GATE, first)
    assert report.verdict is Verdict.PASS
    assert {c.name for c in report.checks if c.verdict is Verdict.NOT_APPLICABLE} == {
        "champion_ratio",
        "champion_ratio_median",
    }


def test_a_champion_that_is_not_spoken_of_is_an_error_and_not_a_first_release() -> None:
    unsaid = changed(changed(STRESS, "champion", ...), "ratio", ...)
    assert judged(stress.GATE, unsaid).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        ("readback.other_digests", 1, "readback_digest"),
        ("smoke.failed", 1, "smoke_failed"),
        ("golden.wrong", 2, "wrong_answers"),
        ("malformed.accepted", 1, "malformed_accepted"),
        ("malformed.unnamed", 1, "malformed_unnamed"),
        ("answers.server_errors", 1, "server_errors"),
        ("switch.verified", False, "switch_verified"),
    ],
)
def test_the_staging_gate_stops_a_bad_candidate_for_that_reason(path: str, value: Any, check: str) -> None:
    report = judged(staging.GATE, changed(STAGING, path, value))
    assert report.verdict is Verdict.FAIL
    assert failed(report) == [check]


def test_a_refused_switch_fails_staging_though_nothing_else_could_be_measured() -> None:
    refused = {"bundle": "b" * 64, "champion": None, "switch": {"verified": False, "reason": "its signature is wrong"}}
    report = judged(staging.GATE, refused)
    assert report.verdict is Verdict.FAIL
    assert "its signature is wrong" in report.reason


def test_disagreement_with_the_champion_is_shown_and_binds_only_where_the_spec_says_so() -> None:
    apart = changed(STAGING, "replay.agreement_fraction", 0.5)
    assert judged(staging.GATE, apart).verdict is Verdict.PASS
    assert judged(staging.GATE, apart, agreement_fraction=0.9).verdict is Verdict.FAIL
    few = changed(apart, "replay.asked", 10)
    assert judged(staging.GATE, few, agreement_fraction=0.9).verdict is Verdict.INCONCLUSIVE


def test_a_bound_replay_without_a_champion_is_not_applicable() -> None:
    assert judged(staging.GATE, changed(STAGING, "champion", None), agreement_fraction=0.9).verdict is Verdict.PASS


def test_a_server_that_dies_beyond_the_target_rate_is_stopped_though_no_request_below_it_failed() -> None:
    assert judged(stress.GATE, changed(STRESS, "died", {"champion": -9})).verdict is Verdict.PASS
    report = judged(stress.GATE, changed(STRESS, "died", {"challenger": -9}))
    assert report.verdict is Verdict.FAIL
    assert "code -9" in report.reason
    assert judged(stress.GATE, changed(STRESS, "died", ...)).verdict is Verdict.ERROR
