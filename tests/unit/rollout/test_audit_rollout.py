"""The auditor passes every true record of a rollout and finds the doctored ones, each for its own reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from lockgate.core.ids import Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.spec import (
    BanditSection,
    GuardrailsSection,
    PlanSection,
    RolloutSection,
    RolloutStrategy,
    StepSection,
)
from lockgate.core.traffic import Change, Kind
from lockgate.stages.audit import Means, verify
from lockgate.stages.audit_rollout import audit_rollouts
from lockgate.stages.findings import Finding
from tests.unit.rollout.rollouts_on_record import (
    SMALL,
    allowed,
    doctored,
    forged,
    leaves,
    promoted,
    rolled_back,
    rows_of,
    run,
    with_payload,
)
from tests.unit.rollout.world import MODEL, R1, R2, A, B, Production

Rows = tuple[LedgerRow, ...]
OWN = (
    Event.ROLLOUT_BEGUN,
    Event.ROLLOUT_LOOK,
    Event.ROLLOUT_MOVED,
    Event.ROLLOUT_ASKED,
    Event.ROLLOUT_ENDED,
    Event.ROUTING_INTENDED,
    Event.ROUTING_VERIFIED,
)
DECIDES_NOTHING = (
    ("reason",),  # words, which may be improved from one version to the next
    ("next",),
    ("run",),
    ("course", "plan", "sd"),  # of recent traffic, which is not on record; a wrong one costs power, not error
    ("counted", "coverage"),  # beside nothing that is judged, where no guardrail waits for labels
    ("answers",),
)
"""Ends of paths whose change no rule can find: the hash of the row does."""


def _messages(rows: Sequence[LedgerRow]) -> list[str]:
    return [finding.message for finding in audit_rollouts(rows)]


def _rows_of(rows: Rows, event: Event) -> Rows:
    return tuple(row for row in rows if row.event is event)


def _without(rows: Rows, *left_out: LedgerRow) -> Rows:
    return tuple(row for row in rows if row not in left_out)


def _changed(rows: Rows, row: LedgerRow, path: tuple[str | int, ...], to: Json) -> Rows:
    return with_payload(rows, row.seq, doctored(row.payload, path, lambda _: to))


# -- true records ----------------------------------------------------------------------------------------------------

BANDIT = RolloutSection(
    strategy=RolloutStrategy.BANDIT,
    bandit=BanditSection(periods=3, period_s=15.0),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.1),
    look_s=5.0,
)
SHADOW = RolloutSection(
    strategy=RolloutStrategy.SHADOW,
    steps=(StepSection(shadow=1.0, bake_s=20.0),),
    plan=PlanSection(margin=0.1),
    look_s=5.0,
)


@pytest.mark.parametrize(
    ("section", "verdict"),
    [(SMALL, RolloutVerdict.PROMOTE), (BANDIT, None), (SHADOW, RolloutVerdict.PROMOTE)],
    ids=["canary", "bandit", "shadow"],
)
def test_a_rollout_of_every_strategy_leaves_a_true_record(
    section: RolloutSection, verdict: RolloutVerdict | None
) -> None:
    rows = rows_of(run(allowed(section)))
    assert _messages(rows) == []
    ended = _rows_of(rows, Event.ROLLOUT_ENDED)[0].payload["verdict"]
    assert verdict is None or ended == verdict.value


def test_a_rollout_with_harm_without_traffic_or_with_a_wish_leaves_a_true_record() -> None:
    assert _messages(promoted()) == []
    assert _messages(rolled_back()) == []
    assert _messages(rows_of(run(allowed(SMALL, rate=0)))) == []
    aborted = allowed(SMALL)
    aborted.on_second = lambda _: aborted.wish("abort") if not aborted.rows(Event.ROLLOUT_ASKED) else None
    assert _messages(rows_of(run(aborted))) == []
    assert aborted.rows(Event.ROLLOUT_ENDED)[0].payload["verdict"] == "roll_back"


def _taken_over() -> Rows:
    production = allowed(SMALL)
    production.begin()
    first = production.controller()
    first.take_over()
    first.run(lambda rollout: rollout.looks >= 2)
    production.sleep(60.0)  # nobody renews it
    second = production.controller()
    second.take_over()
    second.run(lambda _: False)
    return rows_of(production)


def test_a_rollout_that_a_second_process_took_over_leaves_a_true_record() -> None:
    rows = _taken_over()
    assert any("resumed" in str(row.payload["event"]) for row in _rows_of(rows, Event.ROLLOUT_MOVED))
    assert _messages(rows) == []


def test_what_a_second_process_puts_in_place_again_has_to_be_verified_again() -> None:
    rows = _taken_over()
    resumed = next(row for row in _rows_of(rows, MOVED) if "resumed" in str(row.payload["event"]))
    again = next(row for row in _rows_of(rows, Event.ROUTING_VERIFIED) if row.seq > resumed.seq)
    (message,) = _messages(_without(rows, again))
    assert "placed without a verified routing" in message


def test_a_release_that_is_rolled_out_again_leaves_a_true_record() -> None:
    production = run(allowed(SMALL, rate=0))
    production.rate = 40
    rows = rows_of(run(production))
    assert [row.payload["verdict"] for row in _rows_of(rows, Event.ROLLOUT_ENDED)] == ["inconclusive", "promote"]
    assert _messages(rows) == []


def test_a_rollout_that_is_no_releases_is_judged_by_its_own_course() -> None:
    production = Production(section=SMALL, fails={CHALLENGER: 0.3})
    assert _messages(rows_of(run(production))) == []


# -- doctored ones ---------------------------------------------------------------------------------------------------


def _undetected(rows: Rows, every: int) -> Counter[tuple[str, str]]:
    """Change one leaf after the other and return those that no finding follows from."""
    missed: Counter[tuple[str, str]] = Counter()
    all_leaves = [(row, path) for row in rows if row.event in OWN for path, _ in leaves(row.payload)]
    for row, path in all_leaves[::every]:
        decides = not any(path[-len(end) :] == end for end in DECIDES_NOTHING)
        if decides and not _messages(with_payload(rows, row.seq, doctored(row.payload, path, forged))):
            missed[(row.event.value, ".".join(map(str, path)))] += 1
    return missed


OF_THE_CHAMPION_ALONE = {("routing_intended", "salt"), ("routing_intended", "lease_s")}
"""Beside no challenger nobody needs a salt or a lease."""


def test_numbers_and_verdicts_are_found_when_they_are_doctored() -> None:
    assert set(_undetected(rolled_back(), 3)) <= OF_THE_CHAMPION_ALONE
    assert not _undetected(promoted(), 19)


@pytest.mark.soak
def test_every_number_and_verdict_is_found_when_it_is_doctored() -> None:
    assert set(_undetected(rolled_back(), 1)) == OF_THE_CHAMPION_ALONE
    assert not _undetected(promoted(), 1)


LOOK, MOVED, BEGUN = Event.ROLLOUT_LOOK, Event.ROLLOUT_MOVED, Event.ROLLOUT_BEGUN


@pytest.mark.parametrize(
    ("event", "path", "to", "said"),
    [
        (LOOK, ("decision", "verdict"), "continue", "its decision is not what follows"),
        (LOOK, ("look", "findings", 0, "state"), "clear", "its look is not what follows"),
        (LOOK, ("counted", "evidence", 0, "failures", "steps", 0, "challenger"), 1, "its look is not what follows"),
        (LOOK, ("counted", "evidence", 0, "alpha"), 1e-9, "errors was judged at an error of 1e-09"),
        (LOOK, ("counted", "evidence", 0, "guardrail"), "contract", "it measured contract, contract, arrivals"),
        (LOOK, ("counted", "evidence", 2, "p_before"), 0.5, "its counted is not what follows"),
        (LOOK, ("counted", "evidence", 0, "tolerated"), 0.5, "errors tolerated 0.5; the spec says 0.0"),
        (LOOK, ("look", "steps_done"), True, "its look is not what follows"),
        (LOOK, ("number",), 7, "its number is not what follows"),
        (LOOK, ("now",), 1e12, "it tells of 1000000000000 and was written at"),
        (MOVED, ("state", "share"), 0.9, "the state on record"),
        (MOVED, ("state", "step_began"), 5.0, "the state on record"),
        (BEGUN, ("course", "guardrails", "errors"), 1e-9, "its course is not the one that the spec"),
        (BEGUN, ("course", "steps", 0, "bake_s"), 1.0, "its course is not the one that the spec"),
        (BEGUN, ("course", "max_duration_s"), 9e9, "its course is not the one that the spec"),
        (BEGUN, ("course", "plan", "margin"), 0.9, "its course is not the one that the spec"),
        (BEGUN, ("allocation", 0), "errors: none", "the errors it prints"),
        (BEGUN, ("challenger",), "e" * 64, "without a blessing of that bundle"),
        (BEGUN, ("champion",), "e" * 64, "it is beside champion eeeeeeeeeeee"),
        (Event.ROLLOUT_ENDED, ("verdict",), "promote", "it ended as promote on record; by its looks"),
        (Event.ROLLOUT_ENDED, ("verdict",), "inconclusive", "it ended as inconclusive on record; by its looks"),
        (Event.ROUTING_INTENDED, ("weight",), 0.9, "it routes what the rollout did not ask for"),
        (Event.ROUTING_VERIFIED, ("weight",), 0.9, "a weight of 0.9 was verified where 0.2 was intended"),
        (Event.ROUTING_VERIFIED, ("sequence",), 1, "sequence 1 is no routing of this rollout"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_doctored_fact_of_a_rollback_is_found_for_what_it_is(
    event: Event, path: tuple[str | int, ...], to: Json, said: str
) -> None:
    row = _rows_of(rolled_back(), event)[0]
    findings = list(audit_rollouts(_changed(rolled_back(), row, path, to)))
    assert (row.seq, "rollout") in {(finding.seq, finding.what) for finding in findings}
    assert any(said in finding.message for finding in findings if finding.seq == row.seq), findings


def test_rows_that_hold_no_rollout_are_findings_and_no_crash() -> None:
    for event in set(OWN) - {Event.ROLLOUT_ASKED}:
        row = _rows_of(rolled_back(), event)[0]
        for payload in ({}, {"event": {"kind": "flown"}, "state": {}}, {"counted": 3}):
            assert _messages(with_payload(rolled_back(), row.seq, payload)), event


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        (lambda rows: _rows_of(rows, LOOK)[1], "its number is not what follows"),
        (lambda rows: _rows_of(rows, Event.ROUTING_VERIFIED)[0], "placed without a verified routing"),
        (lambda rows: _rows_of(rows, Event.ROUTING_INTENDED)[0], "is no routing of this rollout intended before it"),
        (lambda rows: _rows_of(rows, Event.ROLLOUT_ASKED)[0], "no wish of ada to pause is on record"),
        (lambda rows: _rows_of(rows, MOVED)[1], "the state on record"),
        (lambda rows: _rows_of(rows, Event.APPROVAL_GIVEN)[0], "rolled out without an approval"),
        (lambda rows: _rows_of(rows, Event.BLESSING)[0], "rolled out without a blessing"),
        (lambda rows: _rows_of(rows, Event.TRAFFIC_VERIFIED)[1], "taken as promoted without verified traffic"),
        (lambda rows: _rows_of(rows, BEGUN)[0], "no rollout had begun before it"),
    ],
    ids=["look", "verified", "intended", "asked", "moved", "approval", "blessing", "traffic", "begun"],
)
def test_a_row_that_was_left_out_is_missed(left_out: Callable[[Rows], LedgerRow], said: str) -> None:
    messages = _messages(_without(promoted(), left_out(promoted())))
    assert any(said in message for message in messages), messages


def test_a_return_without_the_champion_being_verified_alone_is_found() -> None:
    alone = _rows_of(rolled_back(), Event.ROUTING_VERIFIED)[-1]
    (message,) = _messages(_without(rolled_back(), alone))
    assert "returned without a verified routing to the champion alone" in message


def test_whatever_follows_an_end_is_found() -> None:
    ended = _rows_of(promoted(), Event.ROLLOUT_ENDED)[0]
    again = replace(ended, seq=ended.seq + 1)
    messages = _messages((*promoted(), again))
    assert any("had ended before" in message for message in messages)


# -- promotion -------------------------------------------------------------------------------------------------------


def _switched(section: RolloutSection, champion: bool = True) -> list[str]:
    """Return what is found where production is switched with no rollout at all."""
    production = allowed(section)
    payload = Change(kind=Kind.PROMOTION, release=R2, origin=A, to=B, why="now").payload("production")
    production.ledger.append(MODEL, Event.TRAFFIC_INTENDED, payload, release=R2)
    rows = rows_of(production)
    return _messages(rows if champion else tuple(row for row in rows if row.release != R1))


def test_production_is_switched_only_by_a_rollout_where_the_spec_asks_for_one() -> None:
    (message,) = _switched(SMALL)
    assert "without a rollout that decided so" in message
    assert _switched(RolloutSection()) == []


def test_the_first_champion_needs_no_rollout() -> None:
    assert _switched(SMALL, champion=False) == []


def test_a_switch_before_the_rollout_decided_is_found() -> None:
    intent = _rows_of(promoted(), Event.TRAFFIC_INTENDED)[1]
    last_look = _rows_of(promoted(), LOOK)[-1]
    others = _without(promoted(), intent)
    early = tuple(each for row in others for each in ((intent, row) if row == last_look else (row,)))
    assert any("without a rollout that decided so" in message for message in _messages(early))


def test_an_auditor_of_the_whole_record_audits_rollouts_too() -> None:
    def found(rows: Rows) -> list[Finding]:
        means = Means(gates=(), verifies=lambda _message, _signature: True)
        return [each for each in verify(MODEL, rows, (), means) if each.what == "rollout"]

    assert found(rolled_back()) == []
    look = _rows_of(rolled_back(), LOOK)[0]
    (finding,) = found(_changed(rolled_back(), look, ("decision", "verdict"), "promote"))
    assert finding.seq == look.seq
