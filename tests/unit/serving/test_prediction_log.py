"""The prediction log: whole lines, bounded memory, and serving goes on when the disk is full."""

import base64
import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lockgate.core.contract import LogPolicy
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.logged_line import LoggedColumns, LoggedLine, read_columns, read_line
from lockgate.serving.log.packed_columns import PackedColumn, listed, packed
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.record import LineEncoder
from lockgate.serving.log.segments import binary_file, segments, taken
from lockgate.serving.log.segments import lines as log_lines
from lockgate.serving.model.column_values import CodedStrings, Flag, MatrixColumns
from tests.bundles import contract
from tests.unit.serving.waiting import wait_for


def record(
    number: int = 1,
    *,
    rows: int = 1,
    model: str = "toy",
    inputs: Any = None,
    policy: LogPolicy | None = None,
    entity_column: str | None = None,
    entity: str | None = "e",
    body_bytes: int = 0,
) -> Record:
    described = None if policy is None else replace(contract(model), log=policy, entity=entity_column)
    return Record(
        time=1_767_312_000.25,
        prediction_id=f"p-{number}",
        model=model,
        digest="d" * 64,
        arm="champion",
        entity=entity,
        rows=rows,
        inputs=inputs,
        outputs={"probability": np.full(rows, 0.25, np.float32), "label": ["no"] * rows},
        flags=(Flag("out_of_range", "amount", (0,)),),
        latency_us=87,
        contract=described,
        body_bytes=body_bytes,
    )


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def has_tried_with_all(log: PredictionLog) -> None:
    """Wait until the writer has had a whole turn, and failed, with everything that was appended by now."""
    before = log.errors
    wait_for(lambda: log.errors > before + 1)


