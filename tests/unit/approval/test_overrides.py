"""An override: two people, one gate, an end, a FAIL and nothing else; and everywhere it is said aloud."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from lockgate.core.approval_overrides import LONGEST, NEVER, Wanted, standing
from lockgate.core.blessing import OverriddenBlessing
from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Digest, Json, ReleaseId, Stage
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.progress import Progress
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import BadInput, NotBlessed
from lockgate.stages.audit_approval import audit_approvals
from lockgate.stages.audit_release import audit_releases
from lockgate.stages.history import explain, history
from lockgate.stages.overriding import Overriding, no_longer_overridden
from lockgate.stages.recording import bless_release, blessing_of
from tests.fakes import EPOCH, FakeClock, FakeLedger
from tests.record import MODEL, REQUIRED, Writer

FIRST = ReleaseId("flights-0001")


class World:
    """A model whose gate `quality` fails, and two people."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.ledger = FakeLedger(self.clock)
        self.book = Overriding(ledger=self.ledger, clock=self.clock, model=MODEL, gates=names(GATES))
        self.writer = Writer(self.ledger, self.clock, FIRST, Digest("b" * 64))

    def override(self, gate: str = "quality", days: float = 10, by: tuple[str, str] = ("maria", "grace")) -> None:
        self.book.ask(self.wanted(gate, days), by=by[0])
        self.book.confirm(gate, by=by[1])

    def wanted(self, gate: str = "quality", days: float = 10, reason: str = "a strike, known to all") -> Wanted:
        return Wanted(gate=gate, until=self.clock.now() + timedelta(days=days), reason=reason)

    def release(self, score: Json = 0.1) -> None:
        self.writer.open()
        self.writer.judge(Stage.EVALUATE, score)
        self.writer.judge(Stage.INFRA)

    def bless(self) -> OverriddenBlessing:
        blessing = bless_release(self.ledger, MODEL, self.writer.subjects, REQUIRED)
        assert isinstance(blessing, OverriddenBlessing)
        return blessing

    def audit(self, rows: list[LedgerRow] | None = None) -> list[str]:
        kept = list(self.ledger.rows(MODEL)) if rows is None else rows
        return [each.message for each in (*audit_approvals(kept), *audit_releases(kept))]


def test_a_failed_gate_that_two_people_let_pass_is_blessed_and_the_blessing_names_the_row() -> None:
    world = World()
    world.override()
    world.release()
    blessing = world.bless()
    row = world.ledger.rows(MODEL, events=(Event.OVERRIDDEN,))[0]
    assert blessing.overrides == {"quality": row.row_hash}
    assert blessing_of(world.ledger, MODEL, FIRST) == blessing
    assert world.audit() == []


def test_an_override_that_is_not_needed_leaves_the_blessing_as_it_was() -> None:
    world = World()
    world.override()
    world.release(0.9)
    assert not isinstance(bless_release(world.ledger, MODEL, world.writer.subjects, REQUIRED), OverriddenBlessing)
    assert world.audit() == []


def refused_to_bless(world: World) -> bool:
    with pytest.raises(NotBlessed, match="quality"):
        bless_release(world.ledger, MODEL, world.writer.subjects, REQUIRED)
    return world.ledger.rows(MODEL, events=(Event.BLESSING,)) == ()


@pytest.mark.parametrize("score", [None, "NaN"], ids=["not measured", "undefined"])
def test_what_could_not_be_measured_is_not_covered(score: Json) -> None:
    world = World()
    world.override()
    world.release(score)
    assert refused_to_bless(world)


@pytest.mark.parametrize(
    "before",
    [
        lambda world: world.book.ask(world.wanted(), by="maria"),
        lambda world: world.override("drift"),
        lambda world: (world.override(days=1), world.clock.advance(86400 + 1)),
        lambda world: (world.override(), world.book.withdraw("quality", by="maria", reason="mended")),
    ],
    ids=["asked for by one", "of another gate", "expired", "withdrawn"],
)
def test_an_override_that_does_not_hold_blesses_nothing(before: Callable[[World], object]) -> None:
    world = World()
    before(world)
    world.release()
    assert refused_to_bless(world)


def test_an_override_confirmed_after_a_release_was_opened_does_not_hold_for_it() -> None:
    world = World()
    world.release()
    world.override()
    assert refused_to_bless(world)


def test_it_holds_for_a_release_opened_within_its_date_that_is_judged_after_it() -> None:
    world = World()
    world.override(days=1)
    world.writer.open()
    world.clock.advance(2 * 86400)
    world.writer.judge(Stage.EVALUATE, 0.1)
    world.writer.judge(Stage.INFRA)
    assert world.bless().overrides


def test_withdrawing_it_takes_the_ground_from_a_blessing() -> None:
    world = World()
    world.override()
    world.release()
    blessing = world.bless()
    assert no_longer_overridden(world.ledger, MODEL, blessing) is None
    world.book.withdraw("quality", by="vera", reason="mended")
    assert "was withdrawn" in str(no_longer_overridden(world.ledger, MODEL, blessing))


