"""The load generators against servers whose faults are known; the product's own server as the good one."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.load_test import LoadTester
from lockgate.adapters.sandbox import Limits, Sandboxes
from lockgate.adapters.server_target import read_probes
from lockgate.config import Settings, load_settings
from lockgate.core.contract import ModelBundle
from lockgate.core.gates import stress
from lockgate.core.load import CHALLENGER, CHAMPION, plan
from lockgate.core.load_curve import ServiceLevel
from lockgate.core.load_summary import LOCUST, OPEN_LOOP, LoadRun, summarise
from lockgate.core.verdict import GateReport, Verdict
from lockgate.core.wire import Call
from lockgate.errors import MeasurementError
from lockgate.stages.stress import Contender, measure_stress
from tests.bundles import make_bundle, make_keys
from tests.side_by_side import own_children
from tests.unit.infra.measured import judged

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
LEVEL = ServiceLevel(p95_ms=100.0, p99_ms=250.0, error_fraction=0.0, achieved_fraction=0.95, late_ms=50.0)
PATIENT = Limits(start_s=120.0, answer_s=60.0, stop_s=60.0)  # ours: of a crowded machine nothing is asked
TRIES = 15
"""How often is measured where the measurement itself says that it is none, or that the machine was slow; a server that
is slow, or not, is so each time."""
LEISURELY = {"p95_ms": 250.0, "p99_ms": 600.0}
"""A hundred times what the server takes: what it takes on a crowded machine is not the question here."""
FINE = {Verdict.PASS, Verdict.NOT_APPLICABLE}
UNFIT = {Verdict.INCONCLUSIVE, Verdict.ERROR}
OF_TIME = {
    *("generator_floor", "generator_late", "generator_rate", "latency_p95", "latency_p99", "achieved_rate", "knee"),
    *("champion_ratio", "champion_ratio_median", "server_p95", "server_contradicts", "locust_p95", "spike_p95"),
}
"""The checks that a machine which stood still for a second breaks as well; any other that fails is final."""
BODY = Call(path="/v2/models/toy/infer", method="POST", body=b"{}")
DIGESTS = {CHALLENGER: "c" * 64, CHAMPION: "a" * 64}


@contextlib.contextmanager
def faulty(
    digest: str, *, delay_ms: float = 0, stall_at_s: float = 0, stall_s: float = 0, status: int = 200, turns: int = 0
) -> Iterator[int]:
    command = [sys.executable, str(Path(__file__).with_name("load_server.py")), digest]
    command += [str(each) for each in (delay_ms, stall_at_s, stall_s, status, turns)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def drive(folder: Path, duration_s: float = 5.0, target_rps: float = 100.0, **fault: Any) -> LoadRun:
    """Drive a challenger with a fault beside a champion without."""
    with faulty(DIGESTS[CHALLENGER], **fault) as challenger, faulty(DIGESTS[CHAMPION]) as champion:
        return LoadTester(folder, "127.0.0.1").run(
            plan(duration_s, target_rps, champion=True),
            {CHALLENGER: challenger, CHAMPION: champion},
            {CHALLENGER: [BODY], CHAMPION: [BODY]},
            DIGESTS,
            lambda _: {0.001: 0.0, math.inf: 0.0},
        )


def report_of(run: LoadRun, **thresholds: Any) -> tuple[GateReport, dict[str, Verdict]]:
    report = judged(stress.GATE, summarise(run, LEVEL), **{"requests_min": 20, "target_rps": 100.0, **thresholds})
    return report, {check.name: check.verdict for check in report.checks}


def settings_in(folder: Path) -> Settings:
    settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
    make_keys(settings.signing_key.parent)
    return settings


def contender(settings: Settings, bias: float) -> Contender:
    digest = make_bundle(settings.bundles, key_dir=settings.signing_key.parent, bias=bias)
    contract, probes = read_probes(settings.bundles / digest, digest)
    return Contender(bundle=ModelBundle(digest=digest, contract=contract, parts={}), probes=probes)


def test_the_products_server_holds_its_service_level_beside_its_champion(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    children = own_children()
    for _ in range(TRIES):
        measured = measure_stress(
            Sandboxes(settings, tmp_path / "logs", PATIENT),
            LoadTester(tmp_path / "load", settings.host),
            contender(settings, 0.0),
            contender(settings, 1.0),
            asked=stress.Thresholds(target_rps=100.0, duration_s=6.0, **LEISURELY),
        )
        asked = {**LEISURELY, "duration_s": 6.0, "target_rps": 100.0, "requests_min": 50, "champion_ratio": 20.0}
        report = judged(stress.GATE, measured, **asked)
        bad = {check.name: check.verdict for check in report.checks if check.verdict not in FINE}
        final = {name for name, verdict in bad.items() if verdict is not Verdict.INCONCLUSIVE}
        assert final <= OF_TIME, report
        if not bad and len(measured["curve"]["challenger"]) >= 6:  # type: ignore[index, call-overload, arg-type]
            break
    assert report.verdict is Verdict.PASS, report
    assert len(measured["curve"]["challenger"]) >= 6  # type: ignore[index, call-overload, arg-type]
    assert measured["knee"]["rps"] >= 100.0  # type: ignore[index, call-overload, operator]
    assert 10 <= len(measured["memory"]["champion"]["series"]) <= 60  # type: ignore[index, call-overload, arg-type]
    assert measured["reports"] == {"locust": "stress/locust.html"}
    assert (tmp_path / "load" / "locust.html").stat().st_size > 10_000
    assert own_children() == children


@pytest.mark.soak
def test_a_first_release_is_driven_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    measured = measure_stress(
        Sandboxes(settings, tmp_path / "logs"),
        LoadTester(tmp_path / "load", settings.host),
        contender(settings, 0.0),
        None,
        asked=stress.Thresholds(target_rps=100.0, duration_s=4.0),
    )
    assert measured["champion"] is None
    checks = {c.name: c.verdict for c in judged(stress.GATE, measured, target_rps=100.0, requests_min=50).checks}
    assert checks["champion_ratio"] is Verdict.NOT_APPLICABLE
    assert checks["witnessed_fraction"] is Verdict.PASS


def test_a_slow_server_breaks_its_service_level_and_is_slower_than_the_champion(tmp_path: Path) -> None:
    for number in range(TRIES):
        run = drive(tmp_path / str(number), delay_ms=600.0)
        report, checks = report_of(run, p95_ms=400.0, p99_ms=500.0, generator_floor_fraction=1.0)
        assert checks["latency_p95"] in UNFIT | {Verdict.FAIL}, report.checks
        if UNFIT.isdisjoint({report.verdict, checks["latency_p95"], checks["champion_ratio"]}):
            break
    assert report.verdict is Verdict.FAIL
    assert checks["latency_p95"] is Verdict.FAIL, report.checks
    assert checks["champion_ratio"] is Verdict.FAIL


@pytest.mark.soak
def test_a_server_that_cannot_keep_up_does_not_achieve_the_rate(tmp_path: Path) -> None:
    run = drive(tmp_path, delay_ms=200.0, turns=1)
    report, checks = report_of(run)
    assert report.verdict is Verdict.FAIL
    assert checks["achieved_rate"] is Verdict.FAIL


def test_failing_requests_are_counted_by_both_generators(tmp_path: Path) -> None:
    run = drive(tmp_path, duration_s=3.0, status=500)
    report, checks = report_of(run)
    assert report.verdict is Verdict.FAIL
    assert checks["error_fraction"] is Verdict.FAIL
    failed = {each.generator for each in run.samples if each.error == "status 500"}
    assert failed == {OPEN_LOOP, LOCUST}


@pytest.mark.soak
def test_an_arm_beyond_its_knee_is_left_in_peace(tmp_path: Path) -> None:
    """A server that takes 20 ms a request in one turn holds fewer than 50 a second."""
    run = drive(tmp_path, duration_s=6.0, target_rps=40.0, delay_ms=20.0, turns=1)
    told: Any = summarise(run, LEVEL)
    asked = {arm: {step["phase"] for step in told["curve"][arm]} for arm in (CHALLENGER, CHAMPION)}
    assert "knee-1600" in asked[CHAMPION]
    assert "knee-1600" not in asked[CHALLENGER]
    assert told["knee"]["rps"] <= 80.0  # a stair of a quarter second hides a queue that only begins
    assert told["champion_knee"]["rps"] >= 160.0


def test_answers_of_another_bundle_are_errors(tmp_path: Path) -> None:
    with faulty("b" * 64) as challenger:
        run = LoadTester(tmp_path, "127.0.0.1").run(
            plan(2.0, 50.0, champion=False),
            {CHALLENGER: challenger},
            {CHALLENGER: [BODY]},
            DIGESTS,
            lambda _: {math.inf: 0.0},
        )
    assert {each.error for each in run.samples if run.windows[each.window].arm == CHALLENGER} == {
        f"answered by {'b' * 64}"
    }


@pytest.mark.soak
def test_a_stall_is_charged_to_every_request_that_was_due_meanwhile(tmp_path: Path) -> None:
    run = drive(tmp_path, duration_s=6.0, stall_at_s=2.8, stall_s=1.0)
    late = {
        generator: sum(each.latency_ms > 200 for each in run.samples if each.generator == generator)
        for generator in (OPEN_LOOP, LOCUST)
    }
    assert late[OPEN_LOOP] >= 5
    assert late[LOCUST] <= 8 * 2  # one a user and stall, on each connection: the closed loop hides the rest


def test_a_generator_that_dies_is_a_measurement_error_and_leaves_no_process(tmp_path: Path) -> None:
    children = own_children()
    windows = plan(2.0, 50.0, champion=False)
    with pytest.raises(MeasurementError, match="open_loop did not get ready"):
        LoadTester(tmp_path, "127.0.0.1").run(
            windows, {CHALLENGER: 1}, {CHALLENGER: [BODY]}, DIGESTS, lambda _: {math.inf: 0.0}
        )
    assert own_children() == children
