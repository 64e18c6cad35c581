"""A real server shares traffic between bundles: weights, leases, shadows, forced arms, what answers in their place."""

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import canonical_json
from lockgate.serving.log.segments import lines, segments
from tests.bundles import contract, golden
from tests.server_process import ROW, TOKEN, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
SHORT_S, LONG_S = 0.5, 3600.0  # of leases: one that is to end, one that is not, however slow the machine
ENTITIES = [f"customer-{number}" for number in range(200)]
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


class Bundles:
    """Four bundles of one model, told apart by what they answer."""

    def __init__(self, world: World) -> None:
        self.bias = {world.bundle(bias=bias): bias for bias in (0.0, 1.0, -1.0, 2.0)}
        self.champion, self.canary, self.dark, self.previous = self.bias

    def rollout(self, sequence: int, weight: float = 0.5, **more: Any) -> dict[str, Any]:
        return {
            "sequence": sequence,
            "champion": self.champion,
            "previous": self.previous,
            "challengers": [{"name": "canary", "bundle": self.canary, "weight": weight, "tags": ["new"]}],
            "shadows": [{"name": "dark", "bundle": self.dark, "share": 1.0}],
            **more,
        }


def put(server: Server, body: dict[str, Any], model: str = "toy") -> httpx.Response:
    return server.admin.put(f"/admin/routing/{model}", json=body)


def renew(server: Server, sequence: int) -> httpx.Response:
    return server.admin.post("/admin/routing/toy/lease", json={"sequence": sequence})


def told(server: Server) -> dict[str, Any]:
    answer: dict[str, Any] = server.admin.get("/admin/routing/toy").json()
    return answer


def ask(server: Server, entity: str | None = None, **headers: str) -> httpx.Response:
    if entity is not None:
        headers["x-lockgate-entity"] = entity
    return server.client.post("/invocations", json={"dataframe_records": [ROW]}, headers=headers)


def arms(server: Server) -> dict[str, str]:
    return {entity: ask(server, entity).headers["x-lockgate-arm"] for entity in ENTITIES}


def log_lines(world: World) -> list[dict[str, Any]]:
    files = segments(world.state / "predictions" / "toy")
    return [json.loads(line) for file in files for line in lines(file)]


def test_entities_are_split_by_weight_and_each_answer_is_its_own_arms(server: Server, world: World) -> None:
    bundles = Bundles(world)
    acknowledged = put(server, bundles.rollout(1, 0.5)).json()
    assert acknowledged["weights"] == {
        "asked": {"champion": 0.5, "canary": 0.5},
        "effective": {"champion": 0.5, "canary": 0.5},
    }
    assert 0 < acknowledged["lease_left_s"] <= acknowledged["lease_s"] == 10
    assert acknowledged["loaded"] == [bundles.champion, bundles.canary, bundles.dark, bundles.previous]
    put(server, bundles.rollout(2, 0.5, lease_s=LONG_S))
    digests = {"champion": bundles.champion, "canary": bundles.canary}
    seen = Counter[str]()
    for entity in ENTITIES:
        answer = ask(server, entity)
        arm, digest = answer.headers["x-lockgate-arm"], answer.headers["x-lockgate-release-digest"]
        assert digest == digests[arm]
        value = answer.json()["predictions"][0]["probability"]
        assert value == pytest.approx(golden(ROW, bundles.bias[digest])[0], abs=1e-5)
        seen[arm] += 1
    assert seen["canary"] == pytest.approx(100, abs=35)  # 5 standard deviations


def test_growing_a_weight_moves_entities_from_the_champion_alone(server: Server, world: World) -> None:
    bundles = Bundles(world)
    put(server, bundles.rollout(1, 0.2, lease_s=LONG_S))
    before = arms(server)
    put(server, bundles.rollout(2, 0.6, lease_s=LONG_S))
    after = arms(server)
    moved = {(before[each], after[each]) for each in ENTITIES if before[each] != after[each]}
    assert moved == {("champion", "canary")}


