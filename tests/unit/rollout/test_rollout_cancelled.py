"""A run that somebody cancels in the orchestrator: its rollout is taken back, the champion alone, on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.line.cancelling import ask_to_abort, cancelled_of
from lockgate.line.rolling import end_abandoned
from lockgate.line.upkeep import UNHEARD_S, reap_rollout
from tests.unit.rollout.test_rollout_given_up import Place
from tests.unit.rollout.world import R2


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def true_on_record(place: Place) -> bool:
    return not [each for each in place.audited() if "wish" in each or "ended" in each or "state" in each]


@pytest.mark.parametrize(("run", "state"), [("run-1", "CANCELLED"), ("run-1", "CANCELLING"), ("run-2", "CANCELLED")])
def test_the_reaper_takes_back_the_rollout_of_a_cancelled_run_that_nobody_carries_on(
    place: Place, run: str, state: str
) -> None:
    place.under_way()
    place.runs.put("run-1", "RUNNING")
    place.runs.put("run-2", "RUNNING")
    place.runs.put(run, state)

    asked = reap_rollout(place.line)
    place.production.clock.advance(UNHEARD_S)
    did = reap_rollout(place.line)

    assert "taken back" in asked[0]
    assert "roll_back" in did[0]
    ended = place.found()
    assert (ended.ended, ended.rollout.verdict) == (True, RolloutVerdict.ROLL_BACK)
    assert f"run {run} was cancelled" in ended.rollout.reason
    assert place.is_alone()
    assert true_on_record(place)
    assert reap_rollout(place.line) == []


def test_whoever_carries_the_rollout_of_a_cancelled_release_hears_it_within_a_turn(place: Place) -> None:
    place.production.begin()
    controller = place.production.controller()
    controller.take_over()
    controller.run(lambda _: bool(controller.observer.looks))
    place.runs.put("run-1", "CANCELLED")
    asked_at = place.production.clock.now().timestamp()

    reap_rollout(place.line)
    ended = controller.run(lambda _: False)

    assert ended.verdict is RolloutVerdict.ROLL_BACK
    assert place.production.clock.now().timestamp() - asked_at <= 2.0
    assert place.is_alone()


@pytest.mark.parametrize("name", ["RolledBack", "Inconclusive", "Blocked"])
def test_an_end_that_lockgate_gave_a_run_by_itself_is_nobodys_wish(place: Place, name: str) -> None:
    place.under_way()
    place.runs.put("run-1", "CANCELLED", name)
    assert cancelled_of(place.line, R2, "run-2") is None
    assert reap_rollout(place.line) == []


@pytest.mark.parametrize("state", ["CRASHED", "FAILED"])
def test_a_run_that_crashed_or_failed_is_not_taken_for_cancelled(place: Place, state: str) -> None:
    place.under_way()
    place.runs.put("run-1", state)
    assert reap_rollout(place.line) == []
    assert not place.production.rows(Event.ROLLOUT_ASKED)


def test_one_wish_is_enough_and_none_is_taken_once_it_is_decided(place: Place) -> None:
    place.under_way()
    assert ask_to_abort(place.line, place.found(), by="Prefect", reason="run run-1 was cancelled")
    assert not ask_to_abort(place.line, place.found(), by="Prefect", reason="run run-1 was cancelled")
    end_abandoned(place.line, R2, "nobody carries it on")
    assert not ask_to_abort(place.line, place.found(), by="Prefect", reason="run run-1 was cancelled")


def test_an_abort_that_comes_after_another_wish_nobody_heard_ends_it_without_the_other(place: Place) -> None:
    place.under_way()
    place.production.wish("promote")
    assert ask_to_abort(place.line, place.found(), by="Prefect", reason="run run-1 was cancelled")
    place.production.clock.advance(UNHEARD_S)

    reap_rollout(place.line)

    ended = place.found()
    assert ended.rollout.verdict is RolloutVerdict.INCONCLUSIVE
    assert "aborted by Prefect" in ended.rollout.reason
    assert place.is_alone()
