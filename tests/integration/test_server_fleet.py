"""Several workers act as one server: one answer to a change, and a worker's death is nobody else's."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest

from tests.server_process import ENDS_WITHIN_S, PATIENT, ROW, SOURCE, Server, World, serving, spawn, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
BODY = json.dumps({"dataframe_records": [ROW]}).encode()
JSON = {"content-type": "application/json"}
DIGEST = "x-lockgate-release-digest"
LOST_S = 20.0  # ours: whoever waits in a queue that nobody reads waits so long and is lost; a crowded machine does not


def workers(server: Server) -> list[psutil.Process]:
    return server.workers()


def served(server: Server, model: str = "toy") -> dict[str, int]:
    """Return the sequence that each worker serves."""
    account = server.admin.get(f"/admin/routing/{model}").json()
    return {number: each["sequence"] for number, each in account.get("workers", {}).items()}


def ask_once(port: int) -> tuple[int, str, str]:
    """Ask on a connection of its own; return status, digest and the answering process's prefix of ids."""
    answer = httpx.post(
        f"http://127.0.0.1:{port}/invocations", content=BODY, headers={"content-type": "application/json"}, timeout=30
    )
    return (
        answer.status_code,
        answer.headers.get(DIGEST, ""),
        answer.headers.get("x-lockgate-prediction-id", "-").rpartition("-")[0],
    )


@contextmanager
def fleet(tmp_path: Path, *more: str, bundles: int = 1) -> Iterator[tuple[Server, list[str]]]:
    """Run two workers that serve the first of some bundles."""
    world = World(tmp_path / "world")
    digests = [world.bundle(bias=float(index)) for index in range(bundles)]
    with serving(world, "--workers", "2", *more) as server:
        assert server.route(1, digests[0]).status_code == 200
        yield server, digests


def test_a_change_is_acknowledged_once_with_what_every_worker_serves(tmp_path: Path) -> None:
    with fleet(tmp_path, bundles=2) as (server, (first, second)):
        answer = server.route(2, second, previous=first)
        assert answer.status_code == 200
        account = answer.json()
        assert account["champion"] == second
        assert {number: each["champion"] for number, each in account["workers"].items()} == {"1": second, "2": second}
        answers = [ask_once(server.port) for _ in range(40)]
        assert {(status, digest) for status, digest, _ in answers} == {(200, second)}
        until(lambda: ask_once(server.port)[2] != answers[0][2])  # or one worker answers everything
        saved = json.loads((tmp_path / "world" / "state" / "routing.json").read_text())
        assert saved["models"]["toy"]["champion"] == second


def test_the_parent_which_runs_no_model_loads_nothing_that_could(tmp_path: Path) -> None:
    def loaded(process: psutil.Process) -> bool:
        return any("onnxruntime" in each.path for each in process.memory_maps())

    with fleet(tmp_path) as (server, _):
        assert not loaded(psutil.Process(server.process.pid))
        assert all(loaded(each) for each in workers(server))


def test_a_bundle_that_a_worker_refuses_changes_nothing_anywhere(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (first,)):
        poisoned = World.bundle(_world(tmp_path), golden_shift=0.5)
        answer = server.route(2, poisoned)
        assert answer.status_code == 422
        assert "probe" in answer.json()["error"]
        assert served(server) == {"1": 1, "2": 1}
        assert {ask_once(server.port)[:2] for _ in range(20)} == {(200, first)}
        assert server.route(1, first).status_code == 200
        assert server.route(0, first).status_code == 400
        assert server.route(2, first).status_code == 200
        assert server.route(1, first).status_code == 409


def _world(tmp_path: Path) -> World:
    world = World.__new__(World)
    world.root = tmp_path / "world"
    return world


