"""What is broken, gone or not what its name says costs the archive no more than itself, and a power cut nothing."""

import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lockgate.serving.disk import temporary
from lockgate.serving.log.archive import run_once
from lockgate.serving.log.archive_labels import WAITING
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept, archive_folder, read_status
from lockgate.serving.log.archive_waiting import keep_newest
from lockgate.serving.log.archiver import Archiver
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.logged_line import columns_file, read_columns
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import segments
from tests.bundles import contract

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ALL = Kept(days=0, max_bytes=0)
DIGEST = "d" * 64


def record(number: int, model: str = "toy") -> Record:
    return Record(
        time=NOON.timestamp(),
        prediction_id=f"p-{number}",
        model=model,
        digest=DIGEST,
        arm="champion",
        entity=None,
        rows=1,
        inputs={"amount": [1.5]},
        outputs={"probability": np.full(1, 0.25, np.float32), "label": ["no"]},
        flags=(),
        latency_us=87,
        contract=contract(model),
    )


def log(state: Path, *records: Record) -> None:
    written = PredictionLog(state / "predictions")
    for each in records:
        written.append(each)
    written.close()


def label(state: Path, name: str, *labels: dict[str, Any]) -> None:
    folder = state / "labels"
    folder.mkdir(exist_ok=True)
    told = [{"row": 0, "label": 1, "label_time": NOON.isoformat(), "received": NOON.isoformat()} | each
            for each in labels]  # fmt: skip
    (folder / f"20260102T120000.000000Z-w0-{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in told))


def ids(state: Path, model: str = "toy") -> list[str]:
    files = sorted((archive_folder(state) / model).glob("date=*/*.parquet"))
    return sorted(
        each for path in files for each in pq.read_table(path, partitioning=None)["prediction_id"].to_pylist()
    )


# -- what is broken --------------------------------------------------------------------------------------------------


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_folder, os.mkfifo])
def test_what_is_called_a_segment_and_is_no_file_stands_in_nobodys_way(tmp_path: Path, make: Any) -> None:
    log(tmp_path, record(1))
    label(tmp_path, "a", {"prediction_id": "p-1"})
    for folder in ("predictions/toy", "labels"):
        make(tmp_path / folder / "20260101T000000.000000Z-w0-000001.jsonl")
        make(tmp_path / folder / ".20260101T000000.000000Z-w0-000002.jsonl")
    (tmp_path / "archive" / ".left.tmp").mkdir(parents=True)
    assert run_once(tmp_path, ALL) == 0
    assert ids(tmp_path) == ["p-1"]
    assert read_status(tmp_path).labels.joined == 1


def test_a_model_whose_archive_cannot_be_written_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1, "broken"), record(2, "well"))
    label(tmp_path, "a", {"prediction_id": "p-2"})
    archive_folder(tmp_path).mkdir()
    (archive_folder(tmp_path) / "broken").write_text("")  # a file where the folder should be
    assert run_once(tmp_path, ALL) == 1
    assert ids(tmp_path, "well") == ["p-2"]
    assert read_status(tmp_path).labels.joined == 1
    assert len(segments(tmp_path / "predictions" / "broken")) == 1
    (archive_folder(tmp_path) / "broken").unlink()
    assert run_once(tmp_path, ALL) == 0
    assert ids(tmp_path, "broken") == ["p-1"]


