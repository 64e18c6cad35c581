"""Many files at once: few commits, each file once, in bounded time, and whatever order they come in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from lockgate.adapters import delta_append
from lockgate.adapters.delta_append import open_table
from lockgate.adapters.delta_store import DeltaDatasetStore
from lockgate.config import Settings, load_settings
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event
from lockgate.errors import MeasurementError, TransientError
from lockgate.stages.intake import take_in
from tests.fakes import FakeClock, FakeLedger
from tests.unit.data.toy import toy_rows, toy_spec

SPEC = toy_spec()
TOY = SPEC.name


@dataclass
class World:
    """A landing folder, a table and a record."""

    root: Path

    def __post_init__(self) -> None:
        given = {"LOCKGATE_PROJECT": str(self.root / "project"), "LOCKGATE_HOME": str(self.root / "home")}
        self.settings: Settings = load_settings(given)
        self.store = DeltaDatasetStore(self.settings, FakeClock())
        self.ledger = FakeLedger()
        self.folder = self.settings.landing(ModelName(TOY))
        self.folder.mkdir(parents=True)

    def land(self, frame: pd.DataFrame, name: str) -> None:
        frame.to_parquet(self.folder / name, index=False)

    def land_days(self, count: int, *, days: int = 30) -> None:
        """Land rows divided into so many files, none with the key of another."""
        frame = toy_rows(days)
        for at in range(count):
            self.land(frame.iloc[at::count], f"f{at:04d}.parquet")

    def names(self, event: Event) -> list[str]:
        return [str(row.payload["name"]) for row in self.ledger.rows(TOY, events=(event,))]

    @property
    def table_rows(self) -> int:
        table = open_table(self.settings.table(ModelName(TOY)))
        return 0 if table is None else int(table.to_pyarrow_table(columns=["t"]).num_rows)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_many_small_files_are_one_commit_and_each_is_on_record(world: World) -> None:
    world.land_days(40)
    taken = take_in(world.ledger, world.store, SPEC)
    assert len(taken) == 40
    assert {each.table_version for each in taken} == {0}
    assert len(world.names(Event.BATCH_INGESTED)) == 40
    assert list(world.folder.iterdir()) == []
    assert world.table_rows == len(toy_rows(30))


def test_many_files_make_the_snapshot_that_one_makes(world: World, tmp_path: Path) -> None:
    world.land_days(7)
    take_in(world.ledger, world.store, SPEC)
    (tmp_path / "one").mkdir()
    one = World(tmp_path / "one")
    one.land(toy_rows(30), "all.parquet")
    take_in(one.ledger, one.store, SPEC)
    ours, theirs = world.store.freeze(SPEC), one.store.freeze(SPEC)
    for part in ("train", "validation", "holdout"):
        pd.testing.assert_frame_equal(world.store.part(ours, part), one.store.part(theirs, part))


def test_files_beyond_a_commit_go_into_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_append, "MOST_FILES", 3)
    world.land_days(8)
    taken = take_in(world.ledger, world.store, SPEC)
    assert [each.table_version for each in taken] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert world.table_rows == len(toy_rows(30))


def test_one_bad_file_among_many_is_refused_alone(world: World) -> None:
    world.land_days(6)
    (world.folder / "f0002.parquet").write_bytes(b"PAR1 no rows PAR1")
    frame = toy_rows(30)
    world.land(frame.iloc[0::6], "z-again.parquet")
    take_in(world.ledger, world.store, SPEC)
    assert world.names(Event.BATCH_QUARANTINED) == ["f0002.parquet"]
    assert len(world.names(Event.BATCH_INGESTED)) == 5, "the last one has the content of the first, and is that one"


def test_a_key_that_another_file_of_the_same_commit_brought_is_refused(world: World) -> None:
    frame = toy_rows(30)
    world.land(frame, "a.parquet")
    world.land(frame.iloc[:5], "b.parquet")
    take_in(world.ledger, world.store, SPEC)
    assert world.names(Event.BATCH_QUARANTINED) == ["b.parquet"]
    assert world.table_rows == len(frame)


def test_no_number_of_files_outlasts_a_call_and_the_next_goes_on(world: World) -> None:
    world.land_days(12)
    ticks = iter(range(100))
    for _ in range(2):
        with pytest.raises(TransientError, match="landed files so far"):
            take_in(world.ledger, world.store, SPEC, within_s=3.5, elapsed_s=lambda: float(next(ticks) % 5))
    while list(world.folder.iterdir()):
        take_in(world.ledger, world.store, SPEC)
    assert sorted(world.names(Event.BATCH_INGESTED)) == [f"f{at:04d}.parquet" for at in range(12)]
    assert world.table_rows == len(toy_rows(30))


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_crash_while_the_record_is_written_loses_no_file_and_doubles_no_row(world: World, after: int) -> None:
    world.land_days(6)
    written = iter(range(100))

    def crash(_: Event) -> None:
        if next(written) == after:
            raise MeasurementError("the process is gone")

    world.ledger.before_append = crash
    with pytest.raises(MeasurementError):
        take_in(world.ledger, world.store, SPEC)
    world.ledger.before_append = None
    take_in(world.ledger, world.store, SPEC)
    assert sorted(world.names(Event.BATCH_INGESTED)) == [f"f{at:04d}.parquet" for at in range(6)]
    assert world.table_rows == len(toy_rows(30))
    assert list(world.folder.iterdir()) == []


def test_a_file_that_comes_late_is_learnt_from_as_if_it_had_come_in_time(world: World, tmp_path: Path) -> None:
    frame = toy_rows(30)
    early = frame["t"] < pd.Timestamp("2024-01-10", tz="UTC")
    world.land(frame[~early], "new.parquet")
    take_in(world.ledger, world.store, SPEC)
    world.land(frame[early], "late.parquet")
    take_in(world.ledger, world.store, SPEC)
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    other.land(frame, "all.parquet")
    take_in(other.ledger, other.store, SPEC)
    ours, theirs = world.store.freeze(SPEC), other.store.freeze(SPEC)
    assert ours.as_of == theirs.as_of
    pd.testing.assert_frame_equal(world.store.part(ours, "train"), other.store.part(theirs, "train"))


def test_a_month_that_is_missing_leaves_the_rest_in_its_parts(world: World) -> None:
    frame = toy_rows(90)
    february = frame["t"].dt.month == 2
    world.land(frame[~february], "gap.parquet")
    take_in(world.ledger, world.store, SPEC)
    snapshot = world.store.freeze(SPEC)
    train = world.store.part(snapshot, "train", ["t"])["t"]
    holdout = world.store.part(snapshot, "holdout", ["t"])["t"]
    assert set(train.dt.month) <= {1, 3}
    assert train.max() < holdout.min()
    in_parts = sum(snapshot.rows[part] for part in ("train", "validation", "holdout"))
    assert in_parts == frame[~february]["y"].notna().sum()


@pytest.mark.soak
def test_ten_thousand_files_are_taken_in_with_one_read_of_the_table_for_each_five_hundred(world: World) -> None:
    world.land_days(10_000, days=1000)
    while list(world.folder.iterdir()):
        try:
            taken = take_in(world.ledger, world.store, SPEC)
        except TransientError:
            continue
    assert max(each.table_version or 0 for each in taken) < 25
    assert len(world.names(Event.BATCH_INGESTED)) == 10_000
    assert world.table_rows == len(toy_rows(1000))
