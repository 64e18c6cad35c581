"""Several processes count as one: nothing is lost or counted twice, whoever starts, ends or is asked."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.errors import ConfigError
from lockgate.serving.watch import metric_files
from lockgate.serving.watch.metric_files import MetricFiles, begin_run
from lockgate.serving.watch.metric_snapshot import Snapshot, decode, merged
from lockgate.serving.watch.metrics import Metrics


class Process:
    """What one process has of it."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Metrics()
        self.files = MetricFiles(folder, self.metrics)

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self.metrics.answered("toy", "champion", 1, (), 0.001)

    def tick(self) -> None:
        """Do what is done twice a second."""
        self.files.write_and_sum(self.metrics.snapshot())

    def die(self) -> None:
        """End as kill -9 ends it: the kernel lets go of the lock, nothing is written."""
        assert self.files.lock is not None
        os.close(self.files.lock)

    def requests(self) -> int:
        """Return what its page says."""
        own = self.metrics.snapshot()
        return requests(merged([decode(own), *self.metrics.share(own)]))


def requests(snapshot: Snapshot) -> int:
    return sum(sum(arm.latency) for arm in snapshot.arms)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    begin_run(tmp_path / "metrics")
    return tmp_path / "metrics"


@pytest.fixture
def pair(folder: Path) -> Iterator[tuple[Process, Process]]:
    one, other = Process(folder), Process(folder)
    yield one, other
    one.files.close()
    other.files.close()


def test_whichever_process_is_asked_the_answer_is_the_sum(pair: tuple[Process, Process]) -> None:
    one, other = pair
    one.answer(3)
    other.answer(4)
    one.tick()
    other.tick()
    assert one.requests() == other.requests() == 7


def test_a_counter_never_runs_backwards_between_two_processes_that_are_asked_at_once(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    seen = []
    for _ in range(10):
        one.answer()
        seen.append(one.requests())  # counts what it has not written yet
        other.answer()
        seen.append(other.requests())
    assert seen == list(range(1, 21))


def test_an_older_snapshot_that_a_slower_thread_brings_does_not_replace_a_later_one(
    pair: tuple[Process, Process],
) -> None:
    one, other = pair
    older = one.metrics.snapshot()
    one.answer(3)
    assert one.requests() == 3
    one.files.write_and_sum(older)
    assert other.requests() == 3


def test_what_an_ended_process_counted_stays(folder: Path, pair: tuple[Process, Process]) -> None:
    one, _ = pair
    one.answer(1)
    orderly, killed = Process(folder), Process(folder)
    orderly.answer(10)
    orderly.files.close()  # writes what was not written yet
    killed.answer(100)
    killed.tick()
    killed.answer(1000)  # after its last half second: the stated loss
    killed.die()
    assert one.requests() == 111


def test_many_ended_processes_become_one_file_and_nothing_is_lost_or_doubled(
    folder: Path, pair: tuple[Process, Process]
) -> None:
    one, other = pair
    for number in range(1, 26):
        short = Process(folder)
        short.answer()
        short.files.close()
        one.tick()
        other.tick()
        assert one.requests() == other.requests() == number
    assert len(list(folder.iterdir())) < 20


def test_a_process_that_dies_between_sum_and_removal_is_not_counted_twice(
    folder: Path, pair: tuple[Process, Process]
) -> None:
    one, _ = pair
    for _ in range(4):
        short = Process(folder)
        short.answer()
        short.files.close()
    left = {path: path.read_bytes() for path in folder.glob("*.counts")}
    one.tick()
    for path, data in left.items():
        path.write_bytes(data)  # as if the removal had not happened
    assert one.requests() == 4
    one.tick()
    assert one.requests() == 4


def test_two_that_sum_up_at_once_do_it_once(folder: Path, pair: tuple[Process, Process]) -> None:
    one, _ = pair
    for _ in range(4):
        short = Process(folder)
        short.answer()
        short.files.close()
    before = sorted(folder.glob("*.counts"))
    with next(folder.glob("run")).open() as run:
        handle = os.open(folder / f"{run.read()}-ended.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)  # another one is at it
    one.tick()
    assert sorted(folder.glob("*.counts")) == before
    os.close(handle)
    one.tick()
    assert len(list(folder.glob("*.counts"))) == len(before) - 3
    assert one.requests() == 4


def test_a_new_run_begins_anew_and_a_process_of_the_old_one_does_not_enter_it(
    folder: Path, pair: tuple[Process, Process]
) -> None:
    one, _ = pair
    one.answer(5)
    one.tick()
    begin_run(folder)
    fresh = Process(folder)
    one.tick()  # still writes, as an orphan would
    fresh.answer(2)
    assert fresh.requests() == 2
    fresh.files.close()


def test_a_damaged_file_is_left_out_and_said(
    folder: Path, pair: tuple[Process, Process], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    one.answer(2)
    other.answer(3)
    other.tick()
    path = next(path for path in folder.glob("*.counts") if path.stem == other.files.name)
    path.write_bytes(b"\xff" * 10)
    assert one.requests() == 2
    assert "cannot be read" in caplog.text


def test_a_disk_that_does_not_take_it_is_said_once_and_the_own_numbers_are_still_shown(
    folder: Path, pair: tuple[Process, Process], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    other.answer(3)
    other.tick()
    one.answer(2)
    new = folder / f"{one.files.name}.new"
    new.mkdir()  # nothing can be written under this name
    assert one.requests() == 5
    one.tick()
    assert caplog.text.count("cannot be shared") == 1
    new.rmdir()
    one.tick()
    assert other.requests() == 5


def test_a_process_that_starts_while_the_disk_takes_nothing_joins_when_it_does(
    folder: Path, pair: tuple[Process, Process], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    one, _ = pair
    with monkeypatch.context() as disk:
        disk.setattr(metric_files, "_locked", full)
        late = Process(folder)
        late.answer(3)
        late.tick()
        assert caplog.text.count("cannot be shared") == 1
        assert late.requests() == 3
        assert one.requests() == 0
    late.tick()
    assert one.requests() == 3
    late.files.close()


def test_ended_processes_that_cannot_be_summed_up_are_no_end_of_sharing(
    folder: Path, pair: tuple[Process, Process], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = pair
    for _ in range(4):
        short = Process(folder)
        short.answer()
        short.files.close()
    run = (folder / "run").read_text()
    (folder / f"{run}-ended.new").mkdir()  # nothing can be written under this name
    one.answer()
    one.tick()
    assert "cannot be shared" in caplog.text
    assert other.requests() == 5


def test_a_worker_without_a_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run of a server was begun"):
        MetricFiles(tmp_path, Metrics())
