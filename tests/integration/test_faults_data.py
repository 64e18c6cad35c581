"""Landed files, a suite, a model that are wrong: blocked with the reason, nothing lost, nothing shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from lockgate.core.ids import Stage
from lockgate.core.ledger import Event, Outcome, broken_at
from lockgate.errors import BadInput, ConfigError, TransientError
from lockgate.line import enter, line_of, run
from tests.e2e.toy_project import rows
from tests.line_world import MODEL, LineWorld, line_world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LineWorld]:
    with line_world(tmp_path) as made:
        yield made
        assert broken_at(made.rows()) is None
        assert made.rows(Event.TRAFFIC_INTENDED, Event.BLESSING) == (), "nothing of this may come near production"


def parquet(world: LineWorld, frame: pd.DataFrame) -> bytes:
    return world.frame(frame).read_bytes()


def truncated(world: LineWorld) -> bytes:
    return parquet(world, rows(40, 5))[:-200]


def empty(_: LineWorld) -> bytes:
    return b""


def no_parquet(_: LineWorld) -> bytes:
    return b"id,t,a\n1,2024-01-01,0.5\n" * 50


def without_rows(world: LineWorld) -> bytes:
    return parquet(world, rows(40, 5).head(0))


def key_twice(world: LineWorld) -> bytes:
    frame = rows(40, 5)
    return parquet(world, pd.concat([frame, frame.head(1)]))


def keys_landed_before(world: LineWorld) -> bytes:
    return parquet(world, pd.concat([rows(0, 40).tail(10), rows(40, 5)]))


def column_gone(world: LineWorld) -> bytes:
    return parquet(world, rows(40, 5).drop(columns="b"))


def type_changed(world: LineWorld) -> bytes:
    return parquet(world, rows(40, 5).assign(a="high"))


WRONG: dict[Callable[[LineWorld], bytes], str] = {
    truncated: "Parquet",
    empty: "Parquet",
    no_parquet: "Parquet",
    without_rows: "no rows",
    key_twice: "id",
    keys_landed_before: "already holds",
    column_gone: "missing: b",
    type_changed: "a is string",
}


@pytest.mark.parametrize(("make", "says"), WRONG.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_a_wrong_file_blocks_the_release_and_lies_in_quarantine_with_the_reason(
    world: LineWorld, make: Callable[[LineWorld], bytes], says: str
) -> None:
    world.land()
    world.end(world.release(through=Stage.INGEST))
    content = make(world)
    world.drop(content, "second.parquet")
    so_far = world.release("run-2", through=Stage.INGEST)
    assert (so_far.ended, so_far.gate) == (Outcome.BLOCKED, "schema")
    quarantine = world.services.settings.quarantine(MODEL)
    assert (quarantine / "second.parquet").read_bytes() == content
    reason = (quarantine / "second.parquet.reason.txt").read_text()
    assert says in reason
    assert world.rows(Event.BATCH_QUARANTINED)[-1].payload["reason"] == reason.splitlines()[0]
    assert world.rows(Event.BATCH_INGESTED)[-1].payload["rows"] == 4000
    assert world.state.outcomes[so_far.release] is Outcome.BLOCKED


def test_after_a_refused_file_a_right_one_is_released(world: LineWorld) -> None:
    world.land()
    world.drop(no_parquet(world), "wrong.parquet")
    assert world.release(through=Stage.INGEST).ended is Outcome.BLOCKED
    world.land(rows(40, 5), "right.parquet")
    assert world.release("run-2", through=Stage.INGEST).ended is None


def test_a_file_landed_twice_is_ingested_once_and_starts_no_second_release(world: LineWorld) -> None:
    world.land()
    world.end(world.release(through=Stage.INGEST))
    world.land(name="again.parquet")
    again = world.begin("run-2")
    assert again.ended is not None
    assert not again.release
    assert [row.payload["rows"] for row in world.rows(Event.BATCH_INGESTED)] == [4000]
    assert world.state.releases == 1


def test_an_estimator_that_is_not_on_the_proved_list_stops_before_anything_is_taken_in(world: LineWorld) -> None:
    world.change(world.spec_file, "family: xgboost", "family: catboost")
    world.land()
    with pytest.raises(ConfigError, match="catboost"):
        world.begin()
    assert world.rows() == ()
    assert len(world.services.store.landed(MODEL)) == 1


def test_a_misspelt_expectation_stops_the_release_and_names_itself(world: LineWorld) -> None:
    world.change(world.suite_file, "expect_column_values_to_not_be_null", "expect_column_values_to_not_be_nul")
    world.land()
    so_far = world.release(through=Stage.INGEST)
    with pytest.raises(BadInput, match="expect_column_values_to_not_be_nul"):
        run(line_of(MODEL), Stage.VALIDATE_DATA, so_far)
    assert "expectations" not in {row.payload["gate"] for row in world.rows(Event.VERDICT)}


def test_a_model_below_the_floor_is_blocked_by_that_gate(world: LineWorld) -> None:
    world.change(world.spec_file, "gates:\n", "gates:\n  quality: {auc_floor: 0.99}\n")
    world.land()
    so_far = world.release(through=Stage.STRESS)
    assert (so_far.ended, so_far.gate) == (Outcome.BLOCKED, "quality")
    (verdict,) = [row.payload for row in world.rows(Event.VERDICT) if row.payload["gate"] == "quality"]
    assert 0.99 in [check["threshold"] for check in verdict["checks"]]
    assert world.rows(Event.BUNDLE) == ()
    assert world.rows(Event.RELEASE_ENDED)[-1].payload["gate"] == "quality"


def test_a_column_that_knows_the_answer_is_caught_with_nothing_forbidden(world: LineWorld) -> None:
    world.change(world.spec_file, "- a\n", "- a\n  - leak\n")
    frame = rows(0, 40)
    world.land(frame.assign(leak=(frame["y"] == "yes").astype("float64") + frame["a"] / 10))
    so_far = world.release(through=Stage.TRAIN)
    assert (so_far.ended, so_far.gate) == (Outcome.BLOCKED, "leakage")
    assert "leak" in so_far.reason


def test_of_two_releases_of_one_model_one_waits_its_turn(world: LineWorld) -> None:
    world.land()
    first = world.release(through=Stage.INGEST)
    world.land(rows(40, 5), "second.parquet")
    with pytest.raises(TransientError, match="waits its turn"):
        world.begin("run-2")
    assert world.state.releases == 1
    world.end(first.end(Outcome.BLOCKED, "as a gate would"))
    second = world.begin("run-2")
    assert second.release == "toy-0002"
    assert world.rows(Event.BATCH_INGESTED)[-1].payload["rows"] == 500


def test_a_release_whose_spec_changed_under_it_does_not_go_on(world: LineWorld) -> None:
    world.land()
    so_far = world.release(through=Stage.INGEST)
    world.change(world.spec_file, "max_depth: 2", "max_depth: 3")
    void = enter(MODEL, "new data", "landing")
    assert void is not None
    assert (void.ended, "the spec changed" in void.reason) == (Outcome.EXPIRED, True)
    assert world.state.outcomes[so_far.release] is Outcome.EXPIRED


def test_a_class_that_is_missing_blocks_although_another_gate_cannot_measure_without_it(world: LineWorld) -> None:
    frame = rows(0, 40)
    world.land(frame.assign(y=frame["y"].iloc[0]))
    so_far = world.release(through=Stage.VALIDATE_DATA)
    verdicts = {row.payload["gate"]: row.payload["verdict"] for row in world.rows(Event.VERDICT)}
    assert "ERROR" in verdicts.values()
    assert verdicts[so_far.gate] == "FAIL"
    assert so_far.ended is Outcome.BLOCKED
