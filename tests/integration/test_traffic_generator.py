"""Simulated traffic against a real server: what it asks is answered, what goes wrong is counted, labels arrive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from lockgate.adapters.traffic_generator import Asked, Rows, TrafficGenerator
from lockgate.core.simulation import Simulation, requests, steady_arrivals
from lockgate.core.simulation_counts import Counts
from lockgate.core.simulation_faults import parse_faults
from tests.bundles import contract
from tests.server_process import ROW, TOKEN, Server, World, serving

pytestmark = pytest.mark.integration
SILENCE_S = 3.0  # ours: longer than a machine stands still, or those that come next would be sent after the first
ROWS = Rows(
    rows=[{**ROW, "age": age} for age in range(20, 60)],
    keys=[f"row-{age}" for age in range(20, 60)],
    labels=["yes" if age % 2 else "no" if age % 3 else None for age in range(20, 60)],
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("simulated"))


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world) as started:
        assert started.route(1, world.bundle()).status_code == 200
        yield started


def simulated(
    port: int, duration_s: float, rate_rps: float, faults: str = "", stop_after_s: float | None = None
) -> TrafficGenerator:
    """Run a simulation to its end, or to a stop, and return it."""
    simulation = Simulation(entities=50, seed=3, duration_s=duration_s, label_delay_s=0.3, faults=parse_faults(faults))
    asked = Asked(host="127.0.0.1", port=port, token=TOKEN, contract=contract())
    # whatever this machine does for seconds, it is no fault of the server's, and none of the generator's
    generator = TrafficGenerator(asked, ROWS, simulation, timeout_s=60.0, open_at_most=10_000)
    generator.late_s = 60.0
    told: list[Counts] = []

    async def run() -> None:
        stop = asyncio.Event()
        if stop_after_s is not None:
            asyncio.get_running_loop().call_later(stop_after_s, stop.set)
        due = requests(simulation, steady_arrivals(rate_rps, 3), len(ROWS.rows))
        await generator.run(due, stop, lambda _, counts: told.append(counts), every_s=0.4)

    asyncio.run(run())
    assert sum(each.due for each in told) <= generator.total.due
    return generator


def stored_labels(world: World) -> list[dict[str, Any]]:
    return [json.loads(line) for path in world.state.glob("labels/*.jsonl") for line in path.read_text().splitlines()]


def test_every_request_is_answered_in_time_and_labels_of_known_rows_follow(world: World, server: Server) -> None:
    generator = simulated(server.port, 2.0, 150.0)
    found = generator.total
    assert found.answered == found.due > 200
    assert (found.errors, found.unsent) == (0, 0)
    assert found.arms == Counter(champion=found.due)
    assert found.labels_refused == 0
    unknown = sum(1 for label in ROWS.labels if label is None) / len(ROWS.labels)
    assert found.labels + generator.waiting == pytest.approx((1 - unknown) * found.due, rel=0.02)
    assert {each["label"] for each in stored_labels(world)} == {"yes", "no"}
    assert len(stored_labels(world)) == found.labels


def test_a_burst_of_broken_requests_is_refused_and_is_no_error_and_a_stop_is_silence(server: Server) -> None:
    found = simulated(server.port, 1.0, 100.0, "burst=100@0.2+0.5,stop@0.5").total
    assert 20 <= found.broken <= 90
    assert found.statuses[400] + found.statuses[422] == found.broken
    assert found.answered == found.due - found.broken
    assert 30 <= found.answered <= 70  # half a second of a hundred a second
    assert found.errors == 0


def test_a_stop_ends_it_at_once_with_everything_counted(server: Server) -> None:
    found = simulated(server.port, 600.0, 100.0, stop_after_s=0.5).total
    assert 0 < found.due < 2000  # of sixty thousand
    assert found.answered == found.due


def test_labels_that_are_on_their_way_when_it_is_stopped_are_counted() -> None:
    labelled = Rows(rows=ROWS.rows, keys=ROWS.keys, labels=["yes"] * len(ROWS.rows))
    simulation = Simulation(entities=5, seed=1, duration_s=600.0, label_delay_s=0.0)
    stored: list[Any] = []
    callers: set[asyncio.Task[None]] = set()

    async def run() -> TrafficGenerator:
        stop = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            caller = asyncio.current_task()
            assert caller is not None
            callers.add(caller)
            with contextlib.closing(writer), contextlib.suppress(EOFError, OSError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                    if head.startswith(b"POST /labels"):
                        stop.set()
                        await asyncio.sleep(0.2)  # it ends meanwhile
                        stored.extend(json.loads(body)["labels"])
                    writer.write(b"HTTP/1.1 200 OK\r\nx-lockgate-prediction-id: p\r\ncontent-length: 2\r\n\r\n{}")

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            asked = Asked(host="127.0.0.1", port=server.sockets[0].getsockname()[1], token=TOKEN, contract=contract())
            generator = TrafficGenerator(asked, labelled, simulation, timeout_s=60.0, open_at_most=10_000)
            generator.late_s = 60.0
            due = requests(simulation, steady_arrivals(100.0, 1), len(labelled.rows))
            await generator.run(due, stop, lambda *_: None)
            await asyncio.wait(callers)
            return generator

    generator = asyncio.run(run())
    assert generator.total.labels == len(stored) > 0
    assert generator.total.labels + generator.waiting == generator.total.answered == generator.total.due


def test_nobody_there_is_counted_request_by_request() -> None:
    found = simulated(9, 0.3, 100.0).total
    assert found.errors == sum(found.lost.values()) == found.due > 10
    assert found.quantile_ms(0.5) is None


def test_requests_beyond_what_may_be_open_are_counted_as_unsent() -> None:
    simulation = Simulation(entities=5, seed=1, duration_s=0.4)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:  # takes connections, and never reads one
        asked = Asked(host="127.0.0.1", port=silent.getsockname()[1], token=TOKEN, contract=contract())
        generator = TrafficGenerator(asked, ROWS, simulation, timeout_s=SILENCE_S, open_at_most=20)
        generator.late_s = 60.0
        due = requests(simulation, steady_arrivals(200.0, 1), len(ROWS.rows))

        async def run() -> None:
            await generator.run(due, asyncio.Event(), lambda *_: None)

        asyncio.run(run())
    found = generator.total
    assert found.lost == Counter({f"no answer in {SILENCE_S:g} s": 20})
    assert found.unsent == found.due - 20 > 20
