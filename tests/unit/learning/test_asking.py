"""Triggers reach the policy, its answers go on record once, and one cause starts one release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.learning.triggers import STARTERS, TriggerKind, kind_of, reason_of
from lockgate.core.ledger import Event, Outcome
from lockgate.core.monitoring.ages import Upstream
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judging import judge_window
from lockgate.core.spec import Automation, MonitoringSection, RetrainingSection
from lockgate.errors import BadInput, TransientError
from lockgate.line import learning
from lockgate.line.upkeep import announce
from lockgate.ports import Batch
from lockgate.stages.history import explain, history
from lockgate.stages.releasing import end_release, open_release
from tests.fakes import FakeClock, FakeLedger, FakeNotifier
from tests.release_fakes import FakeFlowRuns, start, toy_spec
from tests.unit.monitoring.watched_days import REFERENCE, day, noon_after

TOY = ModelName("toy")
CODE = Digest("c" * 64)


def found(name: str = "truth.loss", subject: Subject = Subject.TRUTH, state: State = State.HARM) -> Finding:
    reason = "the loss is 0.03 above what is tolerated"
    return Finding(model=TOY, name=name, subject=subject, state=state, harm=0.1, reason=reason)


@dataclass
class Runs(FakeFlowRuns):
    """Keeps what was started and emitted; one key starts one run, as the orchestrator's does."""

    started: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    events: dict[str, Mapping[str, Json]] = field(default_factory=dict)
    down: bool = False

    def start_run(self, deployment: str, parameters: Mapping[str, Json], *, idempotency_key: str) -> str:
        if self.down:
            raise TransientError("the orchestrator did not answer")
        assert deployment == f"release-model/{parameters['model']}"
        self.started.setdefault(idempotency_key, parameters)
        return f"run-of-{idempotency_key}"

    def emit_event(self, event: str, resource: str, payload: Mapping[str, Json], *, id: str) -> str:  # noqa: A002
        del event, resource
        self.events[id] = payload
        return id


class World:
    """A line of the toy model: a record, a landing folder and an orchestrator that only remember."""

    def __init__(self, **section: Any) -> None:
        self.clock, self.runs, self.notifier = FakeClock(), Runs(), FakeNotifier()
        self.ledger = FakeLedger(self.clock)
        self.waiting: list[Batch] = []
        self.spec = replace(toy_spec(), retraining=RetrainingSection(**section))
        services = SimpleNamespace(
            clock=self.clock,
            runs=self.runs,
            notifier=self.notifier,
            code=SimpleNamespace(digest=CODE),
            store=SimpleNamespace(landed=lambda _: tuple(self.waiting)),
        )
        self.line: Any = SimpleNamespace(services=services, spec=self.spec, ledger=self.ledger, model=TOY)

    def take_in(self, sha: str = "f" * 64, rows: int = 9) -> None:
        facts: dict[str, Json] = {"sha256": sha, "name": "f.parquet", "rows": rows, "table_version": 0}
        self.ledger.append(TOY, Event.BATCH_INGESTED, facts)

    def land(self, sha: str = "e" * 64) -> None:
        self.waiting.append(Batch(path=Path("/nowhere/e.parquet"), name="e.parquet", sha256=Digest(sha)))

    def release(self, run: str, reason: str = "new data", started_by: str = "landing") -> ReleaseId:
        """Do what the first task of a run does after the landed files were taken in."""
        self.runs.put(run, "RUNNING")
        asks = replace(start(run, reason), started_by=started_by)
        decision = learning.ask_to_open(self.line, asks)
        if decision is not None and not decision.train:
            return ReleaseId("")
        return open_release(self.ledger, self.runs, self.spec, asks).release

    def end(self, run: str, release: ReleaseId, outcome: Outcome = Outcome.BLOCKED) -> None:
        end_release(self.ledger, self.spec, release, outcome, "so it was")
        self.runs.put(run, "CANCELLED")

    @property
    def decided(self) -> list[Mapping[str, Json]]:
        return [row.payload for row in self.ledger.rows(TOY, events=(Event.RETRAINING_DECIDED,))]


@pytest.mark.parametrize("kind", TriggerKind)
def test_the_words_on_record_tell_the_kind_of_a_trigger(kind: TriggerKind) -> None:
    assert kind_of(reason_of(kind, "because"), STARTERS.get(kind, "ada")) is kind


def test_what_a_person_wrote_is_theirs_whatever_it_begins_with() -> None:
    assert kind_of("degradation: I saw it", "ada") is TriggerKind.BY_HAND


def test_an_event_delivered_four_times_does_one_release() -> None:
    world = World()
    world.take_in()
    opened = []
    for run in ("run-1", "run-2", "run-3", "run-4"):
        opened.append(world.release(run))
        if opened[-1]:
            world.end(run, opened[-1])
    assert opened == ["toy-0001", "", "", ""]
    assert [each["train"] for each in world.decided] == [True, False, False, False]


