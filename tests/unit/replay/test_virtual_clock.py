"""A replay's own time: everything in its home follows one file, and no other home can be told another time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lockgate.adapters.stack import stack_environment
from lockgate.adapters.virtual_clock import FileClock, start_clock
from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.errors import BadInput, ConfigError
from lockgate.serving.virtual_time import FileTime

MARCH = datetime(2013, 3, 1, 12, tzinfo=UTC)
SOON = timedelta(hours=1)  # longer than any machine may take for a test, and no other day


def test_time_runs_on_from_what_the_file_says(tmp_path: Path) -> None:
    clock = FileClock(start_clock(tmp_path, MARCH))
    first = clock.now()
    time.sleep(0.03)
    assert MARCH <= first < clock.now() < MARCH + SOON


def test_a_clock_that_is_moved_is_moved_for_every_reader(tmp_path: Path) -> None:
    path = start_clock(tmp_path, MARCH)
    mine, theirs = FileClock(path), FileTime(path)
    mine.move(MARCH + timedelta(days=31))
    time.sleep(0.03)
    for seen in (mine.now(), datetime.fromtimestamp(theirs(), UTC)):
        assert MARCH + timedelta(days=31) <= seen < MARCH + timedelta(days=31) + SOON


def test_a_clock_never_goes_back(tmp_path: Path) -> None:
    clock = FileClock(start_clock(tmp_path, MARCH))
    with pytest.raises(BadInput, match="cannot go back"):
        clock.move(MARCH - timedelta(days=1))


def test_a_home_that_has_begun_keeps_its_time(tmp_path: Path) -> None:
    FileClock(start_clock(tmp_path, MARCH)).move(MARCH + timedelta(days=60))
    assert FileClock(start_clock(tmp_path, MARCH)).now() >= MARCH + timedelta(days=60)


@pytest.mark.parametrize("text", ["", "yesterday", "2013-03-01T12:00:00"])
def test_a_file_that_holds_no_time_with_a_zone_is_refused(tmp_path: Path, text: str) -> None:
    path = start_clock(tmp_path, MARCH)
    path.write_text(text)
    with pytest.raises(ConfigError, match="ISO time with its zone"):
        FileClock(path)


def _environ(home: Path, clock: Path) -> dict[str, str]:
    return {"LOCKGATE_HOME": str(home), "LOCKGATE_PROJECT": str(home), "LOCKGATE_CLOCK_FILE": str(clock)}


def test_services_of_a_replays_home_follow_its_clock(tmp_path: Path) -> None:
    path = start_clock(tmp_path, MARCH)
    services = Services(load_settings(_environ(tmp_path, path)))
    assert MARCH <= services.clock.now() < MARCH + SOON


def test_no_home_but_a_replays_own_may_be_told_another_time(tmp_path: Path) -> None:
    replayed, real = tmp_path / "replayed", tmp_path / "real"
    real.mkdir()
    path = start_clock(replayed, MARCH)
    with pytest.raises(ConfigError, match="only a replay says"):
        load_settings(_environ(real, path))
    (real / "clock").write_text(MARCH.isoformat())
    with pytest.raises(ConfigError, match="only a replay says"):
        load_settings(_environ(real, real / "clock"))
    with pytest.raises(ConfigError, match="no replay's home"):
        FileClock(real / "clock")


def test_what_the_server_logs_follows_the_clock_and_only_in_a_replays_home(tmp_path: Path) -> None:
    program = "from lockgate.serving.virtual_time import now; print(now().isoformat())"
    replayed = tmp_path / "replayed"
    said = _run(program, start_clock(replayed, MARCH))
    assert MARCH <= datetime.fromisoformat(said.stdout.strip()) < MARCH + SOON
    (tmp_path / "clock").write_text(MARCH.isoformat())
    refused = _run(program, tmp_path / "clock")
    assert refused.returncode != 0
    assert "only `lockgate replay` may say another time" in refused.stderr


def _run(program: str, clock: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "LOCKGATE_CLOCK_FILE": str(clock), "PYTHONPATH": "src"}
    return subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False)


def test_a_replays_processes_write_to_its_own_record_and_tell_nobody(tmp_path: Path) -> None:
    path = start_clock(tmp_path, MARCH)
    settings = load_settings(_environ(tmp_path, path))
    told = stack_environment(settings)
    assert told["LOCKGATE_LEDGER_URL"] == f"sqlite:///{tmp_path}/ledger.db"
    assert told["LOCKGATE_NOTIFY"] == told["LOCKGATE_NOTIFY_FILE"] == ""
    assert told["LOCKGATE_CLOCK_FILE"] == str(path)
    assert not {"LOCKGATE_CLOCK_FILE", "LOCKGATE_LEDGER_URL"} & set(
        stack_environment(replace(settings, clock_file=None))
    )
