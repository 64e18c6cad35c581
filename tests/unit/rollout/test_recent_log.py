"""Reading the newest traffic: from segments and from the archive, labels and business numbers with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from lockgate.adapters.recent_log import read_recent_traffic
from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import Seen
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.prediction_log import PredictionLog, Record
from tests.bundles import contract

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TOY = ModelName("toy")


def log(state: Path, *, requests: int, until: datetime, server: str) -> None:
    """Log requests a second apart into one closed segment, the last one at a time."""
    written = PredictionLog(state / "predictions", worker=0)
    for number in range(requests):
        written.append(
            Record(
                time=until.timestamp() - (requests - 1 - number),
                prediction_id=f"{server}-{number:04d}",
                model="toy",
                digest="d" * 64,
                arm="champion",
                entity=f"{server}-{number}",
                rows=1,
                inputs={"amount": [1.5], "colour": ["red"]},
                outputs={"probability": np.full(1, 0.1, np.float32), "label": ["no"]},
                flags=(),
                latency_us=87,
                contract=contract("toy"),
            )
        )
    written.close()


def read(state: Path, *, hours: float = 24.0) -> Seen:
    return read_recent_traffic(
        state, state / "kpi", TOY, kpis={"basket": "basket.jsonl"}, now=NOON.timestamp(), hours=hours
    )


def test_no_log_is_no_traffic(tmp_path: Path) -> None:
    assert read(tmp_path).observations == ()


def test_what_was_archived_and_what_is_in_segments_is_read_in_order_once_each(tmp_path: Path) -> None:
    log(tmp_path, requests=30, until=NOON - timedelta(hours=3), server="a")
    Archive(tmp_path, Kept(days=0, max_bytes=0)).run()
    log(tmp_path, requests=20, until=NOON, server="b")
    found = read(tmp_path).observations
    assert len(found) == 50
    times = [each.time for each in found]
    assert times == sorted(times)
    assert {each.entity for each in found} == {*(f"a-{n}" for n in range(30)), *(f"b-{n}" for n in range(20))}
    assert (found[0].scores[0] - 0.1) ** 2 < 1e-9


def test_nothing_older_than_asked_is_given(tmp_path: Path) -> None:
    log(tmp_path, requests=600, until=NOON, server="a")
    found = read(tmp_path, hours=0.1).observations  # 360 s
    assert len(found) == 361
    assert min(each.time for each in found) >= NOON.timestamp() - 360.0


def test_labels_and_numbers_come_with_it(tmp_path: Path) -> None:
    log(tmp_path, requests=3, until=NOON, server="a")
    (tmp_path / "labels").mkdir()
    told = {"prediction_id": "a-0001", "row": 0, "label": "yes", "received": NOON.isoformat()}
    path = tmp_path / "labels" / "20260102T120000.000000Z-w0-000001.jsonl"
    path.write_text(json.dumps(told | {"label_time": NOON.isoformat()}) + "\n")
    (tmp_path / "kpi").mkdir()
    number = {"time": (NOON - timedelta(minutes=1)).isoformat(), "entity": "a-1", "value": 2.5}
    old = number | {"time": (NOON - timedelta(days=3)).isoformat()}
    (tmp_path / "kpi" / "basket.jsonl").write_text(f"{json.dumps(old)}\n{json.dumps(number)}\n")
    found = read(tmp_path)
    assert [(each.prediction_id, each.label) for each in found.labels] == [("a-0001", "yes")]
    assert [(each.name, each.value) for each in found.kpis] == [("basket", 2.5)]