def test_a_controller_that_dies_leaves_the_champion_alone_and_one_that_comes_back_takes_over(
    server: Server, world: World
) -> None:
    bundles = Bundles(world)
    put(server, bundles.rollout(4, lease_s=LONG_S))
    before = arms(server)
    assert set(before.values()) == {"champion", "canary"}
    put(server, bundles.rollout(5, lease_s=SHORT_S))
    until(lambda: told(server)["lease_left_s"] == 0)
    assert set(arms(server).values()) == {"champion"}
    assert told(server)["weights"] == {
        "asked": {"champion": 0.5, "canary": 0.5},
        "effective": {"champion": 1.0, "canary": 0.0},
    }
    assert (renew(server, 4).status_code, renew(server, 6).status_code) == (409, 409)
    assert renew(server, 5).json()["weights"]["effective"]["canary"] == 0.5
    theirs = next(e for e in ENTITIES if before[e] == "canary")
    assert until(lambda: _asked_while_it_lasts(server, 5, theirs)) == "canary"


def test_a_lease_that_is_renewed_goes_on(server: Server, world: World) -> None:
    put(server, Bundles(world).rollout(5, 1.0, lease_s=SHORT_S))
    began, seen = time.monotonic(), 0
    while time.monotonic() - began < 3 * SHORT_S or seen < 5:
        arm = _asked_while_it_lasts(server, 5, "x")
        assert arm in {"canary", ""}
        seen += time.monotonic() - began > SHORT_S and arm == "canary"  # without the renewals it would have ended
        time.sleep(0.05)


def _asked_while_it_lasts(server: Server, sequence: int, entity: str) -> str:
    """Renew the lease and ask; return who answered, or nobody where a lease may have ended between the two."""
    began = time.monotonic()
    assert renew(server, sequence).status_code == 200
    arm = str(ask(server, entity).headers["x-lockgate-arm"])
    return arm if time.monotonic() - began < SHORT_S else ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_restart_the_champion_alone_answers_until_the_lease_is_renewed(world: World, number: int) -> None:
    bundles = Bundles(world)
    with serving(world) as server:
        put(server, bundles.rollout(3, lease_s=3600))
        before = arms(server)
        server.stop(number)
    with serving(world) as server:
        after = told(server)
        assert after["loaded"] == [bundles.champion, bundles.canary, bundles.dark, bundles.previous]
        assert (after["lease_left_s"], after["weights"]["effective"]["canary"]) == (0, 0)
        assert set(arms(server).values()) == {"champion"}
        assert renew(server, 3).status_code == 200
        assert arms(server) == before


def test_an_arm_is_forced_by_name_tag_or_version_with_the_token_alone(server: Server, world: World) -> None:
    bundles = Bundles(world)
    put(server, bundles.rollout(1, 0.0, lease_s=LONG_S))
    forced = {"canary": bundles.canary, "new": bundles.canary, "dark": bundles.dark, "previous": bundles.previous}
    for arm, digest in forced.items():
        answer = ask(server, None, **{"x-lockgate-arm": arm}, **BEARER)
        assert answer.headers["x-lockgate-release-digest"] == digest, answer.text
        assert ask(server, None, **{"x-lockgate-arm": arm}).status_code == 401
    unknown = ask(server, None, **{"x-lockgate-arm": "none"}, **BEARER)
    assert unknown.status_code == 404
    assert "no arm 'none'; there are: champion, canary" in unknown.json()["error"]
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
        for name, value in ROW.items()
    ]
    path = f"/v2/models/toy/versions/{bundles.canary}/infer"
    assert server.client.post(path, json={"inputs": tensors}).status_code == 401
    answered = server.client.post(path, json={"inputs": tensors}, headers=BEARER)
    assert answered.headers["x-lockgate-arm"] == "canary", answered.text


