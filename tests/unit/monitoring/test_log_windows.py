"""From the real log to summaries: every row once, labels as they hold, whatever is archived, damaged or killed."""

import json
import logging
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockgate.adapters import log_windows_sql as sql
from lockgate.adapters.log_windows import connected
from lockgate.adapters.log_windows_files import JOURNAL, look
from lockgate.adapters.log_windows_state import KNOWN, SummaryStore
from lockgate.core.contract import ColumnType, InputColumn, LogPolicy, TaskKind
from lockgate.core.drift import edge_bins, reference_profile
from lockgate.core.monitoring.summary import SLICES_AT_MOST, ColumnCounts, DaySummary
from lockgate.core.spec import SliceSection
from lockgate.errors import IntegrityError, TransientError
from lockgate.serving.disk import alone, temporary
from lockgate.serving.log.archive_retention import MERGED_FILES
from lockgate.serving.log.segments import segments
from tests.unit.monitoring.log_world import CHALLENGER, CHAMPION, NOON, LogWorld, expected

TRUE = {TaskKind.BINARY: ("yes", "no"), TaskKind.MULTICLASS: ("mid", "high"), TaskKind.REGRESSION: (30.5, "7")}


@pytest.fixture
def world(tmp_path: Path) -> LogWorld:
    return LogWorld(tmp_path)


def told(day: DaySummary) -> dict[str, Any]:
    """Return a summary in the form of the oracle's."""
    some = ("requests", "rows", "failed", "fallbacks", "flagged", "features", "latency_us", "classes")
    sums = day.labels
    return {name: getattr(day, name) for name in some} | {
        "moments": [day.score_moments.n, day.score_moments.total, day.score_moments.squares],
        "expected_loss": day.expected_loss.total,
        "unusable_labels": day.unusable_labels,
        "hours": day.hours,
        "delays": day.label_delay_s,
        "labels": [sums.n, sums.loss, sums.predicted, sums.observed],
        "loss_squares": sums.loss_squares,
        "calibration": {at: list(each) for at, each in enumerate(sums.calibration) if each[0]},
        "ranks": {at: list(each) for at, each in enumerate(sums.ranks) if any(each)},
        "slices": {name: each.n for name, each in day.by_slice.items()},
        "slice_loss": {name: each.loss for name, each in day.by_slice.items()},
    }


