"""What the line leans on is away or full: said as something that passes, nothing half done, and it works later."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from lockgate.core.ids import Stage
from lockgate.core.ledger import Event, broken_at
from lockgate.errors import BadInput, MeasurementError, NotRunning, TransientError
from lockgate.line import line_of, run
from lockgate.ports import Ledger
from tasks.promote import promote
from tasks.register_model import register_model
from tasks.running import is_transient
from tests.line_world import MODEL, line_world
from tests.mlflow_process import running_mlflow
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
A_MINUTE_S = 60.0


@pytest.mark.parametrize("error", [TransientError, NotRunning])
def test_what_may_come_back_is_tried_again_for_more_than_a_minute(error: type[Exception]) -> None:
    failed = Failed(data=error("MLflow did not answer"))
    for task in (register_model, promote):
        delays = task.retry_delay_seconds
        assert isinstance(delays, list)
        assert task.retries == len(delays)
        assert sum(delays) > A_MINUTE_S
        assert is_transient(task, TaskRun(task_key="k", dynamic_key="0"), failed)


@pytest.mark.parametrize("error", [BadInput, MeasurementError, ValueError])
def test_what_will_not_change_is_not_tried_again(error: type[Exception]) -> None:
    task_run = TaskRun(task_key="k", dynamic_key="0")
    assert not is_transient(register_model, task_run, Failed(data=error("the signature is wrong")))


@pytest.mark.soak
def test_a_release_that_finds_mlflow_away_is_registered_once_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("LOCKGATE_MLFLOW_PORT", str(port))
    with line_world(tmp_path / "world") as world:
        world.land()
        so_far = world.release(through=Stage.STRESS)
        assert so_far.ended is None, so_far.reason
        with pytest.raises(TransientError, match="MLflow"):
            run(line_of(MODEL), Stage.REGISTER, so_far)
        assert world.rows(Event.REGISTERED) == ()
        (tmp_path / "mlflow").mkdir()
        with running_mlflow(tmp_path / "mlflow", port=port):
            versions = {run(line_of(MODEL), Stage.REGISTER, so_far).so_far.refs["version"] for _ in range(2)}
        assert versions == {"1"}
        assert len(world.rows(Event.REGISTERED)) == len(world.rows(Event.BLESSING)) == 1
        assert broken_at(world.rows()) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder whose `home` is a disk of 64 MB."""
    home = tmp_path / "home"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(home)], check=False)
    if mounted.returncode != 0:
        pytest.skip("NOT TESTED: a full disk. This user may not mount one")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(home)], check=True)


def fill(home: Path) -> Path:
    """Take all the room there is."""
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    assert os.statvfs(home).f_bavail == 0
    return filler


def test_a_full_disk_stops_the_release_and_loses_nothing(small_disk: Path) -> None:
    with line_world(small_disk) as world:
        world.land()
        before = world.rows()
        filler = fill(world.services.settings.home)
        with pytest.raises(TransientError, match=r"no room|disk|full"):
            world.begin()
        assert world.rows() == before
        assert len(world.services.store.landed(MODEL)) == 1
        filler.unlink()
        so_far = world.release(through=Stage.INGEST)
        assert so_far.ended is None
        assert [row.payload["rows"] for row in world.rows(Event.BATCH_INGESTED)] == [4000]
        assert broken_at(world.rows()) is None


def append_many(ledger: Ledger) -> None:
    """Append more than the database's journal has room for."""
    for number in range(200):
        ledger.append(MODEL, Event.REFUSED, {"what": "x" * 4000, "by": "nobody", "reason": str(number)})


def test_a_ledger_without_room_takes_no_row_and_goes_on_when_there_is_some(small_disk: Path) -> None:
    with line_world(small_disk) as world:
        ledger = world.services.ledger
        ledger.append(MODEL, Event.REFUSED, {"what": "something", "by": "nobody", "reason": "first"})
        filler = fill(world.services.settings.home)
        with pytest.raises(TransientError):
            append_many(ledger)
        seen = world.rows()
        assert broken_at(seen) is None
        filler.unlink()
        ledger.append(MODEL, Event.REFUSED, {"what": "something", "by": "nobody", "reason": "last"})
        assert len(world.rows()) == len(seen) + 1
        assert broken_at(world.rows()) is None


@pytest.mark.parametrize(
    "stage", [Stage.TRAIN, *(pytest.param(each, marks=pytest.mark.soak) for each in (Stage.EVALUATE, Stage.PACKAGE))]
)
def test_a_disk_that_is_full_at_a_stage_fails_it_and_the_stage_works_when_there_is_room(
    small_disk: Path, stage: Stage
) -> None:
    with line_world(small_disk) as world:
        world.land()
        before = {Stage.TRAIN: Stage.VALIDATE_DATA, Stage.EVALUATE: Stage.TRAIN, Stage.PACKAGE: Stage.EVALUATE}
        so_far = world.release(through=before[stage])
        rows = world.rows()
        filler = fill(world.services.settings.home)
        with pytest.raises(TransientError, match=r"(?i)room|space|disk|full"):
            run(line_of(MODEL), stage, so_far)
        assert world.rows() == rows
        filler.unlink()
        after = run(line_of(MODEL), stage, so_far).so_far
        assert after.ended is None, after.reason
        assert broken_at(world.rows()) is None