def test_every_kind_of_request_leaves_its_own_kind_of_row(world: World) -> None:
    bundles = Bundles(world)
    with serving(world) as server:
        put(server, bundles.rollout(1, 0.25, lease_s=LONG_S))
        live = ask(server, "customer-7")
        forced = ask(server, "customer-7", **{"x-lockgate-arm": "canary"}, **BEARER)
        probe = ask(server, "customer-7", **{"x-lockgate-probe": "smoke"}, **BEARER)
        assert ask(server, "customer-7", **{"x-lockgate-probe": "smoke"}).status_code == 401
        until(lambda: server.metric("lockgate_shadow_queued_rows") == 0)  # or it may be ended before its turn
        assert server.stop() == 0
    lines = log_lines(world)
    rows = {row["kind"]: row for row in lines}
    assert len(lines) == len(rows) == 4
    assert set(rows) == {"live", "forced", "probe", "shadow"}
    assert rows["live"]["prediction_id"] == live.headers["x-lockgate-prediction-id"]
    assert rows["live"]["propensity"] == {"champion": 0.75, "canary": 0.25}[live.headers["x-lockgate-arm"]]
    assert rows["forced"]["prediction_id"] == forced.headers["x-lockgate-prediction-id"]
    assert rows["probe"]["prediction_id"] == probe.headers["x-lockgate-prediction-id"]
    assert probe.headers["x-lockgate-arm"] == live.headers["x-lockgate-arm"]  # routed as callers are
    shadow = rows["shadow"]
    assert (shadow["arm"], shadow["digest"], shadow["entity"]) == ("dark", bundles.dark, "customer-7")
    assert shadow["outputs"]["probability"] == pytest.approx(golden(ROW, bundles.bias[bundles.dark]), abs=1e-5)
    assert shadow["prediction_id"] == live.headers["x-lockgate-prediction-id"]  # whose row has the inputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sequence": "1"}, "Expected `int`, got `str` - at `$.sequence`"),
        ({"sequence": 0}, "sequence is 0; the ledger counts from 1"),
        ({"champion": None}, "at `$.champion`"),
        ({"champion": "latest"}, "champion is 'latest', not a bundle digest"),
        ({"weights": {}}, "unknown field `weights`; it is {sequence, champion, previous, challengers"),
        ({"challengers": [{"name": "b", "bundle": "0" * 64}]}, "field `weight` - at `$.challengers[0]`"),
        ({"challengers": [{"name": "b", "bundle": "0" * 64, "weight": 1.5}]}, "challengers[0].weight is 1.5"),
        ({"challengers": [{"name": "champion", "bundle": "0" * 64, "weight": 0}]}, "challengers[0].name: 'champion'"),
        ({"shadows": [{"name": "s", "bundle": "0" * 64, "share": -1}]}, "shadows[0].share is -1"),
        ({"lease_s": 1e9}, "lease_s is 1e+09; 0.1 to 3600"),
        ({"timeout_ms": 0}, "timeout_ms is 0; 1 to 60000"),
        ({"fallback": {"constant": {"value": 1}}}, "fallback.constant has value; this model answers probability"),
        ({"fallback": {}}, "missing required field `constant` - at `$.fallback`"),
    ],
)  # fmt: skip
def test_a_routing_that_is_wrong_is_400_and_names_the_field(
    shared: tuple[Server, str], change: dict[str, Any], message: str
) -> None:
    server, champion = shared
    refused = put(server, {"sequence": 1, "champion": champion, **change})
    assert (refused.status_code, message in refused.json()["error"]) == (400, True), refused.text
    assert server.admin.get("/admin/routing/toy").status_code == 404


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    world = World(tmp_path_factory.mktemp("shared") / "world")
    champion = world.bundle()
    with serving(world) as server:
        yield server, champion


@pytest.mark.parametrize("body", [{}, {"sequence": "1"}, {"sequence": 1, "lease_s": 5}, []])
def test_a_lease_that_is_wrong_is_400_and_names_the_field(shared: tuple[Server, str], body: object) -> None:
    refused = shared[0].admin.post("/admin/routing/toy/lease", json=body)
    assert (refused.status_code, refused.json()["error"].startswith("lease: ")) == (400, True)
    assert shared[0].admin.post("/admin/routing/toy/lease", json={"sequence": 1}).status_code == 404


def test_the_admin_port_refuses_everybody_without_the_token(shared: tuple[Server, str]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{shared[0].admin_port}", timeout=30) as stranger:
        assert stranger.get("/admin/routing").status_code == 401
        assert stranger.put("/admin/routing/toy", json={"sequence": 1, "champion": shared[1]}).status_code == 401
        assert stranger.post("/admin/routing/toy/lease", json={"sequence": 1}).status_code == 401


def test_an_entity_is_the_same_in_whatever_form_its_number_is_sent(world: World) -> None:
    keyed = {"contract.json": canonical_json(replace(contract(), entity="age"))}
    champion, canary = (world.bundle(bias=bias, parts=keyed) for bias in (0.0, 1.0))
    rival = {"name": "canary", "bundle": canary, "weight": 0.5}
    with serving(world) as server:
        put(server, {"sequence": 1, "champion": champion, "challengers": [rival], "lease_s": 600})
        for age in range(20, 40):
            forms = [
                {"dataframe_records": [{**ROW, "age": age}]},
                {"dataframe_records": [{**ROW, "age": float(age)}]},
                {"inputs": {name: [value] for name, value in {**ROW, "age": float(age)}.items()}},
            ]
            answers = [server.client.post("/invocations", json=form) for form in forms]
            row = f"amount,age,colour,shape\n12.5,{age},red,disc\n"
            answers.append(server.client.post("/invocations", content=row, headers={"content-type": "text/csv"}))
            for kind in ("INT64", "FP64", "FP32"):
                answers.append(server.client.post("/v2/models/toy/infer", json=v2({**ROW, "age": age}, kind)))
                answers.append(binary_v2(server, {**ROW, "age": age}, kind))
            answers.append(ask(server, str(age)))
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.headers["x-lockgate-arm"] for answer in answers}) == 1, age
        assert server.stop() == 0
    assert {row["entity"] for row in log_lines(world)} == {str(age) for age in range(20, 40)}