def check(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if name in {"moments", "expected_loss", "labels", "loss_squares", "slice_loss"}:
            assert found[name] == pytest.approx(value, rel=1e-9), name
        elif name == "calibration":
            assert {at: pytest.approx(each) for at, each in value.items()} == found[name]
        else:
            assert found[name] == value, name


# -- what is counted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TaskKind)
def test_a_day_is_what_plain_python_counts_of_the_same_rows(tmp_path: Path, task: TaskKind) -> None:
    world = LogWorld(tmp_path, task, slices=())
    world.log(*(world.record(n, rows=1 + n % 3) for n in range(60)), world.record(60, rows=40))
    world.log(world.record(70, kind="failed", outputs={}), world.record(71, kind="forced"))
    world.log(world.record(72, kind="shadow", inputs=None, digest=CHALLENGER, arm="shadow"))
    pairs = [(f"p-{n:05d}", n % 2, TRUE[task][n % 2]) for n in range(0, 60, 2)]
    world.label(*({"prediction_id": pid, "row": row, "label": label} for pid, row, label in pairs))
    world.archive()
    delay = {each.prediction_id: (NOON + timedelta(days=1)).timestamp() - each.time for each in world.made}
    there = {(each.prediction_id, row) for each in world.made for row in range(each.rows)}
    truths = {(pid, row): (label, delay[pid]) for pid, row, label in pairs if (pid, row) in there}
    found = told(world.summary())
    assert found["labels"][0] == len(truths) > 20
    check(found, expected(world, world.made, truths) | {"slices": {}, "slice_loss": {}})
    assert [each.digest for each in world.summaries()] == [CHAMPION]


def test_slices_are_counted_under_the_names_that_a_release_gives_them(world: LogWorld) -> None:
    world.log(*(world.record(n) for n in range(120)))
    world.label(*({"prediction_id": f"p-{n:05d}", "label": "yes"} for n in range(120)))
    world.archive()
    day = world.summary()
    all_of = expected(world, world.made, {(each.prediction_id, 0): ("yes", 0.0) for each in world.made})
    assert len(all_of["slices"]) > SLICES_AT_MOST == len(day.by_slice)
    assert {"colour=(missing)", 'colour=it\'s "blue"', "amount=[10, 50) & shape=disc"} <= day.by_slice.keys()
    assert {name: each.n for name, each in day.by_slice.items()} == {
        name: all_of["slices"][name] for name in day.by_slice
    }
    assert {name: each.loss for name, each in day.by_slice.items()} == pytest.approx(
        {name: all_of["slice_loss"][name] for name in day.by_slice}
    )
    assert min(each.n for each in day.by_slice.values()) >= max(
        n for name, n in all_of["slices"].items() if name not in day.by_slice
    )


def test_a_slice_of_a_column_that_is_not_logged_is_left_out(tmp_path: Path) -> None:
    world = LogWorld(tmp_path, slices=(SliceSection(column="nowhere"), SliceSection(column="amount", bins=2)))
    world.log(*(world.record(n) for n in range(30)))
    world.label(*({"prediction_id": f"p-{n:05d}", "label": "yes"} for n in range(30)))
    assert {name.split("=")[0] for name in world.summary().by_slice} == {"amount"}
    assert sum(each.n for each in world.summary().by_slice.values()) == 30


def test_an_answer_by_fallback_counts_where_it_was_chosen_and_its_score_nowhere(world: LogWorld) -> None:
    canary: dict[str, Any] = {"arm": "canary", "digest": CHALLENGER}
    fell: dict[str, Any] = {"fallback": True, "chosen": "canary"}
    world.log(
        *(world.record(n) for n in range(10)),
        world.record(20, **canary),
        *(world.record(n, **fell) for n in range(21, 24)),
        world.record(30, **canary, kind="failed", outputs={}),
        world.record(31, kind="forced", **canary),
    )
    world.label(*({"prediction_id": f"p-{n:05d}", "label": "yes"} for n in range(24)))
    champion, challenger = world.summaries()
    assert (champion.requests, champion.fallbacks, champion.failed, champion.score_moments.n) == (10, 0, 0, 10)
    assert (challenger.requests, challenger.fallbacks, challenger.failed) == (5, 3, 1)
    assert (challenger.score_moments.n, challenger.labels.n, sum(challenger.latency_us)) == (1, 1, 4)
    assert challenger.features["age"].rows == 5


def test_a_fallback_from_an_arm_that_nothing_says_more_of_stays_with_what_answered(world: LogWorld) -> None:
    world.log(world.record(1), world.record(2, fallback=True, chosen="canary"))
    assert (world.summary().requests, world.summary().fallbacks, world.summary().labels.n) == (2, 1, 0)


def test_a_fallback_finds_its_bundle_as_soon_as_its_arm_has_answered(world: LogWorld) -> None:
    world.log(world.record(1), world.record(2, fallback=True, chosen="canary"))
    assert [each.requests for each in world.summaries()] == [2]
    world.log(world.record(3, arm="canary", digest=CHALLENGER))
    assert [(each.digest[:1], each.requests, each.fallbacks) for each in world.summaries()] == [
        ("d", 1, 0),
        ("e", 2, 1),
    ]


def test_requests_are_counted_by_five_minutes_with_what_failed_and_what_was_slow(world: LogWorld) -> None:
    slow, fast = 300_000, 1000
    world.log(
        world.record(0, latency_us=slow), world.record(1, latency_us=fast, rows=3),
        world.record(9, kind="failed", outputs={}, latency_us=slow),
    )  # fmt: skip
    spans = world.summary().spans
    assert [(at, each.requests, each.failed, each.slow) for at, each in enumerate(spans) if each.requests] == [
        (144, 2, 0, 1), (145, 1, 1, 0),
    ]  # fmt: skip


def test_columns_that_may_not_be_read_have_no_counts_and_those_without_inputs_are_not_missing(world: LogWorld) -> None:
    world.contract = replace(world.contract, log=LogPolicy(hashed=("colour",), omitted=("amount",)))
    world.log(world.record(1), world.record(2, inputs=None))
    world.archive()
    day = world.summary()
    assert sorted(day.features) == ["age", "shape"]
    assert (day.features["age"].rows, day.rows) == (1, 2)


def test_a_bundle_that_is_gone_has_its_requests_counted_and_that_is_said(
    world: LogWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.log(world.record(1), world.record(2, digest="f" * 64))
    world.label({"prediction_id": "p-00002", "label": "yes"})
    gone = world.summary("f" * 64)
    assert (gone.requests, gone.features, gone.labels.n) == (1, {}, 0)
    assert "is not in" in caplog.text


def test_a_damaged_reference_profile_is_an_integrity_error_with_the_next_step(world: LogWorld) -> None:
    world.log(world.record(1))
    (world.settings.bundles / CHAMPION / "reference_profile.json").write_text("{")
    with pytest.raises(IntegrityError, match="verify"):
        world.summaries()


def test_no_log_at_all_gives_no_summary(world: LogWorld) -> None:
    assert world.summaries() == []


@settings(max_examples=4, deadline=None)
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12), min_size=1,
                max_size=4, unique=True), st.sampled_from(["h", "a'b", 'q"[x]*?{y}', "ü n"]))  # fmt: skip