def test_a_record_becomes_one_line_with_every_fact(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append(record(inputs={"amount": [1.5], "colour": [None]}))
    log.close()
    assert lines(tmp_path / "toy") == [
        {
            "time": "2026-01-02T00:00:00.250000+00:00",
            "prediction_id": "p-1",
            "request_id": None,
            "model": "toy",
            "digest": "d" * 64,
            "arm": "champion",
            "kind": "live",
            "fallback": False,
            "propensity": 1.0,
            "entity": "e",
            "rows": 1,
            "inputs": {"amount": [1.5], "colour": [None]},
            "outputs": {"probability": [0.25], "label": ["no"]},
            "flags": [{"flag": "out_of_range", "column": "amount", "rows": [0]}],
            "latency_us": 87,
            "trace": None,
        }
    ]


def test_the_chosen_arm_is_written_only_where_another_one_answered(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append(msgspec.structs.replace(record(), chosen="challenger", fallback=True))
    log.append(record())
    log.close()
    fell_back, ordinary = lines(tmp_path / "toy")
    assert (fell_back["arm"], fell_back["chosen"]) == ("champion", "challenger")
    assert "chosen" not in ordinary


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

    def opener(path: Path) -> int:
        path.touch()
        return os.open("/dev/full" if full.is_set() else path, os.O_WRONLY | os.O_APPEND, 0o640)

    return opener


def test_a_full_disk_costs_only_what_the_queue_cannot_hold_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = threading.Event()
    full.set()
    log = PredictionLog(tmp_path, flush_s=0.001, queue_rows=10, opener=full_disk(full))
    for number in range(15):
        log.append(record(number))
    has_tried_with_all(log)
    assert (log.queued_rows, log.dropped_rows, log.written_rows) == (10, 5, 0)
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "10 rows wait, 5 were dropped" in str(log.problem)
    log.close()
    assert log.queued_rows == 10
    assert "10 rows of the prediction log were lost" in caplog.messages[-1]


def test_lines_that_wait_for_the_disk_are_bounded_in_bytes(tmp_path: Path) -> None:
    full = threading.Event()
    full.set()
    log = PredictionLog(tmp_path, flush_s=0.001, queue_bytes=5_000, opener=full_disk(full))
    for number in range(100):
        log.append(record(number, inputs={"colour": ["r" * 1000]}))
    has_tried_with_all(log)
    assert log.dropped_rows > 90
    assert 3_000 < log.queued_bytes <= 5_000
    assert log.queued_rows + log.dropped_rows == 100
    log.close()


def test_requests_that_are_no_lines_yet_are_bounded_by_the_size_of_their_bodies(tmp_path: Path) -> None:
    held = threading.Event()

    def opener(path: Path) -> int:
        held.wait(60)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    log = PredictionLog(tmp_path, flush_s=0.001, queue_bytes=1_000_000, opener=opener)
    log.append(record(0))
    wait_for(lambda: len(log._queue) == 0)  # the writer is busy opening
    for number in range(1, 11):
        log.append(record(number, body_bytes=300_000))
    assert (log.queued_rows, log.dropped_rows) == (4, 7)
    held.set()
    log.close()
    assert log.written_rows == 4


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


def test_one_models_broken_folder_costs_the_others_nothing(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("")  # a file where the folder should be
    log = PredictionLog(tmp_path, flush_s=0.001)
    log.append(record(1))
    log.append(record(2, model="other"))
    wait_for(lambda: log.written_rows == 1)
    wait_for(lambda: log.errors > 0)
    assert [line["prediction_id"] for line in lines(tmp_path / "other")] == ["p-2"]
    log.close()


def test_workers_write_segments_of_their_own_into_one_folder(tmp_path: Path) -> None:
    logs = [PredictionLog(tmp_path, worker=worker) for worker in (1, 2)]
    for log in logs:
        log.append(record())
        log.close()
    assert sorted(path.stem.split("-")[1] for path in segments(tmp_path / "toy")) == ["w1", "w2"]


def test_a_segment_can_be_taken_only_after_its_writer_closed_it(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001)
    log.append(record())
    wait_for(lambda: log.written_rows == 1)
    (segment,) = segments(tmp_path / "toy")
    with taken(segment) as got:
        assert not got
    log.close()
    with taken(segment) as got:
        assert got


def test_a_segment_is_closed_at_its_age_without_a_further_request(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, flush_s=0.001, segment_age_s=0.02)
    log.append(record())
    wait_for(lambda: log.written_rows == 1)
    (segment,) = segments(tmp_path / "toy")

    def is_closed() -> bool:
        with taken(segment) as got:
            return got

    wait_for(is_closed)
    log.close()


HIDING = LogPolicy(hashed=("colour",), omitted=("age",))
INPUTS = {"amount": [1.5], "colour": ["red"], "age": [41], "shape": ["disc"]}


def written(folder: Path, *records: Record) -> list[dict[str, Any]]:
    log = PredictionLog(folder / "predictions")
    for each in records:
        log.append(each)
    log.close()
    return lines(folder / "predictions" / "toy")


def test_hashed_columns_are_joinable_and_omitted_ones_are_gone(tmp_path: Path) -> None:
    red, again, blue = written(
        tmp_path,
        record(1, inputs=INPUTS, policy=HIDING),
        record(2, inputs=INPUTS, policy=HIDING),
        record(3, inputs=INPUTS | {"colour": ["blue"]}, policy=HIDING),
    )
    assert red["inputs"] == {"amount": [1.5], "shape": ["disc"]}
    assert red["omitted"] == ["age"]
    assert red["hashed"] == again["hashed"] != blue["hashed"]
    (segment,) = segments(tmp_path / "predictions" / "toy")
    assert b'"red"' not in segment.read_bytes()


def test_a_hash_cannot_be_guessed_without_the_key_which_only_the_owner_reads(tmp_path: Path) -> None:
    here, there = (
        written(folder, record(inputs=INPUTS, policy=HIDING))[0]["hashed"]
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert here != there
    key = tmp_path / "a" / "prediction-log.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32


def test_the_key_is_kept_so_that_values_stay_joinable_over_restarts(tmp_path: Path) -> None:
    first, second = (written(tmp_path, record(inputs=INPUTS, policy=HIDING))[-1]["hashed"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("policy", [LogPolicy(hashed=("colour",)), LogPolicy(omitted=("colour",))])
def test_the_entity_is_hashed_when_its_column_is_not_to_be_read(tmp_path: Path, policy: LogPolicy) -> None:
    (line,) = written(tmp_path, record(inputs=INPUTS, policy=policy, entity_column="colour", entity="red"))
    assert line["entity"] != "red"
    assert line.get("hashed", {"colour": [line["entity"]]}) == {"colour": [line["entity"]]}


def test_a_numeric_entity_is_hashed_like_its_column_however_it_was_written(tmp_path: Path) -> None:
    policy = LogPolicy(hashed=("age",))
    one, other = written(
        tmp_path,
        record(1, inputs=INPUTS | {"age": [41]}, policy=policy, entity_column="age", entity="41"),
        record(
            2, inputs=INPUTS | {"age": np.array([41.0], np.float32)}, policy=policy, entity_column="age", entity="41.0"
        ),
    )
    assert {one["entity"], other["entity"], *one["hashed"]["age"], *other["hashed"]["age"]} == {one["entity"]}


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        (1, 1.0, True),
        (np.float32(0.1), 0.1, True),
        ("1", 1, True),  # an entity's header against its column
        (0.1, 0.2, False),
        (1e300, 1e301, False),
        ("a", "A", False),
        (None, float("nan"), True),
        (-0.0, 0.0, True),
    ],
)
def test_values_that_a_model_cannot_tell_apart_share_a_hash(
    tmp_path: Path, one: object, other: object, are_equal: bool
) -> None:
    keyed = KeyedHash(tmp_path / "key")
    assert (keyed(one) == keyed(other)) is are_equal


def test_without_inputs_neither_values_nor_hashes_are_kept(tmp_path: Path) -> None:
    (line,) = written(tmp_path, record(inputs=INPUTS, policy=replace(HIDING, inputs=False)))
    assert line["inputs"] is None
    assert "hashed" not in line


def test_columns_that_the_contract_does_not_know_are_not_kept(tmp_path: Path) -> None:
    inputs = INPUTS | {"passport": ["X1"], "account": ["a-7"]}
    (line,) = written(tmp_path, record(inputs=inputs, policy=LogPolicy(), entity_column="account"))
    assert line["inputs"] == INPUTS | {"account": ["a-7"]}


def test_nothing_is_written_while_the_key_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "prediction-log.key").mkdir()
    log = PredictionLog(tmp_path / "predictions", flush_s=0.001)
    log.append(record(inputs=INPUTS, policy=HIDING))
    wait_for(lambda: log.errors > 1)
    assert not segments(tmp_path / "predictions" / "toy")
    (tmp_path / "prediction-log.key").rmdir()
    wait_for(lambda: log.written_rows == 1)
    log.close()


def test_arrays_and_coded_strings_become_plain_json(tmp_path: Path) -> None:
    inputs = {
        "amount": np.array([1.5, np.nan, 3], np.float32)[::-1],
        "colour": CodedStrings(np.array([1, -1, 0], np.int32), ("red", "blue")),
    }
    (line,) = written(tmp_path, record(rows=3, inputs=inputs, policy=LogPolicy()))
    assert line["inputs"] == {"amount": [3.0, None, 1.5], "colour": ["blue", None, "red"]}


def test_a_large_request_is_written_in_pieces_that_make_the_same_line(tmp_path: Path) -> None:
    rows = 2500
    inputs = {
        "amount": [float(i) for i in range(rows)],
        "age": np.arange(rows, dtype=np.float32),
        "colour": CodedStrings(np.arange(rows, dtype=np.int32) % 2, ("red", "blue")),
        "shape": ["disc"] * rows,
    }
    (line,) = written(tmp_path, record(rows=rows, inputs=inputs, policy=LogPolicy(hashed=("shape",))))
    assert line["inputs"]["amount"] == [float(i) for i in range(rows)]
    assert len(line["hashed"]["shape"]) == len(line["outputs"]["label"]) == rows
    assert line["flags"] == [{"flag": "out_of_range", "column": "amount", "rows": [0]}]
    (read,) = read_back(tmp_path)
    assert read.inputs is not None
    assert listed(read.inputs["age"]) == listed(read.inputs["amount"])
    assert listed(read.inputs["colour"]) == ["red", "blue"] * (rows // 2)
    assert listed(read.outputs["probability"]) == [0.25] * rows


def read_back(folder: Path) -> list[LoggedLine]:
    read = [
        read_line(line, binary_file(path))
        for path in segments(folder / "predictions" / "toy")
        for line in log_lines(path)
    ]
    assert None not in read
    return [line for line in read if line is not None]


def test_arrays_of_a_large_request_take_few_bytes_and_read_as_they_would_from_a_text(tmp_path: Path) -> None:
    rows = 33
    odd = np.arange(rows) / 10
    odd[3] = np.nan
    inputs = {
        "amount": odd.astype(np.float32),
        "age": np.array([41, None] * 16 + [7], np.float64),
        "colour": CodedStrings(np.array([1, -1, 2] * 11, np.int32), ("nobody's", "red", "é")),
        "shape": CodedStrings(np.full(rows, -1, np.int32), ("nobody's",)),
    }
    (line,) = written(tmp_path, record(rows=rows, inputs=inputs, policy=LogPolicy()))
    (read,) = read_back(tmp_path)
    assert read.inputs is not None
    assert {name: column["dtype"] for name, column in line["inputs"].items()} == {
        "amount": "<f4", "age": "<f8", "colour": "|i1", "shape": "|i1",
    }  # fmt: skip
    assert line["inputs"]["colour"]["values"] == ["red", "é"]  # what no row holds was not asked about
    assert {name: listed(column) for name, column in read.inputs.items()} == {
        "amount": [None if n == 3 else round(n / 10, 1) for n in range(rows)],
        "age": [41, None] * 16 + [7],
        "colour": ["red", None, "é"] * 11,
        "shape": [None] * rows,
    }


def test_nothing_that_the_policy_hides_is_in_a_packed_line(tmp_path: Path) -> None:
    rows = 40
    secret = CodedStrings(np.zeros(rows, np.int32), ("S3CRET",))
    inputs = {"colour": secret, "age": np.full(rows, 41.5, np.float32), "amount": np.full(rows, 2.5, np.float32)}
    inputs["passport"] = secret
    (line,) = written(tmp_path, record(rows=rows, inputs=inputs, policy=HIDING))
    assert list(line["inputs"]) == ["amount"]
    assert line["omitted"] == ["age"]
    assert len(set(line["hashed"]["colour"])) == 1
    (segment,) = segments(tmp_path / "predictions" / "toy")
    assert b"S3CRET" not in segment.read_bytes()
    assert base64.b64encode(np.full(3, 41.5, "<f4").tobytes()) not in segment.read_bytes()


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1.0, -3.0], np.float32), "|i1"),
        (np.array([1.0, 300.0]), "<i2"),
        (np.array([1.0, 40_000.0], np.float32), "<f4"),
        (np.array([1.0, 0.5], np.float32), "<f4"),
        (np.array([0.0, -0.0], np.float32), "<f4"),
        (np.array([1.0, np.nan], np.float32), "<f4"),
        (np.array([np.nan, 1.0]), "<f8"),
        (np.array([1.0, 1e300]), "<f8"),
        (np.array([0.1, 1.0]), "<f8"),
        (np.array([1, 2**40]), "<i8"),
        (np.array([1, 2**63], np.uint64), "<u8"),
        (np.array([2**63, 1], np.uint64), "<u8"),
        (np.array([-5, 7], np.int64), "|i1"),
        (np.array([200, 1], np.uint8), "|u1"),
        (np.array([0.5, 2.0], np.float16), "<f2"),
        (np.array([0.5, 2.0], ">f4"), "<f4"),
        (np.array([[0.5, 2.0], [1.0, 0.0]], np.float32)[:, ::-1], "<f4"),
        (np.array([], np.float32), "<f4"),
        (np.arange(100_000, dtype=np.float32) / 3, "<f4"),
    ],
)
def test_a_packed_array_is_the_same_bit_by_bit_in_the_fewest_bytes(array: np.ndarray, dtype: str) -> None:
    with np.errstate(all="raise"):
        text = b"".join(packed(array))
    read = msgspec.json.decode(text, type=PackedColumn)
    assert (read.dtype, len(read), read.is_sound) == (dtype, len(array), True)
    assert read.array().astype(array.dtype).tobytes() == array.tobytes()
    assert read.array().shape == array.shape


