"""Deciding on a release from the command line: what may be decided, and what the answer must hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.cli.options import either, model_of
from lockgate.cli.release_commands import answer_form, confirm, give_answer, waiting_run
from lockgate.cli.surface import Surface
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.model_state import ModelState, project
from lockgate.errors import ApprovalVoid, BadInput
from lockgate.ports import RunState

MODEL = ModelName("toy")
RELEASE = ReleaseId("toy-0001")
RUN = "3f0e7a4e-0000-4000-8000-000000000001"
OPENED: dict[str, Json] = {"spec": "s", "code": "c", "run": RUN, "reason": "new data", "started_by": "landing"}


class ListLedger:
    """A ledger in a list; enough of the port for reading."""

    def __init__(self) -> None:
        self.kept: list[LedgerRow] = []

    def add(self, event: Event, payload: Mapping[str, Json]) -> None:
        last = self.kept[-1] if self.kept else None
        row = next_row(
            model=MODEL, at=datetime.now(UTC), event=event, release=RELEASE, actor="x", payload=payload, last=last
        )
        self.kept.append(row)

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = ()
    ) -> list[LedgerRow]:
        wanted = [row for row in self.kept if row.model == model and (release is None or row.release == release)]
        return [row for row in wanted if not events or row.event in events]

    def state(self, model: ModelName) -> ModelState:
        return project(self.rows(model))

    def last_seq(self, model: ModelName) -> int:
        return len(self.rows(model))

    def models(self) -> tuple[ModelName, ...]:
        return (MODEL,) if self.kept else ()


class AnsweringRuns:
    """An orchestrator that does one thing when a run is resumed."""

    def __init__(self, then: Any = None, state: RunState | None = None) -> None:
        self.then = then
        self.told = state
        self.forms: list[Mapping[str, Json]] = []
        self.waited = False

    def wait(self, run: str, until: Any, *, within_s: float) -> None:  # noqa: ARG002 - the client's signature
        assert until(RunState(type="PAUSED", name="Suspended", since=datetime.now(UTC)))
        assert not until(RunState(type="RUNNING", name="Running", since=datetime.now(UTC)))
        self.waited = True

    def resume(self, run: str, form: Mapping[str, Json]) -> None:  # noqa: ARG002 - the client's signature
        assert self.waited, "answered before the run had suspended itself"
        self.forms.append(form)
        if self.then is not None:
            self.then()

    def state(self, run: str) -> RunState | None:  # noqa: ARG002 - the client's signature
        return self.told


def asked(expires_in: timedelta = timedelta(hours=1)) -> ListLedger:
    ledger = ListLedger()
    ledger.add(Event.RELEASE_OPENED, OPENED)
    ledger.add(Event.APPROVAL_ASKED, {"expires_at": (datetime.now(UTC) + expires_in).isoformat(), "run": RUN})
    return ledger


def services(ledger: ListLedger, runs: AnsweringRuns | None = None) -> Any:
    settings = SimpleNamespace(url=lambda name: f"http://{name}")
    return SimpleNamespace(ledger=ledger, runs=runs, settings=settings)


def test_the_run_of_a_release_that_waits_is_found() -> None:
    assert waiting_run(services(asked()), MODEL, RELEASE) == RUN


@pytest.mark.parametrize("outcome", ["expired", "superseded"])
def test_a_release_that_expired_or_was_superseded_cannot_be_decided_on(outcome: str) -> None:
    ledger = asked()
    ledger.add(Event.RELEASE_ENDED, {"outcome": outcome, "reason": "r", "gate": None})
    with pytest.raises(ApprovalVoid, match=outcome) as refused:
        waiting_run(services(ledger), MODEL, RELEASE)
    assert refused.value.exit_code == 5


def test_a_release_whose_time_ran_out_cannot_be_decided_on_before_the_reaper_saw_it() -> None:
    with pytest.raises(ApprovalVoid, match="expired at"):
        waiting_run(services(asked(timedelta(seconds=-1))), MODEL, RELEASE)


def test_a_release_that_ended_otherwise_is_bad_input() -> None:
    ledger = asked()
    ledger.add(Event.RELEASE_ENDED, {"outcome": "blocked", "reason": "r", "gate": "drift"})
    with pytest.raises(BadInput, match="blocked"):
        waiting_run(services(ledger), MODEL, RELEASE)


def test_a_release_that_is_not_asked_yet_is_bad_input() -> None:
    ledger = ListLedger()
    ledger.add(Event.RELEASE_OPENED, OPENED)
    with pytest.raises(BadInput, match="does not wait"):
        waiting_run(services(ledger), MODEL, RELEASE)


def test_an_answer_ticks_every_item_that_was_confirmed() -> None:
    assert answer_form("approve", "maria", "fine", ("I read it", "I can roll back")) == {
        "decision": "approve",
        "approver": "maria",
        "reason": "fine",
        "check_1": True,
        "check_2": True,
    }


def test_the_answer_counts_when_the_ledger_holds_it() -> None:
    ledger = asked()
    runs = AnsweringRuns(then=lambda: ledger.add(Event.APPROVAL_GIVEN, {"approver": "maria"}))
    form = answer_form("approve", "maria", "", ())
    give_answer(services(ledger, runs), Surface("approve"), MODEL, RELEASE, form)
    assert runs.forms == [form]


def test_an_answer_that_was_void_says_how_the_release_ended() -> None:
    ledger = asked()
    ended: dict[str, Json] = {"outcome": "expired", "reason": "the champion changed", "gate": None}
    runs = AnsweringRuns(then=lambda: ledger.add(Event.RELEASE_ENDED, ended))
    with pytest.raises(ApprovalVoid, match="the champion changed"):
        give_answer(services(ledger, runs), Surface("approve"), MODEL, RELEASE, {})


def test_an_answer_that_is_asked_for_again_did_not_count() -> None:
    again = RunState(type="PAUSED", name="Suspended", since=datetime.now(UTC) + timedelta(minutes=1))
    with pytest.raises(BadInput, match="does not count"):
        give_answer(services(asked(), AnsweringRuns(state=again)), Surface("approve"), MODEL, RELEASE, {})


def test_without_a_terminal_the_checklist_is_confirmed_by_yes_only() -> None:
    surface = Surface("approve")
    confirm(surface, RELEASE, ("I read it",), yes=True)
    if not surface.interactive:
        with pytest.raises(BadInput, match="I read it"):
            confirm(surface, RELEASE, ("I read it",), yes=False)


def test_a_release_names_its_model() -> None:
    assert model_of(asked(), RELEASE) == MODEL  # type: ignore[arg-type]  # reads only


def test_an_unknown_release_is_bad_input() -> None:
    with pytest.raises(BadInput, match="toy-0002"):
        model_of(asked(), "toy-0002")  # type: ignore[arg-type]  # reads only


def test_a_model_may_be_named_as_argument_or_as_option_but_not_as_two() -> None:
    assert either("a", None) == either(None, "a") == either("a", "a") == "a"
    assert either(None, None) is None
    with pytest.raises(BadInput, match="two things"):
        either("a", "b")
