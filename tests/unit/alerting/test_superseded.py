"""An alert about a champion that serves no more is closed with who took its place; one of the new champion never is."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.core.alerting.alert import AlertState
from lockgate.core.alerting.superseded import TOLD_BY, of_bundle, superseded
from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.monitoring.findings import Finding, State, Subject
from tests.unit.alerting.world import TOY, World, bad

A, B = Digest("a" * 64), Digest("b" * 64)
LOSS = "quality.loss"
SLICE = "quality.slice:origin=EWR"


def quality(name: str = LOSS, state: State = State.HARM) -> Finding:
    return Finding(model=TOY, name=name, subject=Subject.TRUTH, state=state, harm=0.1, reason="worse")


class Watched(World):
    """A model whose champion changes between the runs of its monitor."""

    bundle = A

    def serve(self, bundle: Digest, release: str | None) -> None:
        facts: dict[str, Any] = {"environment": "production", "from": self.bundle, "to": bundle, "sequence": 1}
        of = None if release is None else ReleaseId(release)
        self.clock.advance(60)
        self.ledger.append(TOY, Event.TRAFFIC_INTENDED, {**facts, "why": "t"}, release=of)
        self.ledger.append(TOY, Event.TRAFFIC_VERIFIED, {**facts, "answers": 3}, release=of)
        self.bundle = bundle

    def look(self, *found: Finding, stamped: bool = True) -> None:
        """Do as the monitor does: close what is superseded, then raise what was found of what serves now."""
        self.clock.advance(60)
        champion = self.ledger.state(TOY).serving["production"]
        self.run(*superseded(self.ledger.rows(TOY, events=TOLD_BY), champion, TOY, self.now))
        self.run(*(of_bundle(found, champion.bundle, champion.bundle) if stamped else found))

    @property
    def open(self) -> list[str]:
        return [key for key, alert in self.alerts.items() if alert.state is not AlertState.CLOSED]


@pytest.fixture
def world() -> Watched:
    world = Watched()
    world.serve(A, "toy-0001")
    return world


@pytest.mark.parametrize("stamped", [True, False], ids=["of a bundle", "of an older form"])
def test_what_was_open_about_the_champion_before_is_closed_with_the_release_that_took_over(
    world: Watched, stamped: bool
) -> None:
    world.look(quality(), quality(SLICE), stamped=stamped)
    world.serve(B, "toy-0002")
    world.look(quality(state=State.NO_DATA))
    assert world.open == []
    closed = [row.payload for row in world.rows if row.payload["action"] == "closed"]
    assert {each["key"] for each in closed} == {f"toy:{LOSS}", f"toy:{SLICE}"}
    assert all(each["state"] == "superseded" for each in closed)
    assert all("superseded by toy-0002, which serves since" in str(each["reason"]) for each in closed)
    assert all(each["evidence"]["superseded_by"] == B for each in closed)  # type: ignore[index, call-overload]  # JSON
    assert "closed" in world.outbox.messages[-1].title, "people who were told that it is open are told that it is not"


def test_harm_of_the_new_champion_is_an_alert_of_its_own_and_stays_open(world: Watched) -> None:
    world.look(quality())
    world.serve(B, "toy-0002")
    world.look(quality())
    assert world.actions == ["raised", "closed", "raised"]
    world.look(quality(state=State.NO_DATA))
    assert world.open == [f"toy:{LOSS}"]
    assert world.alerts[f"toy:{LOSS}"].evidence["bundle"] == B
    assert world.alerts[f"toy:{LOSS}"].count == 1


def test_an_alarm_of_what_serves_is_not_closed_where_it_is_put_in_place_again(world: Watched) -> None:
    for stamped in (True, False):
        world.look(quality(), stamped=stamped)
        world.serve(A, "toy-0001")
        world.look()
        assert world.open == [f"toy:{LOSS}"]


def test_an_alarm_of_a_champion_that_was_put_back_before_anybody_looked_stays_open(world: Watched) -> None:
    world.look(quality())
    world.serve(B, "toy-0002")
    world.serve(A, None)
    world.look()
    assert world.open == [f"toy:{LOSS}"]


def test_a_champion_that_was_put_back_supersedes_without_a_release(world: Watched) -> None:
    world.serve(B, "toy-0002")
    world.look(quality())
    world.serve(A, None)
    world.look()
    assert world.open == []
    assert f"superseded by bundle {A[:12]}" in str(world.rows[-1].payload["reason"])


def test_what_is_not_of_a_bundle_stays_open(world: Watched) -> None:
    service = Finding(model=TOY, name="service.errors", subject=Subject.SERVICE, state=State.HARM, harm=0.1, reason="r")
    world.look(service, quality("quality.labels", State.BROKEN))
    world.run(bad("drill overdue"))
    world.serve(B, "toy-0002")
    world.look()
    assert len(world.open) == 3


def test_what_was_silenced_is_closed_and_told_to_nobody(world: Watched) -> None:
    world.look(quality())
    world.ledger.append(
        TOY,
        Event.ALERT,
        {"key": f"toy:{LOSS}", "action": "silenced", "by": "ada", "until": "2100-01-01T00:00:00+00:00", "reason": "x"},
    )
    told = len(world.outbox.messages)
    world.serve(B, "toy-0002")
    world.look()
    assert world.open == []
    assert len(world.outbox.messages) == told


def test_what_was_found_of_a_champion_that_was_replaced_meanwhile_neither_raises_nor_closes(world: Watched) -> None:
    service = Finding(model=TOY, name="service.errors", subject=Subject.SERVICE, state=State.OK, reason="few")
    world.serve(B, "toy-0002")
    world.look(quality())
    late = of_bundle((quality(state=State.OK), quality(SLICE), service), A, B)
    assert late == (service,)
    world.run(*late)
    assert world.open == [f"toy:{LOSS}"]
