"""The archive: every answered row once, whatever happens; labels meet their predictions; old files go."""

import json
import logging
import os
import resource
import signal
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockgate.core.contract import LogPolicy, TaskKind
from lockgate.serving.disk import alone
from lockgate.serving.log.archive import run_once
from lockgate.serving.log.archive_labels import WAITING, as_text
from lockgate.serving.log.archive_retention import MERGED_FILES
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import ArchiveStatus, Kept, archive_folder, read_status
from lockgate.serving.log.logged_line import columns_file
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import segments
from lockgate.serving.model.column_values import CodedStrings, Flag
from tests.bundles import contract

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ALL = Kept(days=0, max_bytes=0)


def record(number: int, *, time: datetime = NOON, rows: int = 1, model: str = "toy", **more: Any) -> Record:
    facts: dict[str, Any] = {
        "time": time.timestamp() + number / 1000,
        "prediction_id": f"p-{number:04d}",
        "model": model,
        "digest": "d" * 64,
        "arm": "champion",
        "entity": f"e-{number}",
        "rows": rows,
        "inputs": {"amount": [1.5, None, 3][:rows], "colour": ["red", None, "blue"][:rows]},
        "outputs": {"probability": np.full(rows, 0.1, np.float32), "label": ["no"] * rows},
        "flags": (),
        "latency_us": 87,
        "contract": contract(model),
    }
    return Record(**facts | more)


def log(state: Path, *records: Record, worker: int = 0) -> None:
    """Log records into one closed segment a model."""
    written = PredictionLog(state / "predictions", worker=worker)
    for each in records:
        written.append(each)
    written.close()


def label(state: Path, *labels: dict[str, Any], received: datetime = NOON, name: str = "a") -> None:
    """Put labels into one closed segment."""
    folder = state / "labels"
    folder.mkdir(exist_ok=True)
    told = [{"row": 0, "label_time": received.isoformat(), "received": received.isoformat()} | each for each in labels]
    (folder / f"20260102T120000.000000Z-w0-{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in told))


def archive(state: Path, kept: Kept = ALL) -> ArchiveStatus:
    return Archive(state, kept).run()


def read(state: Path, model: str = "toy") -> list[dict[str, Any]]:
    """Return every row of a model's archive, as a user reads it."""
    files = sorted((state / "archive" / model).glob("date=*/*.parquet"))
    tables = [pq.read_table(path, partitioning=None) for path in files]
    rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="default").to_pylist()
    return sorted(rows, key=lambda row: (row["prediction_id"], row["row"], row.get("revision", 0)))


def test_every_row_of_a_request_becomes_a_typed_row(tmp_path: Path) -> None:
    flags = (Flag("out_of_range", "amount", (0, 2)), Flag("unknown_category", "colour", (2,)))
    log(
        tmp_path,
        record(
            1, rows=3, flags=flags, request_id="r", trace="00-1-2-01", propensity=0.25, fallback=True, chosen="canary"
        ),
    )
    status = archive(tmp_path)
    rows = read(tmp_path)
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert rows[2] == {
        "time": NOON + timedelta(milliseconds=1),
        "prediction_id": "p-0001",
        "row": 2,
        "rows": 3,
        "request_id": "r",
        "digest": "d" * 64,
        "arm": "champion",
        "chosen": "canary",
        "kind": "live",
        "fallback": True,
        "propensity": 0.25,
        "entity": "e-1",
        "flags": ["out_of_range:amount", "unknown_category:colour"],
        "latency_us": 87,
        "trace": "00-1-2-01",
        "has_inputs": True,
        "input_amount": 3.0,
        "input_colour": "blue",
        "input_age": None,
        "input_shape": None,
        "output_probability": float(np.float32(0.1)),
        "output_label": "no",
    }
    assert (status.segments, status.requests, status.rows, status.broken_lines) == (1, 1, 3, 0)
    assert not segments(tmp_path / "predictions" / "toy")
    assert read_status(tmp_path) == status


