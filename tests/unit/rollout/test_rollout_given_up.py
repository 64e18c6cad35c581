"""A rollout that may not go on, or that nobody carries on: the champion alone, and an end on record that is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lockgate.bootstrap import Services
from lockgate.config import Settings, load_settings
from lockgate.core.blessing import Blessing, OverriddenBlessing, Subjects
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event, Outcome
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.progress import Progress
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, TransientError
from lockgate.line.model_line import Line
from lockgate.line.rolling import Standing, begin_rollout, carry_on, end_abandoned
from lockgate.line.rollout import hand_over, start_again, wait_for_drill
from lockgate.line.upkeep import reap_rollout
from lockgate.ports import Readback, RunState
from lockgate.stages.audit_rollout import audit_rollouts
from tests.release_fakes import LONG_AGO, FakeFlowRuns, toy_spec
from tests.unit.rollout.world import CANARY, MODEL, R2, A, B, Production

CODE = Digest("c" * 64)
R3 = ReleaseId("toy-0003")


@dataclass
class Server:
    """Production's server, as deploy target and as router.

    Attributes:
        connected: Whether it was asked something since it was closed.
    """

    production: Production
    name: str = "production"
    connected: bool = False

    def close(self) -> None:
        self.connected = False

    def route(self, model: ModelName, routing: Routing) -> Routed:
        self.connected = True
        return self.production.router.route(model, routing)

    def renew(self, model: ModelName, sequence: int) -> Routed:
        self.connected = True
        return self.production.router.renew(model, sequence)

    def routed(self, model: ModelName) -> Routed | None:
        self.connected = True
        return self.production.router.routed(model)

    def readback(self, _model: ModelName, _bundle: Digest, _requests: int) -> Readback:
        self.connected = True
        return self.production.readback()


class Place:
    """One installation in memory with release R2 on record."""

    def __init__(self, folder: Path) -> None:
        self.production = Production()
        self.spec: ReleaseSpec = replace(toy_spec(), rollout=CANARY)
        self.settings: Settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
        self.runs = FakeFlowRuns()
        self.opened: list[Server] = []
        opened: dict[str, Json] = {"code": CODE, "spec": self.spec.digest, "reason": "by hand", "run": "run-1"}
        self.put(Event.RELEASE_OPENED, opened)
        self.bless({})

    @property
    def line(self) -> Line:
        held = SimpleNamespace(
            ledger=self.production.ledger,
            clock=self.production.clock,
            runs=self.runs,
            settings=self.settings,
            code=SimpleNamespace(digest=CODE),
            target=self._target,
        )
        return Line(services=cast("Services", held), spec=self.spec)

    def _target(self, _name: str) -> Server:
        self.opened.append(Server(self.production))
        return self.opened[-1]

    def put(self, event: Event, payload: Mapping[str, Json], release: ReleaseId | None = R2) -> Any:
        return self.production.ledger.append(MODEL, event, payload, release=release)

    def bless(self, overrides: Mapping[str, Digest]) -> None:
        subjects = Subjects(release=R2, bundle=B, spec=self.spec.digest, data=Digest("2" * 64), champion=A, code=CODE)
        reports = {"infra": Digest("e" * 64)}
        blessing = (
            OverriddenBlessing(subjects=subjects, reports=reports, overrides=overrides)
            if overrides
            else Blessing(subjects=subjects, reports=reports)
        )
        self.put(Event.BLESSING, cast("dict[str, Json]", to_json(blessing)))

    def under_way(self) -> None:
        """Begin the rollout and carry it to its first look; then its process is gone."""
        self.production.begin()
        controller = self.production.controller()
        controller.take_over()
        controller.run(lambda _: bool(controller.observer.looks))

    def found(self) -> record.RolloutRecord:
        found = self.production.record()
        assert found is not None
        return found

    def is_alone(self) -> bool:
        asked = self.production.router.asked(MODEL)
        return asked is not None and asked.challenger is None

    def audited(self) -> list[str]:
        return [
            each.message for each in audit_rollouts(self.production.ledger.rows(MODEL)) if "row 3" not in each.message
        ]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


STANDING = Standing(model=MODEL, release=R2, title="", step=0)


def test_a_rollout_that_nobody_carries_on_ends_inconclusive_and_the_auditor_agrees(place: Place) -> None:
    place.under_way()

    ended = end_abandoned(place.line, R2, "its process is gone")

    assert (ended.phase, ended.verdict) == (Phase.ENDED, RolloutVerdict.INCONCLUSIVE)
    assert "its process is gone" in ended.reason
    assert place.is_alone()
    assert not [each for each in place.audited() if "wish" in each or "ended" in each]


def test_one_that_ended_without_its_row_gets_it_and_is_not_ended_again_and_again(place: Place) -> None:
    place.production.begin()
    controller = place.production.controller()
    place.production.wish("abort")
    controller.take_over()
    append = place.production.ledger.append

    def killed(model: ModelName, event: Event, payload: Mapping[str, Json], **how: Any) -> Any:
        if event is Event.ROLLOUT_ENDED:
            raise TransientError("the process ended here")
        return append(model, event, payload, **how)

    place.production.ledger.append = killed  # type: ignore[method-assign]  # a ledger that is gone just then
    with pytest.raises(TransientError):
        controller.run(lambda _: False)
    place.production.ledger.append = append  # type: ignore[method-assign]

    end_abandoned(place.line, R2, "its process is gone")

    assert [row.payload["verdict"] for row in place.production.rows(Event.ROLLOUT_ENDED)] == ["roll_back"]


@pytest.mark.parametrize("why", ["spec", "tally"])
def test_a_rollout_whose_spec_changed_or_whose_tally_is_damaged_goes_back_and_ends(place: Place, why: str) -> None:
    place.under_way()
    kept = place.settings.release(R2) / "rollout.tally"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(b'{"cursor": "0"}\nnonsense')
    if why == "spec":
        place.spec = replace(place.spec, rollout=replace(CANARY, guardrails=replace(CANARY.guardrails, patience=9)))

    standing = carry_on(place.line, STANDING, lambda _found, _shown: None)

    assert (standing.ended, standing.verdict) == (True, "inconclusive")
    assert ("spec changed" if why == "spec" else "tally") in standing.sentence
    assert place.is_alone()
    assert not kept.exists()


def test_the_challenger_of_a_withdrawn_override_loses_its_traffic(place: Place) -> None:
    place.bless({"drift": Digest("f" * 64)})  # by a row that does not stand (any more)
    place.production.begin()
    controller = place.production.controller()
    controller.take_over()
    controller.run(lambda _: bool(controller.observer.looks))

    told = [reap_rollout(place.line), reap_rollout(place.line)]
    ended = controller.run(lambda _: False)

    assert ended.verdict is RolloutVerdict.ROLL_BACK
    assert "withdrawn" in ended.reason
    assert [len(each) for each in told] == [1, 0], "one wish is enough"
    assert place.is_alone()


def test_the_reaper_ends_every_rollout_that_fell_silent_not_only_the_newest(place: Place) -> None:
    place.under_way()
    begun = replace(Rollout.at_start(R3, B, A, began=place.production.clock.now().timestamp()))
    place.put(Event.ROLLOUT_BEGUN, record.begun_payload(place.production.course, begun, salt="s", run="run-3"), R3)
    place.put(Event.ROLLOUT_ENDED, {"verdict": "inconclusive", "reason": "refused"}, R3)
    place.production.clock.advance(3600)

    assert len(reap_rollout(place.line)) == 1
    assert place.found().ended


def test_a_refused_rollout_stays_refused_where_the_process_died_before_that_was_on_record(place: Place) -> None:
    begun = Rollout.at_start(R2, B, A, began=place.production.clock.now().timestamp())
    payload = record.begun_payload(place.production.course, begun, salt=f"{R2}/1", run="run-2")
    place.put(Event.ROLLOUT_BEGUN, payload | {"refused": "the bake cannot see 3 % of errors"})

    standing = begin_rollout(place.line, R2, run="run-2")

    assert (standing.ended, standing.verdict) == (True, "inconclusive")
    assert "cannot see" in standing.sentence


def test_a_rollout_waits_for_a_drill_and_a_person_is_told_of_what_is_under_way(place: Place) -> None:
    drill = ReleaseId("toy-drill-0001")
    begun = Rollout.at_start(drill, B, A, began=place.production.clock.now().timestamp())
    place.put(Event.ROLLOUT_BEGUN, record.begun_payload(place.production.course, begun, salt=drill), drill)
    with pytest.raises(TransientError, match=drill):
        wait_for_drill(place.line)

    place.production.begin()
    place.put(Event.ROLLOUT_ENDED, {"verdict": "inconclusive", "reason": "no traffic"})
    with pytest.raises(BadInput, match="under way"):
        start_again(place.line.services, MODEL, R2, by="ada")
    assert place.production.rows(Event.ROLLOUT_ASKED) == ()

    place.production.clock.advance(120)  # it died: a living one writes rows all the time
    wait_for_drill(place.line)


def test_a_release_whose_rollout_was_cancelled_half_way_is_inconclusive_and_not_said_to_be_rolled_back(
    place: Place,
) -> None:
    place.under_way()

    class Cancelled(FakeFlowRuns):
        def start_run(self, _deployment: str, _parameters: object, *, idempotency_key: str = "") -> str:
            return f"run of {idempotency_key}"

        def wait(self, _run: str, _until: object, *, within_s: float) -> RunState:
            del within_s
            return RunState(type="CANCELLED", name="Cancelled", since=LONG_AGO)

    place.runs = Cancelled()
    so_far = Progress(model=MODEL, release=R2, run="run-1", spec=place.spec.digest, code=CODE, refs={"bundle": B})

    ended = hand_over(place.line, so_far)

    assert ended.ended is Outcome.INCONCLUSIVE
    assert "Cancelled" in ended.reason


def test_a_run_that_is_said_to_go_on_and_writes_nothing_is_not_waited_for_for_ever(place: Place) -> None:
    place.under_way()
    place.runs.put("run-2", "RUNNING")
    place.production.clock.advance(600)
    assert reap_rollout(place.line) == [], "it may be slow"
    place.production.clock.advance(600)
    assert len(reap_rollout(place.line)) == 1
    assert place.found().rollout.verdict is RolloutVerdict.INCONCLUSIVE