def v2(row: dict[str, Any], kind: str) -> dict[str, Any]:
    kinds = {"amount": "FP64", "age": kind, "colour": "BYTES", "shape": "BYTES"}
    return {"inputs": [{"name": k, "shape": [1], "datatype": kinds[k], "data": [v]} for k, v in row.items()]}


def binary_v2(server: Server, row: dict[str, Any], kind: str) -> httpx.Response:
    """Ask with the entity's column as a binary tensor."""
    tensor = np.array([row["age"]], {"INT64": "<i8", "FP64": "<f8", "FP32": "<f4"}[kind]).tobytes()
    asked = v2(row, kind)
    (age,) = (each for each in asked["inputs"] if each["name"] == "age")
    del age["data"]
    age["parameters"] = {"binary_data_size": len(tensor)}
    head = json.dumps(asked).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return server.client.post("/v2/models/toy/infer", content=head + tensor, headers=headers)


def test_a_challenger_that_answers_in_another_form_is_refused(server: Server, world: World) -> None:
    bundles = Bundles(world)
    other = world.bundle(task=TaskKind.REGRESSION)
    body = bundles.rollout(1)
    body["challengers"][0]["bundle"] = other
    refused = put(server, body)
    assert refused.status_code == 400
    assert f"challengers[0].bundle {other}: it answers value, the champion probability, label" in refused.text


def test_weights_change_under_load_without_a_failed_or_misrouted_request(server: Server, world: World) -> None:
    bundles = Bundles(world)
    put(server, bundles.rollout(1, 0.1, lease_s=LONG_S))
    end, failed, seen = threading.Event(), [], Counter[str]()

    def load(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            at = number
            while not end.is_set():
                at += 4
                entity = {"x-lockgate-entity": ENTITIES[at % len(ENTITIES)]}
                answer = client.post("/invocations", json={"dataframe_records": [ROW]}, headers=entity)
                digest = answer.headers.get("x-lockgate-release-digest", "")
                arm = answer.headers.get("x-lockgate-arm", "")
                if answer.status_code != 200 or digest != {"champion": bundles.champion}.get(arm, bundles.canary):
                    failed.append((answer.status_code, answer.text))
                    return
                value = answer.json()["predictions"][0]["probability"]
                if abs(value - golden(ROW, bundles.bias[digest])[0]) > 1e-5:
                    failed.append((digest, value))
                seen[arm] += 1

    threads = [threading.Thread(target=load, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for sequence in range(2, 32):
        assert put(server, bundles.rollout(sequence, sequence / 40, lease_s=LONG_S)).status_code == 200
    until(lambda: failed or set(seen) == {"champion", "canary"})  # by now both have three fourths or a fourth
    end.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(seen) == {"champion", "canary"}


def test_memory_stays_where_it_was_over_many_swaps(server: Server, world: World) -> None:
    digests = [world.bundle(bias=float(bias)) for bias in range(4)]

    def swap(sequences: range) -> None:
        for sequence in sequences:
            champion, canary, previous = (digests[(sequence + turn) % 4] for turn in range(3))
            challengers = [{"name": "canary", "bundle": canary, "weight": 0.5}]
            body = {"sequence": sequence, "champion": champion, "previous": previous, "challengers": challengers}
            assert len(put(server, body).json()["loaded"]) == 3
            ask(server)

    process = psutil.Process(server.process.pid)
    swap(range(1, 60))
    before = process.memory_info().rss
    swap(range(60, 260))
    assert process.memory_info().rss - before < 4e6  # 200 models were loaded, each about 0.3 MB
    assert process.num_threads() < 20
