"""A real server process answers, refuses and describes itself over real sockets."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.core.contract import TaskKind
from tests.bundles import golden
from tests.server_process import PATIENT, ROW, TOKEN, Server, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIMITS = (*PATIENT, "--max-body-bytes", "20000", "--max-rows", "50", "--max-in-flight", "2")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("server") / "world")


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world, *LIMITS) as running:
        for task in TaskKind:
            digest = world.bundle(task=task, model=f"toy-{task}")
            assert running.route(1, digest, model=f"toy-{task}").status_code == 200
        yield running


def tensors(row: dict[str, Any]) -> dict[str, Any]:
    kinds = {str: "BYTES", int: "INT64", float: "FP64", type(None): "FP32"}
    return {
        "id": "mine",
        "inputs": [{"name": k, "shape": [1], "datatype": kinds[type(v)], "data": [v]} for k, v in row.items()],
    }


@pytest.mark.parametrize("task", TaskKind)
def test_both_protocols_answer_alike_and_say_who_answered(server: Server, task: TaskKind) -> None:
    model = f"toy-{task}"
    v2 = server.client.post(f"/v2/models/{model}/infer", json=tensors(ROW))
    mlflow = server.client.post(f"/invocations?model={model}", json={"dataframe_records": [ROW]})
    assert (v2.status_code, mlflow.status_code) == (200, 200)
    first = v2.json()["outputs"][0]
    np.testing.assert_allclose(first["data"], golden(ROW, task=task), rtol=1e-5)
    assert np.ravel(mlflow.json()["predictions"][0][first["name"]]).tolist() == first["data"]
    assert v2.json()["id"] == "mine"
    parameters = v2.json()["parameters"]
    digest = server.admin.get(f"/admin/routing/{model}").json()["champion"]
    assert v2.headers["x-lockgate-model"] == parameters["model"] == model
    assert (
        v2.headers["x-lockgate-release-digest"] == parameters["release_digest"] == digest == v2.json()["model_version"]
    )
    assert v2.headers["x-lockgate-arm"] == parameters["arm"] == "champion"
    assert v2.headers["x-lockgate-prediction-id"] == parameters["prediction_id"]
    assert v2.headers["x-lockgate-prediction-id"] != mlflow.headers["x-lockgate-prediction-id"]


BEARER = {"authorization": f"Bearer {TOKEN}"}


def test_the_version_form_answers_for_the_routed_bundle_only(server: Server) -> None:
    digest = server.admin.get("/admin/routing/toy-binary").json()["champion"]
    for path, body in (("", None), ("/ready", None), ("/infer", tensors(ROW))):
        for version, status in ((digest, 200), ("0" * 64, 404)):
            url = f"/v2/models/toy-binary/versions/{version}{path}"
            answer = server.client.get(url) if body is None else server.client.post(url, json=body, headers=BEARER)
            assert answer.status_code == status


def test_asked_outputs_are_the_only_ones_answered(server: Server) -> None:
    body = tensors(ROW) | {"outputs": [{"name": "label"}]}
    answer = server.client.post("/v2/models/toy-binary/infer", json=body).json()
    assert [output["name"] for output in answer["outputs"]] == ["label"]


def test_flags_travel_with_the_answer(server: Server) -> None:
    row = {**ROW, "colour": "octarine", "amount": 1e5}
    expected = [
        {"flag": "out_of_range", "column": "amount", "rows": [0]},
        {"flag": "unknown_category", "column": "colour", "rows": [0]},
    ]
    v2 = server.client.post("/v2/models/toy-binary/infer", json=tensors(row)).json()
    assert json.loads(v2["parameters"]["flags"]) == expected
    mlflow = server.client.post("/invocations?model=toy-binary", json={"instances": [row]}).json()
    assert mlflow["flags"] == expected


def test_csv_is_answered_like_json_and_empty_cells_are_null(server: Server) -> None:
    text = 'shape,amount,age,colour\r\ndisc,12.5,41,red\r\n"cube",,30,\r\n'
    answer = server.client.post("/invocations?model=toy-binary", content=text, headers={"content-type": "text/csv"})
    expected = [golden(ROW)[0], golden({"amount": None, "age": 30, "colour": None, "shape": "cube"})[0]]
    np.testing.assert_allclose([each["probability"] for each in answer.json()["predictions"]], expected, rtol=1e-5)


def test_many_rows_answer_like_one_at_a_time(server: Server) -> None:
    rows = [{**ROW, "amount": float(number)} for number in range(50)]
    answer = server.client.post("/invocations?model=toy-regression", json={"dataframe_records": rows}).json()
    expected = [golden(row, task=TaskKind.REGRESSION)[0] for row in rows]
    np.testing.assert_allclose([each["value"] for each in answer["predictions"]], expected, rtol=1e-5)


INFER, INVOKE = "/v2/models/toy-binary/infer", "/invocations?model=toy-binary"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", INFER, b"", 400, "not JSON"),
        ("POST", INFER, b"{", 400, "not JSON"),
        ("POST", INFER, b"\xff\xfe", 400, "not JSON"),
        ("POST", INFER, b"[" * 5000, 400, "not JSON"),
        ("POST", INFER, b'{"inputs": nan}', 400, "not JSON"),
        ("POST", INFER, b'{"inputs": NaN}', 400, "inputs"),
        ("POST", INFER, b"NaN" + b"[" * 5000, 400, "not JSON"),
        ("POST", INFER, b"null", 400, "inputs"),
        ("POST", INFER, tensors({**ROW, "age": "41"}), 400, "input 'age': datatype BYTES"),
        ("POST", INFER, tensors({**ROW, "colour": 1}), 400, "input 'colour': datatype INT64"),
        ("POST", INFER, tensors({**ROW, "age": None}), 400, "column 'age', row 0: null"),
        ("POST", INFER, tensors({**ROW, "extra": 1}), 400, "column 'extra'"),
        ("POST", INFER, tensors({"age": 41}), 400, "column 'amount' is missing"),
        ("POST", INFER, tensors(ROW) | {"outputs": [{"name": "nope"}]}, 400, "output 'nope'"),
        ("POST", INFER, tensors(ROW) | {"outputs": 7}, 400, "'outputs'"),
        ("POST", INVOKE, {"inputs": {**ROW, "age": [1, 2]}}, 400, "'amount' is one value"),
        ("POST", INVOKE, {"instances": [{**ROW, "age": "x"}]}, 400, "column 'age', row 0: expected a number"),
        ("POST", INVOKE, {"instances": [{**ROW, "amount": 1e39}]}, 400, "column 'amount', row 0"),
        ("POST", INVOKE, {"instances": [ROW] * 51}, 413, "51 rows, at most 50"),
        ("POST", INVOKE, b"x" * 20001, 413, "larger than the 20000 bytes"),
        ("POST", "/invocations", {"instances": [ROW]}, 400, "several models"),
        ("POST", "/invocations?model=a&model=b", {"instances": [ROW]}, 400, "more than one model"),
        ("POST", "/invocations?model=%ff", {"instances": [ROW]}, 404, "no model"),
        ("POST", "/v2/models/none/infer", tensors(ROW), 404, "no model 'none' is routed here; there are: toy-binary"),
        ("GET", "/v2/models/none", None, 404, "no model 'none'"),
        ("GET", "/v2/models/none/ready", None, 404, "no model 'none'"),
        ("GET", "/v2/models", None, 404, "no path"),
        ("GET", "/admin/routing", None, 404, "no path"),
        ("GET", INFER, None, 405, "takes POST"),
        ("PUT", "/invocations", b"{}", 405, "takes POST"),
        ("DELETE", "/v2", None, 405, "takes GET"),
    ],
)
def test_a_request_at_fault_gets_its_4xx_in_the_protocols_shape(  # noqa: PLR0917 - a table row
    server: Server, method: str, path: str, body: Any, status: int, said: str
) -> None:
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    answer = server.client.request(method, path, content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert said in answer.json()["error"]
    assert status != 405 or said.removeprefix("takes ") in answer.headers["allow"].split(", ")


def test_a_path_tells_its_methods(server: Server) -> None:
    for path, methods in (("/v2", "GET, HEAD, OPTIONS"), (INFER, "OPTIONS, POST")):
        answer = server.client.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (200, methods)
    head = server.client.head("/v2")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/octet-stream"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_other_media_are_refused(server: Server, headers: dict[str, str]) -> None:
    assert server.client.post(INFER, content=b"{}", headers=headers).status_code == 415


def test_a_body_without_a_length_is_still_bounded(server: Server) -> None:
    answer = server.client.post(INVOKE, content=(b"x" * 1000 for _ in range(50)))
    assert answer.status_code == 413


def slow_request(server: Server) -> socket.socket:
    """Send all of a request but its last byte."""
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    sock.sendall(
        b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{"
    )
    return sock


def test_a_body_that_does_not_come_is_refused_in_time(tmp_path: Path) -> None:
    # a server of its own: a crowded machine may keep any other body from coming for half a second
    with serving(World(tmp_path / "world"), "--read-timeout-s", "0.5") as server, slow_request(server) as sock:
        assert sock.recv(4096).startswith(b"HTTP/1.1 408")


def test_above_the_limit_requests_are_told_to_come_back_while_health_answers(server: Server) -> None:
    until(lambda: server.metric("lockgate_in_flight") == 0)  # of an earlier caller that went away
    with slow_request(server), slow_request(server):
        until(lambda: server.metric("lockgate_in_flight") == 2)  # the server has read the slow ones' headers
        answer = server.ask()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert server.client.get("/v2/health/ready").status_code == 200
    until(lambda: server.metric("lockgate_in_flight") == 0)
    assert server.client.post(INVOKE, json={"instances": [ROW]}).status_code == 200


def test_the_counters_are_prometheus_text_and_count(server: Server) -> None:
    def value(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(server.client.get("/metrics").text)
        samples = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(sample.value for sample in samples)

    before = value("lockgate_request_seconds_count", model="toy-binary")
    refused = value("lockgate_refused_total", reason="malformed")
    server.client.post(INVOKE, json={"instances": [ROW]})
    server.client.post(INVOKE, content=b"{")
    assert value("lockgate_request_seconds_count", model="toy-binary") == before + 1
    assert value("lockgate_refused_total", reason="malformed") == refused + 1
    assert value("lockgate_model_ready") == 3
    assert value("lockgate_failures_total") == 0


def test_the_api_document_is_true_for_every_path(server: Server) -> None:
    page = server.client.get("/openapi.json").json()
    for path, methods in page["paths"].items():
        for method, operation in methods.items():
            url = path.replace("{model}", "none").replace("{version}", "0")
            answer = server.client.request(method.upper(), url, content=b"{}" if method == "post" else None)
            assert str(answer.status_code) in operation["responses"], (method, path, answer.text)


def test_the_admin_port_needs_its_token(server: Server) -> None:
    base = f"http://127.0.0.1:{server.admin_port}"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "a-token-of-tests"}):
        answer = httpx.get(f"{base}/admin/routing", headers=headers, timeout=30)
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
        assert answer.headers["www-authenticate"].startswith("Bearer")
        put = httpx.put(f"{base}/admin/routing/toy-binary", headers=headers, json={}, timeout=30)
        assert put.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sequence": "2", "champion": "0" * 64},
        {"sequence": True, "champion": "0" * 64},
        {"sequence": 0, "champion": "0" * 64},
        {"sequence": 2, "champion": "../x"},
        {"sequence": 2, "champion": "0" * 64, "weight": 1},
        [],
    ],
)
def test_a_malformed_routing_is_refused(server: Server, body: Any) -> None:
    answer = server.admin.put("/admin/routing/toy-binary", json=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_the_server_imports_nothing_of_the_orchestrator_or_of_pandas(server: Server) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert not any(f"site-packages/{name}/" in maps for name in ("pandas", "pyarrow", "scipy", "sklearn", "onnx"))


def test_concurrent_callers_get_their_own_answers(server: Server) -> None:
    wrong: list[Any] = []

    def ask(start: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            for number in range(start, start + 20):
                row = {**ROW, "amount": number % 100}
                answer = client.post("/invocations?model=toy-regression", json={"instances": [row]})
                if answer.status_code == 503:
                    continue
                value = answer.json()["predictions"][0]["value"]
                if abs(value - golden(row, task=TaskKind.REGRESSION)[0]) > 1e-4:
                    wrong.append((row, value))

    threads = [threading.Thread(target=ask, args=(start,)) for start in (0, 20, 40, 60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