@pytest.mark.parametrize(
    "broken",
    [
        {"dtype": "<f4", "base64": "AAAA"},  # three bytes
        {"dtype": "|O8", "base64": ""},
        {"dtype": "<f4", "base64": "?"},
        {"dtype": "<f4", "base64": "AACAPw==", "width": 0},
        {"dtype": "<f4", "base64": "AACAPw==", "width": -1},
        {"dtype": "|i1", "base64": "Ag==", "values": ["a", "b"]},
        {"dtype": "|i1", "base64": "/g==", "values": ["a", "b"]},
        {"dtype": "<f4", "base64": "AACAPw==", "values": ["a", "b"]},
        {"dtype": "<f4", "base64": "AACAPwAAgD8="},  # two rows
    ],
)
def test_a_line_with_a_packed_column_that_is_not_whole_is_none(tmp_path: Path, broken: dict[str, Any]) -> None:
    (line,) = written(tmp_path, record(inputs={"amount": [1.0]}, policy=LogPolicy()))
    good = {"dtype": "<f4", "base64": "AACAPw=="}
    assert read_line(json.dumps(line | {"inputs": {"amount": good}}).encode()) is not None
    assert read_line(json.dumps(line | {"inputs": {"amount": broken}}).encode()) is None


def test_a_long_column_is_packed_in_pieces_between_which_others_may_have_the_interpreter(tmp_path: Path) -> None:
    breaths: list[None] = []
    lines_of = LineEncoder(KeyedHash(tmp_path / "key"), lambda: breaths.append(None))
    column = np.arange(100_000) / 3
    line = lines_of.encode(msgspec.structs.replace(record(rows=100_000), outputs={"probability": column}))
    assert max(map(len, line.pieces)) < 1 << 20
    assert len(breaths) >= 8
    read = read_line(line.text())
    assert read is not None
    assert listed(read.outputs["probability"]) == column.tolist()


