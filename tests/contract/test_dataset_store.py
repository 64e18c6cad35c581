"""What a dataset store promises: whole files only, into the table exactly once or into quarantine with the reason."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lockgate.adapters.delta_store import DeltaDatasetStore
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.core.spec import ReleaseSpec, SliceSection, SplitMethod, SplitSection, TaskSection
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.ports import DatasetStore, Ingested
from tests.unit.data.toy import MODEL, settings, store, toy_rows, toy_spec, written

pytestmark = pytest.mark.integration

TOY = toy_spec()


def take(
    home: Path, frame: pd.DataFrame, spec: ReleaseSpec = TOY, name: str = "rows.parquet"
) -> tuple[DeltaDatasetStore, Ingested]:
    there = store(home)
    batch = there.land(MODEL, written(home / "made", frame, name))
    return there, there.ingest(spec, batch)


def rows_in_table(home: Path) -> int:
    from deltalake import DeltaTable

    path = settings(home).table(MODEL)
    return DeltaTable(path).to_pyarrow_table().num_rows if path.exists() else 0


def refused(home: Path, frame: pd.DataFrame, spec: ReleaseSpec = TOY, name: str = "bad.parquet") -> str:
    """Land a frame that must be refused; check that only quarantine changed, and return the reason."""
    before = rows_in_table(home)
    there, result = take(home, frame, spec, name)
    assert result.quarantined is not None
    assert (result.rows, result.table_version) == (0, None)
    assert rows_in_table(home) == before
    assert there.landed(MODEL) == ()
    assert (settings(home).quarantine(MODEL) / name).is_file()
    reason = (settings(home).quarantine(MODEL) / f"{name}.reason.txt").read_text()
    assert reason.startswith(result.quarantined)
    return result.quarantined


def test_the_delta_store_is_a_dataset_store(tmp_path: Path) -> None:
    there: DatasetStore = store(tmp_path)
    assert there.landed(MODEL) == ()


def test_a_landed_file_is_found_whole_with_its_hash(tmp_path: Path) -> None:
    there = store(tmp_path)
    batch = there.land(MODEL, written(tmp_path / "made", toy_rows(2)))
    assert there.landed(MODEL) == (batch,)
    assert batch.path.read_bytes() == (tmp_path / "made" / "rows.parquet").read_bytes()


@pytest.mark.parametrize("name", [".rows.parquet", "rows.parquet.tmp"])
def test_hidden_and_temporary_files_are_left(tmp_path: Path, name: str) -> None:
    written(settings(tmp_path).landing(MODEL), toy_rows(2), name)
    assert store(tmp_path).landed(MODEL) == ()


def test_a_file_that_is_still_being_copied_is_left_until_it_is_whole(tmp_path: Path) -> None:
    whole = written(tmp_path / "made", toy_rows(2)).read_bytes()
    target = settings(tmp_path).landing(MODEL) / "rows.parquet"
    target.parent.mkdir(parents=True)
    target.write_bytes(whole[: len(whole) // 2])
    os.utime(target, (later := time.time() + 600, later))  # not long ago yet when a busy machine comes to look
    assert store(tmp_path).landed(MODEL) == ()
    target.write_bytes(whole)
    assert [b.name for b in store(tmp_path).landed(MODEL)] == ["rows.parquet"]


def test_half_a_file_that_nobody_writes_any_more_is_taken_and_refused(tmp_path: Path) -> None:
    whole = written(tmp_path / "made", toy_rows(2)).read_bytes()
    target = settings(tmp_path).landing(MODEL) / "rows.parquet"
    target.parent.mkdir(parents=True)
    target.write_bytes(whole[: len(whole) // 2])
    os.utime(target, (0, 0))
    there = store(tmp_path)
    (batch,) = there.landed(MODEL)
    assert "not a whole Parquet file" in str(there.ingest(TOY, batch).quarantined)


@pytest.mark.parametrize("name", ["nothing.parquet", "empty.parquet", ".hidden.parquet"])
def test_a_missing_empty_or_hidden_source_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.parquet").touch()
    written(tmp_path, toy_rows(1), ".hidden.parquet")
    with pytest.raises(BadInput):
        store(tmp_path).land(MODEL, tmp_path / name)


def test_two_files_of_one_name_are_both_kept(tmp_path: Path) -> None:
    there = store(tmp_path)
    there.land(MODEL, written(tmp_path / "a", toy_rows(2)))
    there.land(MODEL, written(tmp_path / "b", toy_rows(3)))
    assert len({b.sha256 for b in there.landed(MODEL)}) == 2


def test_rows_enter_the_table_and_the_file_leaves_the_landing_folder(tmp_path: Path) -> None:
    there, result = take(tmp_path, toy_rows(2))
    assert (result.rows, result.table_version, result.quarantined, result.already) == (40, 0, None, False)
    assert there.landed(MODEL) == ()
    assert (tmp_path / "landed-done" / MODEL / "rows.parquet").is_file()
    assert rows_in_table(tmp_path) == 40


def test_a_file_landed_twice_is_ingested_once(tmp_path: Path) -> None:
    _, first = take(tmp_path, toy_rows(2))
    _, again = take(tmp_path, toy_rows(2), name="another-name.parquet")
    assert (again.rows, again.already, again.quarantined) == (0, True, None)
    assert again.table_version == first.table_version
    assert rows_in_table(tmp_path) == 40


def test_a_crash_after_the_commit_does_not_double_the_rows(tmp_path: Path) -> None:
    there, result = take(tmp_path, toy_rows(2))
    (tmp_path / "landed-done" / MODEL / "rows.parquet").rename(result.batch.path)  # as if it had died before the move
    again = there.ingest(TOY, result.batch)
    assert again.already
    assert rows_in_table(tmp_path) == 40
    assert there.landed(MODEL) == ()


def test_a_crash_after_the_quarantine_is_told_the_same_reason(tmp_path: Path) -> None:
    there, result = take(tmp_path, toy_rows(2).drop(columns="a"))
    again = there.ingest(TOY, result.batch)
    assert again.already
    assert again.quarantined == result.quarantined


def test_a_batch_that_is_nowhere_is_bad_input(tmp_path: Path) -> None:
    there = store(tmp_path)
    batch = there.land(MODEL, written(tmp_path / "made", toy_rows(2)))
    batch.path.unlink()
    with pytest.raises(BadInput, match="no longer in the landing folder"):
        there.ingest(TOY, batch)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"PAR1 and then something else PAR1", "not a whole Parquet file"), (b"a,b\n1,2\n", "not a whole Parquet file")],
)
def test_a_file_that_is_no_parquet_is_quarantined(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.parquet").write_bytes(content)
    there = store(tmp_path)
    result = there.ingest(TOY, there.land(MODEL, tmp_path / "bad.parquet"))
    assert reason in str(result.quarantined)
    assert rows_in_table(tmp_path) == 0


def test_a_truncated_file_is_quarantined(tmp_path: Path) -> None:
    whole = written(tmp_path / "made", toy_rows(2)).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:-100])
    there = store(tmp_path)
    assert "not a whole Parquet" in str(there.ingest(TOY, there.land(MODEL, tmp_path / "cut.parquet")).quarantined)


def test_a_file_with_a_broken_page_is_quarantined(tmp_path: Path) -> None:
    whole = bytearray(written(tmp_path / "made", toy_rows(30)).read_bytes())
    whole[40:4000] = os.urandom(3960)
    (tmp_path / "broken.parquet").write_bytes(bytes(whole))
    there = store(tmp_path)
    result = there.ingest(TOY, there.land(MODEL, tmp_path / "broken.parquet"))
    assert "cannot be read" in str(result.quarantined)


def test_a_file_without_rows_is_quarantined(tmp_path: Path) -> None:
    assert "no rows" in refused(tmp_path, toy_rows(2).head(0))


def test_a_file_without_a_column_of_the_spec_is_quarantined(tmp_path: Path) -> None:
    assert "columns missing: y, b" in refused(tmp_path, toy_rows(2).drop(columns=["b", "y"]))


def test_the_column_of_a_slice_is_a_column_of_the_spec(tmp_path: Path) -> None:
    spec = replace(TOY, slices=(SliceSection(column="region"),))
    assert "columns missing: region" in refused(tmp_path, toy_rows(2), spec)


def test_a_feature_of_another_type_is_quarantined(tmp_path: Path) -> None:
    reason = refused(tmp_path, toy_rows(2).assign(a="one", c=2))
    assert "a is string, must be numeric" in reason
    assert "c is int64, must be text" in reason


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (pd.Timestamp("2024-01-01"), "times without a zone"),
        ("2024-01-01T10:00:00", "times without a zone"),
        ("yesterday+01:00", "no ISO 8601"),
        (5, "must be a time"),
        (pd.NaT, "values missing"),
    ],
)
def test_times_that_say_nothing_are_quarantined(tmp_path: Path, times: object, reason: str) -> None:
    frame = toy_rows(2)
    frame["t"] = frame["t"].mask(frame.index == 3) if times is pd.NaT else times
    assert reason in refused(tmp_path, frame)


def test_times_are_stored_in_utc(tmp_path: Path) -> None:
    frame = toy_rows(30)
    there, result = take(
        tmp_path, frame.assign(t=frame["t"].dt.tz_convert("America/New_York").map(lambda t: t.isoformat()))
    )
    assert result.quarantined is None
    stored = there.part(there.freeze(TOY), "batch")["t"]
    assert str(stored.dtype) == "datetime64[us, UTC]"
    assert stored.sort_values().tolist() == frame["t"].tolist()


def test_labels_outside_the_classes_are_quarantined(tmp_path: Path) -> None:
    assert "['maybe'], which are none of the classes" in refused(tmp_path, toy_rows(2).assign(y="maybe"))


@pytest.mark.parametrize("values", [[0, 1], [0.0, float("nan")], [False, True]])
def test_labels_are_stored_as_the_classes_are_written(tmp_path: Path, values: list[object]) -> None:
    words = ("false", "true") if values[1] is True else ("0", "1")
    spec = replace(TOY, task=TaskSection(kind=TaskKind.BINARY, classes=words))
    frame = toy_rows(30)
    there, result = take(tmp_path, frame.assign(y=[values[i % 2] for i in range(len(frame))]), spec)
    assert result.quarantined is None
    assert set(there.part(there.freeze(spec), "train")["y"]) <= set(words)


def test_an_infinite_regression_label_is_quarantined(tmp_path: Path) -> None:
    spec = replace(TOY, task=TaskSection(kind=TaskKind.REGRESSION))
    assert "infinite" in refused(tmp_path, toy_rows(2).assign(y=float("inf")), spec)


def test_a_key_repeated_in_the_file_is_quarantined(tmp_path: Path) -> None:
    frame = toy_rows(2)
    assert "2 rows repeat a key (id)" in refused(tmp_path, pd.concat([frame, frame.tail(2)]))


def test_the_last_row_of_a_key_is_kept_where_the_spec_says_so(tmp_path: Path) -> None:
    frame = toy_rows(30)
    changed = frame.tail(1).assign(a=7.0)
    there, result = take(tmp_path, pd.concat([frame, changed]), toy_spec(duplicates="keep_last"))
    assert result.rows == len(frame)
    kept = there.part(there.freeze(TOY), "batch")
    assert kept.loc[kept["id"] == changed["id"].iloc[0], "a"].tolist() == [7.0]


def test_keys_that_the_table_already_holds_are_quarantined(tmp_path: Path) -> None:
    frame = toy_rows(4)
    take(tmp_path, frame.head(60))
    assert "20 of its 40 rows have a key (id) that the table already holds" in refused(tmp_path, frame.tail(40))


def test_a_column_lost_or_of_another_type_since_the_last_batch_is_quarantined(tmp_path: Path) -> None:
    take(tmp_path, toy_rows(2))
    later = toy_rows(2, start="2024-02-01")
    assert "columns lost since the last batch: extra" in refused(tmp_path, later.drop(columns="extra"))
    assert "extra was int64, is string" in refused(tmp_path, later.assign(extra="many"), name="text.parquet")
    assert "extra was int64, is double" in refused(tmp_path, later.assign(extra=0.5), name="half.parquet")


def test_an_added_column_that_nobody_uses_is_reported_and_left_out(tmp_path: Path) -> None:
    take(tmp_path, toy_rows(2))
    _, result = take(tmp_path, toy_rows(2, start="2024-02-01").assign(novel=1), name="two.parquet")
    assert (result.quarantined, result.columns_not_stored) == (None, ("novel",))


def test_an_added_column_that_the_spec_now_uses_is_stored(tmp_path: Path) -> None:
    take(tmp_path, toy_rows(20))
    spec = toy_spec(numeric=("a", "b", "novel"))
    there, result = take(tmp_path, toy_rows(20, start="2024-02-01").assign(novel=1.5), spec, "two.parquet")
    assert result.columns_not_stored == ()
    assert there.part(there.freeze(spec), "batch")["novel"].eq(1.5).all()
    assert there.part(there.freeze(spec), "train")["novel"].isna().any()


def test_a_column_of_nothing_keeps_the_tables_type(tmp_path: Path) -> None:
    take(tmp_path, toy_rows(2))
    later = pq.read_table(written(tmp_path / "made", toy_rows(2, start="2024-02-01")))
    for name in ("a", "c", "extra"):
        later = later.set_column(later.column_names.index(name), name, pa.nulls(later.num_rows))
    pq.write_table(later, tmp_path / "nothing.parquet")
    there = store(tmp_path)
    result = there.ingest(TOY, there.land(MODEL, tmp_path / "nothing.parquet"))
    assert (result.quarantined, result.rows) == (None, 40)


# -- data.prepare ----------------------------------------------------------------------------------------------------


def double_a(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(a=frame["a"] * 2)


def needs_a_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(a=frame["not_there"])


def drop_all(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.head(0)


def not_a_frame(frame: pd.DataFrame) -> int:
    return len(frame)


def prepared_by(name: str) -> ReleaseSpec:
    return toy_spec(prepare=f"tests.contract.test_dataset_store:{name}")


def isolated_store(home: Path) -> DeltaDatasetStore:
    from tests.unit.data.toy import WallClock

    return DeltaDatasetStore(settings(home), WallClock())


def test_prepare_runs_on_every_file(tmp_path: Path) -> None:
    there = isolated_store(tmp_path)
    frame = toy_rows(30)
    result = there.ingest(prepared_by("double_a"), there.land(MODEL, written(tmp_path / "made", frame)))
    assert result.rows == len(frame)
    assert there.part(there.freeze(TOY), "batch")["a"].sum() == pytest.approx(2 * frame["a"].sum())


def test_a_file_that_prepare_cannot_work_on_is_quarantined(tmp_path: Path) -> None:
    there = isolated_store(tmp_path)
    batch = there.land(MODEL, written(tmp_path / "made", toy_rows(2)))
    result = there.ingest(prepared_by("needs_a_column"), batch)
    assert "KeyError: 'not_there'" in str(result.quarantined)
    assert "test_dataset_store.py" in str(result.quarantined)


def test_a_file_of_which_prepare_leaves_nothing_is_quarantined(tmp_path: Path) -> None:
    assert "no rows are left" in refused(tmp_path, toy_rows(2), prepared_by("drop_all"))


@pytest.mark.parametrize("name", ["not_a_frame", "no_such_function"])
def test_a_wrong_prepare_function_is_the_specs_fault_and_keeps_the_file(tmp_path: Path, name: str) -> None:
    there = store(tmp_path)
    batch = there.land(MODEL, written(tmp_path / "made", toy_rows(2)))
    with pytest.raises(ConfigError):
        there.ingest(prepared_by(name), batch)
    assert there.landed(MODEL) == (batch,)


# -- snapshots -------------------------------------------------------------------------------------------------------


def test_the_same_rows_freeze_to_the_same_snapshot(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    assert there.freeze(TOY) == there.freeze(TOY)


def test_rows_that_landed_in_another_order_freeze_to_the_same_parts(tmp_path: Path) -> None:
    frame = toy_rows(30)
    one, _ = take(tmp_path / "one", frame)
    other, _ = take(tmp_path / "other", frame.sample(frac=1, random_state=3))
    assert one.freeze(TOY).digest == other.freeze(TOY).digest


def test_other_rows_or_another_split_freeze_to_another_snapshot(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    first = there.freeze(TOY)
    other_split = there.freeze(replace(TOY, split=SplitSection(validation_days=4, holdout_days=10)))
    take(tmp_path, toy_rows(1, start="2024-02-01"), name="two.parquet")
    assert len({first.digest, other_split.digest, there.freeze(TOY).digest}) == 3


def test_parts_hold_labelled_rows_and_the_batch_holds_all(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    snapshot = there.freeze(TOY)
    assert snapshot.rows == {"train": 270, "validation": 90, "holdout": 180, "batch": 600}
    assert snapshot.unlabelled == {"train": 30, "validation": 10, "holdout": 20, "batch": 60}
    for name in ("train", "validation", "holdout"):
        part = there.part(snapshot, name)
        assert len(part) == snapshot.rows[name]
        assert part["y"].notna().all()
        assert list(part.columns) == ["id", "t", "a", "b", "c", "extra", "y"]


def test_the_batch_is_the_newest_file(tmp_path: Path) -> None:
    take(tmp_path, toy_rows(30))
    there, result = take(tmp_path, toy_rows(2, start="2024-02-01"), name="two.parquet")
    assert len(there.part(there.freeze(TOY), "batch")) == result.rows


def test_a_snapshot_is_found_again_by_its_digest(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    snapshot = there.freeze(TOY)
    assert there.snapshot(snapshot.digest) == snapshot
    with pytest.raises(BadInput):
        there.snapshot(Digest("0" * 64))
    with pytest.raises(BadInput):
        there.snapshot(Digest("../../etc"))


def test_a_part_is_read_by_column(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    snapshot = there.freeze(TOY)
    assert list(there.part(snapshot, "train", ["y", "a"]).columns) == ["y", "a"]
    with pytest.raises(BadInput, match="no column 'z'"):
        there.part(snapshot, "train", ["z"])
    with pytest.raises(BadInput, match="no part 'test'"):
        there.part(snapshot, "test")


@pytest.mark.parametrize("name", ["train.parquet", "snapshot.json"])
def test_a_snapshot_with_a_flipped_byte_is_refused(tmp_path: Path, name: str) -> None:
    there, _ = take(tmp_path, toy_rows(30))
    snapshot = there.freeze(TOY)
    path = snapshot.folder / name
    broken = bytearray(path.read_bytes())
    at = broken.index(b'"train":"') + 12 if name.endswith("json") else len(broken) // 2
    broken[at] ^= 1
    path.write_bytes(bytes(broken))
    with pytest.raises(IntegrityError):
        there.part(snapshot, "train")


def test_a_table_too_short_for_its_split_says_what_is_there_and_what_is_needed(tmp_path: Path) -> None:
    there, _ = take(tmp_path, toy_rows(15))
    with pytest.raises(BadInput, match=r"270 labelled rows from 2024-01-01 to 2024-01-15.*16 days"):
        there.freeze(TOY)
    assert not list(settings(tmp_path).snapshots.glob("*"))


def test_freezing_before_anything_landed_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing was ingested"):
        store(tmp_path).freeze(TOY)


@pytest.mark.parametrize("method", [SplitMethod.GROUP, SplitMethod.RANDOM])
def test_a_row_stays_in_its_part_when_others_land(tmp_path: Path, method: SplitMethod) -> None:
    group = "id" if method is SplitMethod.GROUP else None
    spec = replace(TOY, split=SplitSection(method=method, group=group))
    there, _ = take(tmp_path, toy_rows(30), spec)
    before = {name: set(there.part(there.freeze(spec), name)["id"]) for name in ("train", "validation", "holdout")}
    take(tmp_path, toy_rows(3, start="2024-02-01"), spec, "two.parquet")
    snapshot = there.freeze(spec)
    for name, ids in before.items():
        assert ids <= set(there.part(snapshot, name)["id"])
