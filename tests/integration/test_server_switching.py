"""A real server changes what it serves without dropping a request, and keeps it over restarts."""

import json
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from lockgate.core.contract import LogPolicy
from lockgate.core.ids import canonical_json
from lockgate.serving.log.segments import lines, segments
from tests.bundles import contract, golden, make_keys, sign
from tests.server_process import PATIENT, ROW, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        yield running


def digest_of_answer(server: Server) -> str:
    answer = server.ask()
    assert answer.status_code == 200, answer.text
    return answer.headers["x-lockgate-release-digest"]


def test_a_server_without_models_can_take_routing(server: Server) -> None:
    assert server.client.get("/v2/health/live").status_code == 200
    ready = server.client.get("/v2/health/ready")
    assert (ready.status_code, ready.json()["models"]) == (200, [])
    assert server.ask().status_code == 404


def test_routing_is_acknowledged_with_what_is_really_served(server: Server, world: World) -> None:
    first, second = world.bundle(), world.bundle(bias=1.0)
    assert server.route(3, first).json()["loaded"] == [first]
    answer = server.route(7, second, first).json()
    since = answer["since"]
    told = ("sequence", "champion", "previous", "loaded", "refused")
    assert [answer[name] for name in told] == [7, second, first, [second, first], {}]
    assert server.route(7, second, first).json()["since"] == since
    assert server.admin.get("/admin/routing/toy").json()["since"] == since
    listed = server.admin.get("/admin/routing").json()
    assert (listed["environment"], listed["models"]["toy"]["champion"]) == ("sandbox", second)
    assert server.admin.get("/admin/routing/none").status_code == 404


def test_a_lower_sequence_and_a_reused_one_are_409_and_change_nothing(server: Server, world: World) -> None:
    first, second = world.bundle(), world.bundle(bias=1.0)
    server.route(5, first)
    assert server.route(4, second).status_code == 409
    assert server.route(5, second).status_code == 409
    assert digest_of_answer(server) == first


def test_an_unknown_bundle_is_404_and_a_damaged_one_422_with_the_reason(server: Server, world: World) -> None:
    good, bad = world.bundle(), world.bundle(bias=1.0)
    server.route(1, good)
    part = world.store / bad / "model.onnx"
    part.write_bytes(part.read_bytes()[:-1] + b"\x00")
    assert server.route(2, "0" * 64).status_code == 404
    refused = server.route(2, bad)
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("part model.onnx: sha256 is ")
    assert "manifest says" in refused.json()["error"]
    assert digest_of_answer(server) == good
    assert server.admin.get("/admin/routing/toy").json()["sequence"] == 1


def test_a_bundle_of_another_key_or_model_or_with_wrong_golden_answers_is_422(server: Server, world: World) -> None:
    other = world.bundle(model="other-toy")
    assert "is one of model 'other-toy'" in server.route(1, other).json()["error"]
    wrong = world.bundle(golden_shift=0.01)
    assert "probe typical-1: answered" in server.route(1, wrong).json()["error"]
    resigned = world.bundle(bias=2.0)
    make_keys(world.root / "stranger")
    sign(world.store / resigned, world.root / "stranger")
    refused = server.route(1, resigned)
    assert refused.status_code == 422
    assert "part signature: made with key" in refused.json()["error"]
    assert server.client.get("/v2/health/ready").json()["models"] == []


def test_a_damaged_previous_bundle_does_not_stand_in_the_way_of_a_rollback(server: Server, world: World) -> None:
    good, bad = world.bundle(), world.bundle(bias=1.0)
    (world.store / bad / "card.md").write_text("other")
    answer = server.route(1, good, bad)
    assert (answer.status_code, answer.json()["loaded"]) == (200, [good])
    assert "part card.md" in answer.json()["refused"][bad]
    assert digest_of_answer(server) == good


def test_a_rollback_uses_the_warm_previous_bundle_without_the_store(server: Server, world: World) -> None:
    first, second = world.bundle(), world.bundle(bias=1.0)
    server.route(1, first)
    server.route(2, second, first)
    (world.store / first).rename(world.root / "gone")
    assert server.route(3, first, second).status_code == 200
    assert digest_of_answer(server) == first