def test_a_run_that_is_entered_again_is_not_asked_again() -> None:
    world = World()
    world.take_in()
    first = world.release("run-1")
    assert world.release("run-1") == first
    assert len(world.decided) == 1


def test_a_second_trigger_waits_its_turn_and_is_judged_when_that_comes() -> None:
    world = World()
    world.take_in()
    first = world.release("run-1")
    world.take_in("a" * 64)
    with pytest.raises(TransientError, match="waits its turn"):
        world.release("run-2")
    assert len(world.decided) == 1, "nothing was decided while it waited"
    world.end("run-1", first)
    assert world.release("run-2") == "toy-0002"
    assert len(world.decided) == 2


def test_a_release_whose_process_died_holds_no_trigger_back() -> None:
    world = World()
    world.take_in()
    first = world.release("run-1")
    world.runs.put("run-1", "CRASHED")
    world.take_in("a" * 64)
    assert world.release("run-2") == "toy-0002"
    assert world.ledger.state(TOY).outcomes[first] is Outcome.FAILED


def test_a_decision_is_in_the_history_and_in_the_explanation_of_its_release() -> None:
    world = World()
    world.take_in()
    release = world.release("run-1")
    world.end("run-1", release)
    world.release("run-2", "schedule", "schedule")
    rows = world.ledger.rows(TOY)
    told = [entry.text for entry in history(rows) if entry.event is Event.RETRAINING_DECIDED]
    assert told[0].startswith("retraining: new data: 9 new rows")
    assert told[1].startswith("not retraining: nothing new landed")
    found = explain(rows, release)
    assert found.decided is not None
    assert "9 new rows, 1 are asked" in found.decided


def test_landed_files_are_announced_once_for_their_content() -> None:
    world = World()
    world.land()
    assert announce(world.line)
    assert announce(world.line)
    assert len(world.runs.events) == 1
    assert world.decided == [], "the run that the event starts decides"


@pytest.mark.parametrize(
    ("section", "says"), [({"on_new_data": False}, "on_new_data is false"), ({"cooldown_s": 3600.0}, "was opened")]
)
def test_files_that_start_nothing_are_told_of_once_and_not_announced(section: dict[str, Any], says: str) -> None:
    world = World(**section)
    world.take_in()
    world.end("run-1", world.release("run-1", "by hand", "ada"))
    world.land()
    for _ in range(3):
        assert not announce(world.line)
        world.clock.advance(600)
    assert world.runs.events == {}
    assert len([each for each in world.decided if says in str(each["why"])]) == 1


def test_rows_that_a_cooldown_held_back_are_announced_when_it_is_over() -> None:
    world = World(cooldown_s=3600.0)
    world.take_in()
    world.end("run-1", world.release("run-1"))
    world.take_in("a" * 64)
    assert world.release("run-2") == "", "it is too early"
    assert not announce(world.line)
    world.clock.advance(3700)
    assert announce(world.line), "no file lies in the landing folder any more, and nothing else would ask"
    assert world.release("run-3") == "toy-0002"
    assert not announce(world.line)


def test_where_people_start_releases_they_are_told_once_what_landed() -> None:
    world = World(automation=Automation.NOTIFY)
    world.land()
    for _ in range(3):
        assert not announce(world.line)
    assert len(world.notifier.sent) == 1
    assert "lockgate release --model toy" in world.notifier.sent[0][1]
    world.take_in()
    assert world.release("run-1", "I read it", "ada") == "toy-0001"


def test_harm_that_labels_show_starts_one_run_a_day() -> None:
    world = World()
    world.take_in()
    for _ in range(4):
        decision = learning.on_degradation(world.line, [found(), found("input.drift:dep", Subject.INPUT, State.NOISE)])
        assert decision is not None
        assert decision.train
    assert len(world.runs.started) == 1
    parameters = next(iter(world.runs.started.values()))
    assert parameters["started_by"] == "monitor"
    assert str(parameters["reason"]).startswith("degradation: truth.loss")
    world.clock.advance(86_400)
    learning.on_degradation(world.line, [found()])
    assert len(world.runs.started) == 2


@pytest.mark.parametrize(
    ("worse", "name"),
    [
        ({"loss": 0.198, "positives": 0.4}, "quality.loss"),  # harder days: as much skill as at release
        ({"loss": 0.12, "positives": 0.04}, "quality.skill"),  # easier days hide a model that no longer tells apart
        ({"origin": 0.4}, "quality.slice:origin=EWR"),
    ],
)
def test_one_finding_of_harm_that_labels_show_is_enough_whichever_it_is(worse: dict[str, float], name: str) -> None:
    days = [day(number, origin=0.15) for number in range(40)] + [day(at, **worse) for at in range(40, 80)]  # type: ignore[arg-type]
    judged = judge_window(days, REFERENCE, MonitoringSection(), now=noon_after(80), ages=Upstream(),
                          label_delay_s=43_200.0)  # fmt: skip
    assert [each.name for each in judged if each.state is State.HARM] == [name]
    world = World(cost=1e9)
    world.take_in()
    decision = learning.on_degradation(world.line, judged)
    assert decision is not None
    assert decision.train, "neither a cost nor what is fine beside it holds it back"
    assert decision.trigger.facts["findings"] == [name]
    assert str(next(iter(world.runs.started.values()))["reason"]).startswith(f"degradation: {name}: ")


