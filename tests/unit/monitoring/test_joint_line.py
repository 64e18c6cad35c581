"""A champion's features watched together from its real log files: found, kept by the day, or said why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats  # type: ignore[import-untyped]  # no stubs

from lockgate.adapters.log_windows import summarise
from lockgate.adapters.log_windows_sample import NUMBER, sample_inputs
from lockgate.bootstrap import Services
from lockgate.core.contract import LogPolicy
from lockgate.core.ids import Digest
from lockgate.core.ledger import Event
from lockgate.core.monitoring.findings import Finding, State
from lockgate.core.spec import JointSection
from lockgate.errors import BadInput, IntegrityError
from lockgate.line.joint_watch import judge_together
from lockgate.line.model_line import Line
from lockgate.line.monitoring import look
from tests.fakes import FakeClock, FakeLedger
from tests.unit.monitoring.log_world import CHAMPION, MODEL, NOON, LogWorld

DAYS, ROWS = 12, 100
IN_THE_CLEAR = LogPolicy()


def rows(draw: np.random.Generator, count: int, rho: float) -> pd.DataFrame:
    """Return rows of the law of `log_world.profile`; `rho` ties amount and age and moves no margin."""
    first, second = draw.standard_normal((2, count))
    share = stats.norm.cdf(rho * first + np.sqrt(1 - rho**2) * second)
    amount = np.where(share < 0.3, 0.0, stats.gamma.ppf(np.clip((share - 0.3) / 0.7, 0, 1), 2.0, scale=20.0))
    return pd.DataFrame({
        "amount": amount.astype(np.float32).astype(float),
        "age": np.floor(90 * stats.norm.cdf(first)),
        "colour": draw.choice(np.array(["red", "green", 'it\'s "blue"'], dtype=object), count),
        "shape": draw.choice(np.array(["disc", "cube"], dtype=object), count),
    })  # fmt: skip


@dataclass
class Store:
    """Holds the training rows of one snapshot and counts how often it is asked."""

    train: pd.DataFrame
    gone: bool = False
    asked: list[str] = field(default_factory=list)

    def snapshot(self, digest: Digest) -> Any:
        return SimpleNamespace(digest=digest, as_of=NOON)

    def part(self, snapshot: Any, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        if name != "train":
            raise BadInput(f"a snapshot has no part {name!r}; it has train", snapshot=snapshot.digest)
        if self.gone:
            raise IntegrityError("train.parquet is not what was frozen; freeze the table again")
        self.asked.append(name)
        return self.train[list(columns or self.train.columns)]


def log_day(world: LogWorld, draw: np.random.Generator, day: int, rho: float = 0.0) -> None:
    frame = rows(draw, ROWS, rho)
    inputs = {name: frame[name].tolist() for name in frame}
    world.log(world.record(day, day=day, rows=ROWS, inputs=inputs, flags=()), worker=day)


def a_world(
    home: Path, *, rho: float = 0.0, days: int = DAYS, archive: bool = True, log: LogPolicy = IN_THE_CLEAR
) -> tuple[Line, LogWorld, Store]:
    world, draw = LogWorld(home), np.random.default_rng(8)
    world.contract = replace(world.contract, log=log)
    world.bundle(CHAMPION)
    for day in range(days):
        log_day(world, draw, day, rho)
    if archive:
        world.archive()
    train = rows(draw, 2_000, 0.0)
    train["t"] = pd.to_datetime(NOON - timedelta(days=60)) + pd.to_timedelta(np.arange(2_000) % 40, unit="D")
    store = Store(train)
    ledger = FakeLedger(clock=FakeClock(NOON + timedelta(days=days)))
    ledger.append(MODEL, Event.BUNDLE, {"bundle": CHAMPION, "data": "a" * 64})
    ledger.append(MODEL, Event.TRAFFIC_INTENDED, {"environment": "production", "to": CHAMPION, "why": "t"})
    ledger.append(
        MODEL, Event.TRAFFIC_VERIFIED,
        {"environment": "production", "sequence": 1, "from": None, "to": CHAMPION, "answers": 1},
    )  # fmt: skip
    services = Services(replace(world.settings, ports={"production": 9}))
    services.__dict__.update(ledger=ledger, clock=ledger.clock, store=store)
    return Line(services=services, spec=world.spec), world, store


def judged(line: Line) -> Finding:
    days = summarise(line.services.settings, MODEL, spec=line.spec)
    (found,) = judge_together(line, Digest(CHAMPION), days, {})
    return found


def test_two_features_that_move_together_are_named_while_each_alone_stays_quiet(tmp_path: Path) -> None:
    line, _, _ = a_world(tmp_path, rho=0.85)
    found = {each.name: each for each in look(line).findings}
    assert found["inputs.joint"].state is State.NOISE
    assert found["inputs.joint"].reason.startswith(("amount, age", "age, amount"))
    assert {found[f"input.{name}"].state for name in ("amount", "age", "colour", "shape")} == {State.OK}


def test_it_is_measured_again_for_a_new_day_alone_and_where_the_kept_one_is_damaged(tmp_path: Path) -> None:
    line, world, store = a_world(tmp_path)
    first, asked = judged(line), len(store.asked)
    assert first.state is State.OK
    assert asked > 0
    assert judged(line) == first
    line.services.clock.advance(86_400)  # type: ignore[attr-defined]  # the fake's
    assert judged(line) == first
    assert len(store.asked) == asked
    (kept,) = world.folder.glob(".joint-*.json")
    kept.write_bytes(kept.read_bytes()[:-20])  # a damaged one is made again, and says the same
    assert judged(line) == first
    assert len(store.asked) == 2 * asked
    log_day(world, np.random.default_rng(3), DAYS + 1)
    world.archive()
    assert judged(line) == first  # that day is not over
    line.services.clock.advance(86_400)  # type: ignore[attr-defined]  # the fake's
    assert judged(line).evidence["blocks"] == DAYS + 1


def test_the_sample_is_bounded_and_the_same_when_it_is_asked_again(tmp_path: Path) -> None:
    line, _, _ = a_world(tmp_path, days=2)
    takes: Mapping[str, int] = {"2026-01-02": 7, "2026-01-03": 500, "2026-01-09": 5}
    first, second = (
        sample_inputs(line.services.settings, MODEL, Digest(CHAMPION), takes, {"amount": NUMBER}) for _ in range(2)
    )
    assert {day: len(found) for day, found in first.days.items()} == {"2026-01-02": 7, "2026-01-03": 100}
    assert all(first.days[day].equals(second.days[day]) for day in first.days)


@pytest.mark.parametrize(
    ("world", "said", "do"),
    [
        ({"days": 5}, "5 whole days of traffic in 28; 10 are needed", "more days"),
        ({"archive": False}, "the archive holds inputs of 0 days", "archive runs"),
    ],
)
def test_too_few_days_or_no_archive_says_so(tmp_path: Path, world: dict[str, Any], said: str, do: str) -> None:
    line, _, _ = a_world(tmp_path, **world)
    found = judged(line)
    assert found.state is State.NO_DATA
    assert said in found.reason
    assert do in found.next


def test_a_snapshot_that_is_gone_says_so_and_is_asked_for_again(tmp_path: Path) -> None:
    line, world, store = a_world(tmp_path)
    store.gone = True
    found = judged(line)
    assert found.state is State.NO_DATA
    assert "training rows cannot be read" in found.reason
    assert "lockgate release" in found.next
    assert not list(world.folder.glob(".joint-*"))  # nothing is kept, so the next look asks again


@pytest.mark.parametrize("omitted", [("shape",), ("shape", "age")])
def test_columns_that_the_log_hides_are_left_out_and_named(tmp_path: Path, omitted: tuple[str, ...]) -> None:
    line, _, _ = a_world(tmp_path, log=LogPolicy(hashed=("colour",), omitted=omitted))
    found = judged(line)
    if len(omitted) == 1:
        assert found.state is State.OK
        assert found.evidence["not_compared"] == ["colour", "shape"]
    else:
        assert found.state is State.NO_DATA
        assert "age, colour, shape" in found.reason
        assert "in the clear" in found.next


def test_it_is_off_where_the_spec_says_so(tmp_path: Path) -> None:
    line, _, store = a_world(tmp_path, days=1)
    off = replace(line.spec.monitoring, joint=JointSection(enabled=False))
    days = summarise(line.services.settings, MODEL, spec=line.spec)
    assert judge_together(replace(line, spec=replace(line.spec, monitoring=off)), Digest(CHAMPION), days, {}) == ()
    assert not store.asked
