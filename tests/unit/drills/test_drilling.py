"""A drill passes only where the fault was seen, undone in time, proved from live answers, and nothing was lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lockgate.core.drills import DrillVerdict, Fault, Mode
from lockgate.core.ids import Digest, ModelName
from lockgate.core.ledger import Event
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.routing import CHALLENGER, Routed, Routing
from lockgate.core.spec import DrillSection, GuardrailsSection, RolloutSection, ScoreGuardrail
from lockgate.errors import BadInput, TransientError
from lockgate.ports import Readback
from lockgate.stages.drill_upkeep import clear_dead_drills, tell_of_drills
from lockgate.stages.drilling import drill
from lockgate.stages.traffic import switch_traffic
from tests.fakes import FakeLedger, FakeOutbox
from tests.unit.drills.ground import COPY, SECTION, Drills, FakeProber, Target, made
from tests.unit.promote.killing import Killed, Killer
from tests.unit.rollout.world import MODEL, R2, A, B


@pytest.mark.parametrize("mode", list(Mode))
def test_a_fault_is_seen_undone_and_proved_within_seconds(mode: Mode) -> None:
    drills = Drills()
    result = drills.drill(mode=mode)
    assert (result.verdict, result.passed) == (DrillVerdict.PASSED, True), result.reason
    times = result.times_s
    assert None not in (times.detected, times.decided, times.switched, times.restored)
    assert (times.restored or 99) <= 10
    routed = drills.production.router.routed(MODEL)
    assert routed is not None
    assert (routed.champion, routed.weight, routed.shadow) == (A, 0.0, 0.0)
    assert drills.copies.there == set()


def test_the_copy_stands_where_the_mode_says() -> None:
    for mode, planted in ((Mode.SHADOW, (0.0, 1.0)), (Mode.PRODUCTION, (0.05, 0.0))):
        drills = Drills()
        drills.drill(mode=mode)
        first = drills.production.router.placed[0]
        assert (first.challenger, first.weight, first.shadow) == (COPY, *planted)
        assert drills.allowed == [(A,) if mode is Mode.SHADOW else (A, COPY)]


def test_each_drill_has_an_id_and_a_row_of_its_own_and_all_are_kept() -> None:
    drills = Drills()
    assert [drills.drill().drill for _ in range(2)] == ["toy-drill-0001", "toy-drill-0002"]
    kept = drills.rows(Event.DRILL)
    assert [row.payload["drill"] for row in kept] == [row.release for row in kept]
    assert all(row.payload["run"] == "run-7" and row.payload["requests_per_s"] == 50 for row in kept)


def test_a_fault_that_nobody_sees_fails_the_drill_and_the_champion_is_back() -> None:
    drills = Drills(production=made(rate=50))  # the copy answers as well as the champion
    result = drills.drill()
    assert result.verdict is DrillVerdict.FAILED
    assert "no guardrail saw the fault" in result.reason
    routed = drills.production.router.routed(MODEL)
    assert routed is not None
    assert (routed.weight, routed.shadow) == (0.0, 0.0)


def test_a_faulty_copy_that_looks_well_is_not_promoted_however_long_it_is_watched() -> None:
    drills = Drills(production=made(rate=400))
    drills.drill(mode=Mode.PRODUCTION)
    assert drills.production.champion() == A
    assert not [row for row in drills.rows(Event.TRAFFIC_INTENDED) if row.payload["to"] == COPY]


def test_a_lost_request_fails_the_drill() -> None:
    result = Drills(prober=FakeProber(lost=1, problems=["status 503"])).drill()
    assert result.verdict is DrillVerdict.FAILED
    assert result.reason == "1 request was lost meanwhile; status 503"


def test_a_request_on_which_the_champion_failed_by_the_log_is_lost() -> None:
    result = Drills(production=made(rate=50, fails={CHALLENGER: 0.9, "champion": 0.3})).drill()
    assert result.lost > 0
    assert result.verdict is DrillVerdict.FAILED
    assert "the champion failed on" in result.reason


@pytest.mark.parametrize(("delay_s", "told"), [(0.7, "the switch took 0.7"), (10.0, "10 s are allowed")])
def test_a_slow_way_back_fails_the_drill(delay_s: float, told: str) -> None:
    drills = Drills()
    route = drills.production.router.route

    def slowly(model: ModelName, routing: Routing) -> Routed:
        if routing.challenger is None:
            drills.production.clock.advance(delay_s)
        return route(model, routing)

    drills.production.router.route = slowly  # type: ignore[method-assign]  # a slow server
    result = drills.drill()
    assert result.verdict is DrillVerdict.FAILED
    assert told in result.reason


def test_answers_of_another_bundle_after_the_switch_are_no_restoration() -> None:
    drills = Drills()
    strange = Readback(sequence=99, answers=(B,))
    target = Target(drills.production)
    target.readback = lambda *_: strange  # type: ignore[method-assign]  # a worker that did not follow
    ground = replace(drills.ground, target=target)  # type: ignore[arg-type]  # as in `Drills`
    found = drill(ground, Fault.ERRORS, Mode.SHADOW, run="run-7")
    assert found.verdict is DrillVerdict.FAILED
    assert "live answers" in found.reason


def test_without_traffic_nothing_is_planted_and_the_drill_is_inconclusive() -> None:
    drills = Drills(production=made(rate=0))
    result = drills.drill()
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    assert "no traffic" in result.reason
    assert drills.copies.made == []
    assert drills.production.router.placed == []


def test_traffic_too_thin_to_see_the_fault_in_time_is_inconclusive_before_anything_is_planted() -> None:
    result = Drills(production=made(rate=2, fails={CHALLENGER: 0.5})).drill(mode=Mode.PRODUCTION)
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    assert "2.0 requests a second" in result.reason


def test_traffic_that_stops_after_the_fault_is_inconclusive() -> None:
    drills = Drills()

    def stop(_now: float) -> None:
        drills.production.rate = 0

    drills.production.on_second = stop
    result = drills.drill()
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    assert "could not measure" in result.reason


def test_a_copy_that_a_dead_drill_left_is_removed_by_the_next_one() -> None:
    drills = Drills()
    drills.copies.there.add(Digest("e" * 64))
    drills.drill()
    assert drills.copies.there == set()


def test_a_rollout_under_way_is_not_disturbed() -> None:
    drills = Drills()
    drills.production.begin()
    result = drills.drill()
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    assert f"rollout of {R2} is under way" in result.reason
    assert drills.copies.made == []


def test_another_controller_that_takes_over_is_left_alone() -> None:
    drills = Drills(production=made(rate=50))
    seconds = iter(range(99))

    def promote(_now: float) -> None:
        if next(seconds) == 8:
            drills.production.router.somebody_else(MODEL, B)

    drills.production.on_second = promote
    result = drills.drill()
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    routed = drills.production.router.routed(MODEL)
    assert routed is not None
    assert routed.champion == B


def test_a_model_without_a_champion_is_not_drilled_and_nothing_is_written() -> None:
    drills = Drills()
    drills.production.ledger = FakeLedger()
    result = drills.drill()
    assert result.verdict is DrillVerdict.INCONCLUSIVE
    assert "no champion" in result.reason
    assert drills.rows() == ()


@pytest.mark.parametrize(
    ("section", "fault", "mode", "named"),
    [
        (RolloutSection(), Fault.WRONG, Mode.SHADOW, "rollout.guardrails.score"),
        (RolloutSection(guardrails=GuardrailsSection(latency=None)), Fault.LATENCY, Mode.SHADOW, "guardrails.latency"),
        (RolloutSection(), Fault.ERRORS, Mode.PRODUCTION, "rollout.drill.production"),
    ],
)
def test_what_cannot_be_drilled_is_refused_naming_the_key(
    section: RolloutSection, fault: Fault, mode: Mode, named: str
) -> None:
    drills = Drills(section=section)
    with pytest.raises(BadInput, match=named):
        drills.drill(fault, mode)
    assert drills.rows(Event.DRILL) == ()


def test_wrong_answers_are_seen_where_the_spec_watches_scores() -> None:
    guardrails = GuardrailsSection(latency=None, score=ScoreGuardrail(tolerated=0.1))
    drills = Drills(section=replace(SECTION, guardrails=guardrails), production=made(rate=50))
    answer = drills.production._answer

    def wrong(now: float, arm: str, propensity: float, *, shadow: bool = False) -> Observation:
        found = answer(now, arm, propensity, shadow=shadow)
        return replace(found, scores=(0.9,), labels=("yes",)) if arm == CHALLENGER else found

    drills.production._answer = wrong  # type: ignore[method-assign]
    result = drills.drill(Fault.WRONG)
    assert result.verdict is DrillVerdict.PASSED, result.reason


# -- killed in the middle ----------------------------------------------------------------------------------------------


def _kill_after_planting() -> Drills:
    drills = Drills()
    count = Killer()
    Drills(killer=count).drill()
    planted = count.names.index("route")
    drills.killer = Killer(at=planted, after=True)
    with pytest.raises(Killed):
        drills.drill()
    drills.killer = Killer()
    return drills


def _clear(drills: Drills) -> tuple[str, ...]:
    production = drills.production
    return clear_dead_drills(
        production.ledger,
        production.router,
        Target(production),  # type: ignore[arg-type]  # as in `Drills`
        MODEL,
        clock=production.clock,
        remove=drills.copies.remove,
    )


def test_a_drill_that_dies_in_the_middle_leaves_the_champion_alone_with_its_lease() -> None:
    drills = _kill_after_planting()
    drills.production.clock.advance(10.5)
    routed = drills.production.router.routed(MODEL)
    assert routed is not None
    assert (routed.champion, routed.weight, routed.shadow) == (A, 0.0, 0.0)


def test_a_dead_drill_is_written_down_as_failed_once_and_cleared_away() -> None:
    drills = _kill_after_planting()
    drills.copies.there.add(COPY)  # a process that is gone has removed nothing
    assert _clear(drills) == ()  # it may still live
    drills.production.clock.advance(61)
    assert len(_clear(drills)) == 1
    assert _clear(drills) == ()
    (row,) = drills.rows(Event.DRILL)
    assert (row.payload["verdict"], row.payload["passed"], row.payload["fault"]) == ("failed", False, "errors")
    assert "died in the middle" in str(row.payload["reason"])
    asked = drills.production.router.asked(MODEL)
    assert asked is not None
    assert asked.challenger is None
    assert drills.copies.there == set()


def test_a_drill_that_may_still_live_is_waited_for_and_a_dead_one_is_not() -> None:
    drills = _kill_after_planting()
    assert "one drill at a time" in drills.drill().reason
    drills.production.clock.advance(61)
    _clear(drills)
    assert drills.drill().verdict is DrillVerdict.PASSED


def test_killed_at_any_call_the_next_drill_passes() -> None:
    count = Killer()
    Drills(killer=count).drill()
    for at in range(0, count.calls, 7):
        drills = Drills(killer=Killer(at=at, after=at % 2 == 0))
        with pytest.raises(Killed):
            drills.drill()
        drills.killer = Killer()
        drills.production.clock.advance(61)
        _clear(drills)
        assert drills.drill().verdict is DrillVerdict.PASSED, f"killed at call {at}: {count.names[at]}"
        assert drills.production.champion() == A


def test_a_server_that_falls_silent_is_gone_back_from_when_it_speaks_again() -> None:
    drills = Drills()
    seconds = iter(range(999))

    def silence(_now: float) -> None:
        drills.production.router.down = 1 <= next(seconds) < 20

    drills.production.on_second = silence
    result = drills.drill()
    routed = drills.production.router.routed(MODEL)
    assert routed is not None
    assert (routed.weight, routed.shadow) == (0.0, 0.0)
    assert result.verdict is DrillVerdict.FAILED
    assert "the switch took" in result.reason


def test_a_ledger_that_does_not_answer_leaves_no_copy_behind() -> None:
    drills = Drills()
    seconds = iter(range(999))

    def silence(_now: float) -> None:
        drills.production.ledger.down = next(seconds) >= 1

    drills.production.on_second = silence
    with pytest.raises(TransientError):
        drills.drill()
    assert drills.copies.there == set()


# -- due ---------------------------------------------------------------------------------------------------------------


def _told(drills: Drills, outbox: FakeOutbox) -> tuple[str, ...]:
    production = drills.production
    return tell_of_drills(production.ledger, outbox, MODEL, drills.section, production.clock.now(), "operations desk")


def test_a_drill_that_is_due_is_told_once_a_day_on_record_and_to_people() -> None:
    drills, outbox = Drills(), FakeOutbox()
    assert _told(drills, outbox) == ()
    drills.production.clock.time += timedelta(days=31)
    assert len(_told(drills, outbox)) == 1
    assert _told(drills, outbox) == ()
    drills.production.clock.time += timedelta(days=1)
    assert len(_told(drills, outbox)) == 1
    assert [row.payload["next"] for row in drills.rows(Event.ALERT)] == ["lockgate drill toy"] * 2
    assert "for 31 days none has passed" in outbox.messages[0].body


def test_a_passed_drill_ends_the_alerts_and_a_failed_one_raises_one_at_once() -> None:
    drills, outbox = Drills(), FakeOutbox()
    drills.production.clock.time += timedelta(days=31)
    drills.drill()
    assert _told(drills, outbox) == ()
    drills.prober.lost = 1
    drills.drill()
    assert "failed: 1 request was lost" in _told(drills, outbox)[0]


def test_who_switches_blue_green_and_never_drilled_is_not_reminded() -> None:
    drills, outbox = Drills(section=RolloutSection()), FakeOutbox()
    drills.production.clock.time += timedelta(days=400)
    assert _told(drills, outbox) == ()
    drills.production.rate = 0
    drills.drill()  # a schedule that met no traffic
    assert _told(drills, outbox) == ()
    drills.production.rate = 50
    drills.drill()
    drills.production.clock.time += timedelta(days=31)
    assert len(_told(drills, outbox)) == 1


def test_a_model_without_a_champion_needs_no_drill() -> None:
    drills, outbox = Drills(section=replace(SECTION, drill=DrillSection(every_days=1))), FakeOutbox()
    drills.production.ledger = FakeLedger(clock=drills.production.clock)
    drills.production.clock.time += timedelta(days=3)
    assert _told(drills, outbox) == ()


def test_an_audit_finds_a_faulty_copy_that_somebody_switched_to() -> None:
    from lockgate.stages.audit_release import audit_releases

    drills = Drills()
    switch_traffic(drills.production.switch(), R2, Digest(COPY), why="a mistake")
    found = [each.message for each in audit_releases(drills.rows())]
    assert any("bless" in message for message in found), found