def test_one_person_cannot_ask_and_confirm() -> None:
    world = World()
    world.book.ask(world.wanted(), by="maria")
    for name in ("maria", "Maria"):
        with pytest.raises(BadInput, match="somebody else confirms"):
            world.book.confirm("quality", by=name)
    assert world.book.stand() == ()


def test_what_nobody_asked_for_cannot_be_confirmed() -> None:
    with pytest.raises(BadInput, match="nobody asked"):
        World().book.confirm("quality", by="grace")


def test_a_withdrawn_request_cannot_be_confirmed() -> None:
    world = World()
    world.book.ask(world.wanted(), by="maria")
    world.book.withdraw("quality", by="vera", reason="no")
    with pytest.raises(BadInput, match="nobody asked"):
        world.book.confirm("quality", by="grace")


@pytest.mark.parametrize("gate", sorted(NEVER))
def test_a_gate_whose_failure_is_a_danger_is_never_overridden(gate: str) -> None:
    world = World()
    with pytest.raises(BadInput, match="never overridden"):
        world.book.ask(world.wanted(gate), by="maria")
    assert gate in names(GATES)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(gate="quality", until=EPOCH + LONGEST + timedelta(seconds=1), reason="r"), "too far"),
        (Wanted(gate="quality", until=EPOCH, reason="r"), "is over"),
        (Wanted(gate="quality", until=EPOCH + timedelta(days=1), reason=" "), "needs a reason"),
        (Wanted(gate="qualty", until=EPOCH + timedelta(days=1), reason="r"), "there is no gate"),
    ],
)
def test_an_override_without_end_or_reason_is_refused(wanted: Wanted, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        World().book.ask(wanted, by="maria")


def test_a_request_that_stands_is_not_asked_for_again() -> None:
    world = World()
    world.book.ask(world.wanted(), by="maria")
    with pytest.raises(BadInput, match="maria asked for it already"):
        world.book.ask(world.wanted(), by="grace")
    world.book.confirm("quality", by="grace")
    with pytest.raises(BadInput, match="Withdraw it first"):
        world.book.ask(world.wanted(), by="vera")


def test_a_failed_gate_stops_a_release_and_an_overridden_one_does_not() -> None:
    start = Progress(model=MODEL, release=FIRST, run="r", spec=Digest("1" * 64), code=Digest("2" * 64))

    def said(gate: str, verdict: Verdict) -> GateReport:
        return GateReport(gate=gate, stage=Stage.EVALUATE, verdict=verdict, checks=(), evidence=None, reason="why")

    failed = said("quality", Verdict.FAIL)
    assert start.judged([failed]).ended is Outcome.BLOCKED
    assert start.judged([failed], {"quality"}).ended is None
    assert start.judged([failed, said("drift", Verdict.PASS)], {"quality"}).ended is None
    assert start.judged([failed, said("drift", Verdict.FAIL)], {"quality"}).gate == "drift"
    for other in (Verdict.ERROR, Verdict.INCONCLUSIVE):
        assert start.judged([said("quality", other)], {"quality"}).ended is not None
    assert start.judged([], {"quality"}).ended is not None


def _forged(world: World, **changes: Json) -> list[LedgerRow]:
    return [
        replace(row, payload={**row.payload, **changes}) if row.event is Event.OVERRIDDEN else row
        for row in world.ledger.rows(MODEL)
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"by": ["maria"]}, "not by two people"),
        ({"by": ["maria", "Maria"]}, "not by two people"),
        ({"gate": "parity"}, "may never be overridden"),
        ({"until": (EPOCH + timedelta(days=400)).isoformat()}, "more than 30 days"),
        ({"reason": "another"}, "nobody had asked"),
        ({"asked": 99}, "nobody had asked"),
    ],
)
def test_the_auditor_finds_an_override_that_was_not_allowed(changes: dict[str, Json], told: str) -> None:
    world = World()
    world.override()
    assert any(told in each for each in world.audit(_forged(world, **changes)))


@pytest.mark.parametrize("doctored", ["gone", "another gate", "too late"])
def test_the_auditor_finds_a_blessing_whose_override_does_not_hold(doctored: str) -> None:
    world = World()
    world.override()
    world.release()
    world.bless()
    rows = list(world.ledger.rows(MODEL))
    if doctored == "gone":
        rows = [row for row in rows if row.event is not Event.OVERRIDDEN]
    elif doctored == "another gate":
        rows = _forged(world, gate="drift")
    else:
        rows = [replace(row, at=row.at + timedelta(days=11)) if row.release else row for row in rows]
    assert any("the record does not allow it" in each for each in world.audit(rows))


def test_it_is_shouted_in_history_and_where_a_release_is_explained() -> None:
    world = World()
    world.override()
    world.release()
    rows = world.ledger.rows(MODEL)
    assert any(entry.text.startswith("GATE QUALITY OVERRIDDEN") for entry in history(rows))
    (said,) = explain(rows, FIRST).overridden
    assert said.startswith("GATE QUALITY FAILED AND IS OVERRIDDEN by maria and grace until ")
    assert "a strike, known to all" in said
    assert standing(rows, FIRST)["quality"].by == ("maria", "grace")
