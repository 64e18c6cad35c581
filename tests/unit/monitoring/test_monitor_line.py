"""One look at a model from its real log files: told once, on record each time, whatever happens in the middle."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lockgate.bootstrap import Services
from lockgate.core.ids import Digest, canonical_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.monitoring.findings import State
from lockgate.errors import TransientError
from lockgate.line.model_line import Line
from lockgate.line.monitoring import monitor
from lockgate.line.monitoring_page import monitor_page
from tests.fakes import FakeClock, FakeLedger, FakeNotifier, FakeOutbox
from tests.unit.monitoring.log_world import CHAMPION, MODEL, NOON, LogWorld

DAYS, A_DAY = 8, 40
ESTIMATE = {"estimate": 0.25, "low": 0.24, "high": 0.26, "se": 0.005}
EVALUATION = {"gates": {"quality": {"blocks": 25, "metrics": {"brier": {**ESTIMATE, "unit": "1"}}}}}


class Runs:
    """Keeps what was started, once a key."""

    def __init__(self) -> None:
        self.started: dict[str, dict[str, Any]] = {}

    def start_run(self, deployment: str, parameters: dict[str, Any], *, idempotency_key: str) -> str:
        self.started[idempotency_key] = {"deployment": deployment, **parameters}
        return idempotency_key


class Code:
    digest = "c" * 64


class DyingLedger(FakeLedger):
    """Dies once, before a look is put on record."""

    dies = False

    def append(self, model: Any, event: Event, payload: Any, **more: Any) -> LedgerRow:
        if event is Event.MONITORED and self.dies:
            self.dies = False
            raise TransientError("killed")
        return super().append(model, event, payload, **more)


def a_world(home: Path, *, right: bool) -> tuple[Line, LogWorld]:
    world = LogWorld(home)
    (world.settings.bundles / CHAMPION / "evaluation.json").write_bytes(canonical_json(EVALUATION))
    made = [world.record(day * 1000 + n, day=day) for day in range(DAYS) for n in range(A_DAY)]
    world.log(*made)
    world.archive()
    for at in range(DAYS):
        told = []
        for record in made[at * A_DAY : (at + 1) * A_DAY]:
            likely = record.outputs["probability"][0] >= 0.5
            label = world.contract.classes[int(bool(likely) is right)]
            told.append({"prediction_id": record.prediction_id, "label": label})
        world.label(*told, *told[:3], {"prediction_id": "p-unknown", "label": "no"}, name=f"d{at}",
                    after=timedelta(days=at, hours=6))  # fmt: skip
    world.archive()
    (world.state / "labels" / "20260110T120000.000000Z-w0-half.jsonl").write_text('{"prediction_id": "p-0')
    services = Services(replace(world.settings, ports={"production": 9}))
    ledger = DyingLedger(clock=FakeClock(NOON + timedelta(days=DAYS + 1)))
    ledger.append(MODEL, Event.TRAFFIC_INTENDED, {"environment": "production", "to": CHAMPION, "why": "t"})
    ledger.append(
        MODEL, Event.TRAFFIC_VERIFIED,
        {"environment": "production", "sequence": 1, "from": None, "to": CHAMPION, "answers": 1},
    )  # fmt: skip
    parts = {"ledger": ledger, "clock": ledger.clock, "outbox": FakeOutbox(), "runs": Runs(), "code": Code()}
    services.__dict__.update(parts, notifier=FakeNotifier())
    section = replace(world.spec.monitoring, min_rows=30)
    return Line(services=services, spec=replace(world.spec, monitoring=section)), world


def looks(line: Line) -> int:
    return len(line.ledger.rows(MODEL, events=(Event.MONITORED,)))


def told(line: Line) -> list[str]:
    return sorted(each.id for each in line.services.outbox.messages)  # type: ignore[attr-defined]  # the fake's


def test_answers_that_are_wrong_are_harm_told_once_and_on_record_each_time(tmp_path: Path) -> None:
    line, _ = a_world(tmp_path, right=False)
    first, second = monitor(line), monitor(line)
    assert first.state is State.HARM
    assert "quality.loss" in {each.name for each in first.harmful()}
    assert first == second
    assert looks(line) == 2
    assert told(line) == ["toy:quality.loss#1", "toy:service.server#1"]  # nobody answers on the server's port
    assert len(line.ledger.rows(MODEL, events=(Event.RETRAINING_DECIDED,))) == 1
    assert "quality.loss" in monitor_page(first)


def test_a_look_reaches_people_at_once_whether_or_not_anybody_watches(tmp_path: Path) -> None:
    line, _ = a_world(tmp_path, right=False)
    monitor(line)
    rows = line.ledger.rows(MODEL, events=(Event.ALERT,))
    delivered = sorted(str(row.payload["message"]) for row in rows if row.payload["action"] == "delivered")
    assert delivered == told(line) != []


def test_a_look_that_was_killed_is_taken_again_and_tells_nothing_twice(tmp_path: Path) -> None:
    line, _ = a_world(tmp_path, right=False)
    line.ledger.dies = True  # type: ignore[attr-defined]  # the fake's
    with pytest.raises(TransientError):
        monitor(line)
    assert looks(line) == 0
    report = monitor(line)
    assert looks(line) == 1
    assert report.state is State.HARM
    assert told(line) == ["toy:quality.loss#1", "toy:service.server#1"]


def test_right_answers_are_no_harm_whatever_drifts(tmp_path: Path) -> None:
    line, _ = a_world(tmp_path, right=True)
    report = monitor(line)
    assert not report.harmful()
    assert told(line) == ["toy:service.server#1"]
    found = {each.name: each for each in report.findings}
    assert found["quality.loss"].state is State.OK
    assert found["quality.loss"].evidence["days"] == DAYS
    # nobody answers on that port: it is said, and the model is not called clear
    assert found["service.server"].state is State.BROKEN
    assert report.state is State.BROKEN


def test_a_model_that_serves_nothing_cannot_be_judged(tmp_path: Path) -> None:
    line, _ = a_world(tmp_path, right=True)
    line.services.__dict__["ledger"] = FakeLedger()
    report = monitor(line)
    assert report.digest is None
    assert report.cannot_say
    assert looks(line) == 1


def test_the_champion_is_held_to_its_own_bundle(tmp_path: Path) -> None:
    from lockgate.line.monitoring import reference_of

    line, _ = a_world(tmp_path, right=True)
    reference = reference_of(line, Digest(CHAMPION))
    assert reference.loss is not None
    assert reference.loss.mean == 0.25
    assert set(reference.features) == {"amount", "age", "colour", "shape"}
    assert reference.since is not None
