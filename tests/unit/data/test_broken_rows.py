"""Rows whose file went missing or is broken are told by the file and what to do, not as a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lockgate.adapters import snapshots
from lockgate.adapters.table_spans import landed_between
from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError, LockgateError
from tests.unit.data.toy import MODEL, settings, store, toy_rows, toy_spec, written


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other(path: Path) -> None:
    path.write_text("no parquet at all, but long enough to be looked at as one\n" * 9)


def garbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8 : len(content) // 2] = b"\xff" * (len(content) // 2 - 8)  # the footer stays whole
    path.write_bytes(bytes(content))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BREAKS = (remove, cut, empty, other, garbled, folder)


def taken_in(home: Path) -> Path:
    """Return the one Parquet file of a table that two files were taken into."""
    there = store(home)
    for name, start in (("one.parquet", "2024-01-01"), ("two.parquet", "2024-02-01")):
        there.land(MODEL, written(home / "made", toy_rows(start=start), name))
        for batch in there.landed(MODEL):
            assert there.ingest(toy_spec(), batch).rows
    return min(settings(home).table(MODEL).glob("*.parquet"))


@pytest.mark.parametrize("damage", BREAKS)
def test_a_table_that_cannot_be_read_is_told_by_its_file(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    file = taken_in(tmp_path)
    damage(file)
    there = store(tmp_path)
    there.land(MODEL, written(tmp_path / "made", toy_rows(start="2024-03-01"), "three.parquet"))
    columns = ["a", "b", "c", "y", "id"]
    readers: dict[str, Callable[[], object]] = {
        "freeze": lambda: there.freeze(toy_spec()),
        "landed_between": lambda: landed_between(settings(tmp_path).table(MODEL), None, None, columns),
        "ingest": lambda: [there.ingest(toy_spec(), batch) for batch in there.landed(MODEL)],
    }
    for name, read in readers.items():
        with pytest.raises(IntegrityError) as told:
            read()
        assert file.name in told.value.message, name
        assert "put it back" in told.value.message, name
    assert not list((tmp_path / "snapshots").glob(".*")), "nothing half-written is left"
    assert [each.name for each in there.landed(MODEL)] == ["three.parquet"], "what was to be taken in still waits"


def test_a_version_whose_file_is_gone_is_told_as_such(tmp_path: Path) -> None:
    taken_in(tmp_path).unlink()
    with pytest.raises(LockgateError, match=r"version \d+ of the table .* is gone"):
        landed_between(settings(tmp_path).table(MODEL), 1, None, ["a"])


@pytest.mark.parametrize("damage", BREAKS)
def test_a_part_of_a_snapshot_that_cannot_be_read_is_told_by_its_file(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    taken_in(tmp_path)
    frozen = store(tmp_path).freeze(toy_spec())
    damage(frozen.folder / "holdout.parquet")
    with pytest.raises(IntegrityError, match=r"holdout\.parquet is not what was frozen.*freeze the table again"):
        store(tmp_path).part(frozen, "holdout")


@pytest.mark.parametrize("damage", [cut, empty, other, folder, lambda path: path.write_text("{}"), remove])
def test_a_snapshot_whose_index_cannot_be_read_is_told_by_its_digest(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    taken_in(tmp_path)
    frozen = store(tmp_path).freeze(toy_spec())
    damage(frozen.folder / "snapshot.json")
    for read in (
        lambda: snapshots.load(frozen.folder.parent, Digest(frozen.digest)),
        lambda: snapshots.read_part(frozen, "holdout"),
    ):
        with pytest.raises(LockgateError, match=f"{frozen.digest}.*freeze the table again"):
            read()
