"""Several challengers beside one champion: at most one is promoted, harm takes out one alone, whatever is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.machine import Chosen, Outdone, Phase, Resumed
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.rollout.state import read_event
from lockgate.core.spec import StepSection
from lockgate.errors import RolloutAborted, TransientError
from lockgate.stages.audit_rollout import audit_rollouts
from tests.unit.promote.killing import Killed, Killer
from tests.unit.rollout.rollouts_on_record import doctored, with_payload
from tests.unit.rollout.several_world import CHALLENGERS, R2, R3, R4, SPLIT, SharedProduction, of_three, of_two
from tests.unit.rollout.world import MODEL, A

B, C, D = CHALLENGERS.values()
PROMOTE, BACK, OPEN = RolloutVerdict.PROMOTE, RolloutVerdict.ROLL_BACK, RolloutVerdict.INCONCLUSIVE


def messages(production: SharedProduction) -> list[str]:
    return [each.message for each in audit_rollouts(production.ledger.rows(MODEL))]


def events(production: SharedProduction, release: ReleaseId) -> list[object]:
    rows = production.ledger.rows(MODEL, release=release, events=(Event.ROLLOUT_MOVED,))
    return [read_event(row.payload["event"]) for row in rows]


def wished_by_hand() -> SharedProduction:
    """Return three of which a person promotes the last, as soon as it is clear."""
    production = of_three()
    wished = iter([R4])

    def once_clear(_now: float) -> None:
        if production.record(R4).rollout.clear:
            for release in wished:
                production.wish(release, "promote")

    production.on_second = once_clear
    return production


# -- who is promoted ---------------------------------------------------------------------------------------------------


def test_of_those_that_pass_the_best_is_promoted_and_the_others_end_naming_it() -> None:
    production = of_three(fails={A: 0.1, B: 0.1, C: 0.0, D: 0.1}, section=replace(SPLIT, plan=replace(SPLIT.plan)))

    production.carry()

    assert production.verdicts() == {R2: OPEN, R3: PROMOTE, R4: OPEN}
    assert production.champion() == C
    assert [R3 in production.record(each).rollout.reason for each in (R2, R4)] == [True, True]
    effects = {each: production.record(each).effects[-1].value for each in CHALLENGERS}
    assert effects[R3] == min(effects.values())
    assert messages(production) == []


def test_of_equal_estimates_the_older_release_is_promoted() -> None:
    production = of_two()

    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: OPEN}
    assert production.promoted == [R2]


def test_one_that_does_harm_is_taken_out_alone_and_nobody_elses_share_changes() -> None:
    production = of_three(fails={C: 0.4})

    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: BACK, R4: OPEN}
    after = next(each for each in production.router.placed if any(arm.bundle == A for arm in each.arms))
    assert [(each.name, each.bundle, each.weight) for each in after.arms] == [
        (f"{CHALLENGER}-1", B, 0.25),
        (f"{CHALLENGER}-2", A, 0.25),
        (f"{CHALLENGER}-3", D, 0.25),
    ]
    assert not any(isinstance(each, Resumed) for release in (R2, R4) for each in events(production, release))
    assert messages(production) == []


def test_one_that_passed_waits_serves_and_is_rolled_back_when_it_does_harm_meanwhile() -> None:
    production = of_two()

    def once_passed(now: float) -> None:
        if now % 5 < 1 and B not in production.fails and production.record(R2).rollout.passed:
            production.fails[B] = 0.5

    production.on_second = once_passed
    production.wish(R3, "pause")  # who is held has not passed, so the other waits

    production.carry()

    assert production.verdicts() == {R2: BACK, R3: OPEN}
    assert production.champion() == A
    assert messages(production) == []


def test_one_that_passed_is_not_promoted_while_what_it_did_since_is_unread() -> None:
    production = of_two()
    production.wish(R3, "pause")  # who is held has not passed, so the other waits
    passed_at, aborted = list[float](), iter([R3])

    def flooded(now: float) -> None:
        if not passed_at and production.record(R2).rollout.passed:
            passed_at.append(now)
            production.fails[B] = 0.5
            for _ in range(400):  # twenty seconds' worth of reading
                production.log.put()
        if passed_at and now > passed_at[0] + 8:
            for release in aborted:
                production.wish(release, "abort")

    production.on_second = flooded

    production.carry()

    assert production.verdicts() == {R2: BACK, R3: BACK}
    assert production.champion() == A
    assert messages(production) == []


def test_one_that_is_held_until_time_is_up_ends_and_the_one_that_waited_is_promoted() -> None:
    production = of_two()
    production.wish(R3, "pause")

    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: OPEN}
    assert "only one left" in next(each.reason for each in events(production, R2) if isinstance(each, Chosen))
    assert messages(production) == []


def test_without_traffic_every_one_is_inconclusive_and_the_champion_stays() -> None:
    production = of_three(rate=0)

    production.carry()

    assert set(production.verdicts().values()) == {OPEN}
    assert (production.champion(), production.promoted) == (A, [])
    asked = production.router.asked(MODEL)
    assert asked is not None
    assert asked.arms == ()
    assert messages(production) == []


def test_where_none_can_be_shown_in_time_none_is_promoted() -> None:
    production = of_three(rate=4, section=replace(SPLIT, max_duration_s=60.0))

    production.carry()

    assert set(production.verdicts().values()) == {OPEN}
    assert production.promoted == []


def test_where_the_promotion_fails_nobody_else_is_promoted_in_its_place() -> None:
    def refused(release: ReleaseId) -> None:
        raise RolloutAborted(f"live answers are not those of {release}")

    production = of_three(refusing=refused)

    production.carry()

    assert production.verdicts() == {R2: BACK, R3: OPEN, R4: OPEN}
    assert (production.champion(), production.promoted) == (A, [R2])
    assert "not verified" in production.record(R2).rollout.reason
    assert messages(production) == []


def test_who_is_promoted_by_hand_ends_the_others_first() -> None:
    production = wished_by_hand()

    production.carry()

    assert production.verdicts() == {R2: OPEN, R3: OPEN, R4: PROMOTE}
    assert production.champion() == D
    assert all(each.by == R4 for each in events(production, R2) if isinstance(each, Outdone))
    assert messages(production) == []


def test_one_that_is_aborted_leaves_the_others_as_they_were() -> None:
    production = of_three()
    production.wish(R2, "abort")

    production.carry()

    assert production.verdicts() == {R2: BACK, R3: PROMOTE, R4: OPEN}
    assert messages(production) == []


# -- servers, leases, processes ----------------------------------------------------------------------------------------


def test_a_bundle_that_the_server_refuses_ends_its_own_rollout_alone() -> None:
    production = of_three()
    production.router.known = {A, B, D}

    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: OPEN, R4: OPEN}
    assert "could not be put in place" in production.record(R3).rollout.reason
    assert messages(production) == []


def test_after_a_lapsed_lease_every_one_is_placed_and_baked_anew() -> None:
    production = of_two()
    stood = iter([100.0])

    def stand_still(_now: float) -> None:
        if all(production.record(each).rollout.looks >= 2 for each in production.challengers):
            for seconds in stood:
                production.clock.advance(seconds)

    production.on_second = stand_still

    production.carry()

    for release in production.challengers:
        assert any(isinstance(each, Resumed) for each in events(production, release))
    assert production.verdicts() == {R2: PROMOTE, R3: OPEN}
    assert messages(production) == []


def test_who_takes_over_while_the_lease_lasts_goes_on_without_placing_anything_anew() -> None:
    production = of_three()

    def killed(_now: float) -> None:
        if production.record(R4).rollout.looks:
            raise Killed

    production.on_second = killed
    with pytest.raises(Killed):
        production.carry()
    before, production.on_second = len(production.router.placed), lambda _: None

    production.several()
    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: OPEN, R4: OPEN}
    assert not any(isinstance(each, Resumed) for release in CHALLENGERS for each in events(production, release))
    assert all(A in [arm.bundle for arm in each.arms] for each in production.router.placed[before:] if each.arms)
    assert messages(production) == []


def test_a_rollback_by_hand_ends_all_of_them() -> None:
    production = of_three()
    somebody = iter([A])

    def once(_now: float) -> None:
        if production.record(R4).rollout.looks:
            for champion in somebody:
                production.router.somebody_else(MODEL, champion)

    production.on_second = once

    production.carry()

    assert set(production.verdicts().values()) == {OPEN}
    assert all("somebody else" in production.record(each).rollout.reason for each in CHALLENGERS)


def test_a_server_that_is_away_at_the_way_back_leaves_it_for_the_next_process() -> None:
    production = of_two(rate=0)

    def away(_now: float) -> None:
        production.router.down = production.record(R2).rollout.looks >= 2

    production.on_second = away

    with pytest.raises(TransientError):
        production.carry()
    production.router.down, production.on_second = False, lambda _: None
    production.carry()

    assert set(production.verdicts().values()) == {OPEN}
    assert messages(production) == []


def brief() -> SharedProduction:
    """Return three of which one does harm, that are soon decided."""
    step = StepSection(set_weight=0.75, bake_s=6.0)
    section = replace(SPLIT, steps=(step,), plan=replace(SPLIT.plan, looks=(1.0,)), look_s=3.0)
    return of_three(fails={D: 0.5}, section=section, rate=80)


def killed_and_resumed(at: int, *, after: bool) -> SharedProduction:
    """Carry them, end the process around one call, wait for the lease to end, and start another."""
    production = brief()
    with contextlib.suppress(Killed):
        production.carry(Killer(at=at, after=after))
        return production
    production.sleep(12.0)
    production.carry()
    return production


def calls() -> list[str]:
    """Return what the ports are asked from the beginning to the end."""
    production, killer = brief(), Killer()
    production.carry(killer)
    assert production.verdicts() == {R2: PROMOTE, R3: OPEN, R4: BACK}
    return killer.names


def check_killed(at: int, *, after: bool) -> None:
    production = killed_and_resumed(at, after=after)
    verdicts = production.verdicts()
    promoted = [each for each, verdict in verdicts.items() if verdict is PROMOTE]
    assert verdicts[R4] is not PROMOTE, (at, after)
    assert len(promoted) <= 1, (at, after, verdicts)
    assert production.champion() == (CHALLENGERS[promoted[0]] if promoted else A), (at, after)
    assert messages(production) == [], (at, after)


def writes() -> list[int]:
    return [at for at, name in enumerate(calls()) if name in ("append", "route", "save", "drop")]


def test_killed_at_any_write_and_run_again_at_most_one_is_promoted_and_the_record_holds() -> None:
    found = writes()
    for place, at in enumerate([*found[1:-12:12], *found[-12::2]]):  # the last: the choice, the ends and the switch
        check_killed(at, after=bool(place % 2))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_killed_at_every_call_and_run_again_at_most_one_is_promoted_and_the_record_holds() -> None:
    for at in range(len(calls())):
        for after in (False, True):
            check_killed(at, after=after)


def test_killed_between_the_end_of_the_others_and_the_promotion_nobody_is_promoted_unseen() -> None:
    production = of_two()

    def killed(_release: ReleaseId) -> None:
        raise Killed

    production.refusing = killed
    with pytest.raises(Killed):
        production.carry()
    assert production.record(R2).rollout.phase is Phase.PROMOTING
    assert production.record(R3).ended
    production.refusing = lambda _: None

    production.carry()

    assert production.verdicts() == {R2: PROMOTE, R3: OPEN}
    assert messages(production) == []


def test_killed_while_one_that_a_person_promotes_ends_the_others_each_of_them_ends_once() -> None:
    production, killer = wished_by_hand(), Killer()
    production.carry(killer)
    assert production.verdicts() == {R2: OPEN, R3: OPEN, R4: PROMOTE}
    routed = [at for at, name in enumerate(killer.names) if name in ("append", "route")]

    for place, at in enumerate(routed[-12::2]):
        killed = wished_by_hand()
        with pytest.raises(Killed):
            killed.carry(Killer(at=at, after=bool(place % 2)))
        killed.sleep(12.0)
        killed.carry()

        ended = [row.release for row in killed.ledger.rows(MODEL, events=(Event.ROLLOUT_ENDED,))]
        assert (sorted(map(str, ended)), killed.champion()) == ([R2, R3, R4], D), at
        assert messages(killed) == [], at


# -- the record --------------------------------------------------------------------------------------------------------


def forged(production: SharedProduction, row: LedgerRow, path: Sequence[str | int], value: Json) -> list[str]:
    rows = with_payload(production.ledger.rows(MODEL), row.seq, doctored(row.payload, path, lambda _: value))
    return [each.message for each in audit_rollouts(rows)]


def test_the_auditor_finds_a_choice_that_does_not_follow_from_the_record() -> None:
    production = of_three(fails={A: 0.1, B: 0.1, C: 0.0, D: 0.1})
    production.carry()
    moves = production.ledger.rows(MODEL, events=(Event.ROLLOUT_MOVED,))
    outdone = [row for row in moves if isinstance(read_event(row.payload["event"]), Outdone)]

    worse = forged(production, outdone[0], ("event", "by"), str(R4 if outdone[0].release == R2 else R2))
    assert any("whose estimate is worse" in each for each in worse)
    assert any("not beside it" in each for each in forged(production, outdone[0], ("event", "by"), "toy-0009"))


def test_the_auditor_finds_errors_that_were_not_divided_and_others_that_were_left_out() -> None:
    production = of_three()
    production.carry()
    begun = production.ledger.rows(MODEL, release=R2, events=(Event.ROLLOUT_BEGUN,))[0]

    for path, value in ((("course", "plan", "alpha"), 0.025), (("course", "beside"), [R3]), (("course", "beside"), [])):
        assert any("not the one that the spec" in each for each in forged(production, begun, path, value)), path


def test_the_auditor_finds_an_arm_that_was_verified_otherwise_and_challengers_that_were_not_begun_together() -> None:
    production = of_three()
    production.carry()
    own = (Event.ROUTING_VERIFIED,)
    placed = production.ledger.rows(MODEL, release=R3, events=own)[0]
    begun = production.ledger.rows(MODEL, release=R4, events=(Event.ROLLOUT_BEGUN,))[0]

    for key, value in (("bundle", A), ("weight", 0.5), ("name", "challenger-4")):
        assert any("challenger-2" in each for each in forged(production, placed, ("arms", 1, key), value)), key
    arm = forged(production, begun, ("course", "arm"), "challenger-1")
    assert any("its arm is challenger-1, as that of toy-0002 beside it" in each for each in arm)
    assert any("none of 3" in each for each in forged(production, begun, ("course", "arm"), "challenger-9"))
    beside = forged(production, begun, ("course", "beside"), ["toy-0002", "toy-0009"])
    assert any("not begun beside the same challengers" in each for each in beside)