class Callers:
    """Light load from several threads, each request on a connection of its own."""

    def __init__(self, port: int, threads: int = 4) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self.times: list[tuple[float, float, str]] = []
        self.failures: list[tuple[float, str]] = []
        self._port, self._end = port, threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.004):
            started = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=LOST_S)
            try:
                connection.request("POST", "/invocations", BODY, JSON)
                answer = connection.getresponse()
                answer.read()
            except OSError as broken:
                self.failures.append((started, repr(broken)))
            else:
                seconds = time.monotonic() - started
                self.answers.append((seconds, answer.status, answer.headers.get(DIGEST, "")))
                self.times.append((started, started + seconds, answer.headers.get(DIGEST, "")))
            finally:
                connection.close()


def test_a_killed_worker_costs_only_what_it_was_answering_and_comes_back(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (digest,)):
        victim = workers(server)[0]
        with Callers(server.port) as callers:
            until(lambda: len(callers.answers) > 100)
            victim.kill()
            until(lambda: victim.pid not in {each.pid for each in workers(server)} and len(workers(server)) == 2)
            until(lambda: served(server) == {"1": 1, "2": 1})
            before = len(callers.answers)
            until(lambda: len(callers.answers) > before + 100)
        assert len(callers.failures) <= 4, "one request in flight a thread is the most that may be lost"
        assert {(status, asked) for _, status, asked in callers.answers} == {(200, digest)}
        assert not [why for _, why in callers.failures if "timed out" in why], "somebody waited where nobody reads"
        page = until(lambda: _metrics(server, "lockgate_worker_restarts_total"))
        assert page == {'{worker="1"}': 1.0, '{worker="2"}': 0.0}
        assert server.process.poll() is None


@pytest.mark.soak
def test_nobody_waits_in_the_queue_of_a_worker_that_keeps_ending(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (digest,)):
        for _ in range(5):  # each time it is started again later
            victim = until(lambda: [each for each in workers(server) if _number(each) == 1])[0]
            victim.kill()
            until(lambda pid=victim.pid: pid not in {each.pid for each in workers(server)})
        with Callers(server.port) as callers:
            until(lambda: len(callers.answers) > 40)
            assert len(workers(server)) == 1, "the other one answered alone"
        assert not callers.failures
        assert {(status, asked) for _, status, asked in callers.answers} == {(200, digest)}
        until(lambda: served(server) == {"1": 1, "2": 1})


