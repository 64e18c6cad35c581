"""Whatever happens to a rollout, and in whatever order: it moves along its diagram and fails closed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.ids import Digest, ReleaseId, to_json
from lockgate.core.online.guardrails import Decision, Finding, Look, RolloutVerdict, State, decide
from lockgate.core.records import read_record
from lockgate.core.rollout import machine
from lockgate.core.rollout.machine import (
    Began,
    Command,
    End,
    Looked,
    LostRouting,
    PersonAsked,
    Phase,
    Place,
    Placed,
    Promote,
    Promoted,
    PromotionFailed,
    Resumed,
    Return,
    Returned,
    Rollout,
    RolloutEvent,
    Unplaced,
    Wish,
    advance,
    event_json,
    read_event,
)
from lockgate.core.rollout.steps import Course, StepKind, course_of
from lockgate.core.spec_sections.rollout import BanditSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.errors import IntegrityError

SHADOW, PAUSE = StepSection(shadow=1.0, bake_s=20.0), StepSection(pause="look at the map")
LOW, HALF = StepSection(set_weight=0.1, bake_s=20.0), StepSection(set_weight=0.5, bake_s=20.0)


def _course(strategy: str, *steps: StepSection) -> Course:
    bandit = BanditSection(periods=3, period_s=20.0)
    return course_of(RolloutSection(strategy=RolloutStrategy(strategy), steps=steps, bandit=bandit), sd=None)


COURSES = {
    "canary": _course("canary", LOW, HALF),
    "composed": _course("canary", SHADOW, PAUSE, LOW, PAUSE, HALF, PAUSE),
    "shadow": _course("shadow", SHADOW),
    "bandit": _course("bandit", SHADOW),
    "blue_green": _course("blue_green"),
}
START = Rollout.at_start(ReleaseId("toy-0001"), Digest("c" * 64), Digest("a" * 64), began=0.0)
TRUE = {
    Phase.BEGUN: {Phase.PLACING, Phase.PROMOTING, Phase.RETURNING, Phase.ENDED},
    Phase.PLACING: {Phase.BAKING, Phase.PAUSED, Phase.RETURNING, Phase.ENDED},
    Phase.BAKING: {Phase.PLACING, Phase.PAUSED, Phase.PROMOTING, Phase.RETURNING, Phase.ENDED},
    Phase.PAUSED: {Phase.PLACING, Phase.BAKING, Phase.PROMOTING, Phase.RETURNING, Phase.ENDED},
    Phase.PROMOTING: {Phase.RETURNING, Phase.ENDED},
    Phase.RETURNING: {Phase.ENDED},
    Phase.ENDED: set[Phase](),
}
"""The arrows of the diagram, beside staying where one is."""


def _decision(verdict: RolloutVerdict) -> Decision:
    return Decision(verdict=verdict, reason="because", next="then")


NOW = st.just(0.0)
"""Times are put in by `_history`, so that they do not go back."""
EVENTS = st.one_of(
    st.builds(Began, now=NOW),
    st.builds(Placed, now=NOW),
    st.builds(Placed, now=NOW),
    st.builds(Unplaced, now=NOW, reason=st.just("silent")),
    st.builds(
        Looked,
        now=NOW,
        decision=st.sampled_from([*RolloutVerdict, *[RolloutVerdict.CONTINUE] * 6]).map(_decision),
        next_share=st.sampled_from([None, 0.0, 0.3, 0.8, 7.0, -1.0, math.nan, math.inf]),
        blind=st.booleans(),
        clear=st.booleans(),
    ),
    st.builds(
        Looked,
        now=NOW,
        decision=st.sampled_from([RolloutVerdict.CONTINUE, RolloutVerdict.PROMOTE]).map(_decision),
        blind=st.just(False),
        clear=st.just(True),
    ),
    st.builds(
        PersonAsked,
        now=NOW,
        what=st.sampled_from([*Wish, "dance"]),
        by=st.just("ada"),
        reason=st.sampled_from(["", "x"]),
    ),
    st.builds(LostRouting, now=NOW, reason=st.just("409")),
    st.builds(Resumed, now=NOW),
    st.builds(Promoted, now=NOW),
    st.builds(PromotionFailed, now=NOW, reason=st.just("refused")),
    st.builds(Returned, now=NOW),
)
HISTORIES = st.tuples(
    st.sampled_from(sorted(COURSES)),
    st.integers(0, 30),
    st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 1.0, 30.0])), max_size=25),
)
"""A course, how far a good rollout of it goes undisturbed, and what happens then."""
Move = tuple[Course, Rollout, RolloutEvent, Rollout, tuple[Command, ...]]
Moves = tuple[Move, ...]
History = tuple[str, int, list[tuple[RolloutEvent, float]]]
LIVE = (Phase.BEGUN, Phase.PLACING, Phase.BAKING, Phase.PAUSED)


def _moves(name: str, undisturbed: int, events: list[tuple[RolloutEvent, float]]) -> Iterator[Move]:
    """Walk a rollout from its start, well for a while, so that every phase is reached, and then through events."""
    course, rollout, now = COURSES[name], START, 0.0
    for event in _good(name)[:undisturbed]:
        after, commands = advance(course, rollout, event)
        yield course, rollout, event, after, commands
        rollout, now = after, event.now
    for each, passed in events:
        now += passed
        event = replace(each, now=now)
        after, commands = advance(course, rollout, event)
        yield course, rollout, event, after, commands
        rollout = after


@cache
def _good(name: str) -> tuple[RolloutEvent, ...]:
    return _run(COURSES[name], SCRIPTS["good"])[1]


def phases_move_along_the_diagram_alone(moves: Moves) -> None:
    for _, before, event, after, _ in moves:
        assert after.phase is before.phase or after.phase in TRUE[before.phase], (before.phase, event)
        assert 0 <= after.share <= 1
        assert 0 <= after.shadow <= 1


def what_has_ended_stays_as_it_is_and_only_says_so_again(moves: Moves) -> None:
    for _, before, event, after, commands in moves:
        ends = any(isinstance(command, End) for command in commands)
        if before.phase is Phase.ENDED:
            assert after == before
            assert ends == isinstance(event, Resumed)
        else:
            assert ends == (after.phase is Phase.ENDED)


def the_share_never_grows_twice_without_being_placed_in_between(moves: Moves) -> None:
    placed = True
    for _, before, event, after, commands in moves:
        if isinstance(event, Placed) and before.phase is Phase.PLACING:
            placed = True
        if after.share > before.share or after.shadow > before.shadow:
            assert placed
            assert commands == (Place(weight=after.share, shadow=after.shadow),)
            placed = False


def only_clear_guardrails_promote_and_without_a_person_only_after_every_bake(moves: Moves) -> None:
    last: Looked | None = None
    for course, before, event, after, _ in moves:
        if isinstance(event, Looked):
            last = event
        if after.phase is not Phase.PROMOTING or before.phase is Phase.PROMOTING or not course.steps:
            continue
        assert last is not None
        assert last.clear
        assert not last.blind
        if isinstance(event, PersonAsked):
            assert event.what == Wish.PROMOTE
            assert "ada" in after.reason
        else:
            assert isinstance(event, Looked)
            assert event.decision.verdict is RolloutVerdict.PROMOTE
            assert before.held_by is None
            assert before.step == len(course.steps) - 1
            assert event.now - before.step_began >= course.steps[-1].bake_s


def a_blind_look_never_takes_a_step_forward(moves: Moves) -> None:
    for _, before, event, after, _ in moves:
        if isinstance(event, Looked) and event.blind:
            assert after.step == before.step
            assert after.phase is not Phase.PROMOTING or before.phase is Phase.PROMOTING


def harm_and_no_verdict_return_from_wherever_it_stands_and_then_end(moves: Moves) -> None:
    for course, _, event, after, _ in moves:
        for verdict in (RolloutVerdict.ROLL_BACK, RolloutVerdict.INCONCLUSIVE):
            if after.phase not in LIVE:
                continue
            said = Looked(now=event.now, decision=_decision(verdict), blind=False, clear=False)
            returning, commands = advance(course, after, said)
            assert commands == (Return(reason="because"),)
            assert (returning.share, returning.shadow, returning.verdict) == (0.0, 0.0, verdict)
            ended, commands = advance(course, returning, Returned(now=event.now))
            assert commands == (End(verdict=verdict, reason="because"),)
            assert ended.phase is Phase.ENDED


def an_abort_ends_with_the_champion_alone(moves: Moves) -> None:
    for course, _, event, after, _ in moves:
        if after.phase in LIVE:
            asked = PersonAsked(now=event.now, what=Wish.ABORT, by="ada", reason="complaints")
            returning, commands = advance(course, after, asked)
            assert commands == (Return(reason="aborted by ada: complaints"),)
            ended, _ = advance(course, returning, Returned(now=event.now))
            assert (ended.phase, ended.share, ended.shadow) == (Phase.ENDED, 0.0, 0.0)
            assert ended.verdict is RolloutVerdict.ROLL_BACK


def lost_routing_ends_it_without_touching_the_routing(moves: Moves) -> None:
    for course, _, event, after, _ in moves:
        if after.phase is not Phase.ENDED:
            ended, commands = advance(course, after, LostRouting(now=event.now, reason="409"))
            assert ended.phase is Phase.ENDED
            assert [type(command) for command in commands] == [End]
            assert ended.verdict in (RolloutVerdict.INCONCLUSIVE, RolloutVerdict.ROLL_BACK)


def state_and_event_are_read_back_as_they_were_written(moves: Moves) -> None:
    for _, _, event, after, _ in moves:
        assert read_record(Rollout, json.loads(json.dumps(to_json(after)))) == after
        again = json.loads(json.dumps(event_json(event)))
        assert event_json(read_event(again)) == event_json(event)


PROPERTIES = (
    phases_move_along_the_diagram_alone,
    what_has_ended_stays_as_it_is_and_only_says_so_again,
    the_share_never_grows_twice_without_being_placed_in_between,
    only_clear_guardrails_promote_and_without_a_person_only_after_every_bake,
    a_blind_look_never_takes_a_step_forward,
    harm_and_no_verdict_return_from_wherever_it_stands_and_then_end,
    an_abort_ends_with_the_champion_alone,
    lost_routing_ends_it_without_touching_the_routing,
    state_and_event_are_read_back_as_they_were_written,
)


@settings(max_examples=100, deadline=None)
@given(HISTORIES)
def test_whatever_happens_in_whatever_order_every_property_holds(history: History) -> None:
    for holds in PROPERTIES:
        holds(tuple(_moves(*history)))


@pytest.mark.soak
@settings(max_examples=5000, deadline=None)
@given(HISTORIES)
def test_every_property_holds_for_thousands_of_histories(history: History) -> None:
    for holds in PROPERTIES:
        holds(tuple(_moves(*history)))


# -- a world that does what the machine says -------------------------------------------------------------------------

Script = Callable[[Course, Rollout, float], Looked]


def _look(verdict: RolloutVerdict | None) -> Script:
    def look(course: Course, rollout: Rollout, now: float) -> Looked:
        done = machine.steps_done(course, rollout, now)
        said = verdict or (RolloutVerdict.PROMOTE if done else RolloutVerdict.CONTINUE)
        return Looked(now=now, decision=_decision(said), next_share=0.6, blind=False, clear=True)

    return look


def _harm_from(step: int) -> Script:
    def look(course: Course, rollout: Rollout, now: float) -> Looked:
        return _look(RolloutVerdict.ROLL_BACK if rollout.step >= step else None)(course, rollout, now)

    return look


SCRIPTS: dict[str, Script] = {
    "good": _look(None),
    "harmful from the second step": _harm_from(1),
    "nothing is ever told": _look(RolloutVerdict.INCONCLUSIVE),
}


def _answer(command: Command, now: float) -> RolloutEvent | None:
    if isinstance(command, Place):
        return Placed(now=now)
    if isinstance(command, Promote):
        return Promoted(now=now)
    return Returned(now=now) if isinstance(command, Return) else None


def _run(course: Course, script: Script, killed_at: int | None = None) -> tuple[Rollout, tuple[RolloutEvent, ...]]:
    """Carry a rollout out, a look every 5 s and somebody resuming pauses; killed once before the event numbered so."""
    rollout, now, asked, happened = START, 0.0, False, list[RolloutEvent]()
    pending: list[RolloutEvent] = [Began(now=now)]
    while rollout.phase is not Phase.ENDED:
        if len(happened) == killed_at:
            pending = [Resumed(now=now)]  # what was under way is lost with the process
        if pending:
            event = pending.pop(0)
        elif rollout.phase is Phase.PAUSED and asked:
            event = PersonAsked(now=now, what=Wish.RESUME, by="ada", reason="")
        else:
            event, asked = script(course, rollout, now), True
        happened.append(event)
        rollout, commands = advance(course, rollout, event)
        pending += [answer for command in commands if (answer := _answer(command, now)) is not None]
        now += 0.0 if pending else 5.0
        assert len(happened) < 500, "it does not end"
    return rollout, tuple(happened)


@pytest.mark.parametrize("script", sorted(SCRIPTS))
@pytest.mark.parametrize("name", sorted(COURSES))
def test_killed_anywhere_and_taken_over_it_comes_to_the_same_end(name: str, script: str) -> None:
    whole, events = _run(COURSES[name], SCRIPTS[script])
    for killed_at in range(len(events)):
        again, _ = _run(COURSES[name], SCRIPTS[script], killed_at)
        assert (again.phase, again.verdict, again.step) == (whole.phase, whole.verdict, whole.step), killed_at


def test_a_good_rollout_goes_through_every_step_and_promotes() -> None:
    for name, course in COURSES.items():
        ended, events = _run(course, SCRIPTS["good"])
        assert ended.verdict is RolloutVerdict.PROMOTE, name
        assert ended.step == max(len(course.steps) - 1, 0)
        resumed = [event for event in events if isinstance(event, PersonAsked)]
        assert len(resumed) == sum(step.kind is StepKind.PAUSE for step in course.steps), "each pause waits for itself"


def test_harm_at_the_second_step_never_reaches_the_third() -> None:
    ended, _ = _run(COURSES["composed"], SCRIPTS["harmful from the second step"])
    assert (ended.verdict, ended.step) == (RolloutVerdict.ROLL_BACK, 1)


# -- the rules, one by one -------------------------------------------------------------------------------------------


def _baking(course: Course, *events: RolloutEvent) -> Rollout:
    rollout = START
    for event in (Began(now=0.0), Placed(now=1.0), *events):
        rollout, _ = advance(course, rollout, event)
    return rollout


def _said(now: float, verdict: RolloutVerdict = RolloutVerdict.CONTINUE, **more: bool) -> Looked:
    return Looked(now=now, decision=_decision(verdict), **{"blind": False, "clear": True, **more})


def _asks(now: float, what: str) -> PersonAsked:
    return PersonAsked(now=now, what=what, by="ada", reason="")


def test_a_bake_is_counted_from_where_its_routing_was_verified() -> None:
    canary = COURSES["canary"]
    assert _baking(canary, _said(20.9)).step == 0
    assert _baking(canary, _said(21.0)).step == 1


def test_a_blind_look_takes_no_step_forward() -> None:
    rollout = _baking(COURSES["canary"], _said(30.0, blind=True))
    assert (rollout.phase, rollout.step, rollout.clear) == (Phase.BAKING, 0, False)


def test_a_pause_holds_the_step_and_the_promotion_but_not_harm() -> None:
    canary = COURSES["canary"]
    held = _baking(canary, _asks(5.0, Wish.PAUSE), _said(90.0, RolloutVerdict.PROMOTE))
    assert (held.phase, held.step, held.held_by) == (Phase.PAUSED, 0, "ada")
    assert advance(canary, held, _said(91.0, RolloutVerdict.ROLL_BACK))[1] == (Return(reason="because"),)
    resumed, _ = advance(canary, held, _asks(92.0, Wish.RESUME))
    assert (resumed.phase, resumed.held_by) == (Phase.BAKING, None)


def test_a_pause_while_a_step_is_placed_holds_it_once_it_is_in_force() -> None:
    rollout, _ = advance(COURSES["canary"], START, Began(now=0.0))
    for event in (_asks(0.5, Wish.PAUSE), Placed(now=1.0)):
        rollout, _ = advance(COURSES["canary"], rollout, event)
    assert (rollout.phase, rollout.held_by) == (Phase.PAUSED, "ada")


def test_a_promotion_needs_the_last_bake_and_every_guardrail_clear_whatever_was_decided() -> None:
    canary = COURSES["canary"]
    last = _baking(canary, _said(30.0), Placed(now=31.0))
    assert last.step == 1
    promote = RolloutVerdict.PROMOTE
    for look in (_said(50.9, promote), _said(60.0, promote, clear=False), _said(60.0, promote, blind=True)):
        assert advance(canary, last, look)[0].phase is Phase.BAKING
    assert advance(canary, last, _said(51.0, promote))[1] == (Promote(),)


def test_a_person_promotes_only_where_the_last_look_was_clear() -> None:
    canary = COURSES["canary"]
    unseen, unclear = _baking(canary), _baking(canary, _said(3.0), _said(4.0, clear=False))
    taken_over = _baking(canary, _said(3.0), Resumed(now=4.0), Placed(now=5.0))
    between_steps = _baking(canary, _said(30.0))
    assert between_steps.phase is Phase.PLACING
    for rollout in (unseen, unclear, taken_over, between_steps):
        refused, commands = advance(canary, rollout, _asks(31.0, Wish.PROMOTE))
        assert (refused.phase, commands) == (rollout.phase, ())
        assert "refused" in refused.reason
    promoted, commands = advance(canary, _baking(canary, _said(3.0)), _asks(5.0, Wish.PROMOTE))
    assert commands == (Promote(),)
    assert promoted.reason.startswith("promoted by ada")


def test_a_step_that_waits_goes_on_at_the_next_look_that_can_measure() -> None:
    course = COURSES["composed"]
    waiting = _baking(course, _said(30.0))
    assert (waiting.phase, waiting.step, waiting.shadow) == (Phase.PAUSED, 1, 1.0)
    assert "look at the map" in waiting.reason
    released, _ = advance(course, waiting, _asks(40.0, Wish.RESUME))
    assert advance(course, released, _said(41.0, blind=True))[1] == ()
    assert advance(course, released, _said(41.0))[1] == (Place(weight=0.1, shadow=0.0),)


def test_a_second_pause_waits_too_though_the_process_changes() -> None:
    course = COURSES["composed"]
    waiting = _baking(
        course, _said(30.0), _asks(31.0, Wish.RESUME), _said(32.0), Placed(now=33.0), _said(60.0), Resumed(now=61.0)
    )
    assert (waiting.phase, waiting.step) == (Phase.PLACING, 3)
    assert advance(course, waiting, Placed(now=62.0))[0].phase is Phase.PAUSED


def test_a_bandits_period_takes_the_share_that_rewards_say_up_to_its_floor() -> None:
    course = COURSES["bandit"]
    first = _baking(course, _said(30.0), Placed(now=31.0))
    assert first.share == 0.5
    for asked, given_ in ((0.3, 0.3), (0.99, 0.9), (-1.0, 0.0), (None, 0.5), (math.nan, 0.5)):
        look = replace(_said(60.0), next_share=asked)
        assert advance(course, first, look)[0].share == given_


def test_a_step_that_could_not_be_placed_or_a_switch_that_failed_goes_back() -> None:
    canary = COURSES["canary"]
    placing, _ = advance(canary, START, Began(now=0.0))
    returning, _ = advance(canary, placing, Unplaced(now=1.0, reason="silent"))
    assert (returning.phase, returning.verdict) == (Phase.RETURNING, RolloutVerdict.INCONCLUSIVE)
    promoting, _ = advance(COURSES["blue_green"], START, Began(now=0.0))
    returning, commands = advance(COURSES["blue_green"], promoting, PromotionFailed(now=1.0, reason="others answer"))
    assert returning.verdict is RolloutVerdict.ROLL_BACK
    assert commands == (Return(reason="the switch was not verified: others answer"),)


def test_an_abort_comes_too_late_once_it_promotes() -> None:
    promoting = _baking(COURSES["canary"], _said(3.0), _asks(5.0, Wish.PROMOTE))
    assert advance(COURSES["canary"], promoting, _asks(6.0, Wish.ABORT)) == (promoting, ())


def test_a_look_is_clear_only_where_every_declared_guardrail_is() -> None:
    canary = COURSES["canary"]
    findings = tuple(
        Finding(guardrail=name, state=State.CLEAR, observed=0.0, threshold=1.0, reason="") for name in canary.guardrails
    )
    whole = Look(share=0.1, challenger_requests=9, champion_requests=9, findings=findings)
    absent = replace(whole, findings=findings[1:])
    no_data = replace(whole, findings=(replace(findings[0], state=State.NO_DATA), *findings[1:]))
    dead = replace(whole, challenger_requests=0)
    told = [machine.looked(canary, look, decide([look]), now=1.0) for look in (whole, absent, no_data, dead)]
    assert [(each.clear, each.blind) for each in told] == [(True, False), (False, True), (False, False), (False, True)]


def test_what_is_no_event_is_refused_by_name() -> None:
    with pytest.raises(IntegrityError, match="'flown' is no event of a rollout"):
        read_event({"kind": "flown", "now": 1.0})
