"""Several releases as the flow and the command line know them: allowed one by one, begun once, each with its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lockgate.bootstrap import Services
from lockgate.config import Settings, load_settings
from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.evidence import Evidence
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, digest_bytes, to_json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.attempts import attempt_fraction
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.core.rollout.several import pair_share
from lockgate.core.spec import ReleaseSpec, RolloutStrategy
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import ApprovalVoid, BadInput
from lockgate.line.model_line import Line
from lockgate.line.rolling import Standing, begin_rollout, carry_on, in_order
from lockgate.line.several_words import arms_content, arms_text, several_page
from lockgate.line.starting_several import start_several
from lockgate.ports import Readback
from lockgate.stages.audit_rollout import audit_rollouts
from tests.fakes import EPOCH
from tests.release_fakes import FakeFlowRuns, toy_spec
from tests.unit.rollout.several_world import CHALLENGERS, R2, R3, R4, SPLIT, SharedProduction, of_three
from tests.unit.rollout.world import MODEL, A

CODE = Digest("c" * 64)
QUICK = replace(SPLIT, look_s=0.2)


@dataclass
class Server:
    """Production's server, as deploy target and as router."""

    production: SharedProduction
    name: str = "production"

    def route(self, model: ModelName, routing: Routing) -> Routed:
        return self.production.router.route(model, routing)

    def renew(self, model: ModelName, sequence: int) -> Routed:
        return self.production.router.renew(model, sequence)

    def routed(self, model: ModelName) -> Routed | None:
        return self.production.router.routed(model)

    def readback(self, _model: ModelName, _bundle: Digest, _requests: int) -> Readback:
        return self.production.readback()

    def close(self) -> None:
        pass


