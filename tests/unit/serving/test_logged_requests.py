"""What of a production log is replayed: the newest live requests, in time order, over workers, segments and archive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.logged_requests import read_recent, recent_requests
from lockgate.core.contract import LogPolicy
from lockgate.core.ids import ModelName
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import segments
from lockgate.serving.model.column_values import CodedStrings
from tests.bundles import contract

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TOY = ModelName("toy")


def record(number: int, *, rows: int = 1, day: int = 0, **more: Any) -> Record:
    facts: dict[str, Any] = {
        "time": (NOON + timedelta(days=day, seconds=number)).timestamp(),
        "prediction_id": f"p-{number}-{day}",
        "model": "toy",
        "digest": "d" * 64,
        "arm": "champion",
        "entity": None,
        "rows": rows,
        "inputs": {
            "amount": [float(number + row) for row in range(rows)],
            "age": [41.0] * rows,
            "colour": ["red", None, *["blue"] * rows][:rows],
            "shape": ["disc"] * rows,
        },
        "outputs": {"probability": np.full(rows, 0.5, np.float32), "label": ["no"] * rows},
        "flags": (),
        "latency_us": 87,
        "contract": contract(),
    }
    return Record(**facts | more)


def log(state: Path, *records: Record, worker: int = 0) -> None:
    written = PredictionLog(state / "predictions", worker=worker)
    for each in records:
        written.append(each)
    written.close()


def archive(state: Path) -> None:
    Archive(state, Kept(days=0, max_bytes=0)).run()


def amounts(state: Path, at_most: int = 100) -> list[Any]:
    return [request.rows[0]["amount"] for request in recent_requests(state, TOY, at_most=at_most)]


def test_without_a_log_there_is_nothing_to_repeat(tmp_path: Path) -> None:
    assert recent_requests(tmp_path, TOY, at_most=5) == ()


def test_the_newest_requests_of_all_workers_come_first(tmp_path: Path) -> None:
    for worker in (1, 2, 3):
        for start in (0, 12):  # two segments each
            log(tmp_path, *(record(number) for number in range(start + worker, start + 12, 3)), worker=worker)
    newest = [float(number) for number in range(23, 0, -1) if number != 12]
    assert amounts(tmp_path) == newest
    assert amounts(tmp_path, 5) == newest[:5]


@pytest.mark.parametrize("is_archived", [False, True])
def test_requests_of_arrays_are_repeated_as_their_rows(tmp_path: Path, is_archived: bool) -> None:
    rows = 40
    inputs = {
        "amount": np.array([None if n == 1 else n / 10 for n in range(rows)], np.float32),
        "age": np.full(rows, 41.0),
        "colour": CodedStrings(np.array([-1, *[0] * (rows - 1)], np.int32), ("red",)),
        "shape": ["disc"] * rows,
    }
    log(tmp_path, record(1, rows=rows, inputs=inputs))
    if is_archived:
        archive(tmp_path)
    (request,) = recent_requests(tmp_path, TOY, at_most=5)
    assert request.rows[:3] == (
        {"amount": 0.0, "age": 41.0, "colour": None, "shape": "disc"},
        {"amount": None, "age": 41.0, "colour": "red", "shape": "disc"},
        {"amount": 0.2, "age": 41.0, "colour": "red", "shape": "disc"},
    )
    assert request.outputs == {"probability": [0.5] * rows, "label": ["no"] * rows}


def test_half_a_line_at_the_end_of_a_killed_workers_segment_is_left_out(tmp_path: Path) -> None:
    log(tmp_path, record(1), record(2))
    (segment,) = segments(tmp_path / "predictions" / "toy")
    segment.write_bytes(segment.read_bytes()[:-20])
    assert amounts(tmp_path) == [1.0]


LEFT_OUT = [
    record(2, kind="forced"),
    record(3, kind="shadow", inputs=None),
    record(4, fallback=True),
    record(5, rows=65),
]


@pytest.mark.parametrize("archived", [False, True])
def test_what_says_nothing_of_ordinary_traffic_is_left_out(tmp_path: Path, archived: bool) -> None:
    log(tmp_path, record(1), *LEFT_OUT)
    if archived:
        archive(tmp_path)
    read = read_recent(tmp_path, TOY, at_most=10)
    assert ([request.rows[0]["amount"] for request in read.requests], read.unrepeatable) == ([1.0], 0)


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    "policy", [LogPolicy(hashed=("colour",)), LogPolicy(omitted=("age",)), LogPolicy(inputs=False)]
)
def test_requests_without_all_of_their_inputs_cannot_be_repeated_and_are_counted(
    tmp_path: Path, policy: LogPolicy, archived: bool
) -> None:
    hiding = replace(contract(), log=policy)
    log(tmp_path, record(1), *(record(number, digest="e" * 64, contract=hiding, rows=2) for number in (2, 3)))
    if archived:
        archive(tmp_path)
    read = read_recent(tmp_path, TOY, at_most=10)
    assert ([request.rows[0]["amount"] for request in read.requests], read.unrepeatable) == ([1.0], 2)


def test_a_request_reads_the_same_from_the_archive_as_from_its_segment(tmp_path: Path) -> None:
    log(tmp_path, record(1, rows=3), record(2))
    before = recent_requests(tmp_path, TOY, at_most=10)
    archive(tmp_path)
    assert not segments(tmp_path / "predictions" / "toy")
    assert recent_requests(tmp_path, TOY, at_most=10) == before
    assert [row["colour"] for row in before[1].rows] == ["red", None, "blue"]


def test_the_archive_fills_up_what_the_segments_lack_without_a_request_twice(tmp_path: Path) -> None:
    for day in range(3):
        for worker in (1, 2):
            log(tmp_path, *(record(number, day=day) for number in range(worker, 9, 2)), worker=worker)
    (copied, *_) = segments(tmp_path / "predictions" / "toy")
    content = copied.read_bytes()
    archive(tmp_path)
    copied.write_bytes(content)  # as while it is archived
    log(tmp_path, record(50, day=3))
    wanted = [50.0, *[float(number) for number in range(8, 0, -1)] * 2]
    assert amounts(tmp_path, 1) == [50.0]
    assert amounts(tmp_path, 5) == [50.0, 7.0, 5.0, 3.0, 1.0]  # the newest that lie in segments
    copied.unlink()
    assert amounts(tmp_path, len(wanted)) == wanted


def test_an_unreadable_file_of_the_archive_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    archive(tmp_path)
    (tmp_path / "archive" / "toy" / "date=2026-01-02" / "x.parquet").write_bytes(b"PAR1")
    assert amounts(tmp_path) == [1.0]
