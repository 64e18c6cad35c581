"""Following a release: what is shown of the ledger and the orchestrator, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.cli.following import Follower
from lockgate.cli.release_commands import finish
from lockgate.cli.surface import Surface
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome, next_row
from lockgate.errors import NotRunning, TransientError
from lockgate.ports import RunState

MODEL, RELEASE, RUN = ModelName("toy"), ReleaseId("toy-0001"), "run-1"
NOW = datetime.now(UTC)


class WrittenLedger:
    """A ledger whose next rows are written each time somebody looks."""

    def __init__(self, *script: Sequence[tuple[Event, Mapping[str, Json]]]) -> None:
        self.script = list(script)
        self.kept: list[LedgerRow] = []

    def last_seq(self, model: ModelName) -> int:
        for event, payload in self.script.pop(0) if self.script else ():
            last = self.kept[-1] if self.kept else None
            self.kept.append(
                next_row(model=model, at=NOW, event=event, release=RELEASE, actor="x", payload=payload, last=last)
            )
        return len(self.kept)

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = ()
    ) -> list[LedgerRow]:
        mine = [row for row in self.kept if row.model == model and release in (None, row.release)]
        return [row for row in mine if not events or row.event in events]


class QuietRuns:
    """An orchestrator that tells one state, or is away."""

    def __init__(self, state: RunState | None = None, *, away: bool = False, message: str = "") -> None:
        self._state, self._away, self._message = state, away, message

    def task_runs(self, run: str) -> list[dict[str, Any]]:  # noqa: ARG002 - the client's signature
        if self._away:
            raise NotRunning("away")
        return [{"id": "1", "name": "train_model-0", "state_type": "COMPLETED", "total_run_time": 2.5}]

    def state(self, run: str) -> RunState | None:  # noqa: ARG002 - the client's signature
        return self._state

    def run(self, run: str) -> dict[str, Any]:  # noqa: ARG002 - the client's signature
        return {"state": {"message": self._message}}


OPENED: tuple[Event, Mapping[str, Json]] = (Event.RELEASE_OPENED, {"run": RUN, "reason": "new data"})
DRIFT: tuple[Event, Mapping[str, Json]] = (Event.VERDICT, {"gate": "drift", "verdict": "FAIL", "reason": "psi 0.4"})


def ended(outcome: Outcome) -> tuple[Event, Mapping[str, Json]]:
    return Event.RELEASE_ENDED, {"outcome": outcome.value, "reason": "because", "gate": None}


def follower(ledger: WrittenLedger, runs: QuietRuns) -> Follower:
    services: Any = SimpleNamespace(ledger=ledger, runs=runs)
    return Follower(services, Surface("release"), MODEL, RUN, look_s=0.01, silent_s=0.05)


def ignore(row: LedgerRow) -> None:
    """Take no notice of the question."""


def test_a_release_is_followed_to_its_end_by_the_ledger_although_the_orchestrator_is_away() -> None:
    ledger = WrittenLedger([OPENED, DRIFT], [ended(Outcome.BLOCKED)])
    followed = follower(ledger, QuietRuns(away=True)).until_end(ignore)
    assert (followed.release, followed.outcome, followed.reason) == (RELEASE, Outcome.BLOCKED, "because")
    assert followed.content["verdicts"] == [{"gate": "drift", "verdict": "FAIL", "reason": "psi 0.4"}]


def test_verdicts_and_stages_are_shown_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    follower(WrittenLedger([OPENED, DRIFT], [ended(Outcome.BLOCKED)]), QuietRuns()).until_end(ignore)
    captured = capsys.readouterr()
    assert "gate drift         FAIL  psi 0.4" in captured.err
    assert captured.out == ""


def test_the_question_is_handed_on_once() -> None:
    asked: list[LedgerRow] = []
    question: tuple[Event, Mapping[str, Json]] = (Event.APPROVAL_ASKED, {"expires_at": NOW.isoformat(), "run": RUN})
    ledger = WrittenLedger([OPENED, question], [ended(Outcome.PROMOTED)])
    follower(ledger, QuietRuns()).until_end(asked.append)
    assert [row.event for row in asked] == [Event.APPROVAL_ASKED]


def test_what_was_before_is_kept_but_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    following = follower(WrittenLedger([OPENED, DRIFT], [ended(Outcome.REJECTED)]), QuietRuns())
    following.skip_what_was()
    followed = following.until_end(ignore)
    assert followed.outcome is Outcome.REJECTED
    assert list(followed.verdicts) == ["drift"]
    assert "drift" not in capsys.readouterr().err


def test_an_end_before_a_retry_is_past() -> None:
    resumed: tuple[Event, Mapping[str, Json]] = (Event.RELEASE_RESUMED, {"run": RUN})
    ledger = WrittenLedger([OPENED, ended(Outcome.FAILED), resumed], [], [ended(Outcome.PROMOTED)])
    following = follower(ledger, QuietRuns())
    following.skip_what_was()
    assert (following.followed.outcome, following.followed.reason) == (None, "")
    assert following.until_end(ignore).outcome is Outcome.PROMOTED


def test_a_rollout_is_shown_step_by_step_while_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    routed: tuple[Event, Mapping[str, Json]] = (
        Event.ROUTING_VERIFIED,
        {"environment": "production", "sequence": 5, "weight": 0.1, "shadow": 0.0},
    )
    over: tuple[Event, Mapping[str, Json]] = (Event.ROLLOUT_ENDED, {"verdict": "roll_back", "reason": "errors seen"})
    script = ([OPENED], [routed], [over, ended(Outcome.ROLLED_BACK)])
    followed = follower(WrittenLedger(*script), QuietRuns()).until_end(ignore)
    said = capsys.readouterr().err
    assert said.index("10 % of entities") < said.index("rollout ended, roll_back: errors seen")
    assert followed.outcome is Outcome.ROLLED_BACK


def test_while_the_rollouts_process_starts_it_is_said_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    given: tuple[Event, Mapping[str, Json]] = (Event.APPROVAL_GIVEN, {"approver": "ada", "reason": "fine"})
    silence: list[tuple[Event, Mapping[str, Json]]] = []
    script = ([OPENED, given], *(silence for _ in range(20)), [ended(Outcome.PROMOTED)])
    follower(WrittenLedger(*script), QuietRuns()).until_end(ignore)
    assert "own run is being started" in capsys.readouterr().err


def test_another_releases_rows_are_not_ours() -> None:
    ledger = WrittenLedger([(Event.RELEASE_OPENED, {"run": "run-0", "reason": "x"})])
    done = RunState(type="COMPLETED", name="NothingNew", since=NOW)
    followed = follower(ledger, QuietRuns(done, message="nothing new landed")).until_end(ignore)
    assert followed.release is None
    assert followed.reason == "nothing new landed"


def test_following_ends_in_time() -> None:
    with pytest.raises(TransientError, match="goes on"):
        follower(WrittenLedger([OPENED]), QuietRuns()).until_end(ignore, within_s=0.0)


def end_of(*script: Sequence[tuple[Event, Mapping[str, Json]]], runs: QuietRuns) -> Callable[[], int]:
    return lambda: finish(Surface("release"), MODEL, follower(WrittenLedger(*script), runs).until_end(ignore))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.PROMOTED, 0),
        (Outcome.BLOCKED, 3),
        (Outcome.REJECTED, 4),
        (Outcome.SUPERSEDED, 5),
        (Outcome.INCONCLUSIVE, 6),
    ],
)
def test_the_exit_code_says_how_it_ended(outcome: Outcome, code: int) -> None:
    assert end_of([OPENED, ended(outcome)], runs=QuietRuns())() == code


def test_a_run_that_found_nothing_new_is_no_failure() -> None:
    done = RunState(type="COMPLETED", name="NothingNew", since=NOW)
    assert end_of([], runs=QuietRuns(done, message="nothing new landed"))() == 0


def test_a_run_that_crashed_before_it_opened_a_release_is_a_failure() -> None:
    crashed = RunState(type="CRASHED", name="Crashed", since=NOW)
    assert end_of([], runs=QuietRuns(crashed, message="nothing to see"))() == 1
