"""Shadows beside the short way of the commonest request: each copy has its row, and nobody feels what a shadow does."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.faults.graphs import BAD_ABOVE, BAD_AMOUNT, HALF, bundle_of
from tests.bundles import golden
from tests.graphs import failing_graph, hanging_graph
from tests.integration.test_server_routing import ask, log_lines, put
from tests.server_process import ROW, TOKEN, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
CALLERS, REQUESTS = 4, 40
KINDS = {"amount": "FP64", "age": "FP64", "colour": "BYTES", "shape": "BYTES"}
LEASE_S = 600
HANGS_S = 2.5  # --request-timeout-s: then a run of a shadow is ended; a crowded machine keeps callers still for less


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture(params=["1", pytest.param("2", marks=pytest.mark.soak)])
def server(world: World, request: pytest.FixtureRequest) -> Iterator[Server]:
    more = ("--workers", request.param, "--request-timeout-s", str(HANGS_S))
    with serving(world, *more) as running:
        yield running


class Answered:
    """What callers were told, each with the row it is about."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.entities: dict[str, str] = {}
        self.wrong: list[object] = []

    def ask_all(self, port: int, bad_every: int = 0) -> None:
        """Ask from several threads, on the form that goes the short way; every so manieth row is a bad one."""
        threads = [threading.Thread(target=self._ask, args=(port, each, bad_every)) for each in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, port: int, caller: int, bad_every: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for number in range(REQUESTS):
                bad = bad_every and number % bad_every == 0
                row = {**ROW, "amount": BAD_AMOUNT if bad else float(number + caller * REQUESTS)}
                entity = f"customer-{caller}-{number}"
                answer = client.post("/v2/models/toy/infer", json=body(row), headers={"x-lockgate-entity": entity})
                if answer.status_code != 200 or answer.headers["x-lockgate-arm"] != "champion":
                    self.wrong.append((answer.status_code, answer.headers, answer.text))
                    continue
                (probability,) = answer.json()["outputs"][0]["data"]
                if probability != pytest.approx(golden(row)[0], abs=1e-5):
                    self.wrong.append((row, probability))
                name = answer.headers["x-lockgate-prediction-id"]
                self.rows[name], self.entities[name] = row, entity


def body(row: dict[str, Any]) -> dict[str, Any]:
    return {"inputs": [{"name": k, "shape": [1], "datatype": KINDS[k], "data": [v]} for k, v in row.items()]}


def route(server: Server, champion: str, **shadows: str) -> None:
    asked = [{"name": name, "bundle": digest, "share": 1.0} for name, digest in shadows.items()]
    answer = put(server, {"sequence": 1, "champion": champion, "shadows": asked, "lease_s": LEASE_S})
    assert answer.status_code == 200, answer.text


def logged(server: Server, world: World) -> dict[str, list[dict[str, Any]]]:
    """Let the shadows answer what waits for them, stop the server and return its log's rows by kind."""
    until(lambda: server.metric("lockgate_shadow_queued_rows") == 0)
    assert server.stop() == 0
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in log_lines(world):
        rows.setdefault(row["kind"], []).append(row)
    return rows


def test_every_request_of_the_short_way_has_one_row_of_each_shadow_under_its_own_id(
    server: Server, world: World
) -> None:
    digests = {name: world.bundle(bias=bias) for name, bias in (("champion", 0.0), ("dark", 1.0), ("dusk", -1.0))}
    route(server, digests["champion"], dark=digests["dark"], dusk=digests["dusk"])
    told = Answered()
    told.ask_all(server.port)
    forced = ask(server, None, **{"x-lockgate-arm": "dark", "authorization": f"Bearer {TOKEN}"})
    assert forced.status_code == 200
    rows = logged(server, world)
    assert told.wrong == []
    assert {row["prediction_id"] for row in rows["live"]} == set(told.rows)
    assert len(told.rows) == CALLERS * REQUESTS == len(rows["live"])
    copies = Counter((row["prediction_id"], row["arm"]) for row in rows["shadow"])
    assert copies == Counter((name, arm) for name in told.rows for arm in ("dark", "dusk")), "each once, forced never"
    for row in rows["shadow"]:
        bias = {"dark": 1.0, "dusk": -1.0}[row["arm"]]
        asked = told.rows[row["prediction_id"]]
        assert row["outputs"]["probability"] == pytest.approx(golden(asked, bias), abs=1e-5)
        assert (row["digest"], row["entity"]) == (digests[row["arm"]], told.entities[row["prediction_id"]])


@pytest.mark.parametrize(
    ("graph", "bad_every"),
    [(failing_graph(BAD_ABOVE), 4), (hanging_graph(BAD_ABOVE), REQUESTS)],
    ids=["throws", "hangs"],
)
def test_a_shadow_that_throws_or_hangs_costs_the_callers_of_the_short_way_nothing(
    server: Server, world: World, graph: bytes, bad_every: int
) -> None:
    champion, bad = world.bundle(), bundle_of(world, graph)
    route(server, champion, dark=bad)
    told = Answered()
    told.ask_all(server.port, bad_every)
    rows = logged(server, world)
    assert told.wrong == []
    assert {row["prediction_id"] for row in rows["live"]} == set(told.rows)
    assert len(told.rows) == CALLERS * REQUESTS, "the champion has answered each, the bad ones too"
    copies = Counter(row["prediction_id"] for kind in ("shadow", "shadow_failed") for row in rows.get(kind, ()))
    assert set(copies) <= set(told.rows)
    assert set(copies.values()) == {1}
    assert {row["arm"] for row in rows["live"]} == {"champion"}
    assert all(row["outputs"]["probability"] == [HALF] for row in rows.get("shadow", ()))
    assert not any(row["fallback"] for row in rows["live"])
    assert told.rows[rows["shadow_failed"][0]["prediction_id"]]["amount"] == BAD_AMOUNT


def test_callers_go_on_being_answered_while_a_shadow_hangs(server: Server, world: World) -> None:
    route(server, world.bundle(), dark=bundle_of(world, hanging_graph(BAD_ABOVE)))
    told = Answered()
    told.ask_all(server.port, REQUESTS)  # each caller's first row is a bad one
    until(lambda: server.metric("lockgate_shadow_queued_rows") == 0)
    assert server.stop() == 0
    order = [(row["kind"], row["prediction_id"]) for row in log_lines(world)]
    hung = next(name for kind, name in order if kind == "shadow_failed")
    meanwhile = order[order.index(("live", hung)) + 1 : order.index(("shadow_failed", hung))]
    assert told.wrong == []
    assert len([kind for kind, _ in meanwhile if kind == "live"]) > CALLERS, "more than were under way already"