def living(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that ended and that nobody has asked for its code is not living."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _number(process: psutil.Process) -> int:
    """Return which worker a process is."""
    return int(process.cmdline()[-1])


def _metrics(server: Server, name: str) -> dict[str, float]:
    lines = server.client.get("/metrics").text.splitlines()
    found = (line[len(name) :].rsplit(" ", 1) for line in lines if line.startswith(name))
    return {labels: float(value) for labels, value in found}


def test_a_worker_that_is_told_to_end_costs_nobody_an_answer(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (digest,)):
        with Callers(server.port) as callers:
            until(lambda: len(callers.answers) > 50)
            for victim in workers(server):
                victim.terminate()
                until(lambda gone=victim.pid: gone not in {each.pid for each in workers(server)})
                until(lambda: served(server) == {"1": 1, "2": 1})
        assert not callers.failures
        assert {(status, asked) for _, status, asked in callers.answers} == {(200, digest)}


def test_many_changes_under_load_fail_nothing_and_each_answer_is_by_what_was_served_then(
    tmp_path: Path,
) -> None:
    with fleet(tmp_path, bundles=3) as (server, digests):
        told = [(time.monotonic(), digests[0])]  # when each was acknowledged
        with Callers(server.port) as callers:
            for sequence in range(2, 22):
                digest = digests[sequence % 3]
                assert server.route(sequence, digest, previous=told[-1][1]).status_code == 200
                told.append((time.monotonic(), digest))
            until(lambda: len(callers.answers) > 100)
        assert not callers.failures
        assert {status for _, status, _ in callers.answers} == {200}
        for asked_at, answered_at, digest in callers.times:
            before = [each for at, each in told if at <= asked_at]
            meanwhile = [each for at, each in told if asked_at < at]
            # the change that was on its way when the answer came is the first one acknowledged after it
            late = len([at for at, _ in told if asked_at < at <= answered_at]) + 1
            assert digest in {before[-1], *meanwhile[:late]}


def test_a_worker_that_cannot_serve_what_the_others_do_stays_out_until_it_can(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (digest,)):
        bundle = _world(tmp_path).store / digest
        bundle.rename(tmp_path / "elsewhere")
        victim = workers(server)[0]
        victim.kill()
        until(lambda: any("cannot serve what the others do" in line["message"] for line in server.lines))
        assert {ask_once(server.port)[:2] for _ in range(20)} == {(200, digest)}
        assert len(served(server)) == 1
        (tmp_path / "elsewhere").rename(bundle)
        until(lambda: served(server) == {"1": 1, "2": 1})


def test_one_models_missing_bundle_keeps_no_other_model_from_being_served(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    good, gone = world.bundle(model="other"), world.bundle()
    with serving(world) as server:
        assert server.route(1, good, model="other").status_code == 200
        assert server.route(1, gone).status_code == 200
    (world.store / gone).rename(tmp_path / "elsewhere")
    with serving(world, "--workers", "2") as server:
        answer = server.client.post("/invocations?model=other", json={"dataframe_records": [ROW]})
        assert (answer.status_code, answer.headers[DIGEST]) == (200, good)
        ready = server.client.get("/v2/health/ready")
        assert (ready.status_code, gone in ready.json()["error"]) == (503, True)
        (tmp_path / "elsewhere").rename(world.store / gone)
        victim = workers(server)[0]
        victim.kill()  # the one that begins with the bundle brings it to the other one
        until(lambda: victim.pid not in {each.pid for each in workers(server)})
        until(lambda: served(server) == {"1": 1, "2": 1})
        until(lambda: server.client.get("/v2/health/ready").status_code == 200)
        account = server.admin.get("/admin/routing/toy").json()
        assert {tuple(each["loaded"]) for each in account["workers"].values()} == {(gone,)}


def test_a_worker_that_begins_without_a_challenger_the_others_have_stays_out(tmp_path: Path) -> None:
    with fleet(tmp_path, bundles=2) as (server, (champion, canary)):
        rival = {"name": "canary", "bundle": canary, "weight": 0.5}
        body = {"sequence": 2, "champion": champion, "challengers": [rival], "lease_s": 600}
        assert server.admin.put("/admin/routing/toy", json=body).status_code == 200
        (_world(tmp_path).store / canary).rename(tmp_path / "elsewhere")
        workers(server)[0].kill()
        until(lambda: any("cannot serve what the others do" in line["message"] for line in server.lines))
        arms: dict[int, set[str]] = {}
        for number in range(40):  # each on a connection of its own
            headers = {**JSON, "x-lockgate-entity": f"customer-{number % 8}"}
            url = f"http://127.0.0.1:{server.port}/invocations"
            answer = httpx.post(url, content=BODY, headers=headers, timeout=30)
            arms.setdefault(number % 8, set()).add(answer.headers["x-lockgate-arm"])
        assert {len(each) for each in arms.values()} == {1}, "nobody changes arms with the worker"
        assert set.union(*arms.values()) == {"champion", "canary"}
        (tmp_path / "elsewhere").rename(_world(tmp_path).store / canary)
        until(lambda: served(server) == {"1": 2, "2": 2})


def test_a_worker_that_restarts_beside_a_damaged_routing_file_is_told_by_its_parent(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, (digest,)):
        routing = tmp_path / "world" / "state" / "routing.json"
        routing.write_bytes(routing.read_bytes()[:100])
        victim = workers(server)[0]
        victim.kill()
        until(lambda: victim.pid not in {each.pid for each in workers(server)})
        until(lambda: served(server) == {"1": 1, "2": 1})
        assert {ask_once(server.port)[:2] for _ in range(20)} == {(200, digest)}


@pytest.mark.soak
def test_a_worker_that_restarts_while_routing_changes_joins_with_the_change(tmp_path: Path) -> None:
    with fleet(tmp_path, bundles=6) as (server, digests):
        for sequence, digest in enumerate(digests[1:], start=2):
            victim = workers(server)[sequence % 2]
            victim.kill()
            time.sleep(0.05 * sequence)  # the change falls into another moment of the restart each time
            answer = server.route(sequence, digest)
            assert answer.status_code == 200, answer.text
            expected = {"1": sequence, "2": sequence}
            until(lambda wanted=expected: served(server) == wanted)
            assert {ask_once(server.port)[:2] for _ in range(20)} == {(200, digest)}


@pytest.fixture
def _able_to_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every process of a server hang, in its event loop, at SIGUSR1."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, time\ndef hang_here(*_):\n    time.sleep(1000)\nsignal.signal(signal.SIGUSR1, hang_here)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.usefixtures("_able_to_hang")
def test_a_worker_that_hangs_says_where_and_is_started_again(tmp_path: Path) -> None:
    with fleet(tmp_path, "--hang-s", "3") as (server, (digest,)):
        victim = workers(server)[1]
        victim.send_signal(signal.SIGUSR1)
        until(lambda: victim.pid not in {each.pid for each in workers(server)} and len(workers(server)) == 2)
        until(lambda: served(server) == {"1": 1, "2": 1})
        assert {ask_once(server.port)[:2] for _ in range(10)} == {(200, digest)}
        until(lambda: any("hang_here" in line.get("trace", "") for line in server.lines))
        assert any("is alive" in line["message"] for line in server.lines)


@pytest.mark.soak
def test_others_take_the_callers_of_a_worker_that_stands_still_until_it_goes_on_or_is_killed(tmp_path: Path) -> None:
    with fleet(tmp_path, "--hang-s", "8") as (server, (digest,)):
        victim = workers(server)[1]
        victim.suspend()
        time.sleep(4)  # it is suspected, and not killed yet
        assert {ask_once(server.port)[:2] for _ in range(20)} == {(200, digest)}
        assert victim.pid in {each.pid for each in workers(server)}
        victim.resume()
        until(lambda: len({ask_once(server.port)[2] for _ in range(20)}) == 2)
        assert victim.pid in {each.pid for each in workers(server)}
        victim.suspend()
        until(lambda: victim.pid not in {each.pid for each in workers(server)} and len(workers(server)) == 2)
        until(lambda: served(server) == {"1": 1, "2": 1})


@pytest.mark.soak
@pytest.mark.usefixtures("_able_to_hang")
def test_a_worker_that_hangs_without_a_parent_ends_too(tmp_path: Path) -> None:
    with fleet(tmp_path, "--hang-s", "1") as (server, _):
        children = workers(server)
        children[0].send_signal(signal.SIGUSR1)
        server.process.kill()
        assert not psutil.wait_procs(children, timeout=15)[1]


def test_workers_end_by_themselves_when_their_parent_is_killed(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, _):
        children = workers(server)
        server.process.kill()
        until(lambda: not any(living(each) for each in children))
        until(lambda: _is_free(server.port))  # a process is no more a little before what it held is


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_stop_answers_what_was_taken_on_every_worker(tmp_path: Path) -> None:
    with fleet(tmp_path, *PATIENT) as (server, _):
        head = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        asked = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for each in asked:
            each.sendall(head % len(BODY) + BODY[:10])
        until(lambda: server.metric("lockgate_in_flight") == 20)  # taken by the workers
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.accepts())
        for each in asked:
            each.sendall(BODY[10:])
        answers = [_read_all(each) for each in asked]
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers), answers
        assert server.process.wait(ENDS_WITHIN_S) == 0
        lines = [
            line for path in (tmp_path / "world" / "state").rglob("*.jsonl") for line in path.read_text().splitlines()
        ]
        assert len(lines) == 20, "each accepted request is in the log"