def test_files_are_parted_by_the_date_of_the_request_and_typed_alike_even_where_all_is_null(tmp_path: Path) -> None:
    empty = {"amount": [None], "colour": [None]}
    log(tmp_path, record(1), record(2, time=NOON + timedelta(days=1), inputs=empty))
    archive(tmp_path)
    files = sorted((tmp_path / "archive" / "toy").glob("*/*.parquet"))
    assert [path.parent.name for path in files] == ["date=2026-01-02", "date=2026-01-03"]
    assert pq.read_schema(files[0]) == pq.read_schema(files[1])


def test_several_classes_are_a_list_and_a_regression_is_a_number(tmp_path: Path) -> None:
    many = {"probabilities": np.array([[0.25, 0.5, 0.25]], np.float32), "label": ["mid"]}
    log(tmp_path, record(1, outputs=many, contract=contract("toy", TaskKind.MULTICLASS)))
    log(tmp_path, record(1, model="other", outputs={"value": [3.5]}, contract=contract("other", TaskKind.REGRESSION)))
    archive(tmp_path)
    assert read(tmp_path)[0]["output_probabilities"] == [0.25, 0.5, 0.25]
    assert read(tmp_path, "other")[0]["output_value"] == 3.5


def test_large_requests_of_arrays_and_of_lists_become_the_same_rows(tmp_path: Path) -> None:
    rows = 40
    amounts = [None if n == 7 else n / 10 for n in range(rows)]
    colours = [("red", None, "blue")[n % 3] for n in range(rows)]
    lists = {"amount": amounts, "age": [41] * rows, "colour": colours, "shape": [None] * rows}
    arrays = {
        "amount": np.array(amounts, np.float32),
        "age": np.full(rows, 41.0),
        "colour": CodedStrings(np.array([(1, -1, 0)[n % 3] for n in range(rows)], np.int32), ("blue", "red")),
        "shape": CodedStrings(np.full(rows, -1, np.int32), ()),
    }
    log(tmp_path, *(record(n, rows=rows, inputs=each) for n, each in enumerate((lists, arrays))), record(2))
    archive(tmp_path)
    found = read(tmp_path)
    ids = {"time", "prediction_id", "entity"}
    of_lists, of_arrays = ([{k: v for k, v in row.items() if k not in ids} for row in found[at : at + rows]]
                           for at in (0, rows))  # fmt: skip
    assert of_lists == of_arrays
    assert [row["input_amount"] for row in of_arrays] == amounts
    assert [row["input_colour"] for row in of_arrays] == colours
    assert len(found) == 2 * rows + 1


@pytest.mark.parametrize("is_described", [True, False])
def test_large_answers_of_several_classes_or_of_numbers_are_kept(tmp_path: Path, is_described: bool) -> None:
    rows = 64
    many = np.linspace(0, 1, 3 * rows, dtype=np.float32).reshape(rows, 3)
    outputs = {"probabilities": many, "label": ["mid"] * rows}
    log(tmp_path, record(1, rows=rows, inputs=None, outputs=outputs, contract=contract("toy", TaskKind.MULTICLASS)))
    values = {"value": np.arange(rows, dtype=np.float32)}
    other = contract("other", TaskKind.REGRESSION)
    log(tmp_path, record(1, rows=rows, model="other", inputs=None, outputs=values, contract=other))
    if not is_described:
        for model in ("toy", "other"):
            columns_file(tmp_path / "predictions" / model, "d" * 64).unlink()
    archive(tmp_path)
    assert np.array_equal([row["output_probabilities"] for row in read(tmp_path)], many)
    assert [row["output_value"] for row in read(tmp_path, "other")] == list(range(rows))


def test_hashed_columns_have_a_name_of_their_own_and_omitted_ones_none(tmp_path: Path) -> None:
    described = replace(contract(), log=LogPolicy(hashed=("colour",), omitted=("amount",)))
    log(tmp_path, record(1, contract=described))
    archive(tmp_path)
    (row,) = read(tmp_path)
    assert "input_colour" not in row
    assert "input_amount" not in row
    assert len(row["hashed_colour"]) == 32