def test_a_models_folder_that_cannot_be_listed_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    loop = tmp_path / "predictions" / "a-loop"
    loop.symlink_to(loop)
    assert Archiver(tmp_path, ALL).has_work()
    assert run_once(tmp_path, ALL) == 1
    assert ids(tmp_path) == ["p-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"flags": [{"flag": "odd", "column": "amount", "rows": [-7]}]},
        {"time": "9999-12-31T23:59:59-01:00"},
        {"latency_us": 2**70},
        {"digest": "\x00"},
    ],
)
def test_a_line_of_facts_that_no_server_writes_stays_with_its_segment_and_is_said(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log(tmp_path, record(1))
    (odd,) = segments(tmp_path / "predictions" / "toy")
    odd.write_text(json.dumps(json.loads(odd.read_text()) | change) + "\n")
    log(tmp_path, record(2))
    run_once(tmp_path, ALL)
    assert "p-2" in ids(tmp_path)
    assert any(each.levelno == logging.ERROR for each in caplog.records)


def test_a_label_without_a_time_zone_is_counted_as_broken_and_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    nowhere = {"received": "2026-01-02T12:00:00", "label_time": "2026-01-02T12:00:00"}
    label(tmp_path, "a", {"prediction_id": "p-1"} | nowhere, {"prediction_id": "p-1"})
    assert run_once(tmp_path, Kept(days=10_000)) == 0
    counts = read_status(tmp_path).labels
    assert (counts.joined, counts.broken) == (1, 1)


# -- what is gone ----------------------------------------------------------------------------------------------------


class Killed(Exception):
    """The run ended here."""


@dataclass
class Disk:
    """What the program asks of the disk, in its order."""

    said: list[tuple[str, Path]] = field(default_factory=list)
    kill_at: str | None = None

    def synced_before(self, name: str) -> set[Path]:
        """Return what was synced before a file got that name first."""
        at = next(index for index, (call, path) in enumerate(self.said) if call == "name" and path.name == name)
        return {path for call, path in self.said[:at] if call == "sync"}

    def synced_after(self, name: str) -> set[Path]:
        at = max(index for index, (call, path) in enumerate(self.said) if call == "name" and path.name == name)
        return {path for call, path in self.said[at:] if call == "sync"}


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Note syncs and names as the system is asked for them."""
    noted, fsync, replace, link, unlink = Disk(), os.fsync, os.replace, os.link, os.unlink

    def noted_sync(handle: int) -> None:
        noted.said.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def noted_replace(source: Any, target: Any) -> None:
        replace(source, target)
        noted.said.append(("name", Path(target)))
        if Path(target).name == noted.kill_at:
            raise Killed

    def noted_link(source: Any, target: Any) -> None:
        link(source, target)
        noted.said.append(("name", Path(target)))

    def noted_unlink(path: Any, **how: Any) -> None:
        unlink(path, **how)
        noted.said.append(("gone", Path(path)))

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "link", noted_link)
    monkeypatch.setattr(os, "unlink", noted_unlink)
    return noted


def test_a_partition_that_is_removed_under_a_change_that_was_begun_does_not_stop_the_archive_for_good(
    tmp_path: Path, disk: Disk
) -> None:
    log(tmp_path, record(1))
    disk.kill_at = ".journal.json"
    with pytest.raises(Killed):
        Archive(tmp_path, ALL).run()
    disk.kill_at = None
    shutil.rmtree(archive_folder(tmp_path) / "toy")
    log(tmp_path, record(2))
    assert run_once(tmp_path, ALL) == 0
    assert "p-2" in ids(tmp_path)


# -- a power cut -----------------------------------------------------------------------------------------------------


def test_before_a_change_is_begun_all_it_speaks_of_is_on_the_disk_with_its_name(tmp_path: Path, disk: Disk) -> None:
    log(tmp_path, record(1))
    Archive(tmp_path, ALL).run()
    (file,) = (archive_folder(tmp_path) / "toy").glob("date=*/*.parquet")
    before = disk.synced_before(".journal.json")
    assert {temporary(file), file.parent, file.parent.parent, archive_folder(tmp_path)} <= before
    gone = next(index for index, (call, path) in enumerate(disk.said) if call == "gone" and path.suffix == ".jsonl")
    named = disk.said.index(("name", file))
    assert file.parent in {path for call, path in disk.said[named:gone] if call == "sync"}


def test_labels_that_were_cut_to_the_newest_are_on_the_disk_before_they_stand_for_all(
    tmp_path: Path, disk: Disk
) -> None:
    waiting = tmp_path / WAITING
    waiting.write_text("a\nb\n")
    assert keep_newest(waiting, 2) == 1
    assert waiting.read_text() == "b\n"
    assert temporary(waiting) in disk.synced_before(WAITING)
    assert tmp_path in disk.synced_after(WAITING)


def test_the_columns_of_a_bundle_are_on_the_disk_before_they_have_their_name(tmp_path: Path, disk: Disk) -> None:
    log(tmp_path, record(1))
    target = columns_file(tmp_path / "predictions" / "toy", DIGEST)
    assert {path.parent for path in disk.synced_before(target.name)} == {target.parent}
    assert target.parent in disk.synced_after(target.name)


@pytest.mark.parametrize("held", [b"", b"{", b"\x00" * 40])
def test_columns_of_a_bundle_that_cannot_be_read_are_written_again(tmp_path: Path, held: bytes) -> None:
    target = columns_file(tmp_path / "predictions" / "toy", DIGEST)
    target.parent.mkdir(parents=True)
    target.write_bytes(held)
    log(tmp_path, record(1))
    kept = read_columns(target.parent, DIGEST)
    assert kept is not None
    assert set(kept.inputs) == {column.name for column in contract().inputs}


def test_a_key_is_on_the_disk_with_its_name_before_anything_is_hashed_with_it(tmp_path: Path, disk: Disk) -> None:
    KeyedHash(tmp_path / "key")("red")
    assert [path.parent for path in disk.synced_before("key")] == [tmp_path]
    assert tmp_path in disk.synced_after("key")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


# -- garbage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"\n" * 1000, b"\x00\xff\n" * 1000, b"[" * 5000 + b"\n", b"{}\n" * 1000])
def test_a_segment_of_garbage_is_counted_line_by_line_and_said_in_a_few(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    log(tmp_path, record(1))
    (tmp_path / "predictions" / "toy" / "20260101T000000.000000Z-w0-000001.jsonl").write_bytes(garbage)
    assert run_once(tmp_path, ALL) == 0
    assert ids(tmp_path) == ["p-1"]
    lost = garbage.count(b"\n")
    assert read_status(tmp_path).broken_lines == lost
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert 1 <= len(errors) <= 10
    assert f"{lost} lines" in errors[-1]


def test_garbage_among_labels_costs_the_others_nothing(tmp_path: Path) -> None:
    log(tmp_path, record(1))
    label(tmp_path, "b", {"prediction_id": "p-1"})
    odd = b'\x00\xff\n{}\n[[[[\n{"prediction_id":"p-1","row":1e99,"label":1}\n\n' + b"[" * 50_000 + b"\n" + b"half"
    (tmp_path / "labels" / "20260101T000000.000000Z-w0-a.jsonl").write_bytes(odd)
    assert run_once(tmp_path, ALL) == 0
    counts = read_status(tmp_path).labels
    assert (counts.joined, counts.broken) == (1, 6)
