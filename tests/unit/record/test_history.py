from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from lockgate.core.ids import Digest, ReleaseId, Stage
from lockgate.core.ledger import Event
from lockgate.errors import BadInput
from lockgate.stages.difference import diff
from lockgate.stages.history import at, explain, history
from tests.fakes import EPOCH, FakeClock, FakeLedger
from tests.record import MODEL, Writer

FIRST, SECOND = ReleaseId("flights-0001"), ReleaseId("flights-0002")
OLD, NEW = Digest("b" * 64), Digest("c" * 64)


@pytest.fixture
def first() -> Writer:
    clock = FakeClock()
    return Writer(FakeLedger(clock), clock, FIRST, OLD)


def test_history_is_a_sentence_a_row_without_the_evidence(first: Writer) -> None:
    first.whole()
    rows = first.ledger.rows(MODEL)
    told = history(rows)
    assert [entry.seq for entry in told] == [row.seq for row in rows if row.event is not Event.EVIDENCE]
    texts = [entry.text for entry in told]
    assert "gate quality: PASS, within the threshold" in texts
    assert "approved by Ada: better" in texts
    assert f"production: {OLD[:12]} serves, in 3 live answers" in texts


def test_every_event_has_a_sentence_even_without_its_facts() -> None:
    clock = FakeClock()
    ledger = FakeLedger(clock)
    for event in Event:
        ledger.append(MODEL, event, {})
    assert all(entry.text for entry in history(ledger.rows(MODEL)))


def test_a_promoted_release_is_explained_with_its_approval(first: Writer) -> None:
    first.whole()
    told = explain(first.ledger.rows(MODEL), FIRST)
    assert (told.status, told.bundle, told.failing) == ("promoted", OLD, ())
    assert told.approval == "approved by Ada: better"
    assert told.next == "lockgate status"
    assert "lockgate rollback --model flights" in told.hint


def test_a_blocked_release_is_explained_by_the_checks_that_failed(first: Writer) -> None:
    first.open()
    first.judge(Stage.EVALUATE, 0.1)
    first.add(Event.RELEASE_ENDED, outcome="blocked", reason="gate quality said FAIL", gate="quality")
    told = explain(first.ledger.rows(MODEL), FIRST)
    assert (told.status, told.gate) == ("blocked", "quality")
    assert [(gate, check.name) for gate, check in told.failing] == [("quality", "score")]
    assert told.next == "lockgate release --model flights"
    assert "quality" in told.hint


@pytest.mark.parametrize(("gate", "first_of_all"), [("stress", "this machine computes"), ("slices", "land FILE")])
def test_what_could_not_be_told_is_told_again_after_what_was_in_its_way(
    first: Writer, gate: str, first_of_all: str
) -> None:
    first.open()
    first.add(Event.RELEASE_ENDED, outcome="inconclusive", reason=f"gate {gate} said INCONCLUSIVE", gate=gate)
    told = explain(first.ledger.rows(MODEL), FIRST)
    assert told.next == "lockgate release --model flights"
    assert first_of_all in told.hint


def test_a_release_that_waits_is_explained_by_how_to_decide(first: Writer) -> None:
    first.open()
    blessing = first.bless()
    first.add(Event.APPROVAL_ASKED, blessing=blessing.digest, expires_at=(EPOCH + timedelta(1)).isoformat())
    told = explain(first.ledger.rows(MODEL), FIRST)
    assert told.status == "waiting for approval"
    assert told.next == f"lockgate approve {FIRST}"
    assert told.hint.startswith(f"or: lockgate reject {FIRST}")


def test_an_unknown_release_is_told_with_those_there_are(first: Writer) -> None:
    first.open()
    with pytest.raises(BadInput, match=FIRST):
        explain(first.ledger.rows(MODEL), SECOND)


def test_what_served_is_told_for_any_time(first: Writer) -> None:
    first.whole()
    between = first.clock.time
    first.clock.advance(3600)
    Writer(first.ledger, first.clock, SECOND, NEW, champion=OLD, target=first.target).whole()
    rows = first.ledger.rows(MODEL)
    assert at(rows, EPOCH) is None
    then, now = at(rows, between), at(rows, first.clock.time)
    assert then is not None
    assert now is not None
    assert (then.bundle, then.release, then.approval) == (OLD, FIRST, "approved by Ada: better")
    assert (now.bundle, now.why) == (NEW, "a better model")
    assert at(rows, between, "staging") is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInput, match="time zone"):
        at((), datetime(2026, 3, 1, 14, 5))  # noqa: DTZ001 - the point of the test


def test_two_releases_differ_in_what_they_are_made_of_and_what_was_measured(first: Writer) -> None:
    first.open()
    first.judge(Stage.EVALUATE, 0.6)
    second = Writer(first.ledger, first.clock, SECOND, NEW)
    second.whole()
    told = {each.what: (each.first, each.second) for each in diff(first.ledger.rows(MODEL), FIRST, SECOND)}
    assert told["quality.score"] == (0.6, 0.9)
    assert told["bundle"] == (None, NEW)
    assert told["outcome"] == (None, "promoted")
    assert "spec" not in told
    assert diff(first.ledger.rows(MODEL), SECOND, SECOND) == ()
