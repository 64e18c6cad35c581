"""The selftest end to end: the clean candidate passes, and faults are stopped where they must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lockgate.config import load_settings
from lockgate.selftest.library import faults_named
from lockgate.selftest.running import Asked, Witness, run
from lockgate.selftest.source import toy_plan
from lockgate.selftest.world import Plan

ROOT = Path(__file__).parents[2]
CHEAP = ("schema_break", "unit_change", "rows_across_the_split")
RESULTS = ROOT / "docs" / "results"


def selftest(*options: str, within_s: float) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "selftest", "--json", *options],
        cwd=ROOT,
        env={**os.environ, "LOCKGATE_PROJECT": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_cheap_faults_are_stopped_by_their_gates_and_the_clean_candidate_by_none() -> None:
    code, found, said = selftest("--faults", ",".join(CHEAP), within_s=1100)
    assert found["clean"]["stopped_by"] == {}, said
    assert found["escaped"] == [], said
    assert sorted(found["caught"]) == sorted(CHEAP)
    assert code == 0


def test_an_unknown_fault_or_size_is_bad_input_and_runs_nothing() -> None:
    code, found, _ = selftest("--faults", "leek", within_s=140)
    assert (code, found["error"]) == (2, "BadInput")
    code, found, _ = selftest("--sizes", "double", within_s=140)
    assert (code, found["error"]) == (2, "BadInput")


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_every_fault_at_every_size_and_sixty_good_candidates() -> None:
    page = RESULTS / f"{datetime.now(tz=UTC).date().isoformat()}-selftest.md"
    code, found, said = selftest(
        "--sizes", "full,half,quarter", "--alike", "60", "--write", str(page), within_s=6 * 3600
    )
    assert found["escaped"] == [], said
    assert found["alike"]["runs"] == 60
    assert found["alike"]["interval_95"][0] < 0.05, "good candidates are stopped more often than one time in twenty"
    assert code == 0


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_gate_that_cannot_fail_is_found_out() -> None:
    def blind(folder: Path) -> Plan:
        plan = toy_plan(load_settings({"LOCKGATE_PROJECT": str(ROOT)}), folder)
        gates = dict(plan.spec.gates)
        gates["leakage"] = replace(gates["leakage"], auc=1.0, missing_purity=1.0)
        return replace(plan, spec=replace(plan.spec, gates=gates))

    report = run(blind, Asked(faults=faults_named(["innocent_leak", "rows_across_the_split"])), Witness())
    assert [each.fault for each in report.escaped] == ["innocent_leak"]
    assert [each.fault for each in report.caught] == ["rows_across_the_split"]
    assert not report.passed
