"""The controller where processes overlap, stall and come back: one carries on, a bake is a bake, nothing old counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.core.ids import Json, to_json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Phase, Resumed, Rollout
from lockgate.core.rollout.state import read_event
from lockgate.core.spec import StepSection
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.stages.audit_rollout import audit_rollouts
from lockgate.stages.reading_log import CATCH_UP_S
from tests.unit.rollout.world import CANARY, MODEL, R2, A, B, Production

LONG = replace(CANARY, steps=(StepSection(set_weight=0.5, bake_s=60.0),), max_duration_s=900.0)


def begun(**how: object) -> Production:
    production = Production(**how)  # type: ignore[arg-type]  # the fields of the dataclass
    production.begin()
    return production


def test_what_an_earlier_rollout_of_the_release_counted_is_not_evidence_for_the_next() -> None:
    production = begun()
    first = production.controller()
    first.take_over()
    first.run(lambda _: bool(first.observer.looks))
    left = production.kept.held
    production.wish("abort")
    first.run(lambda _: False)
    production.kept.held = left  # as where the process died between the row of its end and clearing away

    production.begin()
    second = production.controller()

    assert second.tally.counted(0.0).champion_entities == 0
    assert production.kept.held is None


def test_a_step_whose_lease_had_lapsed_is_baked_anew() -> None:
    production = begun(section=LONG)
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: len(controller.observer.looks) == 2)
    before = controller.rollout.step_began

    production.sleep(100.0)  # the process stood still; long before it went on the champion answered alone
    controller.turn()

    moves = [read_event(row.payload["event"]) for row in production.rows(Event.ROLLOUT_MOVED)]
    assert any(isinstance(each, Resumed) for each in moves)
    assert controller.rollout.phase is Phase.BAKING
    assert controller.rollout.step_began >= before + 100.0
    assert list(audit_rollouts(production.ledger.rows(MODEL))) == []


def test_of_two_processes_that_carry_one_rollout_one_stands_down_and_writes_nothing() -> None:
    production = begun()
    first = production.controller()
    first.take_over()
    first.run(lambda _: len(first.observer.looks) == 1)
    second = production.controller()  # as where a run is retried whose process still lives
    second.take_over()
    second.run(lambda _: len(second.observer.looks) == 2)

    with pytest.raises(LedgerConflict, match="another process"):
        first.run(lambda _: False)
    ended = second.run(lambda _: False)

    assert (ended.verdict, production.champion()) == (RolloutVerdict.PROMOTE, B), ended.reason
    assert len(production.rows(Event.ROLLOUT_ENDED)) == 1
    assert list(audit_rollouts(production.ledger.rows(MODEL))) == []


def test_one_that_stood_still_while_another_went_a_step_on_does_not_end_its_rollout() -> None:
    production = begun()
    first = production.controller()
    first.take_over()
    first.run(lambda _: len(first.observer.looks) == 1)
    second = production.controller()
    second.take_over()
    second.run(lambda rollout: rollout.step == 1)  # another sequence is served now

    with pytest.raises(LedgerConflict, match="another process"):
        first.turn()

    assert production.rows(Event.ROLLOUT_ENDED) == ()
    assert production.kept.held is not None


def test_a_rollout_that_ended_by_its_row_alone_says_how() -> None:
    production = begun()
    end = {"verdict": "inconclusive", "reason": "refused: no traffic"}
    production.ledger.append(MODEL, Event.ROLLOUT_ENDED, end, release=R2)

    found = production.record()

    assert found is not None
    assert (found.ended, found.rollout.phase) == (True, Phase.ENDED)
    assert (found.rollout.verdict, found.rollout.reason) == (RolloutVerdict.INCONCLUSIVE, "refused: no traffic")


def test_one_approval_of_two_is_no_approval_to_the_auditor() -> None:
    production = Production()
    ledger = production.ledger
    spec: dict[str, Json] = {"rollout": to_json(production.section)}
    ledger.append(MODEL, Event.RELEASE_OPENED, {"resolved_spec": spec}, release=R2)
    given: dict[str, Json] = {"approver": "ada", "needed": 2, "complete": False}
    ledger.append(MODEL, Event.APPROVAL_GIVEN, given, release=R2)
    rollout = Rollout.at_start(R2, B, A, began=production.clock.now().timestamp())
    ledger.append(MODEL, Event.ROLLOUT_BEGUN, record.begun_payload(production.course, rollout, salt="s"), release=R2)

    told = " ".join(str(each) for each in audit_rollouts(ledger.rows(MODEL)))

    assert "without an approval" in told


def test_a_rollout_whose_tally_is_gone_is_not_carried_on_as_if_nothing_had_been_seen() -> None:
    production = begun()
    first = production.controller()
    first.take_over()
    first.run(lambda _: len(first.observer.looks) == 3)
    production.kept.drop()

    with pytest.raises(IntegrityError, match="was counted"):
        production.controller()


def test_nothing_is_decided_on_a_log_that_is_still_being_caught_up_with() -> None:
    production = begun()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: len(controller.observer.looks) == 1)
    read = production.log.read
    production.log.read = lambda model, cursor: replace(read(model, cursor), behind=True)  # type: ignore[method-assign]

    for _ in range(100):
        controller.turn()
        production.sleep(1.0)
    assert (len(controller.observer.looks), controller.rollout.step) == (1, 0)

    ended = controller.run(lambda _: False)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)
    assert production.clock.now().timestamp() - ended.began < production.course.max_duration_s + CATCH_UP_S + 30.0
