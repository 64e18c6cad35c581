"""The prediction log and the labels when files go, may not grow or cannot be read, and when much comes at once."""

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import resource
import shutil
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import LogPolicy
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.labels import Label, LabelLog
from lockgate.serving.log.logged_line import LoggedLine, columns_file, read_line
from lockgate.serving.log.packed_columns import listed
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import binary_file, lines, open_for_appending, segments
from tests.bundles import contract
from tests.unit.serving.waiting import wait_for

MANY = 10_000


def record(number: int = 1, *, rows: int = 1, inputs: Any = None, **more: Any) -> Record:
    facts: dict[str, Any] = {
        "time": 1_767_312_000.25,
        "prediction_id": f"p-{number}",
        "model": "toy",
        "digest": "d" * 64,
        "arm": "champion",
        "entity": None,
        "rows": rows,
        "inputs": inputs,
        "outputs": {"probability": np.full(rows, 0.25, np.float32)},
        "flags": (),
        "latency_us": 87,
        "contract": contract("toy"),
    }
    return Record(**facts | more)


def logged(folder: Path) -> list[LoggedLine]:
    read = [read_line(line, binary_file(path)) for path in segments(folder) for line in lines(path)]
    found = [each for each in read if each is not None]
    assert len(found) == len(read)
    return found


def ids(folder: Path) -> list[str]:
    return [line.prediction_id for line in logged(folder)]