def test_a_shadows_row_has_no_inputs_and_says_so(tmp_path: Path) -> None:
    log(tmp_path, record(1), record(1, kind="shadow", inputs=None))
    archive(tmp_path)
    assert sorted((row["kind"], row["has_inputs"], row["input_amount"]) for row in read(tmp_path)) == [
        ("live", True, 1.5),
        ("shadow", False, None),
    ]


@pytest.mark.parametrize("kind", ["failed", "shadow_failed"])
def test_a_request_without_an_answer_has_its_rows_and_null_for_every_output(tmp_path: Path, kind: str) -> None:
    log(tmp_path, record(1), record(2, rows=2, kind=kind, outputs={}, arm="canary"))
    status = archive(tmp_path)
    answered, *failed = read(tmp_path)
    assert (answered["kind"], answered["chosen"], answered["output_label"]) == ("live", None, "no")
    assert [(row["kind"], row["arm"], row["row"]) for row in failed] == [(kind, "canary", 0), (kind, "canary", 1)]
    assert {(row["output_probability"], row["output_label"]) for row in failed} == {(None, None)}
    assert failed[0]["input_amount"] == 1.5
    assert (status.requests, status.broken_lines) == (2, 0)


def test_half_a_line_is_cut_and_counted_and_the_rest_is_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log(tmp_path, *(record(number) for number in range(3)))
    (segment,) = segments(tmp_path / "predictions" / "toy")
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b'"p-0001"', b'"p-0001') + b'{"time":"2026-01-02T1')
    status = archive(tmp_path)
    assert [row["prediction_id"] for row in read(tmp_path)] == ["p-0000", "p-0002"]
    assert (status.requests, status.broken_lines) == (2, 2)
    assert {each.levelno for each in caplog.records} == {logging.ERROR, logging.WARNING}


def test_a_segment_that_is_written_now_is_left_alone(tmp_path: Path) -> None:
    running = PredictionLog(tmp_path / "predictions", flush_s=0.001)
    running.append(record(1))
    log(tmp_path, record(2), worker=1)
    while running.written_rows == 0:
        running._thread.join(0.001)
    assert archive(tmp_path).requests == 1
    running.close()
    assert archive(tmp_path).requests == 2


def test_lines_from_before_columns_were_described_are_typed_by_what_they_hold(tmp_path: Path) -> None:
    log(tmp_path, record(1, inputs={"amount": [None], "colour": [None]}), record(2))
    columns_file(tmp_path / "predictions" / "toy", "d" * 64).unlink()
    archive(tmp_path)
    assert [(row["input_amount"], row["input_colour"]) for row in read(tmp_path)] == [(None, None), (1.5, "red")]


def test_a_bundles_rows_lie_apart_from_those_of_another(tmp_path: Path) -> None:
    other = replace(contract(), log=LogPolicy(hashed=("colour",)))
    log(tmp_path, record(1), record(2, digest="e" * 64, contract=other))
    archive(tmp_path)
    assert len(list((tmp_path / "archive" / "toy").glob("*/*.parquet"))) == 2


def test_one_process_at_a_time_works_on_an_archive(tmp_path: Path) -> None:
    folder = archive_folder(tmp_path)
    folder.mkdir()
    with alone(folder / ".lock") as first:
        assert first
        assert run_once(tmp_path, ALL) == 75
    assert run_once(tmp_path, ALL) == 0


def test_an_archive_that_cannot_be_written_is_a_failure_that_keeps_the_segment(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "toy").write_text("")  # a file where the folder should be
    assert run_once(tmp_path, ALL) == 1
    assert len(segments(tmp_path / "predictions" / "toy")) == 1


# -- labels ----------------------------------------------------------------------------------------------------------