def test_switching_under_load_drops_nothing_and_answers_only_what_was_published(server: Server, world: World) -> None:
    biases = {world.bundle(bias=bias): bias for bias in (0.0, 1.0, -1.0)}
    digests = list(biases)
    server.route(1, digests[0])
    published = {digests[0]}
    end, seen, failed = threading.Event(), set(), []

    def load() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            while not end.is_set():
                answer = client.post("/invocations", json={"dataframe_records": [ROW]})
                digest = answer.headers.get("x-lockgate-release-digest", "")
                if answer.status_code != 200 or digest not in published:
                    failed.append((answer.status_code, answer.text))
                    return
                seen.add(digest)
                value = answer.json()["predictions"][0]["probability"]
                if abs(value - golden(ROW, biases[digest])[0]) > 1e-5:
                    failed.append((digest, value))  # the answer of one bundle under the name of another

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for sequence in range(2, 32):
        champion, previous = digests[sequence % 3], digests[(sequence - 1) % 3]
        published.add(champion)
        assert server.route(sequence, champion, previous).status_code == 200
        assert digest_of_answer(server) == champion
        until(lambda wanted=champion: failed or wanted in seen)  # each was served while somebody asked
    end.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert seen == set(digests)
    assert len(server.admin.get("/admin/routing/toy").json()["loaded"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_serves_what_was_routed(world: World, number: int) -> None:
    first, second = world.bundle(), world.bundle(bias=1.0)
    with serving(world) as server:
        server.route(1, first)
        before = server.route(2, second, first).json()
        assert server.stop(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    with serving(world) as server:
        assert server.client.get("/v2/health/ready").status_code == 200
        assert digest_of_answer(server) == second
        assert server.admin.get("/admin/routing/toy").json() == before
        assert server.route(1, first).status_code == 409


def test_a_bundle_that_was_damaged_meanwhile_keeps_the_server_from_being_ready(world: World) -> None:
    digest = world.bundle()
    with serving(world) as server:
        server.route(1, digest)
    card = world.store / digest / "card.md"
    content = card.read_bytes()
    card.write_text("other")
    with serving(world) as server:
        assert server.client.get("/v2/health/live").status_code == 200
        ready = server.client.get("/v2/health/ready")
        assert ready.status_code == 503
        assert f"model 'toy' is routed to {digest}, but: part card.md: sha256 is" in ready.json()["error"]
        assert any("part card.md" in line["message"] and line["level"] == "error" for line in server.lines)
        assert server.client.get("/v2/models/toy/ready").status_code == 503
        assert server.ask().status_code == 503
        assert server.admin.get("/admin/routing/toy").json()["loaded"] == []
        card.write_bytes(content)
        assert server.route(1, digest).status_code == 200  # the same again: mended
        assert digest_of_answer(server) == digest


def log_lines(world: World) -> list[dict[str, object]]:
    files = segments(world.state / "predictions" / "toy")
    return [json.loads(line) for file in files for line in lines(file)]


def test_every_answer_has_its_log_row_after_an_orderly_stop(world: World) -> None:
    with serving(world) as server:
        server.route(1, world.bundle())
        answers = [server.ask({**ROW, "amount": number}) for number in range(40)]
        server.ask({**ROW, "age": None})  # refused: no row
        assert server.stop() == 0
    rows = log_lines(world)
    ids = [answer.headers["x-lockgate-prediction-id"] for answer in answers]
    assert [row["prediction_id"] for row in rows] == ids
    for row, answer, number in zip(rows, answers, range(40), strict=True):
        assert row["inputs"] == {name: [value] for name, value in {**ROW, "amount": number}.items()}
        assert row["outputs"] == {name: [value] for name, value in answer.json()["predictions"][0].items()}
        assert (row["digest"], row["arm"]) == (answer.headers["x-lockgate-release-digest"], "champion")


def test_log_rows_that_were_written_survive_kill_9(world: World) -> None:
    with serving(world) as server:
        server.route(1, world.bundle())
        ids = [server.ask().headers["x-lockgate-prediction-id"] for _ in range(10)]
        until(lambda: len(log_lines(world)) == 10)
        server.stop(signal.SIGKILL)
    assert [row["prediction_id"] for row in log_lines(world)] == ids


def test_inputs_can_be_left_out_of_the_log(world: World) -> None:
    with serving(world, "--no-log-inputs") as server:
        server.route(1, world.bundle())
        server.ask()
    assert [row["inputs"] for row in log_lines(world)] == [None]


def test_a_bundle_may_forbid_that_its_inputs_are_logged(world: World) -> None:
    private = canonical_json(replace(contract(), log=LogPolicy(inputs=False)))
    with serving(world) as server:
        server.route(1, world.bundle(parts={"contract.json": private}))
        server.ask()
    assert [row["inputs"] for row in log_lines(world)] == [None]


def test_a_stop_answers_the_requests_it_has_taken(world: World) -> None:
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with serving(world, *PATIENT) as server:
        server.route(1, world.bundle())
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as taken:
            taken.sendall(head + body[:-1])
            until(lambda: server.metric("lockgate_in_flight") == 1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not server.accepts())
            taken.sendall(body[-1:])
            assert taken.recv(65536).startswith(b"HTTP/1.1 200")
        assert server.stop() == 0
    assert len(log_lines(world)) == 1


def test_routing_that_cannot_be_kept_on_disk_is_not_put_in_place(world: World, server: Server) -> None:
    first, second = world.bundle(), world.bundle(bias=1.0)
    server.route(1, first)
    (world.state / ".routing.json.tmp").mkdir()
    refused = server.route(2, second, first)
    assert refused.status_code == 503
    assert "could not keep its state" in refused.json()["error"]
    assert digest_of_answer(server) == first
    (world.state / ".routing.json.tmp").rmdir()
    assert server.route(2, second, first).status_code == 200
