"""While the key of hashed columns is not there, the rows that need it wait; those of other models do not."""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import LogPolicy
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import lines, segments
from tests.bundles import contract
from tests.unit.serving.waiting import wait_for

QUEUE = 100
HASHING = LogPolicy(hashed=("colour",))
SECRET = "ultramarine"


def record(number: int, model: str, *, policy: LogPolicy | None = None, **more: Any) -> Record:
    described = contract(model) if policy is None else replace(contract(model), log=policy)
    facts: dict[str, Any] = {
        "time": 1_767_312_000.25,
        "prediction_id": f"p-{number}",
        "model": model,
        "digest": "a" * 64 if policy is None else "b" * 64,
        "arm": "champion",
        "entity": None,
        "rows": 1,
        "inputs": {"colour": [SECRET]},
        "outputs": {"probability": np.full(1, 0.25, np.float32)},
        "flags": (),
        "latency_us": 87,
        "contract": described,
    }
    return Record(**facts | more)


def hiding(number: int, **more: Any) -> Record:
    return record(number, "hiding", policy=HASHING, **more)


class World:
    """A log whose key cannot be read before `mend`."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.folder, self.key = folder / "log", folder / "key"
        self.key.write_text("")
        self.log = PredictionLog(self.folder, key_file=self.key, **{"flush_s": 0.005, "queue_rows": QUEUE} | how)

    def mend(self) -> None:
        new = self.key.with_name("new")
        new.write_text(os.urandom(32).hex())
        new.replace(self.key)

    def read(self, model: str) -> list[dict[str, Any]]:
        return [json.loads(line) for path in segments(self.folder / model) for line in lines(path)]

    def ids(self, model: str) -> list[int]:
        return [int(line["prediction_id"].removeprefix("p-")) for line in self.read(model)]

    def is_settled(self) -> None:
        """Wait until the writer has had a whole turn with everything that was appended."""
        wait_for(lambda: not self.log._queue)
        errors = self.log.errors
        wait_for(lambda: self.log.errors > errors + 1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.log.close()


def test_rows_of_other_models_are_written_while_those_with_hashed_columns_wait_for_the_key(world: World) -> None:
    for number in range(50):
        world.log.append(hiding(number))
        world.log.append(record(number, "open"))
    wait_for(lambda: world.log.written_rows == 50)
    assert world.ids("open") == list(range(50))
    assert world.read("hiding") == []
    assert (world.log.queued_rows, world.log.dropped_rows) == (50, 0)


def test_rows_that_waited_are_written_hashed_and_in_their_order_once_the_key_is_there(world: World) -> None:
    for number in range(50):
        world.log.append(hiding(number))
    world.is_settled()
    world.mend()
    wait_for(lambda: world.log.written_rows == 50)
    assert world.ids("hiding") == list(range(50))
    assert {line["hashed"]["colour"][0] for line in world.read("hiding")} == {KeyedHash(world.key)(SECRET)}
    assert not any("colour" in line["inputs"] for line in world.read("hiding"))
    wait_for(lambda: world.log.problem is None)
    assert world.log.queued_rows == world.log.queued_bytes == 0


def test_nothing_unhashed_is_ever_on_the_disk(world: World) -> None:
    for number in range(2 * QUEUE):
        world.log.append(hiding(number))
    world.is_settled()
    world.mend()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    written = [path.read_bytes() for path in world.folder.rglob("*") if path.is_file()]
    assert written
    assert not any(SECRET.encode() in each for each in written)


def test_rows_that_wait_for_the_key_are_bounded_and_those_beyond_are_counted_with_that_reason(world: World) -> None:
    for number in range(3 * QUEUE):
        if number == QUEUE:
            world.is_settled()
        world.log.append(hiding(number))
    assert world.log.queued_rows == QUEUE
    assert world.log.dropped == {"queue_full": 0, "no_key": 2 * QUEUE, "no_form": 0}
    for burst in range(20):
        for number in range(QUEUE // 4):
            world.log.append(record(burst * 1000 + number, "open"))
            world.log.append(hiding(QUEUE))
        written = (burst + 1) * (QUEUE // 4)
        wait_for(lambda: world.log.written_rows == written)  # noqa: B023 - called at once
    assert len(world.ids("open")) == 20 * (QUEUE // 4)
    wait_for(lambda: world.log.queued_rows <= QUEUE)
    assert world.log.dropped["no_key"] >= 2 * QUEUE
    world.mend()
    wait_for(lambda: world.log.queued_rows == 0)
    kept = world.ids("hiding")
    assert kept[: QUEUE // 2] == list(range(QUEUE // 2)), "the newest are given up, not the oldest"
    assert world.log.written_rows + world.log.dropped_rows == 3 * QUEUE + 20 * 2 * (QUEUE // 4)
    assert world.log.queued_bytes == 0


def test_bytes_that_wait_for_the_key_leave_room_for_other_models(tmp_path: Path) -> None:
    world = World(tmp_path, queue_rows=10_000, queue_bytes=100_000)
    for number in range(20):
        if number == 10:
            world.is_settled()
        world.log.append(hiding(number, body_bytes=10_000))
    assert (world.log.queued_rows, world.log.dropped["no_key"]) == (10, 10)
    for number in range(20):
        world.log.append(record(number, "open", body_bytes=10_000))
        wait_for(lambda: world.log.written_rows == number + 1)  # noqa: B023 - called at once
    world.mend()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    assert world.ids("hiding") == list(range(10))
    assert world.log.queued_bytes == 0


def test_a_model_whose_key_is_missing_and_one_whose_folder_is_broken_share_the_queue(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.folder.mkdir()
    (world.folder / "broken").write_text("")  # a file where the folder should be
    for number in range(2 * QUEUE):
        world.log.append(hiding(number))
    world.is_settled()
    for number in range(2 * QUEUE):
        world.log.append(record(number, "broken"))
        world.is_settled()
        if world.log._lanes["broken"].rows == QUEUE // 2:
            break
    (world.folder / "broken").unlink()
    world.mend()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    assert world.ids("hiding") == list(range(QUEUE // 2))
    assert world.ids("broken") == list(range(QUEUE // 2))


def test_rows_of_the_same_model_that_need_no_key_do_not_wait_for_it(world: World) -> None:
    world.log.append(hiding(1))
    world.log.append(record(2, "hiding"))
    wait_for(lambda: world.log.written_rows == 1)
    assert world.ids("hiding") == [2]


def test_a_missing_key_is_said_once_with_its_file_and_as_a_problem_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.log.append(hiding(1))
    world.is_settled()
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    for said in (caplog.text, str(world.log.problem)):
        assert str(world.key) in said
        assert "hiding" in said
        assert "no key of 32 bytes" in said


def test_what_still_waits_for_the_key_at_the_end_is_said_to_be_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path)
    world.log.append(hiding(1))
    world.log.append(record(2, "open"))
    world.log.close()
    assert world.ids("open") == [2]
    assert "1 rows" in caplog.messages[-1]
    assert "key" in caplog.messages[-1]


def test_a_key_that_cannot_be_made_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_size: int) -> bytes:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "urandom", full)
        with pytest.raises(OSError, match="No space"):
            KeyedHash(tmp_path / "key")(SECRET)
    assert [*tmp_path.iterdir()] == []
    assert KeyedHash(tmp_path / "key")(SECRET)
