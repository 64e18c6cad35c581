"""After a crash the servers and the aliases say again what the ledger says."""

from __future__ import annotations

import pytest

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.traffic import Change, Kind, read_traffic
from lockgate.errors import TransientError
from lockgate.stages.reconcile import reconcile, wanted_aliases
from lockgate.stages.traffic import Switch, begin
from tests.fakes import FakeClock, FakeDeployTarget, FakeLedger, FakeRegistry
from tests.record import MODEL, Writer

FIRST, SECOND = ReleaseId("flights-0001"), ReleaseId("flights-0002")
OLD, NEW = Digest("b" * 64), Digest("c" * 64)


class Place:
    """A model with one promoted release, and a second one about to take over."""

    def __init__(self) -> None:
        self.clock, self.target, self.registry = FakeClock(), FakeDeployTarget(), FakeRegistry()
        self.ledger = FakeLedger(self.clock)
        Writer(self.ledger, self.clock, FIRST, OLD, target=self.target).whole()
        for version, bundle in enumerate((OLD, NEW), start=1):
            self.registry.versions[MODEL, bundle] = {"version": str(version)}

    def intend(self) -> int:
        switch = Switch(ledger=self.ledger, target=self.target, model=MODEL)
        change = Change(kind=Kind.PROMOTION, release=SECOND, origin=OLD, to=NEW, why="better")
        return begin(switch, change, seen=switch.traffic()).sequence

    def reconcile(self) -> tuple[str, ...]:
        return reconcile(self.ledger, self.registry, [self.target], MODEL, clock=self.clock, timeout_s=0)

    @property
    def champion(self) -> Digest | None:
        return read_traffic(self.ledger.rows(MODEL), "production").champion


@pytest.fixture
def place() -> Place:
    return Place()


def test_nothing_to_do_is_nothing_done_but_the_aliases(place: Place) -> None:
    before = place.ledger.last_seq(MODEL)
    assert place.reconcile() == ()
    assert place.reconcile() == ()
    assert place.ledger.last_seq(MODEL) == before
    assert place.registry.alias_writes == [(MODEL, "champion", OLD)]
    assert len(place.target.switches) == 1


def test_a_switch_that_happened_before_its_controller_died_is_verified(place: Place) -> None:
    sequence = place.intend()
    place.target.switch(MODEL, NEW, sequence=sequence, previous=OLD)
    place.clock.advance(600)
    (did,) = place.reconcile()
    assert "finished and verified" in did
    assert place.ledger.rows(MODEL)[-1].event is Event.TRAFFIC_VERIFIED
    assert place.champion == NEW
    assert place.registry.aliases == {(MODEL, "champion"): NEW, (MODEL, "previous"): OLD}
    assert place.reconcile() == ()


def test_a_switch_that_never_reached_the_target_is_given_up(place: Place) -> None:
    sequence = place.intend()
    place.clock.advance(600)
    (did,) = place.reconcile()
    assert "given up" in did
    (row,) = place.ledger.rows(MODEL, events=(Event.TRAFFIC_UNVERIFIED,))
    assert row.payload["sequence"] == sequence
    assert place.champion == OLD
    assert place.target.serving(MODEL)["champion"] == OLD
    assert place.reconcile() == ()


def test_a_switch_whose_live_answers_are_others_is_given_up_and_the_champion_restored(place: Place) -> None:
    sequence = place.intend()
    place.target.switch(MODEL, NEW, sequence=sequence, previous=OLD)
    place.target.stuck_on = OLD
    place.clock.advance(600)
    place.reconcile()
    assert place.champion == OLD
    assert place.target.serving(MODEL)["champion"] == OLD
    assert not place.ledger.state(MODEL).pending


def test_a_switch_that_may_still_be_under_way_is_left_alone(place: Place) -> None:
    place.intend()
    before = place.ledger.last_seq(MODEL)
    place.clock.advance(30)
    assert place.reconcile() == ()
    assert place.ledger.last_seq(MODEL) == before


def test_a_target_that_is_down_is_told_of_and_changes_nothing(place: Place) -> None:
    place.intend()
    place.clock.advance(600)
    before = place.ledger.last_seq(MODEL)
    place.target.down = True
    (did,) = place.reconcile()
    assert "the next time" in did
    assert place.ledger.last_seq(MODEL) == before


def test_a_target_that_lost_its_routing_is_given_it_again(place: Place) -> None:
    place.target.routing.clear()
    (did,) = place.reconcile()
    assert "lost its routing" in did
    assert place.target.serving(MODEL)["champion"] == OLD
    assert place.reconcile() == ()


def test_the_challenger_is_the_open_releases_registered_bundle_and_nothing_else(place: Place) -> None:
    second = Writer(place.ledger, place.clock, SECOND, NEW, champion=OLD)
    second.open()
    assert wanted_aliases(place.ledger, MODEL)["challenger"] is None
    second.add(Event.REGISTERED, bundle=NEW, version="2", uri="fake://2")
    place.reconcile()
    assert place.registry.aliases[MODEL, "challenger"] == NEW
    second.add(Event.RELEASE_ENDED, outcome="rejected", reason="no", gate=None)
    place.reconcile()
    assert (MODEL, "challenger") not in place.registry.aliases


def test_an_alias_somebody_moved_by_hand_is_put_back(place: Place) -> None:
    place.registry.aliases[MODEL, "champion"] = NEW
    place.reconcile()
    assert place.registry.aliases[MODEL, "champion"] == OLD


def test_a_champion_the_registry_does_not_know_is_told(place: Place) -> None:
    del place.registry.versions[MODEL, OLD]
    (told,) = place.reconcile()
    assert "alias champion" in told


def test_a_registry_that_is_down_is_a_transient_error_after_the_targets_were_seen_to(place: Place) -> None:
    place.target.routing.clear()
    place.registry.down = True
    with pytest.raises(TransientError):
        place.reconcile()
    assert place.target.serving(MODEL)["champion"] == OLD
