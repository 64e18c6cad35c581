"""The prediction log: whole lines, bounded memory, and serving goes on when the disk is full."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.serving.columns import Flag
from lockgate.serving.prediction_log import PredictionLog, Record


def record(number: int = 1, *, rows: int = 1, model: str = "toy", inputs: Any = None) -> Record:
    return Record(
        time=1_767_312_000.25,
        prediction_id=f"p-{number}",
        model=model,
        digest="d" * 64,
        arm="champion",
        entity="e",
        rows=rows,
        inputs=inputs,
        outputs={"probability": np.array([0.25], np.float32), "label": ["no"]},
        flags=(Flag("out_of_range", "amount", (0,)),),
        latency_us=87,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def wait_for(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.005)


def test_a_record_becomes_one_line_with_every_fact(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append(record(inputs={"amount": [1.5], "colour": [None]}))
    log.close()
    assert lines(tmp_path / "toy") == [
        {
            "time": "2026-01-02T00:00:00.250000+00:00",
            "prediction_id": "p-1",
            "model": "toy",
            "digest": "d" * 64,
            "arm": "champion",
            "entity": "e",
            "rows": 1,
            "inputs": {"amount": [1.5], "colour": [None]},
            "outputs": {"probability": [0.25], "label": ["no"]},
            "flags": [{"flag": "out_of_range", "column": "amount", "rows": [0]}],
            "latency_us": 87,
        }
    ]


def test_records_are_written_within_the_interval_without_a_close(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.01)
    log.append(record())
    wait_for(lambda: log.written_rows == 1)
    assert len(lines(tmp_path / "toy")) == 1
    log.close()


def test_nothing_is_lost_or_doubled_over_models_and_segments(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001, segment_bytes=2000)
    for number in range(1000):
        log.append(record(number, model=f"m{number % 3}"))
    log.close()
    for model in range(3):
        folder = tmp_path / f"m{model}"
        assert [line["prediction_id"] for line in lines(folder)] == [f"p-{n}" for n in range(model, 1000, 3)]
    assert log.written_rows == 1000


def test_a_segment_is_closed_at_its_size(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001, segment_bytes=1)
    for number in range(3):
        log.append(record(number))
        wait_for(lambda: log.queued_rows == 0)
    log.close()
    assert len(list((tmp_path / "toy").glob("*.jsonl"))) == 3


def full_disk(full: threading.Event) -> Callable[[Path], int]:
    """Open segments on a device that the kernel says is full, for as long as the event is set."""

    def open_file(path: Path) -> int:
        return os.open("/dev/full" if full.is_set() else path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    return open_file


def test_a_full_disk_costs_only_what_the_queue_cannot_hold_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = threading.Event()
    full.set()
    log = PredictionLog(tmp_path, flush_s=0.001, queue_rows=10, open_file=full_disk(full))
    for number in range(15):
        log.append(record(number))
    wait_for(lambda: log.errors > 1)
    assert (log.queued_rows, log.dropped_rows, log.written_rows) == (10, 5, 0)
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    log.close()
    assert log.queued_rows == 10
    assert "10 rows of the prediction log were lost" in caplog.messages[-1]


def test_after_a_full_disk_the_kept_records_are_written_once(tmp_path: Path) -> None:
    blocker = tmp_path / "toy"
    blocker.write_text("")  # a file where the folder should be
    log = PredictionLog(tmp_path, flush_s=0.001)
    for number in range(5):
        log.append(record(number))
    wait_for(lambda: log.errors > 0)
    blocker.unlink()
    wait_for(lambda: log.written_rows == 5)
    log.close()
    assert [line["prediction_id"] for line in lines(tmp_path / "toy")] == [f"p-{n}" for n in range(5)]


def test_a_record_without_a_json_form_is_dropped_and_the_log_goes_on(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001)
    log.append(record(1, inputs={"amount": [object()]}))
    log.append(record(2))
    log.close()
    assert [line["prediction_id"] for line in lines(tmp_path / "toy")] == ["p-2"]
    assert (log.dropped_rows, log.written_rows, log.queued_rows) == (1, 1, 0)


def test_one_request_larger_than_the_queue_is_still_taken_when_nothing_waits(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, queue_rows=10)
    log.append(record(rows=50))
    log.close()
    assert log.written_rows == 50