@pytest.mark.parametrize("rows", [2, 32, 33, 256])
@pytest.mark.parametrize("policy", [None, HIDING])
def test_a_matrix_is_logged_as_its_columns_are(tmp_path: Path, rows: int, policy: LogPolicy | None) -> None:
    lines_of = LineEncoder(KeyedHash(tmp_path / "key"), lambda: None)
    matrix = (np.arange(rows * 2, dtype=np.float32) / 7).reshape(rows, 2)
    matrix[0, 0] = np.nan
    given = {"amount": matrix[:, 0].copy(), "age": matrix[:, 1].copy()}
    apart, whole = (
        lines_of.encode(record(rows=rows, inputs=inputs, policy=policy)).text()
        for inputs in (given, MatrixColumns(("amount", "age"), matrix))
    )
    assert whole == apart


def test_the_types_of_a_bundles_columns_are_kept_beside_its_lines(tmp_path: Path) -> None:
    written(tmp_path, record(inputs=INPUTS, policy=HIDING, entity_column="account"))
    assert read_columns(tmp_path / "predictions" / "toy", "d" * 64) == LoggedColumns(
        inputs={"amount": "number", "shape": "string", "account": "string"},
        outputs={"probability": "number", "label": "string"},
        hashed=("colour",),
        omitted=("age",),
    )


def test_a_line_reads_back_and_nothing_else_does(tmp_path: Path) -> None:
    written(tmp_path, record(inputs=INPUTS, policy=HIDING))
    (segment,) = segments(tmp_path / "predictions" / "toy")
    (line,) = segment.read_bytes().splitlines()
    read = read_line(line)
    assert read is not None
    assert (read.prediction_id, read.inputs, read.omitted) == ("p-1", {"amount": [1.5], "shape": ["disc"]}, ("age",))
    for broken in (line[:-5], b"", b"[]", b"{}", b'"\xff"', line.replace(b'"rows":1', b'"rows":2')):
        assert read_line(broken) is None