def test_a_label_is_joined_to_its_row(tmp_path: Path) -> None:
    log(tmp_path, record(1, rows=2), record(2))
    label(tmp_path, {"prediction_id": "p-0001", "row": 1, "label": "yes"}, {"prediction_id": "p-0002", "label": 2.5})
    status = archive(tmp_path)
    first, second = read(tmp_path, "toy.labels")
    assert first == {
        "prediction_id": "p-0001",
        "row": 1,
        "label": "yes",
        "label_number": None,
        "label_time": NOON,
        "received": NOON,
        "prediction_time": NOON + timedelta(milliseconds=1),
        "late": False,
        "revision": 0,
    }
    assert (second["label"], second["label_number"]) == ("2.5", 2.5)
    assert (status.labels.joined, status.labels.waiting) == (2, 0)
    assert not segments(tmp_path / "labels")


def test_labels_lie_under_the_date_of_their_prediction(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"}, received=NOON + timedelta(days=40))
    archive(tmp_path)
    assert [path.name for path in (tmp_path / "archive" / "toy.labels").iterdir()] == ["date=2026-01-02"]


def test_a_label_without_a_prediction_waits_for_it_and_is_joined_when_it_appears(tmp_path: Path) -> None:
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"}, {"prediction_id": "nobody", "label": "no"})
    assert archive(tmp_path).labels.waiting == 2
    assert archive(tmp_path).labels.waiting == 2
    log(tmp_path, record(1))
    counts = archive(tmp_path).labels
    assert (counts.joined, counts.waiting) == (1, 1)
    assert [row["label"] for row in read(tmp_path, "toy.labels")] == ["yes"]


def test_a_label_of_a_row_that_the_request_did_not_have_waits(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    label(tmp_path, {"prediction_id": "p-0001", "row": 1, "label": "yes"})
    assert archive(tmp_path).labels.waiting == 1


def test_the_same_label_again_is_a_duplicate_and_another_one_a_correction_that_keeps_both(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    label(tmp_path, *({"prediction_id": "p-0001", "label": each} for each in (1, 1.0, True)))
    assert archive(tmp_path).labels.duplicate == 1
    label(tmp_path, *({"prediction_id": "p-0001", "label": each} for each in ("true", "1")))
    counts = archive(tmp_path).labels
    assert (counts.joined, counts.corrected, counts.duplicate) == (3, 2, 2)
    assert [(row["revision"], row["label"]) for row in read(tmp_path, "toy.labels")] == [
        (0, "1"),
        (1, "true"),
        (2, "1"),
    ]


def test_a_label_after_the_window_is_joined_and_late(tmp_path: Path) -> None:
    log(tmp_path, record(1), record(2))
    for day, prediction in ((6, "p-0001"), (8, "p-0002")):
        label(tmp_path, {"prediction_id": prediction, "label": 1}, received=NOON + timedelta(days=day), name=prediction)
    counts = archive(tmp_path, replace(ALL, label_window_days=7.0)).labels
    assert (counts.joined, counts.late) == (2, 1)
    assert [row["late"] for row in read(tmp_path, "toy.labels")] == [False, True]


def test_a_label_is_late_by_the_delay_that_the_spec_of_its_own_model_declares(tmp_path: Path) -> None:
    specs = tmp_path / "deployments"
    specs.mkdir()
    (specs / "toy.yaml").write_text("data:\n  label_delay_s: 3600\n")
    (specs / "slow.yaml").write_text("data:\n  label_delay_s: 86400\n")
    log(tmp_path, record(1), record(2, model="slow"))
    told = ({"prediction_id": f"p-000{number}", "label": 1} for number in (1, 2))
    label(tmp_path, *told, received=NOON + timedelta(hours=2))
    counts = archive(tmp_path, replace(ALL, specs=specs)).labels
    assert (counts.joined, counts.late) == (2, 1)
    assert [row["late"] for model in ("toy", "slow") for row in read(tmp_path, f"{model}.labels")] == [True, False]


def test_labels_that_wait_are_kept_up_to_a_size_the_oldest_go_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label(tmp_path, *({"prediction_id": f"p-{number:04d}", "label": 1} for number in range(10)), name="a")
    line = len((tmp_path / "labels" / "20260102T120000.000000Z-w0-a.jsonl").read_bytes()) // 10
    few = replace(ALL, waiting_bytes=4 * line + 1)
    counts = archive(tmp_path, few).labels
    assert (counts.waiting, counts.displaced, counts.expired) == (4, 6, 0)
    assert "6 labels that waited for a prediction were given up" in caplog.text
    assert (tmp_path / "archive" / WAITING).stat().st_size <= few.waiting_bytes
    label(tmp_path, {"prediction_id": "p-0010", "label": 1}, name="b")
    counts = archive(tmp_path, few).labels
    assert (counts.waiting, counts.displaced) == (4, 7)
    log(tmp_path, *map(record, range(11)))
    counts = archive(tmp_path, few).labels
    assert (counts.joined, counts.waiting, counts.displaced) == (4, 0, 7)
    assert [row["prediction_id"] for row in read(tmp_path, "toy.labels")] == [f"p-{n:04d}" for n in (7, 8, 9, 10)]


def test_a_label_that_is_too_old_is_expired_and_makes_room_for_those_that_are_not(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    label(tmp_path, {"prediction_id": "old", "label": 1}, received=now - timedelta(days=31), name="a")
    label(tmp_path, {"prediction_id": "new", "label": 1}, received=now, name="b")
    size = (tmp_path / "labels" / "20260102T120000.000000Z-w0-b.jsonl").stat().st_size
    counts = archive(tmp_path, replace(ALL, days=30, waiting_bytes=size)).labels
    assert (counts.expired, counts.displaced, counts.waiting) == (1, 0, 1)


def test_a_status_from_before_labels_were_displaced_reads_as_none_were(tmp_path: Path) -> None:
    label(tmp_path, {"prediction_id": "nobody", "label": 1})
    archive(tmp_path)
    path = archive_folder(tmp_path) / "status.json"
    status = json.loads(path.read_text())
    del status["labels"]["displaced"]
    path.write_text(json.dumps(status))
    assert read_status(tmp_path).labels.displaced == 0


def test_a_label_that_waited_for_as_long_as_predictions_are_kept_is_given_up_and_counted(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    label(tmp_path, {"prediction_id": "old", "label": 1}, received=now - timedelta(days=31), name="old")
    label(tmp_path, {"prediction_id": "new", "label": 1}, received=now, name="new")
    counts = archive(tmp_path, replace(ALL, days=30)).labels
    assert (counts.expired, counts.waiting) == (1, 1)


def test_a_line_that_is_no_label_is_counted_and_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    label(tmp_path, {"prediction_id": 7, "label": 1}, {"prediction_id": "p-0001", "label": 1})
    counts = archive(tmp_path).labels
    assert (counts.broken, counts.joined) == (1, 1)


@pytest.mark.parametrize("runs", [1, 2])
def test_the_label_that_came_last_holds_whichever_worker_it_was_told(tmp_path: Path, runs: int) -> None:
    log(tmp_path, record(1), record(2))
    archive(tmp_path)
    for number, name in enumerate("ab"):  # a worker's segment that was opened first holds what came last
        for key, minutes in (("p-0001", 2 - number), ("p-0002", 1 + number)):
            said = {"prediction_id": key, "label": f"told {minutes}"}
            label(tmp_path, said, received=NOON + timedelta(minutes=minutes), name=f"{name}{key}")
        if runs == 2:
            archive(tmp_path)
    counts = archive(tmp_path).labels
    assert (counts.joined, counts.corrected, counts.duplicate) == (4, 2, 0)
    found = read(tmp_path, "toy.labels")
    assert [(row["prediction_id"], row["label"], row["revision"]) for row in found] == [
        ("p-0001", "told 1", -1),
        ("p-0001", "told 2", 0),
        ("p-0002", "told 1", 0),
        ("p-0002", "told 2", 1),
    ]


def test_an_old_label_that_comes_to_light_late_may_be_a_duplicate_or_lie_below_all_others(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    for number, (minutes, said) in enumerate([(5, "yes"), (6, "no"), (1, "maybe"), (2, "no"), (3, "yes"), (7, "no")]):
        told = {"prediction_id": "p-0001", "label": said}
        label(tmp_path, told, received=NOON + timedelta(minutes=minutes), name=f"{number}")
        counts = archive(tmp_path).labels
    assert (counts.joined, counts.duplicate) == (4, 2)
    assert [(row["label"], row["revision"]) for row in read(tmp_path, "toy.labels")] == [
        ("yes", -2),
        ("maybe", -1),
        ("yes", 0),
        ("no", 1),
    ]


@pytest.mark.parametrize("kind", ["shadow", "shadow_failed"])
def test_a_shadow_that_answered_after_midnight_does_not_part_the_labels_of_a_row(tmp_path: Path, kind: str) -> None:
    late = datetime(2026, 1, 2, 23, 59, 59, 500_000, tzinfo=UTC)
    log(tmp_path, record(1, time=late), record(1, time=late + timedelta(seconds=1), kind=kind, inputs=None, outputs={}))
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"})
    label(tmp_path, {"prediction_id": "p-0001", "label": "no"}, received=NOON + timedelta(days=2), name="b")
    assert archive(tmp_path).labels.corrected == 1
    folders = [path.name for path in (tmp_path / "archive" / "toy.labels").iterdir()]
    assert folders == ["date=2026-01-02"]
    assert {row["prediction_time"] for row in read(tmp_path, "toy.labels")} == {late + timedelta(milliseconds=1)}


def test_labels_find_their_predictions_among_many_files_models_and_dates(tmp_path: Path) -> None:
    for day in range(4):
        for model in ("toy", "other"):
            numbers = range(day * 100 + (50 if model == "other" else 0), day * 100 + (100 if model == "other" else 50))
            log(tmp_path, *(record(n, model=model, time=NOON + timedelta(days=day)) for n in numbers))
    archive(tmp_path)
    label(tmp_path, *({"prediction_id": f"p-{number:04d}", "label": number} for number in range(0, 400, 7)))
    assert archive(tmp_path).labels.joined == len(range(0, 400, 7))
    labels = [*read(tmp_path, "toy.labels"), *read(tmp_path, "other.labels")]
    assert sorted(int(row["label"]) for row in labels) == list(range(0, 400, 7))
    assert all(int(row["label"]) == int(row["prediction_id"][2:]) for row in labels)


def test_more_label_segments_than_one_pass_takes_are_all_joined_in_one_run(tmp_path: Path) -> None:
    log(tmp_path, *(record(number) for number in range(10)))
    for number in range(10):
        label(tmp_path, *({"prediction_id": name, "label": 1} for name in (f"p-{number:04d}", "no")), name=str(number))
    counts = archive(tmp_path).labels
    assert (counts.joined, counts.waiting) == (10, 10)


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (1.0, "1"), (1, "1"), ("1", "1"), (0.5, "0.5")])
def test_one_value_has_one_text(value: Any, text: str) -> None:
    assert as_text(value) == text


# -- what is kept ----------------------------------------------------------------------------------------------------


def test_dates_older_than_what_is_kept_go_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    today = datetime.now(UTC)
    log(tmp_path, *(record(age, time=today - timedelta(days=age), rows=2) for age in (0, 1, 9, 30)))
    status = archive(tmp_path, replace(ALL, days=2))
    kept = sorted(path.name for path in (tmp_path / "archive" / "toy").iterdir())
    assert kept == sorted(f"date={today - timedelta(days=age):%Y-%m-%d}" for age in (0, 1))
    assert (status.removed_files, status.removed_rows) == (2, 4)
    assert status.removed_bytes > 0
    assert "deleted the oldest 2 files" in caplog.text


def test_the_oldest_goes_even_where_not_a_byte_can_be_written(tmp_path: Path) -> None:
    for day in range(2):
        log(tmp_path, record(day, time=NOON + timedelta(days=day)))
    archive(tmp_path)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        try:
            archive(tmp_path, replace(ALL, max_bytes=1))
        except OSError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [row["prediction_id"] for row in read(tmp_path)] == ["p-0001"]
    assert archive(tmp_path, replace(ALL, max_bytes=1)).bytes == 0


def test_beyond_the_size_the_oldest_go_first(tmp_path: Path) -> None:
    for day in range(4):
        log(tmp_path, *(record(day, time=NOON + timedelta(days=day), model=model) for model in ("toy", "other")))
    size = archive(tmp_path).bytes
    status = archive(tmp_path, replace(ALL, max_bytes=int(size * 0.6)))
    left = sorted((path.parent.name, path.parent.parent.name) for path in (tmp_path / "archive").glob("*/*/*.parquet"))
    assert left == [(f"date=2026-01-0{day}", model) for day in (4, 5) for model in ("other", "toy")]
    assert status.bytes <= size * 0.6
    assert status.removed_files == 4


def test_many_small_files_with_the_same_columns_become_one_with_the_same_rows(tmp_path: Path) -> None:
    other = replace(contract(), log=LogPolicy(hashed=("colour",)))
    for number in range(MERGED_FILES):
        log(tmp_path, record(number, rows=2), record(number + 1000, digest="e" * 64, contract=other), worker=number)
    archive(tmp_path)
    assert len(list((tmp_path / "archive" / "toy").glob("*/*.parquet"))) == 2
    assert len(read(tmp_path)) == MERGED_FILES * 3
    label(tmp_path, {"prediction_id": "p-0003", "row": 1, "label": "yes"})
    assert archive(tmp_path).labels.joined == 1


def test_a_file_that_somebody_broke_is_said_and_stands_in_nobodys_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log(tmp_path, record(1))
    archive(tmp_path)
    broken = tmp_path / "archive" / "toy" / "date=2026-01-02" / "broken.parquet"
    broken.write_bytes(b"PAR1, but no more")
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"})
    assert archive(tmp_path).labels.joined == 1
    assert str(broken) in caplog.text


def damage(file: Path) -> None:
    """Zero the pages of a Parquet file and leave what says where they are."""
    data = bytearray(file.read_bytes())
    data[4 : len(data) // 4] = bytes(len(data) // 4 - 4)
    file.write_bytes(data)


@pytest.mark.parametrize("folder", ["toy", "toy.labels"])
@pytest.mark.parametrize(
    "columns",
    [
        {"sales": [1]},
        {"sales": []},
        {"prediction_id": ["p-0001"]},
        {"prediction_id": [1], "row": [0]},
        {"prediction_id": ["p-0001"], "row": [0], "time": ["noon"], "kind": ["live"]},
        {"prediction_id": ["p-0001"], "row": [0], "label": ["x"], "received": [NOON], "revision": ["0"]},
    ],
    ids="-".join,
)
def test_a_parquet_file_of_somebody_elses_is_said_and_no_label_is_lost_to_it(
    tmp_path: Path, folder: str, columns: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    theirs = tmp_path / "archive" / folder / "date=2026-01-02" / "theirs.parquet"
    theirs.parent.mkdir(parents=True)
    pq.write_table(pa.table(columns), theirs)
    log(tmp_path, record(1))
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"})
    assert archive(tmp_path).labels.joined == 1
    assert any(f"{theirs} is none of this archive's files" in said for said in caplog.messages)
    assert theirs.exists()


@pytest.mark.parametrize("kind", ["folder", "dangling"])
def test_what_is_called_a_parquet_file_and_is_none_stands_in_nobodys_way(tmp_path: Path, kind: str) -> None:
    theirs = tmp_path / "archive" / "toy" / "date=2026-01-02" / "theirs.parquet"
    theirs.parent.mkdir(parents=True)
    if kind == "folder":
        theirs.mkdir()
    else:
        theirs.symlink_to(tmp_path / "nowhere")
    log(tmp_path, record(1, time=datetime.now(UTC)))
    label(tmp_path, {"prediction_id": "p-0001", "label": "yes"}, received=datetime.now(UTC))
    for _ in range(2):
        status = archive(tmp_path, replace(ALL, days=3))
        assert (status.requests, status.labels.joined) == (1, 1)


def test_labels_that_wait_are_given_up_in_time_although_nothing_new_comes(tmp_path: Path) -> None:
    label(tmp_path, {"prediction_id": "nobody", "label": 1}, received=datetime.now(UTC) - timedelta(days=31))
    assert archive(tmp_path).labels.waiting == 1
    assert archive(tmp_path, replace(ALL, days=32)).labels.waiting == 1
    counts = archive(tmp_path, replace(ALL, days=30)).labels
    assert (counts.waiting, counts.expired) == (0, 1)
    assert (tmp_path / "archive" / WAITING).read_bytes() == b""


def test_a_damaged_page_costs_its_own_rows_and_nobody_elses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(MERGED_FILES):
        log(tmp_path, record(number), worker=number)
    assert archive(tmp_path).rows == MERGED_FILES
    (merged,) = (tmp_path / "archive" / "toy" / "date=2026-01-02").iterdir()
    damage(merged)
    for number in range(MERGED_FILES, 2 * MERGED_FILES):
        log(tmp_path, record(number), worker=number)
        label(tmp_path, {"prediction_id": f"p-{number:04d}", "label": "yes"}, name=str(number))
    label(tmp_path, {"prediction_id": "p-0000", "label": "yes"})
    run = Archive(tmp_path, ALL)
    status = run.run()
    assert (status.labels.joined, status.labels.waiting, status.rows) == (MERGED_FILES, 1, 2 * MERGED_FILES)
    assert run.failed == 1  # it cannot be merged, and that is said each time
    assert str(merged) in caplog.text
    assert archive(tmp_path, replace(ALL, max_bytes=1)).bytes == 0


def unusable(state: Path, *, age: timedelta) -> Path:
    """Make a closed segment that no file of the archive takes."""
    log(state, record(1))
    (segment,) = segments(state / "predictions" / "toy")
    segment.write_text(segment.read_text().replace('"latency_us":87', f'"latency_us":{10**30}'))
    written = (datetime.now(UTC) - age).timestamp()
    os.utime(segment, (written, written))
    return segment


@pytest.mark.parametrize(("days", "stays"), [(1, True), (100, False)])
def test_what_cannot_be_archived_is_kept_as_long_as_anything_is(tmp_path: Path, days: int, stays: bool) -> None:
    segment = unusable(tmp_path, age=timedelta(days=days))
    run = Archive(tmp_path, Kept(days=90))
    assert run.run().removed_files == (0 if stays else 1)
    assert run.failed == 1
    assert segment.exists() is stays


def test_a_segment_that_may_not_be_read_stands_in_nobodys_way(caplog: pytest.LogCaptureFixture) -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        state = Path(folder)
        log(state, record(1), worker=1)
        log(state, record(2), worker=2)
        label(state, {"prediction_id": "p-0002", "label": "yes"})
        first, second = segments(state / "predictions" / "toy")
        first.chmod(0)
        if os.geteuid() == 0:  # whom nothing keeps from reading
            for path in (state, *state.rglob("*")):
                os.chown(path, -1 if path == first else nobody, -1)
            os.seteuid(nobody)
        try:
            run = Archive(state, ALL)
            status = run.run()
        finally:
            os.seteuid(os.getuid())
        assert (status.rows, status.labels.joined, run.failed) == (1, 1, 1)
        assert str(first) in caplog.text
        assert not second.exists()


@pytest.mark.parametrize("name", ["status.json", ".journal.json"])
def test_a_record_of_the_archive_that_is_not_whole_stops_it_and_is_named(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    log(tmp_path, record(1))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / name).write_bytes(b"")
    assert run_once(tmp_path, ALL) == 1
    assert str(tmp_path / "archive" / name) in caplog.text
    assert len(segments(tmp_path / "predictions" / "toy")) == 1


def test_a_file_where_the_archive_should_be_is_a_failure_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "archive").write_text("")
    assert run_once(tmp_path, ALL) == 1
    assert str(tmp_path / "archive") in caplog.text