def _read_all(connection: socket.socket) -> bytes:
    with connection:
        connection.settimeout(30)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with fleet(tmp_path, *PATIENT, "--stop-timeout-s", "600") as (server, _):
        children = workers(server)
        with socket.create_connection(("127.0.0.1", server.port)) as held:
            held.sendall(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n1")
            until(lambda: server.metric("lockgate_in_flight") == 1)
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not server.accepts())  # the first signal was heard: two that wait together are one
            assert server.process.poll() is None
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(ENDS_WITHIN_S) == 0
        until(lambda: not any(living(each) for each in children))


def test_after_a_restart_the_champion_is_alone_until_the_lease_is_renewed(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    first, second = world.bundle(bias=0.0), world.bundle(bias=1.0)
    body = {"sequence": 1, "champion": first, "lease_s": 600,
            "challengers": [{"name": "rival", "bundle": second, "weight": 0.5}]}  # fmt: skip
    with serving(world, "--workers", "2") as server:
        assert server.admin.put("/admin/routing/toy", json=body).status_code == 200
        assert {digest for _, digest, _ in (ask_once(server.port) for _ in range(60))} == {first, second}
        victim = workers(server)[0]
        victim.kill()  # one worker alone comes back with the lease that the others have
        until(lambda: victim.pid not in {each.pid for each in workers(server)} and served(server) == {"1": 1, "2": 1})
        left = until(lambda: _leases_alike(server))  # one that is asked a moment later has less left
        assert 0 < min(left) < 600
    with serving(world, "--workers", "2") as server:
        assert {digest for _, digest, _ in (ask_once(server.port) for _ in range(40))} == {first}
        renewed = server.admin.post("/admin/routing/toy/lease", json={"sequence": 1})
        assert renewed.status_code == 200
        assert {digest for _, digest, _ in (ask_once(server.port) for _ in range(60))} == {first, second}


def _leases_alike(server: Server) -> list[float]:
    """Return what is left of each worker's lease; nothing where they are further apart than the time between two looks.

    A lease that began anew with its worker is as much longer as that worker took to come back, at every look.
    """
    workers = server.admin.get("/admin/routing/toy").json()["workers"].values()
    left = [each["lease_left_s"] for each in workers]
    return left if max(left) - min(left) < 0.1 else []


def test_each_worker_is_small_and_holds_no_data_frame_library(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, _):
        for _ in range(20):
            ask_once(server.port)
        for process in workers(server):
            assert process.memory_full_info().pss < 120e6
            mapped = " ".join(each.path for each in process.memory_maps())
            assert "pyarrow" not in mapped
            assert "pandas" not in mapped


def test_a_wrong_option_is_said_once_and_ends_with_code_2(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    (world.root / "keys" / "signing.pub").write_text("nonsense")
    process = spawn(world.options("--workers", "3"))
    _, log = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 2
    assert [json.loads(line)["event"] for line in log.splitlines()] == ["refused_to_start"]


def test_a_second_fleet_does_not_share_the_port_of_the_first(tmp_path: Path) -> None:
    with fleet(tmp_path) as (server, _):
        other = World(tmp_path / "other")
        process = spawn([*other.options("--workers", "2"), "--port", str(server.port)])
        _, log = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 2
        assert f"port {server.port} on 127.0.0.1 is taken" in log


def test_a_worker_that_cannot_keep_a_file_of_where_it_hangs_serves_all_the_same(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    world.state.mkdir()
    (world.state / "workers").write_text("no folder")
    with serving(world, "--workers", "2", "--hang-s", "2.5") as server:
        assert server.route(1, world.bundle()).status_code == 200
        until(lambda: _left_alone(server, 4.0), within_s=30)  # longer than a worker may be silent
        assert any("will be said on stderr" in line["message"] for line in server.lines)


def _left_alone(server: Server, seconds: float) -> bool:
    """Tell whether both workers live so long; one that a crowded machine kept silent is replaced, once."""
    before = {each.pid for each in workers(server)}
    time.sleep(seconds)
    return len(before) == 2 and {each.pid for each in workers(server)} == before


def test_a_worker_takes_no_module_from_the_folder_the_server_was_started_in(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit(77)")
    world = World(tmp_path / "world")
    started = subprocess.Popen(
        [sys.executable, "-P", "-m", "lockgate.serving", *world.options("--workers", "2")],  # as the command does
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    server = Server(started)
    try:
        assert server.route(1, world.bundle()).status_code == 200
    finally:
        server.stop()