def test_columns_and_folders_may_be_called_anything(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], home: str
) -> None:
    names = [*names, "A", "a", "a_1", "x0", 'say "hi"; --']
    names = list(dict.fromkeys(names))
    folder = tmp_path_factory.mktemp("world") / home
    world = LogWorld(folder)
    inputs = tuple(InputColumn(name=name, type=ColumnType.STRING, categories=(name, "'")) for name in names)
    world.contract = replace(world.contract, inputs=inputs)
    rows = {name: np.array([name, "'"], dtype=object) for name in names}
    world.profile = {**reference_profile(rows, (), names), "score": {}}
    world.slices = tuple(SliceSection(column=name) for name in names[:3])
    world.bundle(CHAMPION)
    for number in range(4):
        world.log(world.record(number, inputs={name: [[name, "'", None, "other"][number]] for name in names}, flags=()))
        world.label({"prediction_id": f"p-{number:05d}", "label": "yes"}, name=str(number))
    world.archive()
    day = world.summary()
    assert day.features == {name: ColumnCounts(bins=(1, 1, 1), missing=1) for name in names}
    wanted = {f"{name}={value}" for name in names[:3] for value in (name, "'", "(missing)", "other")}
    assert day.by_slice.keys() == wanted
    shutil.rmtree(folder)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False), max_size=6, unique_by=lambda x: x + 0.0),
    st.lists(st.floats() | st.none() | st.sampled_from([0.0, -0.0, 1e-45, 1e300, -1e300]), max_size=20),
)
@example([-3.4028234663852886e38, 3.4028234663852886e38], [-math.inf, math.inf])
def test_numbers_fall_into_the_bins_that_drift_has_for_them(edges: list[float], values: list[float | None]) -> None:
    edges = sorted(edges)
    told = values + edges  # a value on an edge tells most
    with connected_for_bins() as connection:
        connection.execute("CREATE OR REPLACE TEMP TABLE t (x DOUBLE)")
        connection.executemany("INSERT INTO t VALUES (?)", [[each] for each in told] or [[None]])
        found = connection.execute(f"SELECT {sql.edge_histogram('x', edges, 'true')} FROM t").fetchone()
        one_by_one = connection.execute(
            f"SELECT {sql.edge_bin_of('x', edges)} FROM t WHERE {sql.is_number('x')}"
        ).fetchall()
    with np.errstate(over="ignore"):
        numbers = np.array([each for each in told if each is not None and not math.isnan(each)], dtype=np.float64)
        seen = numbers.astype(np.float32).astype(np.float64)
    places = edge_bins(seen, np.array(edges, dtype=np.float64))
    assert found is not None
    assert sql.edge_counts(found[0], edges) == tuple(np.bincount(places, minlength=2 * len(edges) + 1).tolist())
    assert sorted(place for (place,) in one_by_one) == sorted(places.tolist())


_CONNECTION: list[Any] = []


def connected_for_bins() -> Any:
    import duckdb

    if not _CONNECTION:
        _CONNECTION.append(duckdb.connect())
    return _CONNECTION[0].cursor()


# -- labels ------------------------------------------------------------------------------------------------------------


