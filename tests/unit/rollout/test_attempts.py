"""A bundle that is tried again and again at one champion is promoted by luck no oftener than the plan's error says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout import record
from lockgate.core.rollout.attempts import MOST_ATTEMPTS, attempt_fraction, attempts_so_far, spent
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.steps import course_of
from lockgate.line.attempts import attempt_of, too_many
from lockgate.stages.audit_rollout import audit_rollouts
from tests.unit.rollout.rollouts_on_record import SMALL, allowed, rows_of
from tests.unit.rollout.test_rollout_given_up import Place
from tests.unit.rollout.world import MODEL, R2, A, B, Production


class Counting(Production):
    """A production whose rollouts are begun with the attempt that they are."""

    attempt = 1

    def begin(self) -> None:
        now = self.clock.now().timestamp()
        course = replace(course_of(spent(self.section, self.attempt), sd=None), attempt=self.attempt)
        payload = record.begun_payload(course, Rollout.at_start(R2, B, A, began=now), salt=f"{R2}/1", run="run-2")
        self.ledger.append(MODEL, Event.ROLLOUT_BEGUN, payload, release=R2)


def tried(production: Production, times: int, *, attempts: tuple[int, ...] = ()) -> tuple[LedgerRow, ...]:
    """Try so many times; each looks at its plan, and ends inconclusive because nobody asks any more."""
    counting = Counting(section=SMALL, clock=production.clock, ledger=production.ledger)
    counting.router, counting.target = production.router, production.target
    for number in range(times):
        counting.attempt = attempts[number] if attempts else number + 1
        counting.rate = 40
        counting.begin()
        controller = counting.controller()
        controller.take_over()
        controller.run(lambda _: bool(controller.observer.effects))  # noqa: B023 - called before the next is made
        counting.rate = 0
        controller.run(lambda _: False)
    return rows_of(counting)


def begun(release: str, challenger: str = B, champion: str = A, seq: int = 1) -> LedgerRow:
    return row(seq, Event.ROLLOUT_BEGUN, release, {"challenger": challenger, "champion": champion})


def look(release: str, effect: float | None, seq: int) -> LedgerRow:
    told = None if effect is None else {"value": effect}
    return row(seq, Event.ROLLOUT_LOOK, release, {"effect": told})


def row(seq: int, event: Event, release: str, payload: dict[str, object]) -> LedgerRow:
    pattern = allowed(SMALL).ledger.rows(MODEL)[0]
    return replace(pattern, seq=seq, event=event, release=ReleaseId(release), payload=payload)  # type: ignore[arg-type]


def test_all_attempts_there_may_ever_be_spend_no_more_than_the_plan_declares() -> None:
    assert sum(map(attempt_fraction, range(1, 200))) <= 1.0 + 1e-12
    assert attempt_fraction(1) > attempt_fraction(2) > attempt_fraction(3) > 0
    whole = SMALL.plan.alpha
    assert [spent(SMALL, each).plan.alpha for each in (0, 1, 2)] == pytest.approx([whole, 0.9 * whole, 0.09 * whole])


def test_only_rollouts_of_the_same_bundle_and_champion_whose_plan_was_looked_at_are_counted() -> None:
    rows = [
        begun("toy-0002", seq=1),
        look("toy-0002", None, 2),
        begun("toy-0002", seq=3),
        look("toy-0002", 0.1, 4),
        look("toy-0002", 0.1, 5),
        begun("toy-0003", challenger="f" * 64, seq=6),
        look("toy-0003", 0.1, 7),
        begun("toy-0004", champion="e" * 64, seq=8),
        look("toy-0004", 0.1, 9),
        begun("toy-drill-0001", seq=10),
        look("toy-drill-0001", 0.1, 11),
        begun("toy-0005", seq=12),
        look("toy-0005", 0.1, 13),
    ]
    assert attempts_so_far(rows, B, A) == 2
    assert attempts_so_far(rows, "d" * 64, A) == 0


def test_attempts_are_true_on_record_and_the_next_one_follows(tmp_path: Path) -> None:
    production = allowed(SMALL)
    rows = tried(production, 2)
    assert [each.message for each in audit_rollouts(rows)] == []
    place = Place(tmp_path)
    place.production.ledger = production.ledger
    assert attempt_of(place.line, Digest(B), Digest(A)) == 3
    assert attempt_of(place.line, Digest("f" * 64), Digest(A)) == 1


def test_an_attempt_that_says_it_is_an_earlier_one_is_found() -> None:
    told = [each.message for each in audit_rollouts(tried(allowed(SMALL), 2, attempts=(1, 1)))]
    assert any("attempt 1 of its bundle at its champion; by the record it is attempt 2" in each for each in told)


def test_an_attempt_that_says_nothing_is_taken_as_of_old_only_before_the_first_that_does() -> None:
    assert not list(audit_rollouts(tried(allowed(SMALL), 2, attempts=(0, 2))))
    told = [each.message for each in audit_rollouts(tried(allowed(SMALL), 2, attempts=(1, 0)))]
    assert any("judged as attempt 0" in each for each in told)


def test_one_attempt_too_many_is_refused_with_a_way_out() -> None:
    assert too_many(MOST_ATTEMPTS) is None
    told = too_many(MOST_ATTEMPTS + 1)
    assert told is not None
    assert "lockgate release" in told
