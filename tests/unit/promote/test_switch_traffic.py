from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.traffic import Kind, read_traffic
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, RolloutAborted, TransientError
from lockgate.ports import Readback
from lockgate.stages.rollback import roll_back
from lockgate.stages.traffic import Switch, reconcile, settle, switch_traffic
from tests.fakes import FakeDeployTarget, FakeLedger
from tests.unit.promote.killing import Killed, Killer

MODEL = ModelName("toy")
A, B, C = (Digest(letter * 64) for letter in "abc")
R1, R2, R3 = (ReleaseId(f"toy-000{n}") for n in (1, 2, 3))


@dataclass
class World:
    ledger: FakeLedger = field(default_factory=FakeLedger)
    target: FakeDeployTarget = field(default_factory=FakeDeployTarget)

    def switch(self, killer: Killer | None = None) -> Switch:
        guard = (killer or Killer()).guard
        return Switch(
            ledger=guard(self.ledger),
            target=guard(self.target),
            model=MODEL,
            actor="ann",
            readback_requests=3,
            timeout_s=0,
        )

    def with_champion(self) -> World:
        switch_traffic(self.switch(), R1, A, why="the first")
        return self

    def serves(self) -> Digest | None:
        return self.target.routing[MODEL][1] if MODEL in self.target.routing else None

    def says(self) -> Digest | None:
        serving = self.ledger.state(MODEL).serving.get("production")
        return serving.bundle if serving else None

    def verified(self, release: ReleaseId, to: Digest, kind: Kind = Kind.PROMOTION) -> list[LedgerRow]:
        rows = self.ledger.rows(MODEL, release=release, events=(Event.TRAFFIC_VERIFIED,))
        return [row for row in rows if row.payload["to"] == to and row.payload["kind"] == kind]

    def agrees(self) -> bool:
        traffic = read_traffic(self.ledger.rows(MODEL), "production")
        return self.serves() == self.says() == traffic.champion and not self.ledger.state(MODEL).pending


def ways_to_die(most: int = 60) -> Iterator[Killer]:
    for at in range(most):
        for after in (False, True):
            yield Killer(at=at, after=after)


def test_a_switch_is_intended_carried_out_and_verified_in_that_order() -> None:
    world = World().with_champion()
    row = switch_traffic(world.switch(), R2, B, why="better on March")
    assert [each.event for each in world.ledger.rows(MODEL, release=R2)] == [
        Event.TRAFFIC_INTENDED,
        Event.TRAFFIC_VERIFIED,
    ]
    intent = world.ledger.rows(MODEL, release=R2)[0]
    assert row.payload["sequence"] == intent.seq
    assert (intent.payload["from"], intent.payload["to"], intent.payload["why"]) == (A, B, "better on March")
    assert world.target.routing[MODEL] == (intent.seq, B, A)
    assert world.agrees()


def test_a_second_run_of_a_verified_switch_writes_nothing() -> None:
    world = World().with_champion()
    first = switch_traffic(world.switch(), R2, B, why="")
    rows = len(world.ledger.rows(MODEL))
    assert switch_traffic(world.switch(), R2, B, why="") == first
    assert len(world.ledger.rows(MODEL)) == rows


def test_a_target_that_lost_its_state_is_told_again_by_a_second_run() -> None:
    world = World().with_champion()
    world.target.routing.clear()
    switch_traffic(world.switch(), R1, A, why="")
    assert world.agrees()


def test_answers_of_another_bundle_undo_the_switch() -> None:
    world = World().with_champion()
    world.target.stuck_on = C
    with pytest.raises(RolloutAborted, match="not verified"):
        switch_traffic(world.switch(), R2, B, why="")
    world.target.stuck_on = None
    # The undo's own readback saw the same strange answers: it was written off, and what serves is told in the ledger.
    assert world.says() == A
    assert world.serves() == A
    assert not world.verified(R2, B)


class LyingOnce(FakeDeployTarget):
    """Answers carry another digest until the bundle `honest_for` is champion."""

    honest_for: Digest = A

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        seen = super().readback(model, bundle, requests)
        honest = self.routing[model][1] == self.honest_for
        return seen if honest else Readback(sequence=seen.sequence, answers=(C,) * requests)


def test_an_undone_switch_leaves_the_champion_before_verified_and_the_ledger_closed() -> None:
    world = World(target=LyingOnce()).with_champion()
    with pytest.raises(RolloutAborted) as aborted:
        switch_traffic(world.switch(), R2, B, why="")
    assert A in aborted.value.message
    assert [(each.event, each.release) for each in world.ledger.rows(MODEL)[2:]] == [
        (Event.TRAFFIC_INTENDED, R2),
        (Event.TRAFFIC_INTENDED, R1),
        (Event.TRAFFIC_UNVERIFIED, R2),
        (Event.TRAFFIC_VERIFIED, R1),
    ]
    assert world.ledger.state(MODEL).serving["production"].release == R1
    assert world.agrees()
    assert world.says() == A