class HeldLog(PredictionLog):
    """A log whose disk keeps it waiting for the first segment, until it is let go."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.let_go, busy = threading.Event(), threading.Event()

        def opener(path: Path) -> int:
            busy.set()
            self.let_go.wait(60)
            return open_for_appending(path)

        super().__init__(folder, flush_s=0.001, opener=opener, **how)
        self.append(record(0))
        assert busy.wait(60)
        self.waiting_bytes = self.queued_bytes

    def close(self) -> None:
        self.let_go.set()
        super().close()


# -- much at once ----------------------------------------------------------------------------------------------------


def test_large_requests_of_arrays_are_bounded_by_their_bytes_not_by_their_rows(tmp_path: Path) -> None:
    log = HeldLog(tmp_path)
    for number in range(1, 21):
        inputs = {"amount": np.full(MANY, number, np.float32)}
        log.append(record(number, rows=MANY, inputs=inputs, body_bytes=4 * MANY))
    assert (log.dropped_rows, log.queued_bytes - log.waiting_bytes) == (0, 20 * 4 * MANY)
    log.close()
    assert log.written_rows == 1 + 20 * MANY
    assert log.queued_rows == log.queued_bytes == 0


def test_values_in_lists_count_for_what_they_take_and_not_only_for_their_text(tmp_path: Path) -> None:
    log = HeldLog(tmp_path, queue_bytes=1_000_000)
    for number in range(1, 11):
        log.append(record(number, rows=MANY, inputs={"amount": [0.5] * MANY}, body_bytes=2 * MANY))
    assert log.queued_bytes - log.waiting_bytes == 2 * 34 * MANY
    assert log.dropped_rows == 8 * MANY
    log.close()


def test_what_a_caller_names_as_entity_counts_for_the_bound(tmp_path: Path) -> None:
    log = HeldLog(tmp_path, queue_bytes=1_000_000)
    for number in range(1, 11):
        log.append(record(number, entity="e" * 300_000))
    assert (log.queued_rows, log.dropped_rows) == (4, 7)
    log.close()


def test_rows_that_came_faster_than_they_are_written_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = HeldLog(tmp_path, queue_rows=5)
    for number in range(1, 21):
        log.append(record(number))
    log.let_go.set()
    wait_for(lambda: bool(caplog.records))
    log.append(record(21))
    log.close()
    assert (log.dropped_rows, log.written_rows, log.problem) == (16, 6, None)
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "16 rows" in caplog.text


@pytest.mark.parametrize("rows", [1, 40])
def test_integers_of_more_than_64_bits_are_logged_as_the_numbers_the_model_saw(tmp_path: Path, rows: int) -> None:
    amounts = [10**20, -(10**20), 2**64 - 1, -(2**63), None, 2.5]
    log = PredictionLog(tmp_path, flush_s=0.001)
    log.append(record(rows=rows, inputs={"amount": (amounts * rows)[:rows], "colour": ["red"] * rows}))
    log.close()
    (line,) = logged(tmp_path / "toy")
    assert line.inputs is not None
    assert listed(line.inputs["amount"]) == (amounts * rows)[:rows]
    assert log.dropped_rows == 0


# -- files that go, or may not grow ----------------------------------------------------------------------------------


def test_after_somebody_removed_the_logs_folder_it_is_begun_again_with_all_that_belongs_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001)
    log.append(record(1))
    wait_for(lambda: log.written_rows == 1)
    shutil.rmtree(tmp_path / "toy")
    log.append(record(2))
    log.close()
    assert ids(tmp_path / "toy") == ["p-2"]
    assert columns_file(tmp_path / "toy", "d" * 64).exists()
    assert [each.levelno for each in caplog.records] == [logging.ERROR]


def test_after_somebody_removed_the_file_beside_a_segment_inputs_are_kept_again(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001)
    for number in (1, 2):
        log.append(record(number, rows=300, inputs={"amount": np.arange(300, dtype=np.float32)}))
        wait_for(lambda: log.written_rows == 300 * number)  # noqa: B023 - waited for in this turn
        if number == 1:
            binary_file(segments(tmp_path / "toy")[0]).unlink()
    log.close()
    assert [line.inputs is not None for line in logged(tmp_path / "toy")] == [False, True]


def test_after_somebody_removed_the_labels_folder_the_next_ones_are_kept(tmp_path: Path) -> None:
    async def tell() -> None:
        log = LabelLog(tmp_path / "labels")
        await log.add([Label("p-1", 1)])
        shutil.rmtree(tmp_path / "labels")
        await log.add([Label("p-2", 1)])
        await log.aclose()

    asyncio.run(tell())
    (kept,) = (line for path in segments(tmp_path / "labels") for line in lines(path))
    assert b"p-2" in kept


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size for the length of a block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_segment_that_may_not_grow_gives_way_to_the_next(tmp_path: Path) -> None:
    with files_of_at_most(20_000):
        log = PredictionLog(tmp_path, flush_s=0.001)
        for number in range(50):
            log.append(record(number, inputs={"colour": ["r" * 1000]}))
            wait_for(lambda: log.queued_rows == 0)
        log.close()
    assert log.errors > 0
    assert ids(tmp_path / "toy") == [f"p-{number}" for number in range(50)]
    assert len(segments(tmp_path / "toy")) > 2


def test_what_a_sick_disk_neither_takes_nor_gives_back_is_not_read_before_it_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick(_handle: int, _size: int) -> None:
        raise OSError(errno.EIO, "the disk is sick")

    with files_of_at_most(20_000), monkeypatch.context() as patched:
        log = PredictionLog(tmp_path, flush_s=0.001)
        log.append(record(0, inputs={"colour": ["r" * 10_000]}))
        wait_for(lambda: log.written_rows == 1)
        patched.setattr(os, "ftruncate", sick)
        for number in range(1, 11):
            log.append(record(number, inputs={"colour": ["r" * 1000]}))
        wait_for(lambda: log.errors > 0)
        log._segment_age_s = 0.0  # the segment has its age
        tried = log.errors
        wait_for(lambda: log.errors > tried + 1)
        patched.undo()
        wait_for(lambda: log.queued_rows == 0)
        log.close()
    assert sorted(ids(tmp_path / "toy")) == sorted(f"p-{number}" for number in range(11))


def test_a_segment_of_labels_that_may_not_grow_gives_way_to_the_next(tmp_path: Path) -> None:
    async def tell() -> list[bool]:
        log = LabelLog(tmp_path)
        taken = []
        for number in range(20):
            try:
                await log.add([Label(f"p-{number}", "x" * 200)] * 10)
            except OSError:
                taken.append(False)
            else:
                taken.append(True)
        await log.aclose()
        return taken

    with files_of_at_most(20_000):
        taken = asyncio.run(tell())
    kept = [line for path in segments(tmp_path) for line in lines(path)]
    assert len(kept) == 10 * sum(taken)
    assert not any(not first and not second for first, second in itertools.pairwise(taken))


# -- the key of hashed columns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["", "ab" * 31, "no key at all", "é"])
def test_a_key_that_is_cut_short_hides_nothing_and_is_refused(tmp_path: Path, held: str) -> None:
    key = tmp_path / "key"
    key.write_text(held)
    with pytest.raises(OSError, match="no key of 32 bytes"):
        KeyedHash(key)("N12345")
    assert key.read_text() == held


def test_rows_wait_for_the_key_when_it_is_cut_short(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    hidden = replace(contract("toy"), log=LogPolicy(hashed=("colour",)))
    log = PredictionLog(tmp_path / "log", flush_s=0.001, key_file=key)
    log.append(record(inputs={"colour": ["red"]}, contract=hidden))
    wait_for(lambda: log.problem is not None)
    assert (log.queued_rows, log.written_rows) == (1, 0)
    key.write_text(os.urandom(32).hex())
    wait_for(lambda: log.written_rows == 1)
    log.close()