def test_a_label_that_came_before_its_prediction_was_archived_is_seen_at_once_and_once(world: LogWorld) -> None:
    world.label({"prediction_id": "p-00001", "label": "yes"}, {"prediction_id": "nobody", "label": "no"})
    world.archive()
    assert world.summaries() == []
    world.log(world.record(1), world.record(2))
    assert world.summary().labels.n == 1
    world.archive()
    assert world.summary().labels.n == 1
    assert world.archive().labels.waiting == 1


def test_a_label_that_contradicts_holds_from_then_on_and_one_that_repeats_counts_once(world: LogWorld) -> None:
    world.log(world.record(1, outputs={"probability": np.array([0.25], np.float32), "label": ["no"]}))
    told = []
    for number, label in enumerate(("yes", "yes", "no", "perhaps")):
        world.label({"prediction_id": "p-00001", "label": label}, name=str(number))
        told.append(world.summary())  # before it is joined
        world.archive()
        told.append(world.summary())
    losses = [(each.labels.n, each.labels.loss, each.unusable_labels) for each in told]
    right, wrong = (1, 0.75**2, 0), (1, 0.25**2, 0)
    assert losses == [right] * 4 + [wrong] * 2 + [(0, 0.0, 1)] * 2


@pytest.mark.parametrize("at_once", [True, False])
def test_the_label_that_came_last_holds_whichever_worker_it_was_told(world: LogWorld, at_once: bool) -> None:
    world.log(world.record(1, outputs={"probability": np.array([0.25], np.float32), "label": ["no"]}))
    told = []
    for name, (label, second) in enumerate([("yes", 9), ("no", 8)]):  # the segment that was opened first has the last
        received = f"2026-01-03T12:00:0{second}+00:00"
        world.label({"prediction_id": "p-00001", "label": label, "received": received}, name=str(name))
        if not at_once:
            world.archive()
            told.append(world.summary())
    told.append(world.summary())
    world.archive()
    told.append(world.summary())
    assert {(each.labels.n, each.labels.loss) for each in told} == {(1, 0.75**2)}


def test_a_label_known_before_its_prediction_is_in_the_first_bin(world: LogWorld) -> None:
    world.log(world.record(1))
    world.label({"prediction_id": "p-00001", "label": "yes"}, after=timedelta(days=-1))
    assert world.summary().label_delay_s[0] == 1


def test_half_a_line_of_a_label_and_one_that_is_none_are_left_out(world: LogWorld) -> None:
    world.log(world.record(1), world.record(2))
    world.label({"prediction_id": "p-00001", "label": "yes"}, {"prediction_id": 7, "label": "no"})
    (file,) = segments(world.state / "labels")
    file.write_bytes(file.read_bytes() + b'{"prediction_id": "p-00002", "label": "y')
    assert world.summary().labels.n == 1


def test_a_late_label_changes_its_own_day_alone(world: LogWorld) -> None:
    world.log(*(world.record(n, day=n) for n in range(3)))
    world.archive()
    before = {each.day: each for each in world.summaries()}
    world.label({"prediction_id": "p-00001", "label": "yes"}, after=timedelta(days=40))
    after = {each.day: each for each in world.summaries()}
    assert [day for day in before if before[day] != after[day]] == ["2026-01-03"]


# -- what is read ------------------------------------------------------------------------------------------------------


def test_what_is_not_archived_yet_is_counted_and_counted_once_when_it_is(world: LogWorld) -> None:
    world.log(*(world.record(n, day=n % 2) for n in range(6)))
    fresh = [(each.day, each.rows) for each in world.summaries()]
    world.archive()
    assert fresh == [(each.day, each.rows) for each in world.summaries()] == [("2026-01-02", 3), ("2026-01-03", 3)]


def test_a_request_that_lies_in_a_segment_and_in_the_archive_is_one(world: LogWorld) -> None:
    world.log(*(world.record(n) for n in range(5)))
    (segment,) = segments(world.state / "predictions" / "toy")
    kept = segment.read_bytes()
    world.archive()
    segment.write_bytes(kept)
    world.log(world.record(9))
    assert (world.summary().requests, world.summary().score_moments.n) == (6, 6)


