"""One model's log folder that takes nothing costs the other models no row, however much waits for it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.serving.log.logged_line import read_line
from lockgate.serving.log.packed_columns import listed
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import binary_file, lines, open_for_appending, segments
from tests.bundles import contract
from tests.unit.serving.waiting import wait_for

QUEUE = 100


def record(number: int, model: str, *, rows: int = 1, **more: Any) -> Record:
    facts: dict[str, Any] = {
        "time": 1_767_312_000.25,
        "prediction_id": f"p-{number}",
        "model": model,
        "digest": "d" * 64,
        "arm": "champion",
        "entity": None,
        "rows": rows,
        "inputs": {"amount": [1.5] * rows},
        "outputs": {"probability": np.full(rows, 0.25, np.float32)},
        "flags": (),
        "latency_us": 87,
        "contract": contract(model),
    }
    return Record(**facts | more)


def ids(folder: Path) -> list[int]:
    found = [read_line(line, binary_file(path)) for path in segments(folder) for line in lines(path)]
    return [int(each.prediction_id.removeprefix("p-")) for each in found if each is not None]


class World:
    """A log whose folders refuse to be written, by model, for as long as they are told to."""

    def __init__(self, folder: Path, *broken: str, **how: Any) -> None:
        self.folder, self.broken = folder, set(broken)
        self.log = PredictionLog(folder, flush_s=0.005, opener=self._open, **{"queue_rows": QUEUE} | how)

    def _open(self, path: Path) -> int:
        if path.parent.name in self.broken:
            raise OSError(5, os.strerror(5), str(path))
        return open_for_appending(path)

    def fill(self, model: str, first: int, count: int) -> None:
        """Append rows of a model whose folder is broken, and wait until nothing is under way."""
        for number in range(first, first + count):
            self.log.append(record(number, model))
        wait_for(lambda: not self.log._queue)
        errors = self.log.errors
        wait_for(lambda: self.log.errors > errors + 1)

    def ids(self, model: str) -> list[int]:
        return ids(self.folder / model)


def test_a_model_whose_folder_refuses_writes_may_fill_the_queue_and_another_one_still_loses_no_row(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, "broken")
    world.fill("broken", 0, 3 * QUEUE)
    assert (world.log.queued_rows, world.log.dropped_rows) == (QUEUE, 2 * QUEUE)
    for burst in range(20):
        for number in range(QUEUE // 4):
            world.log.append(record(burst * 1000 + number, "well"))
            world.log.append(record(QUEUE, "broken"))
        written = (burst + 1) * (QUEUE // 4)
        wait_for(lambda: world.log.written_rows == written)  # noqa: B023 - called at once
    assert len(world.ids("well")) == 20 * (QUEUE // 4)
    wait_for(lambda: world.log.queued_rows <= QUEUE)
    world.broken.clear()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    kept = world.ids("broken")
    assert kept == sorted(kept), "in their order"
    assert kept[: QUEUE // 2] == list(range(QUEUE // 2)), "the newest are given up, not the oldest"
    appended = 3 * QUEUE + 20 * 2 * (QUEUE // 4)
    assert world.log.written_rows + world.log.dropped_rows == appended
    assert world.log.queued_bytes == world.log.queued_rows == 0


def test_bytes_that_wait_for_a_broken_folder_leave_room_for_other_models_too(tmp_path: Path) -> None:
    world = World(tmp_path, "broken", queue_rows=10_000, queue_bytes=100_000)
    world.fill("broken", 0, 1000)
    assert 95_000 < world.log.queued_bytes <= 100_000
    sizes = []
    for number in range(50):
        large = {"amount": np.full(1000, number, np.float32)}
        world.log.append(record(number, "well", rows=1000, inputs=large, body_bytes=4000))
        sizes.append(world.log.queued_bytes)
        wait_for(lambda: world.log.written_rows == 1000 * (number + 1))  # noqa: B023 - called at once
    assert world.ids("well") == list(range(50))
    assert max(sizes) <= 150_000
    world.broken.clear()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    assert world.log.written_rows + world.log.dropped_rows == 51_000
    assert world.ids("broken") == list(range(len(world.ids("broken"))))


def test_what_is_given_up_takes_its_part_of_the_file_beside_with_it(tmp_path: Path) -> None:
    world = World(tmp_path, "broken", queue_rows=32 * 10)
    for number in range(10):
        inputs = {"amount": np.full(300, number, np.float32)}
        world.log.append(record(number, "broken", rows=300, inputs=inputs, body_bytes=1200))
    wait_for(lambda: not world.log._queue)
    for number in range(64):
        world.log.append(record(number, "well"))
    wait_for(lambda: world.log.written_rows == 64)
    wait_for(lambda: world.log.queued_rows <= 32 * 10)
    world.broken.clear()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.append(record(99, "broken", rows=300, inputs={"amount": np.full(300, 99, np.float32)}))
    world.log.close()
    found = [read_line(line, binary_file(path)) for path in segments(tmp_path / "broken") for line in lines(path)]
    for each in found:
        assert each is not None
        assert each.inputs is not None
        assert set(listed(each.inputs["amount"])) == {float(each.prediction_id.removeprefix("p-"))}
    assert world.log.written_rows + world.log.dropped_rows == 64 + 11 * 300


def test_two_broken_folders_share_what_the_queue_holds(tmp_path: Path) -> None:
    world = World(tmp_path, "first", "second")
    world.fill("first", 0, 2 * QUEUE)
    for number in range(2 * QUEUE):
        world.fill("second", number, 1)
        if world.log._lanes["second"].rows == QUEUE // 2:
            break
    world.broken.clear()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    assert world.ids("second") == list(range(QUEUE // 2))
    assert world.ids("first") == list(range(QUEUE // 2))


def test_one_broken_folder_alone_may_have_all_of_the_queue(tmp_path: Path) -> None:
    world = World(tmp_path, "broken")
    world.fill("broken", 0, 2 * QUEUE)
    world.broken.clear()
    wait_for(lambda: world.log.queued_rows == 0)
    world.log.close()
    assert world.ids("broken") == list(range(QUEUE))


def test_one_request_larger_than_the_queue_waits_for_its_broken_folder_where_nothing_else_does(tmp_path: Path) -> None:
    world = World(tmp_path, "broken", queue_rows=10, queue_bytes=1000)
    world.log.append(record(1, "broken", rows=30))
    wait_for(lambda: world.log.errors > 2)
    world.broken.clear()
    wait_for(lambda: world.log.written_rows == 30)
    world.log.close()


def test_what_waits_for_a_broken_folder_does_not_wake_the_writer_with_every_row_of_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, "broken")
    world.fill("broken", 0, QUEUE // 2)
    errors, world.log._wait_s = world.log.errors, 3600.0
    wait_for(lambda: world.log.errors > errors)  # from now on it is woken only
    errors = world.log.errors
    for number in range(QUEUE // 4 + 2):
        world.log.append(record(number, "well"))
        if number == 1:
            threading.Event().wait(0.05)  # long enough for a turn
    wait_for(lambda: world.log.written_rows == QUEUE // 4 + 2)
    wait_for(lambda: world.log.errors > errors)
    assert world.log.errors == errors + 1, "one turn, for a quarter of the queue"
    world.log.close()


@pytest.mark.parametrize("flow", [QUEUE // 2, QUEUE])
def test_rows_on_their_way_beside_a_full_queue_are_bounded_by_half_of_it(tmp_path: Path, flow: int) -> None:
    world = World(tmp_path, "broken")
    world.fill("broken", 0, QUEUE)
    held, waits = threading.Event(), threading.Event()

    def opener(path: Path) -> int:
        waits.set()
        held.wait(60)
        return open_for_appending(path)

    make = world.log._new_lane
    world.log._new_lane = lambda model: _held(make(model), opener)
    world.log.append(record(0, "well"))
    assert waits.wait(60)
    for number in range(1, 2 * flow):
        world.log.append(record(number, "well"))
    assert world.log.queued_rows == QUEUE + QUEUE // 2
    held.set()
    world.log.close()
    assert len(world.ids("well")) == QUEUE // 2


def _held(lane: Any, opener: Callable[[Path], int]) -> Any:
    lane._opener = opener
    return lane
