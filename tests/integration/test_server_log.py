"""The prediction log of a real server: what a kill costs, what labels meet, and the archive's process beside it."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.faults.beside import STOOD_STILL, Beside
from benchmarks.faults.kills import youngest
from lockgate.adapters.feedback_log import read_feedback
from lockgate.adapters.logged_requests import recent_requests
from lockgate.core.ids import ModelName
from lockgate.serving.log.archive_status import Kept, read_status
from lockgate.serving.log.archiver import Archiver
from lockgate.serving.log.logged_line import read_line
from lockgate.serving.log.segments import binary_file, lines, segments
from tests.integration.saturation import Answer
from tests.server_process import ROW, SOURCE, TOKEN, Server, World, serving, until, write_secret

pytestmark = pytest.mark.integration
KEPT_S = 0.5
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


class Callers:
    """Threads that ask as fast as they are answered, and note what was answered when."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.answered: list[Answer] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        body = json.dumps({"dataframe_records": [ROW]})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not self._stop.is_set():
                sent = time.monotonic()
                connection.request("POST", "/invocations", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200
                name, now = answer.headers["x-lockgate-prediction-id"], time.monotonic()
                self.answered.append(Answer(sent, now, 0, 200, "", "", None, name))
        except (OSError, http.client.HTTPException):
            return  # the server was killed
        finally:
            connection.close()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def logged_ids(state: Path) -> list[str]:
    read = [
        read_line(line, binary_file(path)) for path in segments(state / "predictions" / "toy") for line in lines(path)
    ]
    assert None not in read
    return [line.prediction_id for line in read if line is not None]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_kill_under_load_loses_no_answer_older_than_half_a_second(tmp_path: Path, workers: int) -> None:
    problem = ""
    for number in range(3):  # a disk that stands still takes nothing
        problem = lost_by_a_kill(World(tmp_path / f"world-{number}"), workers)
        if not problem.startswith(STOOD_STILL):
            break
    assert problem == ""


def lost_by_a_kill(world: World, workers: int) -> str:
    """Kill every process under load; say what was answered before its last half second and is not in the log."""
    digest = world.bundle()
    with Beside(world.root / "beside") as disk, serving(world, "--workers", str(workers)) as server:
        assert server.route(1, digest).status_code == 200
        callers = Callers(server.port)
        until(lambda: len(due(callers.answered, time.monotonic())) > 200)
        processes = [server.process.pid, *(each.pid for each in psutil.Process(server.process.pid).children())]
        killed_at = time.monotonic()
        for pid in processes:
            os.kill(pid, signal.SIGKILL)
        callers.end()
    logged = set(logged_ids(world.state))
    kept = due(callers.answered, killed_at)
    assert len(kept) > 200
    ages = [killed_at - each.received for each in callers.answered if each.prediction_id not in logged]
    sys.stdout.write(f"{len(kept)} due, {len(ages)} not logged, the oldest {max(ages, default=0):.3f} s\n")
    lost = [prediction for prediction in kept if prediction not in logged]
    return disk.why(f"{len(lost)} are not in the log, the first is {lost[0]}", killed_at) if lost else ""


def due(answered: list[Answer], now: float) -> list[str]:
    """Return what was answered more than `KEPT_S` ago, counted while the server answered."""
    answered = list(answered)
    still = {each.prediction_id for each in youngest(answered, now, KEPT_S)}
    return [each.prediction_id for each in answered if each.received <= now and each.prediction_id not in still]


def test_a_killed_servers_log_is_archived_read_and_continued(world: World) -> None:
    digest = world.bundle()
    with serving(world) as server:
        server.route(1, digest)
        for amount in range(5):
            server.ask({**ROW, "amount": amount})
        until(lambda: len(logged_ids(world.state)) == 5)
        server.stop(signal.SIGKILL)
    (segment,) = segments(world.state / "predictions" / "toy")
    with segment.open("ab") as file:
        file.write(b'{"time":"2026-')  # a write that the kill cut in two
    with serving(world) as server:
        server.ask({**ROW, "amount": 5})
        assert run_archive(world.state) == 0
        until(lambda: len(logged_ids(world.state)) == 1)
        recent = recent_requests(world.state, ModelName("toy"), at_most=10)
    assert [request.rows[0]["amount"] for request in recent] == [5, 4, 3, 2, 1, 0]
    status = read_status(world.state)
    assert (status.requests, status.broken_lines) == (5, 1)


def run_archive(state: Path, *more: str) -> int:
    command = [sys.executable, "-m", "lockgate.serving.log.archive", "--state", str(state), "--once", *more]
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [*command, "--keep-days", "0"], env=env, check=False, timeout=180, stderr=subprocess.DEVNULL
    ).returncode


