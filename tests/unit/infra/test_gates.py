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
        "ratio.p95",
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
        ("challenger.server.asked", 100, "witnessed_fraction"),
        ("ratio.p95", 1.8, "champion_ratio"),
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


def test_a_ratio_no_larger_than_the_champion_differs_from_itself_is_inconclusive() -> None:
    noisy = changed(changed(STRESS, "ratio.p95", 1.8), "ratio.yardstick", 1.7)
    assert judged(stress.GATE, noisy).verdict is Verdict.INCONCLUSIVE
    assert judged(stress.GATE, changed(noisy, "ratio.yardstick", None)).verdict is Verdict.INCONCLUSIVE


def test_a_ratio_far_beyond_what_the_champion_differs_from_itself_fails_on_a_noisy_machine_too() -> None:
    far = changed(changed(STRESS, "ratio.p95", 6.0), "ratio.yardstick", 1.7)
    assert judged(stress.GATE, far).verdict is Verdict.FAIL


def test_failing_requests_to_the_champion_make_the_ratio_inconclusive() -> None:
    assert judged(stress.GATE, changed(STRESS, "champion.error_fraction", 0.2)).verdict is Verdict.INCONCLUSIVE


def test_a_first_release_has_no_champion_to_be_slower_than() -> None:
    first = changed(changed(STRESS, "champion", None), "ratio", None)
    report = judged(stress.GATE, first)
    assert report.verdict is Verdict.PASS
    assert {c.name for c in report.checks if c.verdict is Verdict.NOT_APPLICABLE} == {"champion_ratio"}


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
