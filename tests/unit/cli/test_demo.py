"""The demo's parts that need no stack: a drill followed live, and traffic in the background."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from lockgate.cli.demo_fault import follow_drill, show_drill
from lockgate.cli.live_traffic import LiveTraffic, summary_words
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.spec import RolloutSection
from lockgate.errors import BadInput, TransientError
from lockgate.ports import RunState
from tests.side_by_side import own_children

MODEL, DRILL = ModelName("toy"), "toy-drill-0001"
NOW = datetime.now(UTC)
ROOT = Path(__file__).resolve().parents[3]
RESULT: Mapping[str, Json] = {
    "drill": DRILL,
    "verdict": "passed",
    "passed": True,
    "times_s": {"detected": 1.0, "decided": 1.1, "switched": 1.2, "restored": 1.5, "switch": 0.2},
    "lost": 0,
    "asked": 40,
    "reason": "seen and restored",
    "next": "nothing",
}
ROUTED: Mapping[str, Json] = {"environment": "production", "sequence": 2, "weight": 0.05, "shadow": 0.0}


class GrowingLedger:
    """A ledger that gets the next rows of a script each time somebody looks."""

    def __init__(self, *script: Sequence[tuple[Event, str, Mapping[str, Json]]]) -> None:
        self.script, self.kept = list(script), list[LedgerRow]()

    def last_seq(self, model: ModelName) -> int:
        for event, release, payload in self.script.pop(0) if self.script else ():
            last = self.kept[-1] if self.kept else None
            self.kept.append(
                next_row(
                    model=model, at=NOW, event=event, release=ReleaseId(release), actor="x", payload=payload, last=last
                )
            )
        return len(self.kept)

    def rows(self, model: ModelName) -> list[LedgerRow]:  # noqa: ARG002 - the ledger's signature
        return self.kept


def drilled(ledger: GrowingLedger, state: str = "RUNNING", within_s: float = 60.0) -> LedgerRow:
    runs = SimpleNamespace(state=lambda _: RunState(type=state, name=state.title(), since=NOW))
    services: Any = SimpleNamespace(ledger=ledger, runs=runs)
    return follow_drill(Surface("demo"), services, MODEL, "run-1", after=1, within_s=within_s, look_at_run_s=0.1)


def test_a_drill_is_followed_row_by_row_to_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = GrowingLedger(
        [(Event.DRILL, "toy-drill-0000", {**RESULT, "reason": "an old one"})],
        [(Event.ROUTING_VERIFIED, DRILL, ROUTED), (Event.ROUTING_VERIFIED, "toy-0007", {**ROUTED, "weight": 0.77})],
        [(Event.DRILL, DRILL, RESULT)],
    )
    ledger.last_seq(MODEL)
    row = drilled(ledger)
    said = capsys.readouterr().err
    assert row.payload == RESULT
    assert said.index("gives the faulty copy 5 % of entities") < said.index("champion restored after 1.5 s")
    assert "an old one" not in said
    assert "77 %" not in said  # a release's row is not the drill's


def test_a_drill_whose_run_ends_without_a_result_is_no_success() -> None:
    with pytest.raises(TransientError, match="ended without a result"):
        drilled(GrowingLedger(), "CRASHED")


def test_a_drill_that_takes_too_long_is_no_success() -> None:
    with pytest.raises(TransientError, match="goes on after"):
        drilled(GrowingLedger(), within_s=0.3)


@pytest.mark.parametrize(("champion", "why"), [(None, "no champion yet"), ("a" * 64, "rollout.drill.production")])
def test_a_fault_is_not_planted_where_it_may_not_be(champion: str | None, why: str) -> None:
    services: Any = SimpleNamespace(
        ledger=SimpleNamespace(state=lambda _: SimpleNamespace(champion=champion)),
        spec=lambda _: SimpleNamespace(rollout=RolloutSection()),
    )
    traffic: Any = None  # nothing may be started before this is refused
    with pytest.raises(BadInput, match=why):
        show_drill(Surface("demo"), services, MODEL, traffic, lambda _: None)


def test_traffic_in_the_background_that_finds_nobody_says_so_and_leaves_no_process(tmp_path: Path) -> None:
    settings = load_settings(
        {"LOCKGATE_PROJECT": str(ROOT), "LOCKGATE_HOME": str(tmp_path), "LOCKGATE_PRODUCTION_PORT": "9"}
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LOCKGATE_HOME", str(tmp_path))
        environment.setenv("LOCKGATE_PRODUCTION_PORT", "9")
        with LiveTraffic(settings, ModelName("flight-delays")) as traffic:
            assert traffic.problem is None
            assert traffic.end() == {}
            traffic.ask(5.0)
            deadline = time.monotonic() + 240  # a program that starts, where everything stalls
            while traffic.problem is None and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "exit code 7" in str(traffic.problem)
            traffic.ask(5.0)
    mine = [each for each in map(psutil.Process, own_children()) if "simulate" in " ".join(each.cmdline())]
    assert mine == []


def test_what_clients_saw_is_said_in_one_line_and_nothing_is_said_of_nothing() -> None:
    told: dict[str, Json] = {"due": 1200, "unsent": 3, "answered": 1190, "errors": 7, "p95_ms": None}
    assert summary_words(told | {"arms": {"challenger": 90, "champion": 1100}}) == (
        "1,200 requests (3 not sent in time), 1,190 answered (challenger 90, champion 1,100), 7 errors"
    )
    assert summary_words({}) == ""
    assert summary_words({"error": "NotRunning", "message": "nobody"}) == ""
