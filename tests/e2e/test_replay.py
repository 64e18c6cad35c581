"""Months of history through the whole line, killed on the way: the demo's, and a small model's by the flow."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.local_stack import stack_folder
from lockgate.adapters.processes import marked
from lockgate.adapters.stack_control import down
from lockgate.config import Settings, load_settings
from tests.e2e import toy_history

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(3600)]

CHECKOUT = Path(__file__).parents[2]
MONTHS = ["2013-03", "2013-04", "2013-05"]
PREFECT = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
FLOW = "from flows.replay_history import replay_history; import sys; print(replay_history(*sys.argv[1:]))"


def command(model: str, since: str, until: str, output: Path) -> list[str]:
    options = ["--model", model, "--from", since, "--to", until, "--output", str(output)]
    return [sys.executable, "-m", "lockgate.cli", "replay", *options, "--json"]


def environ(project: Path, home: Path, **over: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LOCKGATE_", "PREFECT_"))}
    path = os.pathsep.join((str(project / "src"), str(project)))
    return {**kept, "LOCKGATE_HOME": str(home), "LOCKGATE_PROJECT": str(project), "PYTHONPATH": path, **over}


def own(output: Path) -> Settings:
    """Return the settings of the home in which the spec as it is was replayed."""
    folder = output / "as-specified"
    return load_settings({"LOCKGATE_HOME": str(folder / "home"), "LOCKGATE_PROJECT": str(folder / "project")})


def months_done(output: Path) -> list[str]:
    try:
        state: Any = json.loads((output / "state.json").read_text())
    except FileNotFoundError:
        return []
    return [each["month"] for policy in state["policies"] for each in policy["months"]]


def rows(output: Path, event: str) -> int:
    """Return how many rows of an event the replay's record holds; none while there is no record."""
    path = own(output).home / "ledger.db"
    if not path.is_file():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as record:
        try:
            return int(record.execute("select count(*) from ledger where event = ?", (event,)).fetchone()[0])
        except sqlite3.OperationalError:  # its table is not there yet
            return 0


def kill_once(words: list[str], env: dict[str, str], log: Path, due: Callable[[], bool], after_s: float) -> None:
    """Start the replay and end it with SIGKILL a while after something was seen."""
    with log.open("wb") as file:
        running = subprocess.Popen(words, cwd=env["LOCKGATE_PROJECT"], env=env, stdout=file, stderr=file)
        while not due():
            assert running.poll() is None, log.read_text()
            time.sleep(0.5)
        time.sleep(after_s)
        running.kill()
        running.wait()


def run(words: list[str], env: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=env["LOCKGATE_PROJECT"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def verify(output: Path) -> None:
    settings = own(output)
    clock = {"LOCKGATE_CLOCK_FILE": str(settings.home / "clock")}
    run([sys.executable, "-m", "lockgate.cli", "verify", "--json"], environ(settings.project, settings.home, **clock))


def test_three_months_are_replayed_and_a_kill_on_the_way_costs_nothing_but_time(tmp_path: Path) -> None:
    output, env = tmp_path / "out", environ(CHECKOUT, tmp_path / "home")
    words = command("flight-delays", MONTHS[0], MONTHS[-1], output)
    try:
        # 40 s after the first month was done is in the middle of the next month's release
        kill_once(words, env, tmp_path / "killed.log", lambda: MONTHS[0] in months_done(output), 40.0)
        told: Any = json.loads(run(words, env))["policies"][0]
    finally:
        down(stack_folder(own(output)), tell=lambda _: None)
    assert marked(stack_folder(own(output))) == ()
    assert [each["month"] for each in told["months"]] == MONTHS
    assert all(each["answered"] >= 0.95 * each["asked"] > 0 for each in told["months"])
    assert [each["release"] for each in told["takeovers"] if each["worse"]] == []
    means = {curve: told["means"][curve]["auc"]["estimate"] for curve in ("served", "never", "oracle")}
    assert means["never"] - 0.01 <= means["served"] <= means["oracle"]
    assert (output / "replay.html").is_file()
    verify(output)


def test_a_replay_killed_in_a_rollout_goes_on_at_that_month_as_the_flow_and_its_record_holds(tmp_path: Path) -> None:
    project, home = toy_history.make_history(tmp_path / "project"), tmp_path / "home"
    since, until = toy_history.MONTHS[0], toy_history.MONTHS[-1]
    output = home / "replays" / f"{toy_history.MODEL}-{since}-{until}"  # where the flow looks
    words = command(toy_history.MODEL, since, until, output)
    env = environ(project, home, **PREFECT, PREFECT_HOME=str(tmp_path / "prefect"))
    try:
        kill_once(words, env, tmp_path / "killed.log", lambda: rows(output, "rollout_look") > 0, 0.5)
        assert months_done(output) == []
        page = run([sys.executable, "-c", FLOW, toy_history.MODEL, since, until], env).split()[-1]
    finally:
        down(stack_folder(own(output)), tell=lambda _: None)
    assert marked(stack_folder(own(output))) == ()
    assert Path(page) == output / "replay.html"
    told: Any = json.loads((output / "replay.json").read_text())["policies"][0]
    assert [each["month"] for each in told["months"]] == toy_history.MONTHS
    outcomes = [each["ended"]["outcome"] for each in told["months"]]
    assert outcomes == ["promoted"] * len(toy_history.MONTHS)
    assert told["cost"]["fits"] == len(toy_history.MONTHS) + 2, "the first champion, and what was killed was fitted too"
    assert rows(output, "rollout_begun") == len(toy_history.MONTHS) + 1
    verify(output)
