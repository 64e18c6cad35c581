"""What every log of a rollout's traffic promises, held against the fake and against files of the server's writers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.adapters.server_target import ServerTarget
from lockgate.adapters.traffic_log import FileTrafficLog
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName, canonical_json
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION, SHADOW, Routing
from lockgate.errors import TransientError
from lockgate.ports import TrafficLog
from lockgate.serving.log.labels import Label, LabelLog
from lockgate.serving.log.prediction_log import PredictionLog, Record
from tests.bundles import probes
from tests.graphs import failing_graph
from tests.rollout_fakes import FakeTrafficLog
from tests.server_process import ROW, World, serving

MODEL = ModelName("toy")
AT = 1_767_312_000.25


def live(number: int, **how: Any) -> Observation:
    """Return an ordinary answer to an entity of its own."""
    facts: dict[str, Any] = {
        "time": AT + number,
        "prediction_id": f"19b7c5f4-{number:x}",
        "arm": CHALLENGER if number % 2 else CHAMPION,
        "propensity": 0.5,
        "entity": f"e{number}",
        "latency_us": 87,
        "scores": (0.25,),
        "labels": ("no",),
    }
    return Observation(**facts | how)


def failed(number: int, **how: Any) -> Observation:
    return live(number, failed=True, scores=(), labels=(), **how)


@dataclass
class Case:
    """A log, and how things come into it.

    Attributes:
        log: What is read.
        put: Logs requests, each whole before it returns.
        tell: Tells labels, likewise.
        number: Appends numbers of the business, likewise.
        again: Returns the log as another process would read it.
        broken: Makes the log unreadable.
    """

    log: TrafficLog
    put: Callable[..., None]
    tell: Callable[..., None]
    number: Callable[..., None]
    again: Callable[[], TrafficLog]
    broken: Callable[[], None]


@contextlib.contextmanager
def fake(folder: Path) -> Iterator[Case]:
    del folder
    log = FakeTrafficLog()

    def broken() -> None:
        log.down = True

    yield Case(
        log=log,
        put=log.put,
        tell=lambda *labels: log.put(labels=labels),
        number=lambda *kpis: log.put(kpis=kpis),
        again=lambda: FakeTrafficLog(queue=log.queue),
        broken=broken,
    )


def record(seen: Observation, **how: Any) -> Record:
    """Return what the server would log of a request."""
    kind = {(False, False): "live", (False, True): "failed", (True, False): "shadow", (True, True): "shadow_failed"}
    facts: dict[str, Any] = {
        "time": seen.time,
        "prediction_id": seen.prediction_id,
        "model": "toy",
        "digest": "d" * 64,
        "arm": SHADOW if seen.shadow else seen.arm,
        "entity": seen.entity,
        "rows": seen.rows,
        "inputs": None,
        "outputs": {} if seen.failed else {"probability": list(seen.scores), "label": list(seen.labels)},
        "flags": (),
        "latency_us": seen.latency_us,
        "kind": kind[seen.shadow, seen.failed],
        "propensity": seen.propensity,
    }
    return Record(**facts | how)


def told(state: Path, labels: tuple[LabelSeen, ...]) -> None:
    async def main() -> None:
        log = LabelLog(state / "labels")
        await log.add([Label(each.prediction_id, each.label, each.row) for each in labels])
        await log.aclose()

    asyncio.run(main())


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Case]:
    state, kpi = folder / "state", folder / "kpi"
    kpi.mkdir()
    written = PredictionLog(state / "predictions", worker=1, flush_s=0.01)
    count = 0

    def put(*seen: Observation) -> None:
        nonlocal count
        for each in seen:
            written.append(record(each))
        count += sum(each.rows for each in seen)
        while written.written_rows < count:
            time.sleep(0.002)

    def number(*kpis: KpiSeen) -> None:
        with (kpi / "orders.jsonl").open("a") as file:
            for each in kpis:
                at = datetime.fromtimestamp(each.time, UTC).isoformat()
                file.write(json.dumps({"time": at, "entity": each.entity, "value": each.value}) + "\n")

    def broken() -> None:
        (state / "predictions").rename(state / "elsewhere")
        (state / "predictions").mkdir()
        (state / "predictions" / "toy").symlink_to("toy")  # a loop

    def again() -> FileTrafficLog:
        return FileTrafficLog(state, kpi, kpis={"orders": "orders.jsonl"}, clock=lambda: AT)

    log = again()
    yield Case(log=log, put=put, tell=lambda *labels: told(state, labels), number=number, again=again, broken=broken)
    log.close()
    written.close()


@pytest.fixture(params=[fake, real])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    with request.param(tmp_path) as made:
        yield made


def read_all(log: TrafficLog, cursor: str) -> tuple[list[Seen], str]:
    """Read until there is no more."""
    found = []
    while True:
        seen = log.read(MODEL, cursor)
        found.append(seen)
        cursor = seen.cursor
        if not seen.behind:
            return found, cursor


def requests(found: list[Seen]) -> list[Observation]:
    return [each for seen in found for each in seen.observations]


def test_nothing_was_logged_yet(case: Case) -> None:
    seen = case.log.read(MODEL, case.log.end(MODEL))
    assert (seen.observations, seen.labels, seen.kpis, seen.behind, seen.lost) == ((), (), (), False, 0)


def test_what_was_logged_before_the_end_is_not_read_and_what_follows_is_in_its_order(case: Case) -> None:
    case.put(live(0), live(1))
    cursor = case.log.end(MODEL)
    case.put(live(2), failed(3))
    case.put(live(4, entity=None, rows=2, scores=(0.25, 0.75), labels=("no", "yes")))
    found, cursor = read_all(case.log, cursor)
    assert requests(found) == [
        live(2),
        failed(3),
        live(4, entity=None, rows=2, scores=(0.25, 0.75), labels=("no", "yes")),
    ]
    assert not requests(read_all(case.log, cursor)[0])
    assert not sum(seen.lost for seen in found)


def test_a_shadows_answers_and_failures_are_told_under_the_challenger(case: Case) -> None:
    cursor = case.log.end(MODEL)
    pair = (live(0), live(0, arm=CHALLENGER, shadow=True, propensity=1.0, scores=(0.5,), labels=("yes",)))
    lone = (live(2), failed(2, arm=CHALLENGER, shadow=True, propensity=1.0))
    case.put(*pair, *lone)
    assert requests(read_all(case.log, cursor)[0]) == [*pair, *lone]


def test_another_process_reads_on_where_the_first_one_stopped(case: Case) -> None:
    cursor = case.log.end(MODEL)
    case.put(live(0))
    _, cursor = read_all(case.log, cursor)
    case.put(live(1))
    assert requests(read_all(case.again(), cursor)[0]) == [live(1)]


def test_one_cursor_read_twice_gives_the_same(case: Case) -> None:
    cursor = case.log.end(MODEL)
    case.put(live(0), live(1))
    assert requests(read_all(case.log, cursor)[0]) == requests(read_all(case.log, cursor)[0]) == [live(0), live(1)]


def test_labels_and_numbers_are_read_once_each(case: Case) -> None:
    case.number(KpiSeen(name="orders", time=AT, entity="old", value=1.0))
    cursor = case.log.end(MODEL)
    case.tell(LabelSeen(prediction_id="p-1", row=0, label="yes", received=AT))
    case.number(KpiSeen(name="orders", time=AT + 1, entity="e1", value=2.5))
    found, cursor = read_all(case.log, cursor)
    labels = [(each.prediction_id, each.row, each.label) for seen in found for each in seen.labels]
    assert labels == [("p-1", 0, "yes")]
    assert [each for seen in found for each in seen.kpis] == [
        KpiSeen(name="orders", time=AT + 1, entity="e1", value=2.5)
    ]
    found, _ = read_all(case.log, cursor)
    assert not any(seen.labels or seen.kpis for seen in found)


def test_a_log_that_cannot_be_read_now_says_so(case: Case) -> None:
    case.put(live(0))
    cursor = case.log.end(MODEL)
    case.broken()
    with pytest.raises(TransientError):
        case.log.read(MODEL, cursor)


# -- a real server -----------------------------------------------------------------------------------------------------


def half(world: World, onnx: bytes) -> Digest:
    """Make a bundle that says 0.5, and fails for large amounts."""
    kept = [each for each in probes(0.0, TaskKind.BINARY).requests if 0 < float(each.row["amount"] or 0) < 50]
    halves = [{"name": p.name, "row": p.row, "output": [0.5]} for p in kept]
    golden = canonical_json({"schema_version": 1, "absolute": 1e-5, "relative": 1e-5, "requests": halves})
    return Digest(world.bundle(parts={"model.onnx": onnx, "probe_requests.json": golden}))


class Folders:
    def __init__(self, store: Path) -> None:
        self._store = store

    def folder(self, digest: Digest) -> Path:
        return self._store / digest


def ask(client: httpx.Client, entity: str, amount: float) -> int:
    row = {"dataframe_records": [{**ROW, "amount": amount}]}
    return client.post("/invocations", json=row, headers={"x-lockgate-entity": entity}).status_code


@pytest.mark.integration
def test_failed_requests_of_a_real_server_are_told_under_the_arm_that_was_chosen(tmp_path: Path) -> None:
    world = World(tmp_path)
    champion, challenger = Digest(world.bundle()), half(world, failing_graph(50))
    log = FileTrafficLog(world.state, tmp_path / "kpi", slices=("colour", "age"))
    with serving(world) as server:
        url, admin = (f"http://127.0.0.1:{port}" for port in (server.port, server.admin_port))
        router = ServerTarget("sandbox", url, admin, world.root / "token", Folders(world.store))
        asked = Routing(sequence=1, champion=champion, challenger=challenger, weight=0.5, salt="s", lease_s=60)
        router.route(MODEL, asked)
        cursor = log.end(MODEL)
        statuses = [ask(server.client, f"e{at}", 99) for at in range(40)]
        statuses.append(server.admin.post(url + "/invocations", json={"dataframe_records": [ROW]},
                                          headers={"x-lockgate-arm": CHALLENGER}).status_code)  # fmt: skip
        router.close()
    assert set(statuses[:40]) == {200}  # the champion answered for the challenger
    found, _ = read_all(log, cursor)
    log.close()
    by_arm = {arm: [each for each in requests(found) if each.arm == arm] for arm in (CHAMPION, CHALLENGER)}
    assert len(by_arm[CHAMPION]) + len(by_arm[CHALLENGER]) == 40  # the forced one is not among them
    assert {each.failed for each in by_arm[CHAMPION]} == {False}
    assert {each.failed for each in by_arm[CHALLENGER]} == {True}
    assert {each.propensity for each in requests(found)} == {0.5}
    assert {(each.slices["colour"], each.slices["age"]) for each in requests(found)} == {("red", "41")}
    assert not sum(seen.lost for seen in found)