def test_a_refused_bundle_leaves_the_champion_and_is_written_off() -> None:
    world = World(target=FakeDeployTarget(known={A})).with_champion()
    with pytest.raises(RolloutAborted, match="refused"):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.agrees()
    assert world.says() == A


def test_a_first_bundle_that_is_refused_is_written_off_with_no_champion() -> None:
    world = World(target=FakeDeployTarget(known=set()))
    with pytest.raises(RolloutAborted, match="no champion before it"):
        switch_traffic(world.switch(), R1, A, why="")
    assert world.ledger.state(MODEL).champion is None
    assert not world.ledger.state(MODEL).pending


def test_a_target_that_is_gone_leaves_the_undo_pending_and_the_next_run_finishes_it() -> None:
    world = World().with_champion()
    world.target.down = True
    with pytest.raises(RolloutAborted, match="stays pending"):
        switch_traffic(world.switch(), R2, B, why="")
    world.target.down = False
    with pytest.raises(RolloutAborted, match="did not happen"):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.agrees()
    assert switch_traffic(world.switch(), R2, B, why="a person pressed Retry").payload["to"] == B
    assert world.agrees()


def test_a_switch_whose_answer_was_lost_is_asked_again_and_verified_once() -> None:
    world = World().with_champion()
    world.target.lose_switches = 1
    switch = world.switch()
    patient = Switch(ledger=switch.ledger, target=switch.target, model=MODEL, readback_requests=3, timeout_s=60)
    switch_traffic(patient, R2, B, why="")
    assert len(world.verified(R2, B)) == 1
    assert world.agrees()


def test_a_target_with_a_higher_sequence_is_left_alone() -> None:
    world = World().with_champion()
    world.target.routing[MODEL] = (999, C, None)
    with pytest.raises(LedgerConflict):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.serves() == C
    assert not world.ledger.state(MODEL).pending


def test_a_release_that_was_rolled_back_is_not_promoted_again() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    roll_back(world.switch(), "worse in the evening")
    with pytest.raises(RolloutAborted, match="start a new release"):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.says() == A


def test_of_two_controllers_one_loses_and_writes_nothing_more() -> None:
    world = World().with_champion()

    class Racing(FakeDeployTarget):
        raced = False

        def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
            if not self.raced:
                self.raced = True
                switch_traffic(world.switch(), R3, C, why="the other controller")
            return super().readback(model, bundle, requests)

    world.target = Racing(routing=dict(world.target.routing))
    with pytest.raises(LedgerConflict):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.agrees()
    assert world.says() == C
    assert not world.verified(R2, B)


def test_rows_about_other_things_do_not_disturb_a_switch() -> None:
    world = World().with_champion()

    class Busy(FakeLedger):
        def state(self, model: ModelName):  # type: ignore[no-untyped-def]  # noqa: ANN202 - only passes on
            return super().state(model)

        def last_seq(self, model: ModelName) -> int:
            seen = super().last_seq(model)
            if seen < 8:
                self.append(model, Event.BATCH_LANDED, {"sha256": A, "name": "march.parquet"})
            return seen

    world.ledger = Busy(_chains=world.ledger._chains)
    switch_traffic(world.switch(), R2, B, why="")
    assert world.agrees()
    assert world.says() == B


def test_killed_around_any_call_a_promotion_ends_verified_exactly_once_when_run_again() -> None:
    died = 0
    for killer in ways_to_die():
        world = World().with_champion()
        try:
            switch_traffic(world.switch(killer), R2, B, why="")
        except Killed:
            died += 1
            switch_traffic(world.switch(), R2, B, why="")
        assert len(world.verified(R2, B)) == 1, killer
        assert world.agrees(), killer
        assert world.says() == B, killer
    assert died > 10  # the matrix really reached into the switch


def test_killed_around_any_call_the_first_promotion_ends_verified_exactly_once_when_run_again() -> None:
    for killer in ways_to_die():
        world = World()
        try:
            switch_traffic(world.switch(killer), R1, A, why="")
        except Killed:
            switch_traffic(world.switch(), R1, A, why="")
        assert len(world.verified(R1, A)) == 1, killer
        assert world.agrees(), killer


def test_killed_around_any_call_a_failing_promotion_ends_undone_when_run_again() -> None:
    for killer in ways_to_die():
        world = World(target=LyingOnce()).with_champion()
        try:
            with pytest.raises(RolloutAborted):
                switch_traffic(world.switch(killer), R2, B, why="")
        except Killed:
            with pytest.raises(RolloutAborted):
                switch_traffic(world.switch(), R2, B, why="")
        assert not world.verified(R2, B), killer
        assert world.agrees(), killer
        assert world.says() == A, killer


def test_killed_twice_a_promotion_still_ends_verified_exactly_once() -> None:
    for first in ways_to_die(9):
        for second in ways_to_die(9):
            world = World().with_champion()
            for killer in (first, Killer(at=second.at, after=second.after), None):
                fresh = None if killer is None else Killer(at=killer.at, after=killer.after)
                try:
                    switch_traffic(world.switch(fresh), R2, B, why="")
                except Killed:
                    continue
            assert len(world.verified(R2, B)) == 1
            assert world.agrees()