def tell(server: Server, *labels: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    return server.client.post("/labels", json={"labels": labels}, headers=BEARER if headers is None else headers)


def test_labels_are_taken_with_a_token_and_meet_their_predictions(world: World) -> None:
    digest = world.bundle()
    with serving(world) as server:
        server.route(1, digest)
        ids = [server.ask().headers["x-lockgate-prediction-id"] for _ in range(3)]
        refused = tell(server, {"prediction_id": ids[0], "label": "yes"}, headers={})
        assert refused.status_code == 401
        assert tell(server, {"prediction_id": ids[0]}).status_code == 400
        told = tell(server, {"prediction_id": ids[0], "label": "yes"}, {"prediction_id": "nobody", "label": "no"})
        assert (told.status_code, told.json()) == (200, {"accepted": 2})
        lines = "".join(json.dumps({"prediction_id": each, "label": "no"}) + "\n" for each in ids[1:])
        headers = {**BEARER, "content-type": "application/x-ndjson"}
        assert server.client.post("/labels", content=lines, headers=headers).json() == {"accepted": 2}
        assert server.client.get("/labels").status_code == 405
        server.stop()
    assert run_archive(world.state) == 0
    labels = read_status(world.state).labels
    assert (labels.joined, labels.waiting) == (3, 1)
    (file,) = (world.state / "archive" / "toy.labels").glob("date=*/*.parquet")
    table = pq.read_table(file, partitioning=None).to_pylist()
    assert {row["prediction_id"]: row["label"] for row in table} == {ids[0]: "yes", ids[1]: "no", ids[2]: "no"}


def test_labels_that_were_accepted_survive_a_kill(world: World) -> None:
    with serving(world) as server:
        assert tell(server, {"prediction_id": "p-1", "label": 1}).status_code == 200
        server.stop(signal.SIGKILL)
    assert run_archive(world.state) == 0
    assert read_status(world.state).labels.waiting == 1


def test_labels_are_refused_while_the_disk_does_not_take_them_and_predictions_are_answered(world: World) -> None:
    digest = world.bundle()
    with serving(world) as server:
        server.route(1, digest)
        (world.state / "labels").write_text("")  # a file where the folder should be
        refused = tell(server, {"prediction_id": "p-1", "label": 1})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert server.ask().status_code == 200
        (world.state / "labels").unlink()
        assert tell(server, {"prediction_id": "p-1", "label": 1}).status_code == 200


@pytest.mark.parametrize("workers", ["1", "2"])
def test_feedback_that_was_accepted_survives_a_kill_and_meets_its_prediction(world: World, workers: str) -> None:
    digest, token = world.bundle(), world.root / "feedback.token"
    write_secret(token, "narrow\n")
    with serving(world, "--feedback-token-file", str(token), "--workers", workers) as server:
        server.route(1, digest)
        prediction = server.ask().headers["x-lockgate-prediction-id"]
        said = {"feedback": [{"prediction_id": prediction, "verdict": "wrong", "comment": "too late", "who": "ann"}]}
        headers = {"Authorization": "Bearer narrow"}
        assert server.client.post("/feedback", json=said).status_code == 401
        label = {"labels": [{"prediction_id": prediction, "label": "yes"}]}
        assert server.client.post("/labels", json=label, headers=headers).status_code == 401
        until(lambda: logged_ids(world.state) == [prediction])
        told = server.client.post("/feedback", json=said, headers=headers)
        assert (told.status_code, told.json()) == (200, {"accepted": 1})
        counted = 'lockgate_feedback_accepted_total{verdict="wrong"} 1'
        until(lambda: counted in server.client.get("/metrics").text)
        assert "too late" not in server.client.get("/metrics").text
        server.stop(signal.SIGKILL)
        assert not [line for line in server.lines if "too late" in json.dumps(line)]
    found = read_feedback(world.state, ModelName("toy"))
    assert (found.verdicts["wrong"], found.share_fraction, found.comments[0].text) == (1, 1.0, "too late")
    assert run_archive(world.state) == 0
    assert read_feedback(world.state, ModelName("toy")) == found


def test_a_log_that_cannot_be_written_costs_no_answer_and_comes_back(world: World) -> None:
    digest = world.bundle()
    world.state.mkdir()
    blocked = world.state / "predictions"
    blocked.write_text("")  # a file where the folder should be
    with serving(world) as server:
        server.route(1, digest)
        ids = [server.ask().headers["x-lockgate-prediction-id"] for _ in range(20)]
        until(lambda: any("the prediction log cannot be written" in line["message"] for line in server.lines))
        blocked.unlink()
        until(lambda: logged_ids(world.state) == ids)


def test_large_requests_side_by_side_leave_every_row_in_the_archive_as_it_was_asked_and_answered(world: World) -> None:
    digest, rows = world.bundle(), 10_000  # as many as a request may have
    amounts = [None if at % 7 == 0 else at / 8 for at in range(rows)]
    names = ["amount", "age", "colour", "shape"]
    body = json.dumps({"dataframe_split": {"columns": names, "data": [[each, 41, "é", "disc"] for each in amounts]}})
    answered: dict[str, list[dict[str, Any]]] = {}

    def ask(port: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(4):
                answer = client.post("/invocations", content=body, headers={"content-type": "application/json"})
                answered[answer.headers["x-lockgate-prediction-id"]] = answer.json()["predictions"]

    with serving(world) as server:
        server.route(1, digest)
        callers = [threading.Thread(target=ask, args=(server.port,)) for _ in range(3)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert run_archive(world.state) == 0
    assert read_status(world.state).rows == 12 * rows
    table = pa.concat_tables(
        pq.read_table(file, partitioning=None) for file in (world.state / "archive" / "toy").glob("date=*/*.parquet")
    )
    for prediction, answers in answered.items():
        mine = table.filter(pc.equal(table["prediction_id"], prediction)).sort_by("row")
        assert mine["row"].to_pylist() == list(range(rows))
        assert mine["input_amount"].to_pylist() == amounts
        assert set(mine["input_colour"].to_pylist()) == {"é"}
        told = pa.array([each["probability"] for each in answers], pa.float32())
        assert mine["output_probability"].combine_chunks().cast(pa.float32()).equals(told)
        assert mine["output_label"].to_pylist() == [each["label"] for each in answers]


def test_a_log_that_is_removed_under_the_server_is_begun_again_and_said(world: World) -> None:
    digest = world.bundle()
    with serving(world) as server:
        server.route(1, digest)
        lost = server.ask().headers["x-lockgate-prediction-id"]
        until(lambda: logged_ids(world.state) == [lost])
        assert tell(server, {"prediction_id": lost, "label": "yes"}).status_code == 200
        shutil.rmtree(world.state / "predictions")
        shutil.rmtree(world.state / "labels")
        ids = [server.ask().headers["x-lockgate-prediction-id"] for _ in range(5)]
        assert tell(server, *({"prediction_id": each, "label": "yes"} for each in ids)).status_code == 200
        until(lambda: logged_ids(world.state) == ids)
        until(lambda: sum("was removed" in line.get("message", "") for line in server.lines) == 2)
    assert run_archive(world.state) == 0
    assert read_status(world.state).labels.joined == 5


# -- the archive's process -------------------------------------------------------------------------------------------


def closed_segment(state: Path, model: str = "toy") -> Path:
    folder = state / "predictions" / model
    folder.mkdir(parents=True)
    facts = {"time": "2026-01-02T00:00:00Z", "prediction_id": "p-1", "digest": "d" * 64, "arm": "champion", "rows": 1}
    path = folder / "20260102T000000.000000Z-w0-000001.jsonl"
    path.write_text(json.dumps(facts | {"inputs": {"a": [1]}, "outputs": {"value": [1]}, "latency_us": 1}) + "\n")
    return path


@pytest.fixture
def path_to_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))


@pytest.mark.usefixtures("path_to_source")
def test_the_archive_runs_beside_the_server_when_there_is_something_to_do(tmp_path: Path) -> None:
    archiver = Archiver(tmp_path, Kept(days=0), interval_s=0.02)
    assert not archiver.has_work()
    archiver.start()
    try:
        segment = closed_segment(tmp_path)
        until(lambda: archiver.runs == 1)
        assert not segment.exists()
        assert not archiver.has_work()
        assert read_status(tmp_path).requests == 1
        assert archiver.problem is None
    finally:
        archiver.stop()


def test_a_failing_archive_is_counted_and_said_and_tried_again(tmp_path: Path) -> None:
    closed_segment(tmp_path)
    archiver = Archiver(tmp_path, Kept(), interval_s=0.01, program=(sys.executable, "-c", "raise SystemExit(3)"))
    archiver.start()
    try:
        until(lambda: archiver.failures >= 2)
        assert "ended with 3" in str(archiver.problem)
    finally:
        archiver.stop()


def test_a_program_that_is_not_there_is_a_failure_too(tmp_path: Path) -> None:
    closed_segment(tmp_path)
    archiver = Archiver(tmp_path, Kept(), interval_s=0.01, program=(str(tmp_path / "gone"),))
    archiver.start()
    until(lambda: archiver.failures >= 1)
    archiver.stop()
    assert "could not be started" in str(archiver.problem)


def test_a_run_ends_with_the_archiver(tmp_path: Path) -> None:
    closed_segment(tmp_path)
    slow = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(bool(told.write('told'))));"
        "told = open(sys.argv[2] + '/told', 'w');"
        "open(sys.argv[2] + '/pid', 'w').write(str(os.getpid())); time.sleep(600)"
    )
    archiver = Archiver(tmp_path, Kept(), interval_s=0.01, program=(sys.executable, "-c", slow))
    archiver.start()
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    archiver.stop()
    assert (tmp_path / "told").read_text() == "told", "it was asked to end, and did, before anybody had to kill it"
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert archiver.failures == 0


