"""The chain shows every change, and its projection follows what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import GENESIS, Event, LedgerRow, Outcome, broken_at, hash_row, next_row
from lockgate.core.model_state import project

MODEL = ModelName("toy")
RELEASE = ReleaseId("toy-0001")
START = datetime(2013, 1, 1, tzinfo=UTC)
A, B = "a" * 64, "b" * 64


def chain(*rows: tuple[Event, Mapping[str, Json]], release: ReleaseId | None = RELEASE) -> list[LedgerRow]:
    found: list[LedgerRow] = []
    for k, (event, payload) in enumerate(rows):
        found.append(
            next_row(
                model=MODEL,
                at=START + timedelta(minutes=k),
                event=event,
                release=release,
                actor="test",
                payload=payload,
                last=found[-1] if found else None,
            )
        )
    return found


def switched(sequence: int, to: str, environment: str = "production") -> list[tuple[Event, dict[str, Json]]]:
    change: dict[str, Json] = {"environment": environment, "from": None, "to": to, "why": "a release"}
    return [
        (Event.TRAFFIC_INTENDED, change),
        (Event.TRAFFIC_VERIFIED, {**change, "sequence": sequence, "answers": 5}),
    ]


PAYLOADS = st.lists(
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers() | st.text(max_size=5)), min_size=1, max_size=8
)


@settings(deadline=None)
@given(PAYLOADS)
def test_a_chain_that_was_appended_is_whole(payloads: list[dict[str, Json]]) -> None:
    rows = chain(*((Event.REFUSED, each) for each in payloads))
    assert broken_at(rows) is None
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].prev_hash == GENESIS


@settings(deadline=None)
@given(PAYLOADS, st.data())
def test_a_changed_row_breaks_the_chain_at_that_row(payloads: list[dict[str, Json]], data: st.DataObject) -> None:
    rows = chain(*((Event.REFUSED, each) for each in payloads))
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = replace(rows[at], payload={**rows[at].payload, "changed": True})
    broken = broken_at(rows)
    assert broken is not None
    assert broken[0] == at + 1


@settings(deadline=None)
@given(PAYLOADS, st.data())
def test_a_rewritten_row_breaks_the_chain_at_the_next_row(payloads: list[dict[str, Json]], data: st.DataObject) -> None:
    rows = chain(*((Event.REFUSED, each) for each in payloads), (Event.REFUSED, {}))
    at = data.draw(st.integers(0, len(rows) - 2))
    changed = replace(rows[at], actor="someone else")
    rows[at] = replace(changed, row_hash=hash_row(changed))
    broken = broken_at(rows)
    assert broken is not None
    assert broken[0] == at + 2


@settings(deadline=None)
@given(PAYLOADS, st.data())
def test_a_removed_row_breaks_the_chain(payloads: list[dict[str, Json]], data: st.DataObject) -> None:
    rows = chain(*((Event.REFUSED, each) for each in payloads), (Event.REFUSED, {}))
    del rows[data.draw(st.integers(0, len(rows) - 2))]
    assert broken_at(rows) is not None


def test_two_rows_swapped_break_the_chain() -> None:
    rows = chain((Event.REFUSED, {}), (Event.REFUSED, {}))
    assert broken_at([rows[1], rows[0]]) is not None


def test_every_field_is_under_the_hash() -> None:
    row = chain((Event.REFUSED, {"what": "x"}))[0]
    others: Sequence[LedgerRow] = (
        replace(row, model=ModelName("other")),
        replace(row, seq=2),
        replace(row, schema_version=2),
        replace(row, at=START + timedelta(seconds=1)),
        replace(row, event=Event.STAGED),
        replace(row, release=None),
        replace(row, actor="other"),
        replace(row, payload={}),
        replace(row, prev_hash=Digest("1" * 64)),
    )
    assert len({hash_row(each) for each in (row, *others)}) == 10


def test_an_empty_chain_has_no_champion() -> None:
    state = project([])
    assert state.champion is None
    assert state.open is None


def test_a_verified_change_serves_and_an_intent_alone_does_not() -> None:
    rows = chain(*switched(1, A))
    assert project(rows[:1]).champion is None
    assert set(project(rows[:1]).pending) == {"production"}
    assert project(rows).champion == A
    assert not project(rows).pending


def test_a_change_that_could_not_be_verified_leaves_the_champion() -> None:
    intent, _ = switched(3, B)
    given_up = (Event.TRAFFIC_UNVERIFIED, {"environment": "production", "sequence": 3, "reason": "no answer"})
    state = project(chain(*switched(1, A), intent, given_up))
    assert state.champion == A
    assert not state.pending


def test_what_served_before_is_kept_and_environments_do_not_mix() -> None:
    state = project(chain(*switched(1, A), *switched(3, B), *switched(5, B, "staging")))
    assert state.champion == B
    assert state.previous["production"].bundle == A
    assert "staging" not in state.previous


def test_verifying_the_same_bundle_again_does_not_lose_the_previous() -> None:
    state = project(chain(*switched(1, A), *switched(3, B), *switched(5, B)))
    assert state.previous["production"].bundle == A


def test_a_release_opens_waits_and_ends() -> None:
    asked: dict[str, Json] = {"expires_at": "2013-01-04T00:00:00+00:00"}
    rows = chain(
        (Event.RELEASE_OPENED, {"run": "r1"}),
        (Event.APPROVAL_ASKED, asked),
        (Event.APPROVAL_REMINDED, asked),
        (Event.APPROVAL_GIVEN, {}),
        (Event.RELEASE_ENDED, {"outcome": "promoted"}),
    )
    opened, waiting, reminded, answered, ended = (project(rows[: k + 1]) for k in range(5))
    assert opened.open is not None
    assert not opened.open.waiting
    assert waiting.open is not None
    assert waiting.open.expires_at == datetime(2013, 1, 4, tzinfo=UTC)
    assert reminded.open is not None
    assert reminded.open.reminded
    assert answered.open is not None
    assert not answered.open.waiting
    assert ended.open is None
    assert ended.outcomes == {RELEASE: Outcome.PROMOTED}


def test_a_quarantined_batch_may_be_landed_again() -> None:
    state = project(
        chain((Event.BATCH_INGESTED, {"sha256": A}), (Event.BATCH_QUARANTINED, {"sha256": B}), release=None)
    )
    assert state.ingested == {A}
