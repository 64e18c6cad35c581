"""Decisions looked back on: which rows judge which, what two champions make of them, and what goes on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pytest
from deltalake import write_deltalake

from lockgate.adapters.delta_append import BATCH
from lockgate.adapters.table_spans import landed_between
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.intervals import Estimate
from lockgate.core.learning.hindsight import Verdict, held_back, summary, took_over, unpaired, verdict_of
from lockgate.core.learning.standing import realised_gain
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput, TransientError
from lockgate.line.counterfactuals import Past, look_back
from lockgate.stages.counterfactual import Side, compare_sides, compare_with_holdout
from lockgate.stages.history import history
from tests.fakes import FakeLedger
from tests.unit.judgement.scenes import days_of, spec_of

TOY = ModelName("toy")
A, B, C = (Digest(letter * 64) for letter in "abc")
SPEC = spec_of()


def probability(slope: float) -> Any:
    return lambda frame: 1.0 / (1.0 + np.exp(-slope * frame["x"].to_numpy()))


def landed(days: int = 30, *, turned: bool = False, seed: int = 0) -> pd.DataFrame:
    """Rows whose label follows x, or where the world has turned its opposite."""
    frame, signal, rng = days_of(days, 40, seed)
    happened = rng.random(len(frame)) < 1.0 / (1.0 + np.exp(signal if turned else -signal))
    return frame.assign(label=np.where(happened, "yes", "no"))


class World:
    """A record, and bundles that are asked; each bundle's rows are the table's at some version."""

    def __init__(self) -> None:
        self.ledger = FakeLedger()
        self.asked = {A: probability(0.5), B: probability(1.5), C: probability(1.5)}
        self.versions = {A: 0, B: 1, C: 3}
        self.holdout = landed(21, seed=9)
        self.line: Any = SimpleNamespace(ledger=self.ledger, model=TOY, spec=SPEC)
        self.rows = landed()
        self.between: list[tuple[int | None, int | None]] = []
        self.down = False

    def switch(self, before: Digest | None, to: Digest, release: str | None = "toy-0001", **more: Json) -> None:
        facts: dict[str, Json] = {"environment": "production", "from": before, "to": to, "answers": 3, "sequence": 1}
        self.ledger.append(
            TOY, Event.TRAFFIC_VERIFIED, facts | more, release=None if release is None else ReleaseId(release)
        )

    def take_in(self, version: int) -> None:
        facts: dict[str, Json] = {"sha256": f"{version:064}", "name": "f", "rows": 9, "table_version": version}
        self.ledger.append(TOY, Event.BATCH_INGESTED, facts)

    def decide(self, *, train: bool) -> None:
        facts: dict[str, Json] = {"train": train, "why": "too early", "trigger": {"kind": "new_data"}}
        self.ledger.append(TOY, Event.RETRAINING_DECIDED, facts)

    @property
    def recorded(self) -> tuple[LedgerRow, ...]:
        return self.ledger.rows(TOY)

    def read(self, after: int | None, until: int | None) -> pd.DataFrame:
        if self.down:
            raise TransientError("the table did not answer")
        self.between.append((after, until))
        return self.rows

    def side(self, bundle: Digest) -> Side:
        if bundle not in self.asked:
            raise BadInput(f"there is no bundle {bundle}")
        return Side(name=bundle[:3], ask=self.asked[bundle], threshold=0.5)

    def look(self) -> dict[str, Any]:
        past = Past(
            between=self.read, side=self.side, version=self.versions.__getitem__, holdout=lambda _: self.holdout
        )
        return look_back(self.line, past=past)


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_champion_and_one_that_is_put_back_took_over_from_nobody(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.switch(B, A, None)
    world.switch(A, C, "toy-0003")
    world.switch(C, C, "toy-0003")
    world.switch(C, A, "toy-0004", environment="staging")
    found = took_over(world.recorded)
    assert [(each.release, each.before, each.bundle, each.until) for each in found] == [
        ("toy-0002", A, B, C),
        ("toy-0003", A, C, None),
    ]


def test_a_release_that_was_taken_back_is_judged_on_what_landed_until_the_next_one_took_over(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.switch(B, A, None)
    assert world.look()["took_over"][0]["verdict"] != "not measured"
    world.switch(A, C, "toy-0003")
    world.look()
    assert world.between == [(1, None), (1, 3), (3, None)]


def test_a_no_under_a_champion_that_was_taken_back_is_judged_on_what_landed_until_then(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.take_in(1)
    world.decide(train=False)
    world.take_in(2)
    world.switch(B, A, None)
    world.take_in(3)
    (held,) = world.look()["held_back"]
    assert (held["until"], held["until_version"]) == (None, 2)
    assert world.between == [(1, None), (1, 2)]
    assert held["verdict"] != "not measured"


def test_the_same_no_said_again_is_one_time_and_another_champion_or_batch_makes_another(world: World) -> None:
    world.switch(None, A)
    world.take_in(1)
    for _ in range(3):
        world.decide(train=False)
    world.take_in(2)
    world.decide(train=False)
    world.decide(train=True)
    world.switch(A, B)
    world.decide(train=False)
    found = held_back(world.recorded)
    assert [(each.champion, each.after, each.until, each.times) for each in found] == [
        (A, 1, B, 3),
        (A, 2, B, 1),
        (B, 2, None, 1),
    ]
    assert found[0].trigger == "new_data"


def test_the_bundle_before_is_asked_the_rows_of_the_time_in_which_the_other_one_served(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.switch(B, C, "toy-0003")
    told = world.look()
    assert world.between == [(1, 3), (3, None)]
    first, second = told["took_over"]
    assert first["verdict"] == "right", "b knows how steep the world is, a does not"
    assert first["metrics"]["log_loss"]["gain"]["low"] > 0
    assert second["verdict"] == "inconclusive", "b and c answer alike"
    assert second["metrics"]["log_loss"]["gain"]["estimate"] == 0.0


def test_a_release_that_made_it_worse_is_told_as_wrong(world: World) -> None:
    world.switch(None, B)
    world.switch(B, A, "toy-0002")
    world.versions = {B: 0, A: 1}
    assert world.look()["took_over"][0]["verdict"] == "wrong"


def test_a_champion_that_was_kept_while_the_world_turned_was_a_wrong_no(world: World) -> None:
    world.switch(None, B)
    world.decide(train=False)
    assert world.look()["held_back"][0]["verdict"] == "inconclusive"
    world.rows = landed(turned=True)
    held = world.look()["held_back"][0]
    assert held["verdict"] == "wrong"
    assert held["metrics"]["log_loss"]["worse"]["low"] > 0
    assert held["metrics"]["auc"]["worse"]["low"] > 0, "a rank metric is worse when it is less"


@pytest.mark.parametrize(
    ("gone", "reason"),
    [("bundle", "there is no bundle"), ("labels", "no labelled row"), ("days", "3 blocks are needed")],
)
def test_what_cannot_be_measured_says_why_and_the_others_are_told(world: World, gone: str, reason: str) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.decide(train=False)
    if gone == "bundle":
        del world.asked[A]
    elif gone == "labels":
        world.rows = world.rows.assign(label=None)
    else:
        world.rows = landed(2)
    told = world.look()
    assert told["took_over"][0]["verdict"] == "not measured"
    assert reason in told["took_over"][0]["reason"]
    assert (told["held_back"][0]["verdict"] == "not measured") is (gone != "bundle")


def without_numbers(ask: Any, *places: int) -> Any:
    """Answer as before, but these rows with no number."""

    def asked(frame: pd.DataFrame) -> Any:
        answers = ask(frame).copy()
        answers[list(places)] = np.nan
        return answers

    return asked


def test_rows_that_were_answered_with_no_number_are_counted_and_said(world: World) -> None:
    world.asked[A] = without_numbers(world.asked[A], 0, 1, 2)
    world.asked[B] = without_numbers(world.asked[B], 2, 3)
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    world.decide(train=False)
    found = world.look()
    (took,), (held,) = found["took_over"], found["held_back"]
    assert took["unanswered"] == {"now": 2, "before": 3, "either": 4}
    assert took["n"] == len(world.rows) - 4
    assert "answered with no number: now 2, before 3, either 4" in took["reason"]
    assert held["unanswered"] == {"since": 2, "holdout": 2}
    assert held["n"] == len(world.rows) - 2
    assert "answered with no number: since 2, holdout 2" in held["reason"]
    assert world.recorded[-1].payload["took_over"][0]["unanswered"] == took["unanswered"]


def test_a_side_that_answered_nothing_is_not_told_as_rows_that_did_not_land(world: World) -> None:
    world.asked[B] = lambda frame: np.full(len(frame), np.nan)
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    (took,) = world.look()["took_over"]
    assert took["verdict"] == "not measured"
    assert took["unanswered"]["now"] == len(world.rows)
    assert "answered with no number: now 1,200" in took["reason"]


def test_where_every_row_was_answered_nothing_is_said_of_it(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    (took,) = world.look()["took_over"]
    assert took["unanswered"] == {"now": 0, "before": 0, "either": 0}
    assert "no number" not in took["reason"]


def test_a_table_that_does_not_answer_is_no_finding(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B)
    world.down = True
    with pytest.raises(TransientError):
        world.look()
    assert not world.ledger.rows(TOY, events=(Event.COUNTERFACTUALS,))


def test_looking_twice_writes_one_row_that_history_tells_and_the_policy_reads(world: World) -> None:
    world.switch(None, A)
    world.switch(A, B, "toy-0002")
    first, again = world.look(), world.look()
    assert first["row"] == again["row"]
    rows = world.ledger.rows(TOY, events=(Event.COUNTERFACTUALS,))
    assert len(rows) == 1
    assert history(rows)[0].text == "looked back: took over 1 times (1 right)"
    gain = realised_gain(rows)
    assert gain is not None
    assert (gain.release, gain.metric) == ("toy-0002", "log_loss")
    assert 0 < gain.estimate < gain.high
    world.rows = landed(20)
    assert world.look()["row"] != first["row"]


def test_without_a_decision_nothing_is_written(world: World) -> None:
    told = world.look()
    assert told["row"] is None
    assert told["summary"] == summary([], []) == "looked back: no decision yet"


@pytest.mark.parametrize("kind", [TaskKind.REGRESSION, TaskKind.MULTICLASS])
def test_every_task_is_looked_back_on(kind: TaskKind) -> None:
    spec = spec_of(kind)
    frame, signal, rng = days_of(25, 40)
    if kind is TaskKind.REGRESSION:
        frame = frame.assign(label=signal + rng.normal(size=len(frame)))
        sides = [Side(name=name, ask=_linear(slope), threshold=None) for name, slope in (("b", 1.5), ("a", 0.0))]
    else:
        frame = frame.assign(label=np.where(signal > 0.8, "a", np.where(signal < -0.8, "b", "c")))
        sides = [Side(name=name, ask=_classes(slope), threshold=None) for name, slope in (("b", 2.0), ("a", 0.0))]
    told = compare_sides(spec, frame, *sides)
    assert told.verdict is Verdict.RIGHT
    kept = compare_with_holdout(spec, frame, frame, sides[0])
    assert kept.verdict is Verdict.UNCLEAR
    assert next(iter(kept.metrics)) in {"rmse", "log_loss"}


def _linear(slope: float) -> Any:
    return lambda rows: slope * rows["x"].to_numpy()


def _classes(slope: float) -> Any:
    def ask(rows: pd.DataFrame) -> Any:
        x = slope * rows["x"].to_numpy()
        raw = np.exp(np.stack([x, -x, np.zeros(len(x))], axis=1))
        return raw / raw.sum(axis=1, keepdims=True)

    return ask


def test_a_difference_of_estimates_without_an_interval_is_no_verdict() -> None:
    nan = float("nan")
    known = Estimate(value=0.5, low=0.4, high=0.6, se=0.05)
    unknown = replace(known, se=nan)
    assert verdict_of(unpaired(known, unknown, 21)) is Verdict.NOT_MEASURED
    assert verdict_of(unpaired(known, known, 2)) is Verdict.NOT_MEASURED
    assert verdict_of(None) is Verdict.NOT_MEASURED


def _written(path: Path, batches: Mapping[int, list[int]]) -> None:
    for ordinal, ids in batches.items():
        rows = pa.table({"id": ids, "x": [float(each) for each in ids], BATCH: [ordinal] * len(ids)})
        write_deltalake(path, rows, mode="append")


def test_rows_are_told_apart_by_the_version_that_first_held_them(tmp_path: Path) -> None:
    path = tmp_path / "table"
    _written(path, {1: [1, 2], 2: [3], 3: [4, 5]})
    spans = ((None, None), (0, None), (0, 1))
    found = {(after, until): sorted(landed_between(path, after, until, ["id"])["id"]) for after, until in spans}
    assert found == {(None, None): [1, 2, 3, 4, 5], (0, None): [3, 4, 5], (0, 1): [3]}
    with pytest.raises(BadInput, match="version 9 of the table"):
        landed_between(path, 9, None, ["id"])
    with pytest.raises(BadInput, match="no column 'y'"):
        landed_between(path, 0, None, ["y"])
    with pytest.raises(BadInput, match="no table"):
        landed_between(tmp_path / "other", 0, None, ["id"])