@pytest.mark.parametrize("applied", range(4))
def test_a_change_of_the_archive_that_was_cut_short_is_seen_as_if_it_had_happened(
    world: LogWorld, applied: int
) -> None:
    """The archive was killed after so many steps of its change: the journal says what the files will be."""
    world.log(*(world.record(n) for n in range(4)))
    world.archive()
    folder = world.state / "archive" / "toy" / "date=2026-01-02"
    (old,) = folder.glob("*.parquet")
    new = folder / "new.parquet"
    shutil.copy(old, temporary(new))
    named = [str(each.relative_to(world.state)) for each in (temporary(new), new)]
    journal = {"named": [named], "removed": [str(old.relative_to(world.state))], "status": {}}
    if applied:
        (world.state / "archive" / JOURNAL).write_text(json.dumps(journal))
    if applied > 1:
        temporary(new).replace(new)
    if applied > 2:
        old.unlink()
    assert world.summary().requests == 4


def test_a_journal_that_is_none_is_said_with_the_next_step(world: LogWorld) -> None:
    world.log(world.record(1))
    world.archive()
    (world.state / "archive" / JOURNAL).write_text("{")
    with pytest.raises(IntegrityError, match="--once"):
        world.summaries()


def test_small_files_that_are_put_together_change_nothing(world: LogWorld) -> None:
    for number in range(MERGED_FILES):
        world.log(world.record(number), worker=number)
        if number == MERGED_FILES - 2:
            world.archive()
    before = told(world.summary())
    world.archive()
    world.archive()
    assert len([*(world.state / "archive" / "toy").glob("*/*.parquet")]) == 1
    check(told(world.summary()), before)


def test_half_written_files_are_left_out(world: LogWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.log(*(world.record(n) for n in range(3)))
    world.archive()
    world.log(world.record(3), world.record(4))
    (segment,) = segments(world.state / "predictions" / "toy")
    segment.write_bytes(segment.read_bytes() + b'{"time":"2026-01-02T1')
    folder = world.state / "archive" / "toy" / "date=2026-01-02"
    (folder / ".half.parquet.tmp").write_bytes(b"PAR1")
    (folder / "broken.parquet").write_bytes(b"PAR1, but no more")
    assert world.summary().requests == 5
    assert "broken.parquet" in caplog.text


def test_a_file_whose_rows_somebody_broke_is_an_error_that_says_what_to_do(world: LogWorld) -> None:
    world.log(*(world.record(n, rows=3) for n in range(50)))
    world.archive()
    (file,) = (world.state / "archive" / "toy").glob("*/*.parquet")
    data = bytearray(file.read_bytes())
    data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)  # the footer is whole
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"date=2026-01-02.*run it again"):
        world.summaries()


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_days_that_did_not_change_are_not_read_again(world: LogWorld) -> None:
    world.log(*(world.record(n, day=n) for n in range(3)))
    world.archive()
    first = world.summaries()
    for path in (world.state / "archive" / "toy").glob("date=2026-01-0[23]/*.parquet"):
        os.truncate(path, path.stat().st_size)
        data = path.read_bytes()
        path.write_bytes(bytes(len(data)))  # whoever reads it, fails
    world.log(world.record(7, day=2))
    again = world.summaries()
    assert [(each.day, each.rows) for each in again] == [("2026-01-02", 1), ("2026-01-03", 1), ("2026-01-04", 2)]
    assert again[:2] == first[:2]


def test_since_leaves_older_days_alone(world: LogWorld) -> None:
    world.log(*(world.record(n, day=n) for n in range(3)))
    world.archive()
    assert [each.day for each in world.summaries(since=date(2026, 1, 4))] == ["2026-01-04"]
    assert len([*world.folder.glob("2026*.json")]) == 1


def test_a_day_that_retention_deleted_keeps_its_summary_and_a_part_of_one_too(world: LogWorld) -> None:
    world.log(*(world.record(n, day=n % 2) for n in range(4)))
    world.archive()
    world.log(*(world.record(n, day=1) for n in range(4, 6)))
    world.archive()
    before = world.summaries()
    first, part, *_ = sorted((world.state / "archive" / "toy").glob("*/*.parquet"))
    first.unlink()
    part.unlink()
    after = world.summaries()
    assert [(each.day, each.rows) for each in after] == [("2026-01-02", 2), ("2026-01-03", 4)]
    assert [replace(each, files="") for each in after] == [replace(each, files="") for each in before]


