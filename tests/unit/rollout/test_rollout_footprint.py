"""What a long rollout holds and costs: no connection stays open, and no row is folded into its page twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lockgate.core.ids import Json
from lockgate.core.ledger import LedgerRow
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.line.carrying import Page
from lockgate.line.rolling import carry_on, end_abandoned
from tests.fakes import FakeLedger
from tests.unit.rollout.rollouts_on_record import promoted
from tests.unit.rollout.test_rollout_given_up import STANDING, Place
from tests.unit.rollout.world import MODEL, R2


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_rollout_that_is_given_up_closes_every_connection(place: Place) -> None:
    place.under_way()
    end_abandoned(place.line, R2, "its process is gone")
    assert place.opened
    assert not [each for each in place.opened if each.connected]


def test_a_rollout_that_is_taken_back_closes_every_connection(place: Place) -> None:
    place.under_way()
    place.production.wish("abort")
    end_abandoned(place.line, R2, "its process is gone")
    assert place.opened
    assert not [each for each in place.opened if each.connected]


def test_a_step_that_is_broken_off_closes_every_connection(place: Place) -> None:
    place.under_way()

    def die(_found: RolloutRecord, _shown: object) -> None:
        raise ZeroDivisionError

    place.production.wish("abort")
    with pytest.raises(ZeroDivisionError):
        carry_on(place.line, STANDING, die)
    assert place.opened
    assert not [each for each in place.opened if each.connected]


@dataclass
class CountingLedger(FakeLedger):
    """Counts the rows that it was asked for."""

    given: int = 0
    _asked: list[int] = field(default_factory=list)

    def rows(self, *model: Any, **how: Any) -> tuple[LedgerRow, ...]:
        found = super().rows(*model, **how)
        self.given += len(found)
        return found


def test_a_page_folds_each_row_once_however_many_looks_there_are(place: Place) -> None:
    rows = promoted()
    ledger = CountingLedger()
    place.production.ledger = ledger
    shown: list[RolloutRecord] = []

    def show(found: RolloutRecord, _shown: object) -> None:
        shown.append(found)

    page = Page(place.line, R2, show)
    for row in rows:
        ledger.append(MODEL, row.event, dict(row.payload), release=row.release)
        page(dict[str, Json]())
    assert ledger.given == len([row for row in rows if row.release == R2])
    assert page._found == read_rollout(ledger.rows(MODEL, release=R2), R2)
    assert len(shown) < len(rows)
