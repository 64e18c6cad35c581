"""The policy: every condition both ways, with its numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.ids import Json, ReleaseId, to_json
from lockgate.core.learning.policy import decide
from lockgate.core.learning.standing import WEEK, Gain, Opened, Waiting, newest_gain
from lockgate.core.learning.triggers import TriggerKind
from lockgate.core.ledger import Event, Outcome
from lockgate.core.spec import Automation, RetrainingSection
from tests.unit.learning.standings import NOW, SOUND, asked, condition, opened, trigger

BY_ITSELF = [kind for kind in TriggerKind if kind not in (TriggerKind.BY_HAND, TriggerKind.CODE)]
HELD_BACK: dict[str, tuple[RetrainingSection, dict[str, Any]]] = {
    "automation": (RetrainingSection(automation=Automation.NOTIFY), {}),
    "new_rows": (RetrainingSection(min_new_rows=1001), {}),
    "cooldown": (RetrainingSection(cooldown_s=7200), {"opened": (opened(1.5),)}),
    "storm": (RetrainingSection(most_per_week=1), {"opened": (opened(24),)}),
    "turn": (RetrainingSection(), {"open": ReleaseId("toy-0001"), "open_waits": True, "new_rows": 0}),
}
GAIN = Gain(release=ReleaseId("toy-0003"), metric="log_loss", estimate=0.01, high=0.02)


@pytest.mark.parametrize("kind", BY_ITSELF)
def test_a_trigger_against_which_nothing_speaks_starts_a_release(kind: TriggerKind) -> None:
    decision = asked(kind=kind)
    assert decision.train
    assert all(each.holds for each in decision.checks)
    assert "1000 new rows" in decision.why


@pytest.mark.parametrize("kind", BY_ITSELF)
@pytest.mark.parametrize("name", HELD_BACK)
def test_one_condition_that_does_not_hold_is_enough_and_is_named(name: str, kind: TriggerKind) -> None:
    section, standing = HELD_BACK[name]
    decision = asked(section, kind, **standing)
    assert not decision.train
    assert name in [each.name for each in decision.against]
    assert not condition(decision, name).holds


@pytest.mark.parametrize("name", [name for name in HELD_BACK if name != "turn"])
def test_a_person_is_heard_whatever_speaks_against_it_and_is_told(name: str) -> None:
    section, standing = HELD_BACK[name]
    decision = asked(section, TriggerKind.BY_HAND, **standing)
    assert decision.train
    assert not condition(decision, name).holds


def test_even_a_person_waits_for_the_decision_on_the_open_release() -> None:
    section, standing = HELD_BACK["turn"]
    decision = asked(section, TriggerKind.BY_HAND, **standing)
    assert not decision.train
    assert "waits for its approval and nothing newer landed" in decision.why


def test_what_landed_since_supersedes_a_release_that_waits() -> None:
    assert asked(open=ReleaseId("toy-0001"), open_waits=True).train


def test_a_running_release_holds_nothing_back_because_the_next_waits_its_turn() -> None:
    decision = asked(open=ReleaseId("toy-0001"))
    assert decision.train
    assert "waits its turn" in condition(decision, "turn").reason


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("on_new_data", TriggerKind.NEW_DATA),
        ("on_degradation", TriggerKind.DEGRADATION),
        ("on_code_change", TriggerKind.CODE),
    ],
)
def test_a_trigger_that_the_spec_turns_off_starts_nothing(key: str, kind: TriggerKind) -> None:
    changed = {"opened": (opened(100),), "program": {"code": "other"}}
    on, off = RetrainingSection(**{key: True}), RetrainingSection(**{key: False})  # type: ignore[arg-type]
    assert asked(on, kind, **changed).train
    assert f"retraining.{key} is false" in asked(off, kind, **changed).why


@pytest.mark.parametrize(("spec", "train"), [("s", False), ("t", True)])
def test_a_change_of_code_is_one_only_if_something_changed(spec: str, *, train: bool) -> None:
    program = {"code": "c", "spec": spec}
    section = RetrainingSection(on_code_change=True)
    assert asked(section, TriggerKind.CODE, opened=(opened(100),), program=program, new_rows=0).train is train


def test_only_notifying_people_is_said_as_such_and_alone() -> None:
    section = RetrainingSection(automation=Automation.NOTIFY)
    assert asked(section).tell
    assert not asked(section, new_rows=0).tell, "there is nothing that people could start"
    assert not asked().tell


def test_rows_that_wait_in_the_landing_folder_count() -> None:
    section = RetrainingSection(min_new_rows=10)
    assert not asked(section, new_rows=4, waiting=Waiting(files=1, rows=5)).train
    assert asked(section, new_rows=4, waiting=Waiting(files=1, rows=6)).train


@pytest.mark.parametrize(
    "standing",
    [{"waiting": Waiting(files=1, rows=None)}, {"refused": 1}, {"uncounted": 1}],
    ids=["a file that does not say its rows", "a refused file", "rows that are not on record"],
)
def test_rows_that_nobody_counted_hold_nothing_back(standing: dict[str, Any]) -> None:
    assert not asked(new_rows=0).train
    assert asked(**{"new_rows": 0, **standing}).train


def test_a_crashed_release_does_not_start_the_cooldown() -> None:
    section = RetrainingSection(cooldown_s=7200)
    assert asked(section, opened=(opened(1.0, outcome=Outcome.FAILED),)).train
    assert asked(section, opened=(opened(2.0),)).train, "exactly as long as asked is long enough"
    held = condition(asked(section, opened=(opened(1.5),)), "cooldown")
    assert held.retry_after_s == pytest.approx(1800)


def test_what_people_start_is_no_storm() -> None:
    section = RetrainingSection(most_per_week=2)
    releases = (opened(30, TriggerKind.BY_HAND), opened(20), opened(10, TriggerKind.BY_HAND))
    assert asked(section, opened=releases).train


@pytest.mark.parametrize(("rows", "train"), [(499, False), (500, True)])
def test_a_release_that_could_not_gain_its_cost_at_best_is_not_started(rows: int, *, train: bool) -> None:
    section = RetrainingSection(cost=10.0)
    decision = asked(section, new_rows=rows, gain=GAIN)
    assert decision.train is train
    assert condition(decision, "expected_gain").observed == pytest.approx(0.02 * rows)


def test_a_gain_that_nobody_measured_is_not_held_against_a_release_and_that_is_said() -> None:
    decision = asked(RetrainingSection(cost=10.0), gain=None)
    assert decision.train
    assert "the gain is unknown, no release was compared" in condition(decision, "expected_gain").reason


@pytest.mark.parametrize("high", ["NaN", "Infinity", None])
def test_a_gain_without_an_interval_is_unknown_and_holds_nothing_back(high: str | None) -> None:
    gain: Json = {"estimate": 0.01, "low": high, "high": high, "se": high}
    told: Json = {"scored": True, "binding_metric": "log_loss", "metrics": {"log_loss": {"gain": gain}}}
    row: Any = SimpleNamespace(
        release="toy-0001", event=Event.EVIDENCE, payload={"gate": "champion", "measurements": told}
    )
    assert newest_gain([row]) is None
    assert asked(RetrainingSection(cost=10.0), gain=newest_gain([row])).train


def test_a_release_that_turned_out_better_than_its_holdout_said_speaks_for_the_next_one() -> None:
    section, realised = RetrainingSection(cost=10.0), replace(GAIN, estimate=0.03, high=0.04)
    assert not asked(section, new_rows=300, gain=GAIN).train
    decision = asked(section, new_rows=300, gain=GAIN, realised=realised)
    assert decision.train
    assert "turned out to gain since 0.03" in condition(decision, "expected_gain").reason
    less = replace(GAIN, estimate=-0.03, high=-0.02)
    assert asked(section, new_rows=500, gain=GAIN, realised=less).train, "a doubt holds nothing back"
    other = replace(realised, metric="expected_cost")
    assert not asked(section, new_rows=300, gain=GAIN, realised=other).train, "in another unit"


def test_harm_that_is_shown_is_not_weighed_against_a_cost() -> None:
    section = RetrainingSection(cost=1e9)
    assert asked(section, TriggerKind.DEGRADATION, gain=GAIN).train
    assert not asked(section, TriggerKind.MESSAGE, gain=GAIN).train


def test_time_alone_is_promised_only_where_time_alone_changes_the_answer() -> None:
    section = RetrainingSection(cooldown_s=7200)
    assert asked(section, opened=(opened(1.5),)).retry_after_s == pytest.approx(1800)
    assert asked(section, opened=(opened(1.5),), new_rows=0).retry_after_s is None
    assert asked().retry_after_s is None


def test_the_counterfactual_names_the_champion_that_is_scored_on() -> None:
    assert asked().counterfactual["champion"] == SOUND.champion
    assert "had we not retrained" in str(asked().counterfactual["question"])
    assert "had we retrained" in str(asked(new_rows=0).counterfactual["question"])
    assert asked(champion=None).counterfactual["champion"] is None


def test_a_decision_goes_on_record_whole() -> None:
    told = to_json(asked(RetrainingSection(cooldown_s=7200), opened=(opened(1.5),)))
    assert isinstance(told, dict)
    assert told["train"] is False
    assert {each["name"] for each in told["checks"]} == {
        "automation",
        "trigger",
        "turn",
        "new_rows",
        "cooldown",
        "storm",
        "expected_gain",
    }


@settings(max_examples=60, deadline=None)
@given(
    gaps_h=st.lists(st.floats(min_value=0.01, max_value=80), max_size=60),
    most=st.integers(min_value=1, max_value=6),
    cooldown_h=st.floats(min_value=0, max_value=30),
)
def test_no_sequence_of_triggers_breaks_the_storm_breaker_or_the_cooldown(
    gaps_h: list[float], most: int, cooldown_h: float
) -> None:
    section = RetrainingSection(most_per_week=most, cooldown_s=cooldown_h * 3600)
    now, releases = NOW, list[Opened]()
    for gap_h in gaps_h:
        now += timedelta(hours=gap_h)
        standing = replace(SOUND, now=now, opened=tuple(releases))
        if decide("toy", section, replace(trigger(), at=now), standing).train:
            releases.append(replace(opened(0), at=now))
    times = [each.at for each in releases]
    assert all(sum(timedelta(0) <= at - first < WEEK for at in times) <= most for first in times)
    assert all((b - a).total_seconds() >= cooldown_h * 3600 for a, b in pairwise(times))


@settings(max_examples=60, deadline=None)
@given(hours_ago=st.lists(st.floats(min_value=0, max_value=160), min_size=1, max_size=20))
def test_a_wait_that_is_promised_is_long_enough_and_no_longer(hours_ago: list[float]) -> None:
    section = RetrainingSection(most_per_week=3, cooldown_s=3600 * 24)
    releases = tuple(opened(each) for each in sorted(hours_ago, reverse=True))
    wait_s = asked(section, opened=releases).retry_after_s
    if wait_s is None:
        return

    def train(after_s: float) -> bool:
        now = NOW + timedelta(seconds=after_s)
        return decide("toy", section, trigger(), replace(SOUND, now=now, opened=releases)).train

    assert train(wait_s + 0.001)
    assert not train(wait_s - 1)
