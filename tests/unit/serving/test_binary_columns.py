"""Inputs of very large requests lie in a file beside the segment: what comes back is what was asked, or nothing."""

import json
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lockgate.core.contract import LogPolicy
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.binary_columns import BINARY_ROWS, Line
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.logged_line import LoggedLine, read_line
from lockgate.serving.log.packed_columns import PackedColumn, listed, packed, packed_labels
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.record import LineEncoder
from lockgate.serving.log.segments import Segment, binary_file, segments
from lockgate.serving.log.segments import lines as log_lines
from lockgate.serving.model.column_values import CodedStrings, Columns, Labels, MatrixColumns
from lockgate.serving.protocols.arrow_answer import stream
from lockgate.serving.protocols.v2_binary import raw_bytes
from tests.bundles import contract
from tests.unit.serving.test_log_archive import read as archived

ROWS = BINARY_ROWS + 44
CLASSES = np.array(["no", "yes"], object)


def record(number: int, inputs: Columns | None, *, rows: int = ROWS, policy: LogPolicy | None = None) -> Record:
    return Record(
        time=1_767_312_000.25 + number,
        prediction_id=f"p-{number:04d}",
        model="toy",
        digest="d" * 64,
        arm="champion",
        entity=None,
        rows=rows,
        inputs=inputs,
        outputs={
            "probability": np.full(rows, 0.25, np.float32),
            "label": Labels(np.arange(rows) % 2, CLASSES),
        },
        flags=(),
        latency_us=87,
        contract=replace(contract(), log=policy or LogPolicy()),
    )


def matrix(rows: int = ROWS, first: float = 0.0, dtype: str = "<f4") -> MatrixColumns:
    numbers = (np.arange(rows * 2, dtype=dtype) / 7 + first).astype(dtype).reshape(rows, 2)
    numbers[0, 0] = np.nan
    return MatrixColumns(("amount", "age"), numbers)


def coded(rows: int = ROWS) -> CodedStrings:
    return CodedStrings(np.arange(rows, dtype=np.int32) % 3 - 1, ("red", "blue", "never asked"))


def logged(state: Path, *records: Record) -> Path:
    log = PredictionLog(state / "predictions")
    for each in records:
        log.append(each)
    log.close()
    (segment,) = segments(state / "predictions" / "toy")
    return segment


def read_back(segment: Path) -> list[LoggedLine]:
    found = [read_line(line, binary_file(segment)) for line in log_lines(segment)]
    assert None not in found
    return [each for each in found if each is not None]


def values(line: LoggedLine) -> dict[str, list[Any]]:
    assert line.inputs is not None
    return {name: listed(column) for name, column in line.inputs.items()}


def as_text(column: np.ndarray[Any, Any]) -> list[float | None]:
    return [None if np.isnan(value) else json.loads(str(value)) for value in column]