def test_a_damaged_summary_is_made_again_and_that_is_said(world: LogWorld, caplog: pytest.LogCaptureFixture) -> None:
    world.log(*(world.record(n, day=n) for n in range(2)))
    world.archive()
    before = world.summaries()
    one, other = sorted(world.folder.glob("2026*.json"))
    one.write_bytes(one.read_bytes().replace(b'"rows":1', b'"rows":7'))
    other.write_bytes(other.read_bytes()[:100])
    (world.folder / KNOWN).write_text("{")
    with caplog.at_level(logging.WARNING):
        assert world.summaries() == before
    assert caplog.text.count("is damaged") == 3
    assert list(SummaryStore(world.folder).read().values()) == before


def test_what_slices_the_spec_asks_for_is_part_of_what_a_summary_is_made_of(world: LogWorld) -> None:
    world.log(world.record(1))
    world.label({"prediction_id": "p-00001", "label": "yes"})
    world.archive()
    assert len(world.summary().by_slice) >= 2
    world.slices = ()
    assert world.summary().by_slice == {}


@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_run_that_is_killed_at_any_write_is_made_good_by_the_next(world: LogWorld, at: int) -> None:
    world.log(*(world.record(n, day=n % 2, digest=(CHAMPION, CHALLENGER)[n // 2 % 2]) for n in range(8)))
    world.archive()
    child = multiprocessing.get_context("fork").Process(target=killed_at_write, args=(world, at))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    found = world.summaries()
    assert [(each.day, each.digest[:1], each.rows) for each in found] == [
        (day, digest, 2) for day in ("2026-01-02", "2026-01-03") for digest in "de"
    ]
    assert sorted(path.name for path in world.folder.iterdir() if path.name.startswith(".")) == [KNOWN, ".lock"]


def killed_at_write(world: LogWorld, at: int) -> None:
    """Run until a file of that number is about to get its name, and die."""
    renames = iter(range(at, -1, -1))

    def audit(event: str, _: Any) -> None:
        if event == "os.rename" and not next(renames):
            os.kill(os.getpid(), signal.SIGKILL)

    import sys

    sys.addaudithook(audit)
    world.summaries()
    os._exit(1)


def test_two_runs_wait_for_one_another(world: LogWorld) -> None:
    world.log(world.record(1))
    store = SummaryStore(world.folder, wait_s=0.3)
    world.folder.mkdir(parents=True)
    with alone(world.folder / ".lock"), pytest.raises(TransientError, match="another run"), store.held():
        pass
    assert world.summary().requests == 1


def test_the_database_keeps_its_bounds_and_fetches_nothing(tmp_path: Path) -> None:
    with connected(tmp_path / "scratch") as connection:
        wanted = (
            "memory_limit",
            "threads",
            "autoinstall_known_extensions",
            "autoload_known_extensions",
            "temp_directory",
        )
        found = connection.execute("SELECT " + ", ".join(f"current_setting('{each}')" for each in wanted)).fetchone()
    assert found == ("1.3 GiB", 2, False, False, str(tmp_path / "scratch" / "duckdb"))


def test_files_that_leave_while_they_are_listed_are_looked_for_again(world: LogWorld) -> None:
    assert look(world.state, "toy").rows == {}
    world.log(world.record(1))
    world.archive()
    files = look(world.state, "toy")
    assert [*files.rows] == ["2026-01-02"]
    assert not files.segments


def test_an_archive_that_works_all_the_while_doubles_and_loses_nothing(world: LogWorld) -> None:
    """The archive runs in a process of its own, over and over, while summaries are made."""
    for number in range(40):
        world.log(world.record(number), worker=number)
    world.label(*({"prediction_id": f"p-{n:05d}", "label": "yes"} for n in range(40)))
    child = multiprocessing.get_context("fork").Process(target=archives, args=(world,))
    child.start()
    seen = []
    while child.is_alive():
        seen.append((world.summary().requests, world.summary().labels.n))
    child.join()
    assert child.exitcode == 0
    assert set(seen) <= {(40, 40)}
    assert (world.summary().requests, world.summary().labels.n) == (40, 40)


def archives(world: LogWorld) -> None:
    for _ in range(4):
        world.archive()