@pytest.mark.parametrize(
    "other",
    [
        found("service.errors", Subject.SERVICE),
        found("estimate.loss", Subject.ESTIMATE, State.NOISE),
        found(state=State.OK),
        found(state=State.NO_DATA),
    ],
)
def test_what_is_no_harm_that_labels_show_starts_nothing(other: Finding) -> None:
    world = World()
    world.take_in()
    assert learning.on_degradation(world.line, [other]) is None
    assert world.runs.started == {}


def test_harm_without_new_rows_starts_nothing_and_says_so() -> None:
    world = World()
    world.take_in()
    world.end("run-1", world.release("run-1"))
    decision = learning.on_degradation(world.line, [found()])
    assert decision is not None
    assert not decision.train
    assert "nothing new landed" in str(world.decided[-1]["why"])


def test_a_crash_between_the_record_and_the_start_starts_the_run_the_next_time() -> None:
    world = World()
    world.take_in()
    world.runs.down = True
    with pytest.raises(TransientError):
        learning.on_degradation(world.line, [found()])
    world.runs.down = False
    learning.on_degradation(world.line, [found()])
    assert len(world.runs.started) == 1
    assert len(world.decided) == 1


def test_a_changed_program_starts_one_run_if_the_spec_asks_for_it() -> None:
    world = World(on_code_change=True)
    world.take_in()
    world.end("run-1", world.release("run-1"))
    spec_then = world.ledger.rows(TOY, events=(Event.RELEASE_OPENED,))[0].payload["spec"]
    assert spec_then == world.spec.digest
    assert learning.on_code_change(world.line, CODE) is None
    for _ in range(4):
        decision = learning.on_code_change(world.line, Digest("d" * 64))
        assert decision is not None
        assert decision.train, decision.why
    assert len(world.runs.started) == 1


def test_a_changed_program_is_nothing_to_a_spec_that_does_not_ask() -> None:
    world = World()
    world.take_in()
    world.end("run-1", world.release("run-1"))
    assert learning.on_code_change(world.line, Digest("d" * 64)) is None
    assert world.runs.started == {}


def test_a_message_sent_four_times_under_one_key_starts_one_run() -> None:
    world = World()
    world.take_in()
    told = [learning.on_message(world.line, "mended", key="k", body=Digest("b" * 64)) for _ in range(4)]
    assert [each.answer for each in told] == [learning.Answer.STARTED, *[learning.Answer.ALREADY] * 3]
    assert len({each.run for each in told}) == 1
    assert len(world.runs.started) == 1
    other = learning.on_message(world.line, "other", key="k", body=Digest("a" * 64))
    assert other.answer is learning.Answer.CONFLICT


def test_a_message_that_comes_too_early_is_told_when_to_come_again_and_may_come_under_the_same_key() -> None:
    world = World(cooldown_s=3600.0)
    world.take_in()
    world.end("run-1", world.release("run-1"))
    world.take_in("a" * 64)
    early = learning.on_message(world.line, "now", key="k", body=Digest("b" * 64))
    assert early.answer is learning.Answer.LATER
    assert early.retry_after_s == pytest.approx(3600, abs=60)
    world.clock.advance(3700)
    assert learning.on_message(world.line, "now", key="k", body=Digest("b" * 64)).answer is learning.Answer.STARTED


def test_asking_what_would_be_writes_and_starts_nothing() -> None:
    world = World()
    world.take_in()
    before = len(world.ledger.rows(TOY))
    decision = learning.ask_policy(world.line, learning.trigger_named("new-data", world.clock.now()))
    assert decision.train
    assert len(world.ledger.rows(TOY)) == before
    assert world.runs.started == {}
    with pytest.raises(BadInput, match="triggers: new-data, schedule"):
        learning.trigger_named("moon", world.clock.now())


def test_the_last_gain_on_record_is_weighed_against_the_cost() -> None:
    world = World(cost=10.0)
    world.take_in()
    world.end("run-1", world.release("run-1"))
    gain = {"estimate": 0.01, "low": 0.0, "high": 0.02, "se": 0.01}
    measured: dict[str, Json] = {"scored": True, "binding_metric": "log_loss", "metrics": {"log_loss": {"gain": gain}}}
    world.ledger.append(
        TOY, Event.EVIDENCE, {"gate": "champion", "measurements": measured}, release=ReleaseId("toy-0001")
    )
    world.take_in("a" * 64, rows=100)
    assert world.release("run-2") == ""
    assert "could gain 2 at best" in str(world.decided[-1]["why"])
    world.take_in("b" * 64, rows=900)
    assert world.release("run-3") == "toy-0002"