def test_a_run_has_time_to_end_from_when_it_was_told_to_however_long_it_ran_before(tmp_path: Path) -> None:
    class Running(subprocess.Popen[bytes]):
        """Is told to end while it is waited for, and does so a little after that wait is over."""

        looks = 0

        def wait(self, timeout: float | None = None) -> int:
            self.looks += 1
            if self.looks == 1 and timeout is not None:
                archiver.stop()
                raise subprocess.TimeoutExpired("", timeout)
            if self.looks == 2:
                self.communicate(b"end")
            return super().wait(timeout)

    archiver = Archiver(tmp_path, Kept())
    with Running(
        [sys.executable, "-c", "import sys; sys.exit(sys.stdin.read() == 'end')"], stdin=subprocess.PIPE
    ) as run:
        assert archiver._wait(run) == 1


@pytest.mark.usefixtures("path_to_source")
def test_a_run_ends_with_a_server_that_was_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lockgate.serving.log.archive", "--state", str(tmp_path), "--tethered"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stdin is not None
        assert json.loads(process.stderr.readline())["event"] == "archived"
        process.stdin.close()
        assert process.wait(60) == 1


@pytest.mark.usefixtures("path_to_source")
def test_the_server_itself_never_loads_parquet() -> None:
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nimport lockgate.serving.fleet.process as _\nprint('pyarrow' in sys.modules)",
        ],
        capture_output=True,
        check=True,
        timeout=180,
        text=True,
    )
    assert seen.stdout == "False\n"
