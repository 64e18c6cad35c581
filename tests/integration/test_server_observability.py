"""What a real server says of itself: metrics of all its processes, ids and traces, the access log, its page."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.serving.log.segments import lines, segments
from tests.server_process import ROW, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SEEN = ("lockgate_requests_total", "lockgate_rows_total", "lockgate_score_count", "lockgate_request_seconds_count")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("observed") / "world")


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world, "--access-log", "on", "--self-probe-s", "0.05") as running:
        assert running.route(1, world.bundle()).status_code == 200
        yield running


def value(server: Server, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that carry these labels, asked over a connection of its own."""
    text = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=30).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
    return sum(found)


def logged(state: Path) -> list[dict[str, Any]]:
    folders = sorted((state / "predictions").glob("*"))
    return [json.loads(line) for folder in folders for path in segments(folder) for line in lines(path)]


def access_lines(server: Server) -> list[dict[str, Any]]:
    return [line for line in tuple(server.lines) if line.get("event") == "access"]


def test_self_probes_go_on_and_are_no_traffic(server: Server, world: World) -> None:
    before = {name: value(server, name) for name in SEEN}
    rows = len(logged(world.state))
    probed = value(server, "lockgate_self_probes_total", result="right")
    until(lambda: value(server, "lockgate_self_probes_total", result="right") >= probed + 5)
    assert value(server, "lockgate_self_probes_total", result="wrong") == 0
    assert value(server, "lockgate_arm_wrong_processes") == 0
    assert {name: value(server, name) for name in SEEN} == before
    assert len(logged(world.state)) == rows
    assert server.client.get("/v2/health/ready").json()["models"] == [{"name": "toy", "ready": True}]


def test_a_model_that_was_asked_is_kept_warm_which_is_no_traffic(server: Server, world: World) -> None:
    before = {name: value(server, name) for name in SEEN}
    rows, ran, asked = len(logged(world.state)), value(server, "lockgate_warm_runs_total", model="toy"), 0

    def warmed() -> bool:
        nonlocal asked
        assert server.client.post("/invocations", json={"dataframe_records": [ROW]}).status_code == 200
        asked += 1
        time.sleep(0.05)
        return value(server, "lockgate_warm_runs_total", model="toy") >= ran + 3

    until(warmed)  # one that this machine made a dear run is followed by ten seconds without any
    assert {name: value(server, name) for name in SEEN} == {name: seen + asked for name, seen in before.items()}
    until(lambda: len(logged(world.state)) >= rows + asked)
    assert len(logged(world.state)) == rows + asked


def test_a_request_is_found_by_its_id_in_the_answer_the_access_log_and_the_prediction_log(
    server: Server, world: World
) -> None:
    headers = {"x-request-id": "order-4711", "traceparent": TRACE}
    answer = server.client.post("/invocations", json={"dataframe_records": [ROW, ROW]}, headers=headers)
    assert (answer.headers["x-request-id"], answer.headers["traceparent"]) == ("order-4711", TRACE)
    prediction_id = answer.headers["x-lockgate-prediction-id"]
    until(lambda: any(line["request_id"] == "order-4711" for line in access_lines(server)))
    line = next(line for line in access_lines(server) if line["request_id"] == "order-4711")
    assert line | {"time": "", "latency_us": 0} == {
        "time": "",
        "event": "access",
        "request_id": "order-4711",
        "prediction_id": prediction_id,
        "method": "POST",
        "path": "/invocations",
        "status": 200,
        "arm": "champion",
        "digest": answer.headers["x-lockgate-release-digest"],
        "rows": 2,
        "latency_us": 0,
        "bytes": len(answer.content),
        "trace_id": TRACE.split("-")[1],
    }
    until(lambda: any(row["prediction_id"] == prediction_id for row in logged(world.state)))
    row = next(row for row in logged(world.state) if row["prediction_id"] == prediction_id)
    assert (row["request_id"], row["trace"]) == ("order-4711", TRACE)


def test_a_refusal_carries_the_callers_id_and_leaves_a_line(server: Server) -> None:
    answer = server.client.post("/invocations", content=b"{", headers={"x-request-id": "bad-1", "traceparent": "junk"})
    assert answer.status_code == 400
    assert answer.headers["x-request-id"] == "bad-1"
    assert "traceparent" not in answer.headers
    until(lambda: any(line["request_id"] == "bad-1" for line in access_lines(server)))
    line = next(line for line in access_lines(server) if line["request_id"] == "bad-1")
    assert (line["status"], line["prediction_id"], line["rows"], line["trace_id"]) == (400, None, None, None)


def test_head_and_options_are_answered(server: Server) -> None:
    got, head = server.client.get("/v2/health/live"), server.client.head("/v2/health/live")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    options = server.client.options("/invocations")
    assert (options.status_code, options.headers["allow"]) == (200, "OPTIONS, POST")


def test_the_page_for_people_shows_the_model_and_loads_nothing(server: Server) -> None:
    assert server.ask().status_code == 200
    page = server.client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "toy" in page.text
    assert "100.0%" in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_the_server_says_what_it_uses(server: Server) -> None:
    assert value(server, "process_resident_memory_bytes") > 10e6
    assert 0 < value(server, "process_cpu_seconds_total") < 60
    assert value(server, "lockgate_build_info") == 1


def test_several_workers_count_as_one_and_a_killed_one_takes_nothing_with_it(world: World) -> None:
    root = World(world.root.parent / "several")
    with serving(root, "--workers", "2") as server:
        assert server.route(1, root.bundle()).status_code == 200
        url = f"http://127.0.0.1:{server.port}/invocations"
        for _ in range(40):  # each over a connection of its own, so that both workers get some
            assert httpx.post(url, json={"dataframe_records": [ROW]}, timeout=30).status_code == 200
        until(lambda: value(server, "lockgate_requests_total") == 40)
        assert [value(server, "lockgate_requests_total") for _ in range(10)] == [40] * 10
        assert value(server, "lockgate_switches_total", model="toy") == 1
        assert value(server, "lockgate_arm_weight_seen_ratio", arm="champion") == 1
        victim = server.workers()[0]
        victim.kill()
        psutil.wait_procs([victim], timeout=60)  # nobody is led to a worker that is just ending
        until(lambda: value(server, "lockgate_worker_restarts_total") == 1)
        assert [value(server, "lockgate_requests_total") for _ in range(10)] == [40] * 10
    with serving(root, "--workers", "2") as server:
        assert value(server, "lockgate_requests_total") == 0  # a new run begins anew
        assert server.ask().status_code == 200
        until(lambda: value(server, "lockgate_requests_total") == 1)


def test_the_documentation_lists_the_metrics_there_are(server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "watch-the-server.md").read_text()
    table = page.partition("### Alerts")[0]
    listed = set(re.findall(r"`((?:lockgate|process)_\w+)`", table))
    families = list(text_string_to_metric_families(server.client.get("/metrics").text))
    there = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert listed - there <= {"lockgate_worker_restarts_total"}  # of several workers
    assert there - listed == set()


def test_labels_are_taken_with_a_token_and_counted(server: Server) -> None:
    prediction_id = server.ask().headers["x-lockgate-prediction-id"]
    told = {"labels": [{"prediction_id": prediction_id, "label": "yes"}]}
    before = value(server, "lockgate_labels_accepted_total")
    assert server.client.post("/labels", json=told).status_code == 401
    assert server.client.post("/labels", json=told, headers=server.admin.headers).json() == {"accepted": 1}
    assert value(server, "lockgate_labels_accepted_total") == before + 1