def test_a_half_done_promotion_of_a_dead_release_is_undone_by_the_next_release() -> None:
    for killer in ways_to_die():
        world = World().with_champion()
        try:
            switch_traffic(world.switch(killer), R2, B, why="")
        except Killed:
            verified = bool(world.verified(R2, B))
            switch_traffic(world.switch(), R3, C, why="")
            assert world.agrees(), killer
            assert world.says() == C, killer
            assert len(world.verified(R2, B)) == int(verified)


def test_a_rollback_puts_the_champion_before_back() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    row = roll_back(world.switch(), "worse in the evening")
    assert (row.payload["from"], row.payload["to"], row.actor, row.release) == (B, A, "ann", R1)
    assert world.agrees()
    assert world.says() == A


def test_rolling_back_twice_goes_back_two_champions_and_never_forward() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    switch_traffic(world.switch(), R3, C, why="")
    roll_back(world.switch(), "")
    assert world.says() == B
    roll_back(world.switch(), "")
    assert world.says() == A
    with pytest.raises(BadInput, match="is the first"):
        roll_back(world.switch(), "")
    assert world.agrees()


@pytest.mark.parametrize("promoted", [False, True])
def test_without_an_earlier_champion_a_rollback_is_bad_input_and_writes_nothing(promoted: bool) -> None:
    world = World().with_champion() if promoted else World()
    rows = world.ledger.rows(MODEL)
    with pytest.raises(BadInput) as refused:
        roll_back(world.switch(), "")
    assert refused.value.exit_code == 2
    assert world.ledger.rows(MODEL) == rows


def test_killed_around_any_call_a_rollback_run_again_goes_back_one_champion() -> None:
    for killer in ways_to_die():
        world = World().with_champion()
        switch_traffic(world.switch(), R2, B, why="")
        switch_traffic(world.switch(), R3, C, why="")
        try:
            roll_back(world.switch(killer), "")
        except Killed:
            if not world.verified(R2, B, Kind.ROLLBACK):
                roll_back(world.switch(), "")
        assert world.says() == B, killer
        assert world.agrees(), killer


def test_a_rollback_while_a_promotion_hangs_takes_the_promotion_back() -> None:
    world = World().with_champion()
    with pytest.raises(Killed):
        switch_traffic(world.switch(Killer(at=6, after=True)), R2, B, why="")
    assert world.ledger.state(MODEL).pending
    row = roll_back(world.switch(), "it hangs")
    assert row.payload["kind"] == Kind.UNDO
    assert world.agrees()
    assert world.says() == A


def test_a_rollback_to_a_bundle_the_target_refuses_keeps_what_serves() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    world.target.known = {B}
    with pytest.raises(RolloutAborted, match="could not go back"):
        roll_back(world.switch(), "")
    assert world.agrees()
    assert world.says() == B


def test_a_rollback_of_a_target_that_is_gone_stays_pending_and_is_finished_by_the_next() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    world.target.down = True
    with pytest.raises(TransientError):
        roll_back(world.switch(), "")
    world.target.down = False
    roll_back(world.switch(), "")
    assert world.says() == A
    assert world.agrees()


def test_the_release_that_was_rolled_back_ends_as_rolled_back() -> None:
    world = World().with_champion()
    switch_traffic(world.switch(), R2, B, why="")
    world.ledger.append(MODEL, Event.RELEASE_ENDED, {"outcome": "promoted", "reason": "", "gate": None}, release=R2)
    roll_back(world.switch(), "worse")
    assert world.ledger.state(MODEL).outcomes[R2] == "rolled_back"


def test_environments_do_not_disturb_each_other() -> None:
    world = World().with_champion()
    staging = FakeDeployTarget(name="staging")
    switch_traffic(Switch(ledger=world.ledger, target=staging, model=MODEL, timeout_s=0), R2, B, why="")
    assert world.agrees()
    assert world.says() == A
    assert world.ledger.state(MODEL).serving["staging"].bundle == B


def test_settling_and_reconciling_do_nothing_where_nothing_is_pending() -> None:
    world = World()
    assert settle(world.switch()) is None
    reconcile(world.switch())
    assert world.target.switches == []


def test_reconciling_a_target_that_is_ahead_is_refused() -> None:
    world = World().with_champion()
    world.target.routing[MODEL] = (999, C, None)
    with pytest.raises(LedgerConflict):
        reconcile(world.switch())


def test_an_answer_out_of_bounds_undoes_the_switch() -> None:
    class Wrong(FakeDeployTarget):
        def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
            if bundle == B:
                raise IntegrityError("answer differs from the golden one")
            return super().readback(model, bundle, requests)

    world = World(target=Wrong()).with_champion()
    with pytest.raises(RolloutAborted, match="golden"):
        switch_traffic(world.switch(), R2, B, why="")
    assert world.agrees()
    assert world.says() == A
