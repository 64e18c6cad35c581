"""What comes of a landed month, read from the record; also after a kill in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.replay_plan import Ended
from lockgate.line.model_line import Line
from lockgate.line.replay_release import again_where_busy, await_end, await_none, started_by_harm, taken_up
from lockgate.ports import Batch
from lockgate.spec_file import parse_spec
from tests.e2e.toy_project import HUMAN, spec
from tests.fakes import FakeLedger

MODEL, RELEASE, MARCH = ModelName("toy"), ReleaseId("toy-0002"), Digest("a" * 64)
HELD: dict[str, Json] = {"train": False, "why": "toy was trained 3 d ago", "trigger": {"kind": "new_data"}}


@dataclass
class Store:
    waits: tuple[Batch, ...] = ()

    def landed(self, model: ModelName) -> tuple[Batch, ...]:
        del model
        return self.waits


@dataclass
class Runs:
    started: list[str] = field(default_factory=list)

    def start_run(self, deployment: str, parameters: dict[str, Json]) -> str:
        self.started.append(f"{deployment} {parameters['reason']}")
        return "run"


@pytest.fixture
def line(tmp_path: Path) -> Line:
    services: Any = Services(load_settings({"LOCKGATE_HOME": str(tmp_path), "LOCKGATE_PROJECT": str(tmp_path)}))
    services.ledger, services.store, services.runs = FakeLedger(), Store(), Runs()
    services.ledger.append(MODEL, Event.BATCH_INGESTED, {"sha256": "f" * 64})
    _release(services.ledger, "toy-0001", "promoted")
    return Line(services=services, spec=parse_spec(spec("toy", HUMAN)))


def _release(ledger: FakeLedger, release: str, outcome: str, gate: str | None = None) -> None:
    name = ReleaseId(release)
    ledger.append(MODEL, Event.RELEASE_OPENED, {"reason": "new data", "run": "r"}, release=name)
    if outcome:
        ended = {"outcome": outcome, "reason": "so it went", "gate": gate}
        ledger.append(MODEL, Event.RELEASE_ENDED, ended, release=name)


def append(line: Line, event: Event, payload: dict[str, Json], release: ReleaseId | None = None) -> None:
    line.ledger.append(MODEL, event, payload, release=release)


def test_the_release_of_what_landed_is_awaited_and_clients_are_told_of_its_rollout(line: Line) -> None:
    seen, told = line.ledger.last_seq(MODEL), []
    append(line, Event.RELEASE_OPENED, {"reason": "new data", "run": "r"}, RELEASE)
    append(line, Event.APPROVAL_GIVEN, {}, RELEASE)
    append(line, Event.RELEASE_ENDED, {"outcome": "blocked", "reason": "AUC", "gate": "champion"}, RELEASE)
    ended = await_end(line, seen, lambda: told.append("rollout"))
    assert told == ["rollout"]
    assert ended == Ended(
        decision="released", why="new data", release=RELEASE, outcome="blocked", gate="champion", reason="AUC"
    )


def test_a_policy_that_says_no_ends_the_month_without_a_release(line: Line) -> None:
    seen = line.ledger.last_seq(MODEL)
    append(line, Event.RETRAINING_DECIDED, HELD)
    assert await_end(line, seen, None) == Ended(decision="held back", why="toy was trained 3 d ago")


def test_a_no_to_something_else_than_the_data_is_not_taken_for_one(line: Line) -> None:
    seen = line.ledger.last_seq(MODEL)
    append(line, Event.RETRAINING_DECIDED, HELD | {"trigger": {"kind": "degradation"}})
    append(line, Event.RELEASE_OPENED, {"reason": "new data", "run": "r"}, RELEASE)
    append(line, Event.RELEASE_ENDED, {"outcome": "promoted", "reason": "fine", "gate": None}, RELEASE)
    assert await_end(line, seen, None).promoted


def test_a_file_that_never_landed_is_left_to_be_landed(line: Line) -> None:
    assert taken_up(line, MARCH) is None
    assert _started(line) == []


def _ended(line: Line) -> None:
    append(line, Event.BATCH_INGESTED, {"sha256": MARCH})
    _release(line.ledger, RELEASE, "rolled_back")  # type: ignore[arg-type]  # the fixture's


def _failed(line: Line) -> None:
    append(line, Event.BATCH_INGESTED, {"sha256": MARCH})
    _release(line.ledger, RELEASE, "failed")  # type: ignore[arg-type]  # the fixture's


def _never_opened(line: Line) -> None:
    append(line, Event.BATCH_INGESTED, {"sha256": MARCH})


def _starved(line: Line) -> None:
    append(line, Event.BATCH_INGESTED, {"sha256": MARCH})
    append(line, Event.ROLLOUT_BEGUN, {}, RELEASE)
    _release(line.ledger, RELEASE, "inconclusive")  # type: ignore[arg-type]  # the fixture's


def _inconclusive_by_a_gate(line: Line) -> None:
    append(line, Event.BATCH_INGESTED, {"sha256": MARCH})
    _release(line.ledger, RELEASE, "inconclusive", "champion")  # type: ignore[arg-type]  # the fixture's


@pytest.mark.parametrize(
    ("before", "outcome", "started"),
    [
        (_ended, "rolled_back", 0),
        (_failed, None, 1),
        (_never_opened, None, 1),
        (_starved, None, 1),  # its rollout went on when the replay was dead, and no client with it
        (_inconclusive_by_a_gate, "inconclusive", 0),
    ],
)
def test_after_a_kill_a_release_that_ended_counts_and_one_that_did_not_is_run_again(
    line: Line, before: Callable[[Line], None], outcome: str | None, started: int
) -> None:
    before(line)
    past = taken_up(line, MARCH)
    assert (None if past is None else past.outcome) == outcome
    assert _started(line) == ["release-model/toy replay taken up again"] * started


BUSY = Ended(decision="released", why="new data", release=RELEASE, outcome="inconclusive", gate="stress")


class Rerun(Runs):
    """An orchestrator whose every run is a release that ends at once, the next way on a list."""

    def __init__(self, line: Line, *ends: tuple[str, str | None]) -> None:
        super().__init__()
        self.line, self.ends = line, list(ends)

    def start_run(self, deployment: str, parameters: dict[str, Json]) -> str:
        outcome, gate = self.ends.pop(0)
        _release(self.line.ledger, f"toy-{10 + len(self.started):04d}", outcome, gate)  # type: ignore[arg-type]  # the fixture's
        return super().start_run(deployment, parameters)


def test_a_release_that_this_machine_was_too_busy_for_is_run_again_until_it_could_be_measured(line: Line) -> None:
    services: Any = line.services
    services.runs = Rerun(line, ("inconclusive", "infra"), ("promoted", None))
    assert again_where_busy(line, BUSY, None).promoted
    assert len(_started(line)) == 2
    assert "toy-0002 ended inconclusive by stress" in _started(line)[0]


def test_a_machine_that_stays_busy_ends_the_month_inconclusive_after_two_more_tries(line: Line) -> None:
    services: Any = line.services
    services.runs = Rerun(line, *[("inconclusive", "stress")] * 3)
    assert again_where_busy(line, BUSY, None).outcome == "inconclusive"
    assert len(_started(line)) == 2


@pytest.mark.parametrize(("outcome", "gate"), [("blocked", "stress"), ("inconclusive", "champion"), ("promoted", "")])
def test_what_was_said_of_the_model_is_never_asked_again(line: Line, outcome: str, gate: str) -> None:
    said = Ended(decision="released", why="new data", release=RELEASE, outcome=outcome, gate=gate)
    assert again_where_busy(line, said, None) == said
    assert _started(line) == []


def test_after_a_kill_an_answer_that_held_the_waiting_file_back_counts(line: Line) -> None:
    append(line, Event.RETRAINING_DECIDED, HELD)
    assert taken_up(line, MARCH) is None, "it was about another file"
    store: Any = line.services.store
    store.waits = (Batch(path=Path("march.parquet"), name="march.parquet", sha256=MARCH),)
    past = taken_up(line, MARCH)
    assert past is not None
    assert past.decision == "held back"


def _started(line: Line) -> list[str]:
    runs: Any = line.services.runs
    return list(runs.started)


HARM: dict[str, Json] = {"reason": "degradation: quality.loss: worse", "started_by": "monitor", "run": "r"}
ASKED: dict[str, Json] = {"train": True, "why": "harm", "trigger": {"kind": "degradation"}}


def test_releases_that_harm_started_are_told_apart_by_who_started_them(line: Line) -> None:
    append(line, Event.RELEASE_OPENED, HARM, RELEASE)
    assert started_by_harm(line) == (), "it has not ended"
    append(line, Event.RELEASE_ENDED, {"outcome": "blocked", "reason": "AUC", "gate": "champion"}, RELEASE)
    by_hand = ReleaseId("toy-0003")
    append(line, Event.RELEASE_OPENED, HARM | {"started_by": "ada"}, by_hand)
    append(line, Event.RELEASE_ENDED, {"outcome": "failed", "reason": "x"}, by_hand)
    (found,) = started_by_harm(line)
    assert (found.release, found.outcome, found.gate) == (RELEASE, "blocked", "champion")
    assert found.why == "degradation: quality.loss: worse"


def test_a_release_that_harm_asked_for_is_awaited_though_it_has_not_begun(line: Line) -> None:
    append(line, Event.RETRAINING_DECIDED, ASKED)

    def begin() -> None:
        append(line, Event.RELEASE_OPENED, HARM, RELEASE)
        append(line, Event.RELEASE_ENDED, {"outcome": "blocked", "reason": "AUC", "gate": "champion"}, RELEASE)

    run = threading.Timer(0.2, begin)
    run.start()
    await_none(line)
    assert [each.release for each in started_by_harm(line)] == [RELEASE]
    run.join()


@pytest.mark.parametrize("said", [HELD, ASKED | {"train": False}, ASKED | {"trigger": {"kind": "new_data"}}])
def test_what_was_refused_or_asked_by_others_is_not_waited_for(line: Line, said: dict[str, Json]) -> None:
    append(line, Event.RETRAINING_DECIDED, said)
    await_none(line)
    assert started_by_harm(line) == ()
