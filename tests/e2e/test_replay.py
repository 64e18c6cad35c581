"""Three months of the demo's history through the whole line, killed once on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.local_stack import stack_folder
from lockgate.adapters.processes import marked
from lockgate.adapters.stack_control import down
from lockgate.config import load_settings

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(3600)]

CHECKOUT = Path(__file__).parents[2]
MONTHS = ["2013-03", "2013-04", "2013-05"]


def command(output: Path) -> list[str]:
    options = ["--model", "flight-delays", "--from", MONTHS[0], "--to", MONTHS[-1], "--output", str(output)]
    return [sys.executable, "-m", "lockgate.cli", "replay", *options, "--json"]


def environ(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCKGATE_", "PREFECT_"))}
    return {**kept, "LOCKGATE_HOME": str(home / "home"), "LOCKGATE_PROJECT": str(CHECKOUT), "PYTHONPATH": "src"}


def months_done(output: Path) -> list[str]:
    try:
        state: Any = json.loads((output / "state.json").read_text())
    except FileNotFoundError:
        return []
    return [each["month"] for policy in state["policies"] for each in policy["months"]]


def kill_within(output: Path, home: Path, month: str) -> None:
    """Start the replay and end it with SIGKILL a while after a month was done."""
    with (home / "killed.log").open("wb") as log:
        running = subprocess.Popen(command(output), cwd=CHECKOUT, env=environ(home), stdout=log, stderr=log)
        while month not in months_done(output):
            assert running.poll() is None, (home / "killed.log").read_text()
            time.sleep(1.0)
        time.sleep(40.0)  # in the middle of the next month's release
        running.kill()
        running.wait()


def test_three_months_are_replayed_and_a_kill_on_the_way_costs_nothing_but_time(tmp_path: Path) -> None:
    output = tmp_path / "out"
    stack = load_settings({"LOCKGATE_HOME": str(output / "as-specified" / "home"), "LOCKGATE_PROJECT": str(CHECKOUT)})
    try:
        kill_within(output, tmp_path, MONTHS[0])
        done = subprocess.run(
            command(output), cwd=CHECKOUT, env=environ(tmp_path), capture_output=True, text=True, check=False
        )
    finally:
        down(stack_folder(stack), tell=lambda _: None)
    assert done.returncode == 0, done.stderr[-3000:]
    assert marked(stack_folder(stack)) == ()
    (told,) = json.loads(done.stdout)["policies"]
    assert [each["month"] for each in told["months"]] == MONTHS
    assert all(each["answered"] >= 0.95 * each["asked"] > 0 for each in told["months"])
    assert [each["release"] for each in told["takeovers"] if each["worse"]] == []
    means = {curve: told["means"][curve]["auc"]["estimate"] for curve in ("served", "never", "oracle")}
    assert means["never"] - 0.01 <= means["served"] <= means["oracle"]
    assert (output / "replay.html").is_file()
    verified = subprocess.run(
        [sys.executable, "-m", "lockgate.cli", "verify", "--json"],
        cwd=CHECKOUT,
        env={
            **environ(tmp_path),
            "LOCKGATE_HOME": str(stack.home),
            "LOCKGATE_PROJECT": str(output / "as-specified" / "project"),
            "LOCKGATE_CLOCK_FILE": str(stack.home / "clock"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout[-2000:] + verified.stderr[-2000:]