class Runs(FakeFlowRuns):
    """Runs that remember what they were started with."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Mapping[str, Json], str]] = []

    def start_run(self, _deployment: str, parameters: Mapping[str, Json], *, idempotency_key: str = "") -> str:
        self.started.append((parameters, idempotency_key))
        return "run-9"


class Place:
    """One installation in memory with three approved releases, whose own rollouts were inconclusive."""

    def __init__(self, folder: Path) -> None:
        self.production = SharedProduction(section=QUICK)
        self.spec: ReleaseSpec = replace(toy_spec(), rollout=QUICK)
        self.settings: Settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
        self.runs = Runs()
        for release, bundle in CHALLENGERS.items():
            self.approve(release, bundle)
            self.put(Event.ROLLOUT_BEGUN, self._alone(release, bundle), release)
            self.put(Event.ROLLOUT_ENDED, {"verdict": "inconclusive", "reason": "it waits for others"}, release)

    @property
    def line(self) -> Line:
        return Line(services=self.services, spec=self.spec)

    @property
    def services(self) -> Services:
        held = SimpleNamespace(
            ledger=self.production.ledger,
            clock=self.production.clock,
            runs=self.runs,
            settings=self.settings,
            code=SimpleNamespace(digest=CODE),
            spec=lambda _model: self.spec,
            target=lambda _name: Server(self.production),
        )
        return cast("Services", held)

    def put(self, event: Event, payload: Mapping[str, Json], release: ReleaseId) -> Any:
        return self.production.ledger.append(MODEL, event, payload, release=release)

    def approve(self, release: ReleaseId, bundle: Digest) -> None:
        opened: dict[str, Json] = {"code": CODE, "spec": self.spec.digest, "reason": "new data", "run": "run-1"}
        self.put(Event.RELEASE_OPENED, opened | {"resolved_spec": to_json(self.spec)}, release)
        subjects = Subjects(
            release=release, bundle=bundle, spec=self.spec.digest, data=Digest("2" * 64), champion=A, code=CODE
        )
        blessing = Blessing(subjects=subjects, reports={"infra": Digest("e" * 64)})
        self.put(Event.BLESSING, cast("dict[str, Json]", to_json(blessing)), release)
        evidence = Evidence(
            gate="staging",
            stage=Stage.STAGING,
            release=release,
            measured_at=EPOCH,
            measured_on="a machine",
            subjects={"bundle": bundle},
            measurements={},
        )
        self.put(Event.EVIDENCE, cast("dict[str, Json]", to_json(evidence)), release)
        report = GateReport(
            gate="staging", stage=Stage.STAGING, verdict=Verdict.PASS, checks=(), evidence=evidence.digest, reason=""
        )
        self.put(Event.VERDICT, cast("dict[str, Json]", to_json(report)), release)
        page = self.settings.release(release) / "dossier.html"
        page.parent.mkdir(parents=True)
        page.write_text(f"<p>{release}</p>")
        approval: dict[str, Json] = {"approver": "ann", "blessing": blessing.digest, "champion": A}
        self.put(Event.APPROVAL_GIVEN, {**approval, "dossier": digest_bytes(page.read_bytes())}, release)

    def _alone(self, release: ReleaseId, bundle: Digest) -> dict[str, Json]:
        from lockgate.core.rollout import record
        from lockgate.core.rollout.machine import Rollout
        from lockgate.core.rollout.steps import course_of

        begun = Rollout.at_start(release, bundle, A, began=self.production.clock.now().timestamp())
        return record.begun_payload(course_of(QUICK, sd=None), begun, salt=f"{release}/1")

    def begun(self, release: ReleaseId) -> int:
        return len(self.production.ledger.rows(MODEL, release=release, events=(Event.ROLLOUT_BEGUN,)))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_three_allowed_releases_are_begun_once_each_with_its_part_of_the_errors(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3, R4), by="ada")

    first = begin_rollout(place.line, R2, run="run-9", beside=(R3, R4))
    again = begin_rollout(place.line, R2, run="run-9", beside=(R3, R4))

    assert (first.release, first.beside, first.ended) == (R2, (R3, R4), False)
    assert again == first
    assert [place.begun(each) for each in CHALLENGERS] == [2, 2, 2]
    found = [place.production.record(each) for each in CHALLENGERS]
    assert [each.course.arm for each in found] == ["challenger-1", "challenger-2", "challenger-3"]
    assert len({each.salt for each in found}) == 1
    assert sum(found[0].course.guardrails.values()) == pytest.approx(0.05 / 3)
    assert found[0].course.plan is not None
    assert found[0].course.plan.alpha == pytest.approx(QUICK.plan.alpha * attempt_fraction(1) / 3)
    told = [each.message for each in audit_rollouts(place.production.ledger.rows(MODEL))]
    assert [each for each in told if "course" in each or "attempt" in each] == []
    assert place.runs.started == [
        ({"model": MODEL, "release": R2, "beside": [R3, R4]}, f"roll-out {R2} beside {R3} beside {R4}, rollout 2")
    ]


def test_a_process_that_died_while_it_began_them_is_taken_up_with_the_same_salt_and_time(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3), by="ada")
    append = place.production.ledger.append

    def killed(model: ModelName, event: Event, payload: Mapping[str, Json], **how: Any) -> Any:
        if event is Event.ROLLOUT_BEGUN and how.get("release") == R3:
            raise KeyboardInterrupt
        return append(model, event, payload, **how)

    place.production.ledger.append = killed  # type: ignore[method-assign]  # a process that ends just then
    with pytest.raises(KeyboardInterrupt):
        begin_rollout(place.line, R2, run="run-9", beside=(R3,))
    place.production.ledger.append = append  # type: ignore[method-assign]

    begin_rollout(place.line, R2, run="run-9", beside=(R3,))

    one, other = place.production.record(R2), place.production.record(R3)
    assert (one.salt, one.rollout.began) == (other.salt, other.rollout.began)
    assert place.begun(R2) == 2


def test_whoever_resumes_one_of_them_resumes_all(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3, R4), by="ada")
    begin_rollout(place.line, R2, run="run-9", beside=(R3, R4))

    standing = begin_rollout(place.line, R3, run="run-10")

    assert (standing.release, standing.beside) == (R2, (R3, R4))
    assert in_order(place.production.record(R4)) == (R2, R3, R4)


def test_without_traffic_the_line_carries_all_of_them_to_inconclusive_and_says_so_of_each(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3), by="ada")
    shown: list[Mapping[str, Json]] = []

    begun = begin_rollout(place.line, R2, run="run-9", beside=(R3,))
    place.production.clock.step = timedelta(seconds=0.5)  # time passes where nobody advances it
    standing = carry_on(place.line, begun, lambda _found, told: shown.append(told))

    assert (standing.ended, standing.verdict) == (True, "inconclusive")
    assert R2 in standing.sentence
    assert R3 in standing.sentence
    assert all("beside" in told for told in shown)
    assert [each.rollout.verdict for each in map(place.production.record, (R2, R3))] == [
        RolloutVerdict.INCONCLUSIVE
    ] * 2
    assert carry_on(place.line, standing, lambda _found, _told: None) == standing


def test_a_spec_that_changed_meanwhile_ends_them_and_the_champion_answers(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3), by="ada")
    standing = begin_rollout(place.line, R2, run="run-9", beside=(R3,))
    place.spec = replace(place.spec, rollout=replace(QUICK, readback_requests=7))

    ended = carry_on(place.line, standing, lambda _found, _shown: None)

    assert (ended.ended, ended.verdict) == (True, "inconclusive")
    assert ended.sentence.count("spec changed") == 2
    asked = place.production.router.asked(MODEL)
    assert asked is not None
    assert asked.arms == ()
    routed = [arm.bundle for each in place.production.router.placed for arm in each.arms]
    assert set(routed) <= {A}, "one whose approval is void met users while the one before it was taken out"


def test_a_release_that_has_not_its_turn_is_refused_by_name_with_what_to_do(place: Place) -> None:
    with pytest.raises(BadInput, match=r"toy-0009 was never rolled out; .*lockgate explain toy-0009"):
        start_several(place.services, MODEL, (R2, ReleaseId("toy-0009")), by="ada")
    with pytest.raises(BadInput, match="names one release twice"):
        start_several(place.services, MODEL, (R2, R2), by="ada")
    (place.settings.release(R3) / "dossier.html").write_text("another one")
    with pytest.raises(BadInput, match=r"toy-0003 may not be rolled out: .*start a new release: lockgate release"):
        start_several(place.services, MODEL, (R2, R3), by="ada")
    place.put(Event.ROLLOUT_BEGUN, place._alone(R4, CHALLENGERS[R4]), R4)
    with pytest.raises(BadInput, match=r"toy-0004 is under way; see: lockgate rollout status"):
        start_several(place.services, MODEL, (R2, R4), by="ada")
    place.put(Event.ROLLOUT_ENDED, {"verdict": "roll_back", "reason": "errors"}, R4)
    with pytest.raises(BadInput, match="toy-0004 did harm: errors; start a new release"):
        start_several(place.services, MODEL, (R2, R4), by="ada")
    assert place.runs.started == []
    assert place.production.ledger.rows(MODEL, events=(Event.ROLLOUT_ASKED,)) == ()


@pytest.mark.parametrize("strategy", [each for each in RolloutStrategy if each is not RolloutStrategy.A_B])
def test_no_other_strategy_than_a_fixed_split_takes_several(place: Place, strategy: RolloutStrategy) -> None:
    place.spec = replace(place.spec, rollout=replace(QUICK, strategy=strategy, steps=()))

    with pytest.raises(BadInput, match=rf"rollout.strategy is {strategy.value}, .*a_b.*one after the other"):
        start_several(place.services, MODEL, (R2, R3), by="ada")


def test_an_approval_that_is_void_begins_nothing(place: Place) -> None:
    start_several(place.services, MODEL, (R2, R3), by="ada")
    (place.settings.release(R3) / "dossier.html").write_text("another one")

    with pytest.raises(ApprovalVoid, match=R3):
        begin_rollout(place.line, R2, run="run-9", beside=(R3,))

    assert place.begun(R2) == 1


def test_a_release_waits_for_others_where_the_spec_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.spec = replace(place.spec, rollout=replace(QUICK, challengers=2))
    fresh = ReleaseId("toy-0005")
    place.approve(fresh, Digest("f" * 64))

    standing = begin_rollout(place.line, fresh, run="run-2")

    assert (standing.ended, standing.verdict) == (True, "inconclusive")
    assert f"lockgate rollout start {fresh} --beside RELEASE" in standing.sentence


def test_page_and_status_show_every_arm_with_its_estimate() -> None:
    production = of_three()
    production.carry()
    found = [production.record(each) for each in CHALLENGERS]

    text, page = arms_text(found), several_page(found[0], {"beside": arms_content(found)})

    for release in CHALLENGERS:
        assert release in text
        assert f"| {release} |" in page
    assert "promoted" in text
    assert "inconclusive" in text
    assert several_page(found[0], {}) in page


def test_the_share_of_a_pair_is_what_the_two_have_of_both() -> None:
    assert pair_share(0.25, 3) == pytest.approx(0.5)
    assert Standing(model=MODEL, release=R2, title="", step=0).beside == ()