def test_matrices_and_columns_of_several_requests_read_back_as_they_came(tmp_path: Path) -> None:
    first, second = matrix(), matrix(first=0.5)
    ages = np.arange(ROWS, dtype=np.float64)
    columns: Columns = {"amount": second.matrix[:, 0], "age": ages, "colour": coded(), "shape": ["disc"] * ROWS}
    segment = logged(tmp_path, record(1, first), record(2, {"amount": [1.0]}, rows=1), record(3, columns))
    one, small, other = read_back(segment)
    assert values(one) == {name: as_text(np.asarray(first[name])) for name in first}
    assert values(small) == {"amount": [1.0]}
    assert values(other) == {
        "amount": as_text(second.matrix[:, 0]),
        "age": list(range(ROWS)),
        "colour": [(None, "red", "blue")[at % 3] for at in range(ROWS)],
        "shape": ["disc"] * ROWS,
    }
    assert listed(one.outputs["label"]) == ["no", "yes"] * (ROWS // 2)
    text = segment.read_text()
    assert "never asked" not in text
    assert len(text) < 12_000 + 8 * ROWS  # of the inputs nothing but the strings that came as a list


@pytest.mark.parametrize(
    "given",
    [
        matrix(dtype=">f4"),
        matrix(dtype="<f8"),
        matrix(dtype="<f2"),
        MatrixColumns(("amount", "age"), matrix().matrix[:, ::-1]),
        MatrixColumns(("amount", "age"), matrix(2 * ROWS).matrix[::2]),
        MatrixColumns(
            ("amount", "age"), np.frombuffer(b"x" + matrix().matrix.tobytes(), "<f4", offset=1).reshape(-1, 2)
        ),
    ],
)
def test_a_matrix_of_any_form_reads_back_bit_by_bit(tmp_path: Path, given: MatrixColumns) -> None:
    (line,) = read_back(logged(tmp_path, record(1, given)))
    assert line.inputs is not None
    for name in given:
        column = line.inputs[name]
        assert not isinstance(column, list)
        asked = np.asarray(given[name])
        assert column.array().astype(asked.dtype).tobytes() == asked.tobytes()


@pytest.mark.parametrize("as_matrix", [True, False])
def test_what_the_policy_hides_is_in_neither_file(tmp_path: Path, as_matrix: bool) -> None:
    secret = np.full(ROWS, 1234.5678, np.float32)
    plain = np.arange(ROWS, dtype=np.float32) / 7
    columns: Columns = {"amount": plain, "age": secret, "colour": coded()}
    if as_matrix:
        columns = MatrixColumns(("amount", "age"), np.stack((plain, secret), axis=1))
    segment = logged(tmp_path, record(1, columns, policy=LogPolicy(omitted=("age",), hashed=("colour",))))
    beside = binary_file(segment).read_bytes()
    assert beside == plain.tobytes()
    assert b"blue" not in segment.read_bytes()
    (line,) = read_back(segment)
    assert values(line) == {"amount": as_text(plain)}
    assert (line.hashed is not None and len(line.hashed["colour"]) == ROWS) is not as_matrix


def test_requests_of_fewer_rows_and_logs_without_inputs_have_no_file_beside(tmp_path: Path) -> None:
    few = matrix(BINARY_ROWS)
    none = msgspec.structs.replace(record(2, matrix(), policy=LogPolicy(inputs=False)), digest="e" * 64)
    segment = logged(tmp_path, record(1, few, rows=BINARY_ROWS), none)
    assert not binary_file(segment).exists()
    one, other = read_back(segment)
    assert values(one) == {name: as_text(np.asarray(few[name])) for name in few}
    assert (other.inputs, other.binary) == (None, None)


def test_a_file_that_is_short_or_gone_costs_the_inputs_alone(tmp_path: Path) -> None:
    segment = logged(tmp_path, record(1, matrix()), record(2, matrix()))
    beside = binary_file(segment)
    os.truncate(beside, beside.stat().st_size - 1)
    one, other = read_back(segment)
    assert one.inputs is not None
    assert (other.inputs, listed(other.outputs["probability"])) == (None, [0.25] * ROWS)
    beside.unlink()
    assert [line.inputs for line in read_back(segment)] == [None, None]


@pytest.mark.parametrize(
    "broken",
    [
        {"amount": {"dtype": "<f4", "from": -1, "step": 8}},
        {"amount": {"dtype": "<f4", "from": 0, "step": 0}},
        {"amount": {"dtype": "<f4", "from": 0, "step": -8}},
        {"amount": {"dtype": "<f4", "from": 0, "step": 9}},
        {"amount": {"dtype": "<f4", "from": 5, "step": 8}},
        {"amount": {"dtype": "<f4", "from": 10**30}},
        {"amount": {"dtype": "<f4", "from": 0, "step": 10**30}},
        {"amount": {"dtype": "|O8", "from": 0}},
        {"amount": {"dtype": "|u1", "from": 0, "values": ["a"]}},
        {"amount": {"dtype": "|i1", "from": 0, "values": ["a"]}},
        {"amount": {"dtype": "<f4", "from": 0, "width": 2}},
    ],
)
def test_a_line_that_points_beyond_its_part_or_at_no_such_values_is_none(tmp_path: Path, broken: Any) -> None:
    segment = logged(tmp_path, record(1, matrix()))
    said = json.loads(segment.read_bytes())
    assert read_line(json.dumps(said).encode(), binary_file(segment)) is not None
    assert read_line(json.dumps(said | {"inputs": broken}).encode(), binary_file(segment)) is None


@pytest.mark.parametrize(
    "part", [{"bytes": 8, "at": -8}, {"bytes": -8, "at": 8}, {"bytes": 10**15, "at": 0}, {"bytes": 8, "at": 10**15}]
)
def test_a_part_that_the_file_does_not_hold_costs_the_inputs(tmp_path: Path, part: dict[str, int]) -> None:
    segment = logged(tmp_path, record(1, matrix()))
    said = json.loads(segment.read_bytes()) | {"binary": part}
    read = read_line(json.dumps(said).encode(), binary_file(segment))
    assert read is not None
    assert read.inputs is None


def test_a_line_that_says_nothing_of_its_part_is_none(tmp_path: Path) -> None:
    said = json.loads(logged(tmp_path, record(1, matrix())).read_bytes())
    del said["binary"]
    assert read_line(json.dumps(said).encode()) is None


def test_a_failed_write_leaves_nothing_that_a_later_line_points_at(tmp_path: Path) -> None:
    """First the file beside cannot be opened, then the segment is full, then the file beside; then there is room."""
    opened: list[Path] = []

    def opener(path: Path) -> int:
        opened.append(path)
        if path.suffix == ".numbers" and len(opened) == 2:
            raise OSError(28, "full")
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            segment = Segment(tmp_path, worker=0, number=1, opener=opener)
            with pytest.raises(OSError, match="full"):
                segment.write([b"lost\n"], [memoryview(b"lost")])
            segment.write([b"one\n"], [memoryview(b"1234")])
            with pytest.raises(OSError, match="too large"):
                segment.write([b"x" * 200_000], [memoryview(b"taken back")])
            assert segment.binary_size == 4
            with pytest.raises(OSError, match="too large"):
                segment.write([b"lost\n"], [memoryview(b"x" * 200_000)])
            assert segment.binary_size == 4
            segment.write([b"two\n"], [memoryview(b"56"), memoryview(b"78")])
            segment.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    (path,) = segments(tmp_path)
    assert (path.read_bytes(), binary_file(path).read_bytes()) == (b"one\ntwo\n", b"12345678")


def test_many_small_blobs_are_written_whole_and_in_their_order(tmp_path: Path) -> None:
    segment = Segment(tmp_path, worker=0, number=1)
    blobs = [bytes([number % 251]) * (number * 37 % 4_000 + 1) for number in range(1_500)] + [b"z" * 1_000_000]
    segment.write([b"line\n"], [memoryview(blob) for blob in blobs])
    segment.close()
    (path,) = segments(tmp_path)
    assert binary_file(path).read_bytes() == b"".join(blobs)


def test_a_line_that_fails_leaves_no_bytes_to_the_next(tmp_path: Path) -> None:
    lines_of = LineEncoder(KeyedHash(tmp_path / "key"), lambda: None)
    odd = msgspec.structs.replace(record(1, {"amount": np.arange(ROWS) / 7, "age": [object()] * ROWS}), contract=None)
    with pytest.raises(TypeError):
        lines_of.encode(odd)
    line = lines_of.encode(record(2, matrix()))
    assert isinstance(line, Line)
    assert line.blob_bytes == 8 * ROWS
    assert line.size == line.blob_bytes + len(line.text()) - 1


def test_the_archive_holds_every_row_and_takes_both_files(tmp_path: Path) -> None:
    given = matrix()
    segment = logged(tmp_path, record(1, given), record(2, {"amount": given["amount"], "colour": coded()}))
    assert binary_file(segment).exists()
    Archive(tmp_path, Kept(days=0, max_bytes=0)).run()
    assert list((tmp_path / "predictions" / "toy").glob("2*")) == []
    rows = archived(tmp_path)
    assert len(rows) == 2 * ROWS
    assert [row["input_amount"] for row in rows[:ROWS]] == as_text(np.asarray(given["amount"]))
    assert [row["input_age"] for row in rows] == [*as_text(np.asarray(given["age"])), *[None] * ROWS]
    assert [row["input_colour"] for row in rows[ROWS : ROWS + 3]] == [None, "red", "blue"]
    assert all(row["has_inputs"] for row in rows)
    assert [row["output_label"] for row in rows[:2]] == ["no", "yes"]


def test_without_the_file_beside_the_archive_says_so_and_keeps_the_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    segment = logged(tmp_path, record(1, matrix()))
    binary_file(segment).unlink()
    Archive(tmp_path, Kept(days=0, max_bytes=0)).run()
    rows = archived(tmp_path)
    assert len(rows) == ROWS
    assert {(row["has_inputs"], row["input_amount"], row["output_probability"]) for row in rows} == {
        (False, None, 0.25)
    }
    assert any("does not hold the inputs of 1 requests" in message for message in caplog.messages)


def test_a_file_beside_no_segment_is_removed_by_the_archive(tmp_path: Path) -> None:
    segment = logged(tmp_path, record(1, matrix()))
    segment.unlink()
    Archive(tmp_path, Kept(days=0, max_bytes=0)).run()
    assert not binary_file(segment).exists()


def test_labels_are_the_list_that_they_stand_for() -> None:
    labels = Labels(np.array([1, 0, 0, 1]), CLASSES)
    assert labels == ["yes", "no", "no", "yes"]
    assert labels == Labels(np.array([1, 0, 0, 1]), CLASSES)
    assert labels != ["yes"]
    assert (labels[3], labels[-3], labels[1:3], list(labels), len(labels)) == (
        "yes",
        "no",
        ["no", "no"],
        labels.tolist(),
        4,
    )
    assert (labels.coded.codes.tolist(), labels.coded.values) == ([1, 0, 0, 1], ("no", "yes"))


@pytest.mark.parametrize("classes", [("no", "yes"), ("", "größer", "x" * 5_000), ("only",)])
def test_labels_are_sent_byte_for_byte_as_their_list_is(classes: tuple[str, ...]) -> None:
    labels = Labels(np.arange(100) % len(classes), np.array(classes, object))
    assert raw_bytes(labels) == raw_bytes(labels.tolist())
    sent, listed_one = (stream({"label": data}, {"prediction_id": "p-1"}) for data in (labels, labels.tolist()))
    assert sent == listed_one


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ([1, 0, 1, 1], ("no", "yes")),
        ([1, 1, 1, 1], ("no", "yes")),  # nobody got the first class
        ([0] * 40, ("only",)),
        ([*range(127, -1, -1)], tuple(map(str, range(128)))),
        ([*range(200)], tuple(map(str, range(200)))),  # more than a byte counts
    ],
)
def test_labels_are_logged_byte_for_byte_as_their_column_is(codes: list[int], classes: tuple[str, ...]) -> None:
    labels = Labels(np.array(codes), np.array(classes, object))
    said = b"".join(packed_labels(labels))
    assert said == b"".join(packed(labels.coded))
    assert msgspec.json.decode(said, type=PackedColumn).tolist() == labels.tolist()
