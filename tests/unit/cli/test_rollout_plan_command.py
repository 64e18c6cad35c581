"""`rollout plan` and `rollout calibrate` over a real log: what they print, and with which exit code they end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from lockgate.cli.app import app
from lockgate.serving.log.prediction_log import PredictionLog, Record
from tests.bundles import contract

MODEL = "flight-delays"


def log(home: Path, *, requests: int, per_s: float) -> None:
    """Log requests that end now, each of a new entity, into one closed segment of production."""
    written, now = PredictionLog(home / "serving" / "production" / "predictions", worker=0), time.time()
    for number in range(requests):
        written.append(
            Record(
                time=now - (requests - number) / per_s,
                prediction_id=f"a-{number:06d}",
                model=MODEL,
                digest="d" * 64,
                arm="champion",
                entity=f"e-{number}",
                rows=1,
                inputs={"amount": [1.5], "colour": ["red"]},
                outputs={"probability": np.full(1, 0.3, np.float32), "label": ["no"]},
                flags=(),
                latency_us=2000 + number % 97,
                contract=contract(MODEL),
            )
        )
    written.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["rollout", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_a_plan_on_enough_traffic_ends_with_0_and_prints_steps_guardrails_and_looks(home: Path) -> None:
    log(home, requests=6000, per_s=100.0)
    code, told = run("plan", MODEL)
    assert code == 0
    assert told["refusals"] == []
    assert told["traffic"]["requests"] == 6000
    assert told["power"] > 0.95
    words = CliRunner().invoke(app, ["rollout", "plan", MODEL]).stdout
    for text in ("Steps", "Guardrails: together at most 0.05 false alarms", "errors not worse by 0.02", "shadow 1"):
        assert text in words


def test_a_plan_that_cannot_see_its_harm_is_refused_with_6(home: Path) -> None:
    log(home, requests=300, per_s=0.5)
    code, told = run("plan", MODEL)
    assert code == 6
    assert "bake until" in told["refusals"][0]
    assert "refused: " in CliRunner().invoke(app, ["rollout", "plan", MODEL]).stdout


@pytest.mark.usefixtures("home")
def test_without_traffic_a_plan_says_what_to_do_and_a_calibration_has_nothing_to_replay() -> None:
    code, told = run("plan", MODEL)
    assert code == 6
    assert "lockgate simulate" in told["refusals"][0]
    code, told = run("calibrate", MODEL)
    assert code == 7
    assert "lockgate simulate" in told["message"]


@pytest.mark.usefixtures("home")
def test_a_switch_alone_needs_no_traffic() -> None:
    code, told = run("plan", "flight-airtime")
    assert code == 0
    assert "no harm can be seen" in told["sentence"]


def test_a_rule_without_steps_cannot_be_calibrated(home: Path) -> None:
    log(home, requests=100, per_s=10.0)
    for path in (home / "serving" / "production" / "predictions").iterdir():
        path.rename(path.with_name("flight-airtime"))
    code, told = run("calibrate", "flight-airtime")
    assert code == 2
    assert "rollout.strategy" in told["message"]


def test_a_calibration_counts_verdicts_and_finds_planted_failures(home: Path) -> None:
    log(home, requests=6000, per_s=100.0)
    code, told = run("calibrate", MODEL, "--runs", "3")
    assert code == 0
    assert [each["verdict"] for each in told["verdicts"]] == ["roll_back", "promote", "inconclusive"]
    assert told["verdicts"][1]["runs"] == 3
    code, told = run("calibrate", MODEL, "--runs", "3", "--harm", "0.3")
    assert told["verdicts"][0]["runs"] == 3
    words = CliRunner().invoke(app, ["rollout", "calibrate", MODEL, "--runs", "1", "--harm", "0.3"]).stdout
    assert "1 of 1 that failed 0.3 were rolled back" in words
