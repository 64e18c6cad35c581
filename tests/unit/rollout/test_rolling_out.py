"""The controller against a production in memory: promoted, rolled back, inconclusive, and killed around every call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.spec import StepSection
from lockgate.stages.audit_rollout import audit_rollouts
from tests.unit.promote.killing import Killed, Killer
from tests.unit.rollout.world import CANARY, MODEL, A, B, Production


def carried(production: Production, killer: Killer | None = None) -> Rollout:
    """Carry a rollout to its end in one process."""
    controller = production.controller(killer)
    controller.take_over()
    return controller.run(lambda _: False)


def begun(**how: object) -> Production:
    production = Production(**how)  # type: ignore[arg-type]  # the fields of the dataclass
    production.begin()
    return production


def test_an_equal_challenger_goes_through_every_step_and_becomes_champion() -> None:
    production = begun()

    ended = carried(production)

    assert (ended.verdict, production.champion()) == (RolloutVerdict.PROMOTE, B), ended.reason
    asked = [(row.payload["weight"], row.payload["shadow"]) for row in production.rows(Event.ROUTING_VERIFIED)]
    assert asked == [(0.0, 1.0), (0.2, 0.0), (0.5, 0.0)]
    assert production.rows(Event.ROLLOUT_ENDED)[0].payload["verdict"] == "promote"
    assert production.kept.held is None


def test_a_challenger_that_fails_is_taken_back_and_the_champion_answers_alone() -> None:
    production = begun(fails={CHALLENGER: 0.3})

    ended = carried(production)

    assert ended.verdict is RolloutVerdict.ROLL_BACK
    assert "errors" in ended.reason
    assert production.champion() == A
    last = production.router.asked(MODEL)
    assert last is not None
    assert (last.challenger, last.weight, last.shadow) == (None, 0.0, 0.0)
    assert production.rows(Event.ROUTING_VERIFIED)[-1].payload["answers"] == 3


def test_harm_is_answered_before_the_next_look_is_due() -> None:
    production = begun(
        section=replace(CANARY, steps=(StepSection(set_weight=0.5, bake_s=300.0),), look_s=60.0, max_duration_s=900.0),
        fails={CHALLENGER: 0.5},
    )
    ended = carried(production)
    took_s = production.clock.now().timestamp() - ended.began
    assert ended.verdict is RolloutVerdict.ROLL_BACK
    assert took_s < 10, f"half of the challenger's requests failed for {took_s} s"


def test_without_traffic_the_champion_stays() -> None:
    production = begun(rate=0)
    ended = carried(production)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)
    assert "no request" in ended.reason


def test_a_log_that_cannot_be_read_is_no_evidence() -> None:
    production = begun()
    controller = production.controller()
    controller.take_over()
    production.log.down = True
    ended = controller.run(lambda _: False)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)


def test_a_server_that_refuses_the_challenger_keeps_the_champion() -> None:
    production = begun()
    production.router.known = {A}
    ended = carried(production)
    assert (ended.verdict, production.champion()) == (RolloutVerdict.INCONCLUSIVE, A)
    assert "refused" in ended.reason


def test_a_rollback_by_hand_ends_the_rollout_without_touching_the_routing() -> None:
    production = begun()

    def by_hand(now: float) -> None:
        record = production.record()
        if record is not None and record.rollout.step == 1 and record.rollout.phase is Phase.BAKING:
            production.router.somebody_else(MODEL, A)
            production.on_second = lambda _: None
            assert now

    production.on_second = by_hand
    ended = carried(production)
    assert ended.verdict is RolloutVerdict.INCONCLUSIVE
    assert "somebody else" in ended.reason
    assert production.router.placed[-1].weight == 0.2, "it was put in place again over somebody else's word"


@pytest.mark.parametrize(
    ("what", "verdict"), [("abort", RolloutVerdict.ROLL_BACK), ("promote", RolloutVerdict.PROMOTE)]
)
def test_a_persons_word_is_heard_within_a_turn(what: str, verdict: RolloutVerdict) -> None:
    production = begun()
    said: list[float] = []

    def speak(now: float) -> None:
        record = production.record()
        if record is not None and record.rollout.step == 1 and record.rollout.looks > 6 and not said:
            production.wish(what)
            said.append(now)

    production.on_second = speak
    ended = carried(production)
    assert ended.verdict is verdict, ended.reason
    assert production.clock.now().timestamp() - said[0] <= 2.0
    assert "ada" in ended.reason


def test_a_paused_rollout_holds_its_step_and_goes_on_when_resumed() -> None:
    production = begun()
    told: list[str] = []

    def speak(now: float) -> None:
        record = production.record()
        if record is None:
            return
        if not told and record.rollout.step == 1 and record.rollout.phase is Phase.BAKING:
            production.wish("pause")
            told.append(f"{now}")
        elif told and len(told) < 2 and now - float(told[0]) > 100:
            assert record.rollout.phase is Phase.PAUSED
            assert record.rollout.step == 1
            production.wish("resume")
            told.append("resumed")

    production.on_second = speak
    ended = carried(production)
    assert len(told) == 2
    assert (ended.verdict, production.champion()) == (RolloutVerdict.PROMOTE, B), ended.reason


def test_a_lease_is_never_older_than_a_turn_while_the_controller_lives() -> None:
    production = begun()
    oldest = [0.0]

    def measure(_now: float) -> None:
        seen = production.router._really(MODEL)
        if seen.weight or seen.shadow:
            oldest[0] = max(oldest[0], production.course.lease_s - seen.lease_left_s)

    production.on_second = measure
    carried(production)
    assert 0 < oldest[0] <= 2.0


def ways_to_die(most: int) -> Iterator[Killer]:
    for at in range(0, most, 7):
        yield Killer(at=at, after=False)
        yield Killer(at=at + 3, after=True)


def quick(fails: float) -> Production:
    section = replace(
        CANARY,
        steps=(StepSection(set_weight=0.5, bake_s=4.0),),
        look_s=1.0,
        plan=replace(CANARY.plan, margin=0.2, looks=(1.0,)),
    )
    return begun(section=section, fails={CHALLENGER: fails}, rate=60)


@pytest.mark.parametrize(("fails", "verdict"), [(0.0, RolloutVerdict.PROMOTE), (0.6, RolloutVerdict.ROLL_BACK)])
def test_killed_around_any_call_the_next_process_comes_to_the_same_end(fails: float, verdict: RolloutVerdict) -> None:
    whole = Killer()
    assert carried(quick(fails), whole).verdict is verdict
    assert whole.calls > 20
    died = 0
    for killer in ways_to_die(whole.calls):
        production = quick(fails)
        try:
            carried(production, killer)
        except Killed:
            died += 1
            production.sleep(production.course.lease_s + 1)  # nobody renews: the champion alone
            seen = production.router.asked(MODEL)
            assert seen is None or production.router._really(MODEL).weight == 0
        again = production.controller()
        again.take_over()
        ended = again.run(lambda _: False)
        assert ended.verdict is verdict, f"killed at {killer.at} ({killer.names[-1]}): {ended.reason}"
        assert production.champion() == (B if verdict is RolloutVerdict.PROMOTE else A)
        assert len(production.rows(Event.ROLLOUT_ENDED)) == 1
    assert died > 5


@pytest.mark.parametrize("how", [{}, {"fails": {CHALLENGER: 0.3}}, {"rate": 0}])
def test_the_auditor_comes_to_what_the_controller_decided(how: dict[str, object]) -> None:
    production = begun(**how)
    carried(production)
    rows = production.ledger.rows(MODEL)
    assert list(audit_rollouts(rows)) == []
    at = next(index for index, row in reversed(list(enumerate(rows))) if row.event is Event.ROLLOUT_LOOK)
    decided = rows[at].payload["decision"]
    assert isinstance(decided, dict)
    other = {**decided, "verdict": "promote" if decided["verdict"] != "promote" else "continue"}
    doctored = replace(rows[at], payload={**rows[at].payload, "decision": other})
    assert list(audit_rollouts((*rows[:at], doctored, *rows[at + 1 :])))
