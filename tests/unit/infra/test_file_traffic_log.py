"""The traffic log over segments that the archive takes away meanwhile; what every such log promises: see `contract`."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.adapters.traffic_log import FileTrafficLog
from lockgate.core.contract import TaskKind
from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import Observation, Seen
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION, SHADOW
from lockgate.errors import BadInput
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.prediction_log import PredictionLog, Record
from tests.bundles import contract

MODEL = ModelName("toy")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC).timestamp()
ALL = Kept(days=0, max_bytes=0)


class Server:
    """A process of a server that logs; its ids have a prefix of their own."""

    made = 0

    def __init__(self, state: Path, worker: int = 1, model: str = "toy", **how: Any) -> None:
        Server.made += 1
        self.prefix, self.count, self.model = f"19b7c5f4{Server.made:04x}", 0, model
        self._log = PredictionLog(state / "predictions", worker=worker, flush_s=0.001, **how)
        self._rows = 0

    def record(self, time: float, **how: Any) -> Record:
        self.count += 1
        facts: dict[str, Any] = {
            "time": time,
            "prediction_id": f"{self.prefix}-{self.count:x}",
            "model": self.model,
            "digest": "d" * 64,
            "arm": CHAMPION,
            "entity": "e",
            "rows": 1,
            "inputs": {"amount": [1.5], "colour": ["red"], "age": [41]},
            "outputs": {"probability": np.array([0.25], np.float32), "label": ["no"]},
            "flags": (),
            "latency_us": 87,
            "contract": contract(self.model),
            "propensity": 0.75,
        }
        return Record(**facts | how)

    def log(self, time: float, **how: Any) -> str:
        """Log a request; return its id."""
        made = self.record(time, **how)
        self._log.append(made)
        self._rows += made.rows
        return made.prediction_id

    def flush(self) -> None:
        while self._log.written_rows < self._rows:
            pass

    def close(self) -> None:
        self._log.close()


def archive(state: Path) -> None:
    Archive(state, ALL).run()


def reader(state: Path, **how: Any) -> FileTrafficLog:
    return FileTrafficLog(state, state / "kpi", **{"clock": lambda: NOON, **how})


def read_all(log: FileTrafficLog, cursor: str) -> tuple[list[Seen], str]:
    found = []
    while True:
        found.append(log.read(MODEL, cursor))
        cursor = found[-1].cursor
        if not found[-1].behind:
            return found, cursor


def requests(found: list[Seen]) -> list[Observation]:
    return [each for seen in found for each in seen.observations]


def ids(found: list[Seen]) -> list[str]:
    return [each.prediction_id for each in requests(found)]


def lost(found: list[Seen]) -> int:
    return sum(seen.lost for seen in found)


# -- what the archive takes --------------------------------------------------------------------------------------------


def test_a_segment_that_is_taken_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    log = reader(tmp_path, rows_at_most=2)
    cursor = log.end(MODEL)
    server = Server(tmp_path)
    logged = [server.log(NOON + at) for at in range(7)]
    server.flush()
    first = log.read(MODEL, cursor)
    assert first.behind
    server.close()
    archive(tmp_path)
    assert not list((tmp_path / "predictions" / "toy").glob("*.jsonl"))
    found, cursor = read_all(log, first.cursor)
    assert ids([first, *found]) == logged
    assert not ids(read_all(log, cursor)[0])
    assert not lost(found)


def test_what_was_taken_while_nobody_read_comes_from_the_archive_alike_and_once(tmp_path: Path) -> None:
    log = reader(tmp_path, slices=("colour", "age"))
    server = Server(tmp_path)
    server.log(NOON)
    server.flush()
    cursor = log.end(MODEL)
    server.log(NOON + 1, arm=CHALLENGER, propensity=0.25)
    server.log(NOON + 2, arm=CHAMPION, chosen=CHALLENGER, fallback=True, propensity=0.25)
    server.log(NOON + 3, arm=CHALLENGER, kind="failed", outputs={}, propensity=0.25)
    both = server.log(NOON + 4, entity=None)
    server.log(NOON + 5, prediction_id=both, arm=SHADOW, kind="shadow", inputs=None, propensity=1.0)
    server.log(NOON + 6, kind="forced", arm=CHALLENGER)
    server.log(NOON + 7, rows=2, outputs={"probability": np.array([0.5, 0.25], np.float32), "label": ["yes", "no"]},
               inputs={"amount": [1.5, 2], "colour": ["blue", "red"], "age": [1, 2]})  # fmt: skip
    server.close()
    whole, _ = read_all(log, cursor)
    archive(tmp_path)
    fresh = reader(tmp_path, slices=("colour", "age"))
    found, cursor = read_all(fresh, cursor)
    assert requests(found) == requests(whole)
    assert [(each.arm, each.failed, each.shadow) for each in requests(found)] == [
        (CHALLENGER, False, False), (CHALLENGER, True, False), (CHALLENGER, True, False), (CHAMPION, False, False),
        (CHALLENGER, False, True), (CHAMPION, False, False),
    ]  # fmt: skip
    assert [each.slices for each in requests(found)] == [{"colour": "red", "age": "41"}] * 5 + [
        {"colour": "blue", "age": "1"}
    ]
    assert requests(found)[-1].scores == (0.5, 0.25)
    assert not ids(read_all(fresh, cursor)[0])


def test_a_segment_that_came_and_went_between_two_readings_is_read_from_the_archive(tmp_path: Path) -> None:
    log = reader(tmp_path)
    cursor = log.end(MODEL)
    logged = []
    for second in (1, 2):
        server = Server(tmp_path)
        logged.append(server.log(NOON + second))
        server.close()
        archive(tmp_path)
    found, cursor = read_all(log, cursor)
    assert ids(found) == logged
    assert not ids(read_all(log, cursor)[0])


def test_another_models_segments_cost_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    log = reader(tmp_path)
    logged = [server.log(NOON + 1)]
    server.flush()
    cursor = log.end(MODEL)
    other = Server(tmp_path, worker=2, model="other")
    other.log(NOON + 2)
    other.close()
    archive(tmp_path)
    logged = [server.log(NOON + 3)]
    server.flush()
    found, cursor = read_all(log, cursor)
    server.close()
    assert ids(found) == logged


def test_what_nobody_has_any_more_is_counted_as_lost(tmp_path: Path) -> None:
    log = reader(tmp_path, rows_at_most=1)
    cursor = log.end(MODEL)
    server = Server(tmp_path)
    for at in range(3):
        server.log(NOON + at)
    server.close()
    seen = log.read(MODEL, cursor)
    (segment,) = (tmp_path / "predictions" / "toy").glob("*.jsonl")
    segment.unlink()
    found, _ = read_all(reader(tmp_path), seen.cursor)
    assert (ids(found), lost(found)) == ([], 1)


@pytest.mark.parametrize("seed", [5, 18, 41, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(100, 300))])
def test_whatever_happens_in_between_each_request_is_read_once(tmp_path: Path, seed: int) -> None:
    """Workers that log, end and come back, the archive, readers that end and come back, in any order."""
    chance, logged = random.Random(seed), list[str]()  # noqa: S311 - reproducible
    log = reader(tmp_path, rows_at_most=5, clock=time.time)
    cursor, found = log.end(MODEL), list[Seen]()
    servers = {worker: Server(tmp_path, worker, segment_bytes=2000) for worker in (1, 2)}

    def write() -> None:
        for _ in range(chance.randrange(1, 9)):
            logged.append(chance.choice([*servers.values()]).log(time.time()))

    def restart() -> None:
        worker = chance.choice([1, 2])
        servers[worker].close()
        servers[worker] = Server(tmp_path, worker, segment_bytes=2000)

    def look() -> None:
        nonlocal cursor
        for server in servers.values():
            server.flush()
        found.append(log.read(MODEL, cursor))
        cursor = found[-1].cursor

    def read_anew() -> None:
        nonlocal log
        log.close()
        log = reader(tmp_path, rows_at_most=5, clock=time.time)

    steps: list[Callable[[], object]] = [write, write, look, look, restart, lambda: archive(tmp_path), read_anew]
    for _ in range(60):
        chance.choice(steps)()
    for server in servers.values():
        server.close()
    rest, _ = read_all(log, cursor)
    assert sorted(ids(found + rest)) == sorted(logged)
    assert not lost(found + rest)


# -- lines -------------------------------------------------------------------------------------------------------------


def segment(state: Path, *lines: bytes) -> Path:
    path = state / "predictions" / "toy" / "20260102T120000.000000Z-w1-000001.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(lines)
    return path


def line(number: int, **how: Any) -> bytes:
    facts = {
        "time": datetime.fromtimestamp(NOON + number, UTC).isoformat(),
        "prediction_id": f"p-{number}",
        "digest": "d" * 64,
        "arm": CHAMPION,
        "rows": 1,
        "outputs": {"probability": [0.25], "label": ["no"]},
        "latency_us": 87,
        "inputs": {"colour": ["red"]},
    }
    return json.dumps(facts | how).encode() + b"\n"


def test_half_a_line_is_left_for_the_next_reading(tmp_path: Path) -> None:
    log = reader(tmp_path)
    whole, half = line(1), line(2)
    segment(tmp_path, whole, half[:40])
    cursor = log.end(MODEL)
    assert not ids(read_all(log, cursor)[0])
    segment(tmp_path, half[40:], line(3)[:10])
    found, cursor = read_all(log, cursor)
    assert (ids(found), lost(found)) == (["p-2"], 0)
    assert not ids(read_all(log, cursor)[0])


def test_lines_that_say_nothing_are_lost_and_those_of_others_are_not_counted(tmp_path: Path) -> None:
    log = reader(tmp_path)
    cursor = log.end(MODEL)
    segment(
        tmp_path,
        *(b"{}\n", b"no line\n", line(1, fallback=True)),  # the last is one from before the chosen arm was logged
        *(line(2, kind="forced"), line(3, arm="canary"), line(4, arm="dark", kind="shadow"), line(5, kind="another")),
        line(6),
    )
    found, _ = read_all(log, cursor)
    assert (ids(found), lost(found)) == (["p-6"], 3)


def test_flags_are_counted_by_row_and_many_rows_are_unpacked(tmp_path: Path) -> None:
    log = reader(tmp_path, slices=("amount", "colour"))
    cursor = log.end(MODEL)
    numbers = np.linspace(0, 1, 40, dtype=np.float32)
    server = Server(tmp_path)
    server.log(
        NOON,
        rows=40,
        inputs={"amount": numbers, "colour": ["blue"] * 40},
        outputs={"probability": numbers, "label": ["no"] * 40},
    )
    server.log(NOON + 1, inputs={"amount": [3.0], "colour": [None]})
    server.close()
    segment(
        tmp_path,
        line(1, flags=[{"flag": "f", "column": "c", "rows": [0, 2]}, {"flag": "g", "column": "d", "rows": [2]}]),
    )
    many, plain = (each for each in requests(read_all(log, cursor)[0]) if each.prediction_id != "p-1")
    (flagged,) = (each for each in requests(read_all(log, cursor)[0]) if each.prediction_id == "p-1")
    assert many.scores == pytest.approx(numbers.tolist())
    assert (many.rows, many.labels, many.slices) == (40, ("no",) * 40, {"amount": "0", "colour": "blue"})
    assert plain.slices == {"amount": "3"}
    assert (flagged.flags, plain.flags) == (2, 0)


def test_several_classes_are_told_row_by_row_and_a_regression_has_no_labels(tmp_path: Path) -> None:
    log = reader(tmp_path)
    cursor = log.end(MODEL)
    server = Server(tmp_path)
    classes = np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], np.float32)
    server.log(NOON, rows=2, outputs={"probabilities": classes, "label": ["mid", "low"]}, inputs=None,
               contract=contract("toy", TaskKind.MULTICLASS))  # fmt: skip
    server.log(NOON + 1, outputs={"value": [3.5]}, digest="e" * 64, contract=contract("toy", TaskKind.REGRESSION))
    server.close()
    for _ in range(2):
        several, number = requests(read_all(reader(tmp_path), cursor)[0])
        assert (several.scores, several.labels) == ((0.25, 0.5, 0.25, 0.5, 0.25, 0.25), ("mid", "low"))
        assert (number.scores, number.labels) == ((3.5,), ())
        archive(tmp_path)  # and once more from there


def test_a_cursor_of_something_else_is_refused(tmp_path: Path) -> None:
    for text in ("", "{}", "7", '{"began":0,"listed":0,"version":9}'):
        with pytest.raises(BadInput, match="cursor"):
            reader(tmp_path).read(MODEL, text)


# -- labels and numbers ------------------------------------------------------------------------------------------------


def tell(state: Path, name: str, *labels: tuple[str, str], received: float = NOON) -> Path:
    folder = state / "labels"
    folder.mkdir(exist_ok=True)
    path = folder / f"20260102T120000.000000Z-w1-{name}.jsonl"
    at = datetime.fromtimestamp(received, UTC).isoformat()
    with path.open("a") as file:
        for prediction_id, label in labels:
            facts = {"prediction_id": prediction_id, "row": 0, "label": label, "label_time": at, "received": at}
            file.write(json.dumps(facts) + "\n")
    return path


def told(found: list[Seen]) -> list[tuple[str, str]]:
    return [(each.prediction_id, each.label) for seen in found for each in seen.labels]


def test_labels_that_were_archived_unseen_are_found_joined_and_waiting(tmp_path: Path) -> None:
    server = Server(tmp_path)
    known = server.log(NOON)
    server.close()
    archive(tmp_path)
    log = reader(tmp_path)
    tell(tmp_path, "000001", ("before", "no"), received=NOON - 60)
    cursor = log.end(MODEL)
    tell(tmp_path, "000002", (known, "yes"), ("unknown", "no"), received=NOON + 1)
    archive(tmp_path)
    found, cursor = read_all(log, cursor)
    assert sorted(told(found)) == [(known, "yes"), ("unknown", "no")]
    assert not told(read_all(log, cursor)[0])


def test_labels_that_were_seen_are_not_told_again_when_they_are_archived(tmp_path: Path) -> None:
    log = reader(tmp_path)
    cursor = log.end(MODEL)
    tell(tmp_path, "000001", ("a", "yes"), ("b", "no"), received=NOON + 1)
    found, cursor = read_all(log, cursor)
    assert told(found) == [("a", "yes"), ("b", "no")]
    archive(tmp_path)
    tell(tmp_path, "000002", ("c", "yes"), received=NOON + 2)
    found, cursor = read_all(log, cursor)
    assert told(found) == [("c", "yes")]


def test_labels_are_read_a_bounded_part_at_a_time_and_text_is_one_value(tmp_path: Path) -> None:
    log = reader(tmp_path, rows_at_most=2)
    cursor = log.end(MODEL)
    path = tell(tmp_path, "000001", ("a", "yes"), ("b", "no"), ("c", "no"))
    with path.open("a") as file:
        file.write('{"prediction_id":"d","row":1,"label":1.0,"received":"2026-01-02T12:00:00Z"}\nnothing\n')
    found, _ = read_all(log, cursor)
    assert len(found) > 2
    assert told(found) == [("a", "yes"), ("b", "no"), ("c", "no"), ("d", "1")]
    assert lost(found) == 1


def test_a_line_that_is_no_number_is_lost_and_a_replaced_file_is_read_from_its_start(tmp_path: Path) -> None:
    log = reader(tmp_path, kpis={"orders": "orders.jsonl", "visits": "none-yet.jsonl"}, rows_at_most=2)
    cursor = log.end(MODEL)
    (tmp_path / "kpi").mkdir()
    path = tmp_path / "kpi" / "orders.jsonl"
    good = '{"time":"2026-01-02T12:00:00+01:00","entity":"e","value":2}\n'
    path.write_text(good + "nothing\n" + good.replace("+01:00", "") + good.replace("2}", '"2"}') + good + good[:20])
    found, cursor = read_all(log, cursor)
    assert [(each.name, each.time, each.entity, each.value) for seen in found for each in seen.kpis] == [
        ("orders", NOON - 3600, "e", 2.0)
    ] * 2
    assert lost(found) == 3
    path.unlink()
    path.write_text(good)
    assert len([each for seen in read_all(log, cursor)[0] for each in seen.kpis]) == 1
