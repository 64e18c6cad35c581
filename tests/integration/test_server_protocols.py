"""What a real server reads and answers beyond plain JSON tensors, held against its own API document."""

import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pyarrow as pa
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.drift import reference_profile
from lockgate.core.ids import canonical_json
from tests.bundles import golden
from tests.server_process import ROW, TOKEN, Server, World, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BEARER = {"authorization": f"Bearer {TOKEN}"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ROWS: list[dict[str, Any]] = [
    ROW,
    {"amount": None, "age": 30, "colour": None, "shape": "cube"},
    {"amount": 99, "age": 18, "colour": "blue", "shape": "cube"},
]
PROFILE = canonical_json(
    reference_profile(
        {
            "amount": np.array([1.0, 2, 3]),
            "age": np.array([20.0, 30, 40]),
            "colour": np.array(["red", "red", "blue"], object),
            "shape": np.array(["disc", "disc", "cube"], object),
        },
        ("amount", "age"),
        ("colour", "shape"),
    )
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("protocols") / "world")


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[Server]:
    with serving(world) as running:
        for task in TaskKind:
            digest = world.bundle(task=task, model=f"toy-{task}", parts={"reference_profile.json": PROFILE})
            assert running.route(1, digest, model=f"toy-{task}").status_code == 200
        digest = world.bundle(model="toy-plain", bias=0.5)
        assert running.route(1, digest, previous=world.bundle(model="toy-plain"), model="toy-plain").status_code == 200
        yield running


@pytest.fixture(scope="module")
def page(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.client.get("/openapi.json").json()
    return found


OF_HTTP = {"content-type", "content-length", "date", "connection"} | {
    "cache-control", "content-security-policy", "x-content-type-options",  # for browsers, of the status page
}  # fmt: skip


def conforms(page: dict[str, Any], answer: httpx.Response, path: str) -> Any:
    """Hold an answer against the document: its status, type, headers and body; return the body."""
    operation = page["paths"][path][answer.request.method.lower()]
    described = operation["responses"][str(answer.status_code)]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in described["content"], (kind, list(described["content"]))
    needed = {name for name, each in described.get("headers", {}).items() if each.get("required")}
    assert needed <= set(answer.headers)
    told = set(answer.headers) - OF_HTTP
    assert told <= set(described["headers"]), told
    if kind == "application/json":
        schema = described["content"][kind]["schema"] | {"components": page["components"]}
        jsonschema.validate(answer.json(), schema, jsonschema.Draft202012Validator)
        return answer.json()
    return answer.content


def tensors(rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    kinds = {"amount": "FP64", "age": "INT64", "colour": "BYTES", "shape": "BYTES"}
    return [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
        for name, kind in kinds.items()
    ]


def infer(server: Server, body: dict[str, Any], model: str = "toy-binary", **headers: str) -> httpx.Response:
    return server.client.post(f"/v2/models/{model}/infer", json=body, headers=headers)


INFER = "/v2/models/{model}/infer"
VERSION = "/v2/models/{model}/versions/{version}"


def test_every_answer_is_what_the_api_document_says(server: Server, page: dict[str, Any]) -> None:
    get, digest = server.client.get, server.admin.get("/admin/routing/toy-binary").json()["champion"]
    for path in ("/", "/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/ping", "/health", "/version", "/metrics"):
        assert get(path).status_code == 200
        conforms(page, get(path), path)
    for task in TaskKind:
        model = f"toy-{task}"
        for path in ("/v2/models/{model}", "/v2/models/{model}/ready"):
            conforms(page, get(path.replace("{model}", model)), path)
        for body in ({"inputs": tensors()}, {"inputs": tensors(), "parameters": {"explain": True}}):
            conforms(page, infer(server, body, model), INFER)
        for params in ({}, {"params": {"explain": True, "other": 1}}):
            rows = server.client.post(f"/invocations?model={model}", json={"instances": ROWS, **params})
            conforms(page, rows, "/invocations")
    for path in (VERSION, f"{VERSION}/ready"):
        conforms(page, get(path.replace("{model}", "toy-binary").replace("{version}", digest)), path)
    for path in (INFER, f"{VERSION}/infer"):
        url = path.replace("{model}", "toy-binary").replace("{version}", digest)
        for headers in ({}, BEARER, {"x-lockgate-arm": "champion"}, {"x-lockgate-arm": "nobody", **BEARER}):
            conforms(page, server.client.post(url, json={"inputs": tensors()}, headers=headers), path)
        conforms(page, server.client.post(url, content=b"{", headers=BEARER), path)
        conforms(page, server.client.post(url, content=b"{", headers={"content-type": "text/html", **BEARER}), path)


def test_every_answer_to_what_is_told_is_what_the_api_document_says(server: Server, page: dict[str, Any]) -> None:
    prediction_id = infer(server, {"inputs": tensors()}).headers["x-lockgate-prediction-id"]
    label, word = {"label": "yes"}, {"verdict": "right", "comment": None}
    for what, told in (("labels", label), ("feedback", word)):
        good = {what: [{"prediction_id": prediction_id, **told}]}
        for body, headers in ((good, BEARER), (good, {}), ({what: 1}, BEARER)):
            conforms(page, server.client.post(f"/{what}", json=body, headers=headers), f"/{what}")


def test_the_document_names_the_token_where_one_is_needed(page: dict[str, Any]) -> None:
    needed = {
        path: each["security"]
        for path, methods in page["paths"].items()
        for method, each in methods.items()
        if method == "post"
    }
    token = {"adminToken": []}
    assert needed == {
        INFER: [{}, token], f"{VERSION}/infer": [token], "/invocations": [{}, token], "/labels": [token],
        "/feedback": [token],
    }  # fmt: skip
    assert "post" not in page["paths"]["/v2"]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_the_row_major_form_answers_like_columns(server: Server, rows: int, nested: bool) -> None:
    order = json.loads(server.client.get("/v2/models/toy-binary").json()["parameters"]["row_major"])
    inputs = []
    for name, datatype in (("numbers", "FP32"), ("strings", "BYTES")):
        data = [[row[column] for column in order[name]] for row in ROWS[:rows]]
        flat = data if nested else [value for row in data for value in row]
        inputs.append({"name": name, "shape": [rows, len(order[name])], "datatype": datatype, "data": flat})
    answer = infer(server, {"inputs": inputs})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == infer(server, {"inputs": tensors(ROWS[:rows])}).json()["outputs"]


@pytest.mark.parametrize(
    ("numbers", "strings", "said"),
    [
        ({"shape": [1, 3], "data": [1, 2, 3]}, {}, "input 'numbers' holds 3 columns; this model takes 2 numbers a row"),
        ({"datatype": "BYTES"}, {}, "input 'numbers': datatype BYTES, the contract's is a number's"),
        ({"data": [12.5, "x"]}, {}, "column 'age', row 0: expected a number, got a string"),
        ({}, {"shape": [2, 2], "data": ["red", "disc"] * 2}, "column 'colour' has 2 values"),
        ({"data": [12.5, None]}, {}, "column 'age', row 0: null"),
        ({}, {"name": "string"}, "shape [1, 2]; one tensor is one column"),
        ({}, {"name": "colour", "shape": [1], "data": ["red"]}, "input 'strings' holds 0 columns"),
    ],
)
def test_a_row_major_request_at_fault_is_told_by_column(
    server: Server, numbers: dict[str, Any], strings: dict[str, Any], said: str
) -> None:
    inputs = [
        {"name": "numbers", "shape": [1, 2], "datatype": "FP32", "data": [12.5, 41]} | numbers,
        {"name": "strings", "shape": [1, 2], "datatype": "BYTES", "data": ["red", "disc"]} | strings,
    ]
    answer = infer(server, {"inputs": inputs})
    assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text


def binary_request(rows: list[dict[str, Any]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Return a request whose tensors are all binary, and its headers."""
    inputs, behind = [], []
    for tensor in tensors(rows):
        values = tensor.pop("data")
        if tensor["datatype"] == "BYTES":
            raw = b"".join(struct.pack("<I", len(each)) + each.encode() for each in values)
        else:
            tensor["datatype"] = "FP32"
            raw = np.array([np.nan if each is None else each for each in values], "<f4").tobytes()
        inputs.append(tensor | {"parameters": {"binary_data_size": len(raw)}})
        behind.append(raw)
    said = json.dumps({"inputs": inputs, **more}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(said))}
    return said + b"".join(behind), headers


def test_binary_tensors_in_and_out(server: Server, page: dict[str, Any]) -> None:
    rows = [ROW, {**ROW, "amount": None}, ROWS[2]]
    for count in (1, 3):
        body, headers = binary_request(rows[:count], parameters={"binary_data_output": True})
        answer = server.client.post("/v2/models/toy-multiclass/infer", content=body, headers=headers)
        raw = conforms(page, answer, INFER)
        length = int(answer.headers["inference-header-content-length"])
        said = json.loads(raw[:length])
        sizes = [each["parameters"]["binary_data_size"] for each in said["outputs"]]
        assert sum(sizes) == len(raw) - length
        found = np.frombuffer(raw, "<f4", 3 * count, length).reshape(count, 3)
        np.testing.assert_allclose(found, [golden(row, task=TaskKind.MULTICLASS) for row in rows[:count]], rtol=1e-4)
        assert said["outputs"][0]["shape"] == [count, 3]


def test_the_metadata_is_of_the_protocols_own_words(server: Server) -> None:
    assert server.client.get("/v2/").json() == server.client.get("/v2").json()
    told = server.client.get("/v2/models/toy-binary").json()
    assert told["platform"] == "onnx_onnxv1"  # the one name that the protocol has for ONNX
    assert {each["datatype"] for each in told["inputs"] + told["outputs"]} == {"FP32", "BYTES"}


@pytest.mark.parametrize(
    ("headers", "path", "refusal"),
    [
        ({"content-type": "application/octet-stream"}, INFER, (415, "with Inference-Header-Content-Length or")),
        ({"content-type": "application/octet-stream"}, INFER, (415, "or application/vnd.apache.arrow.stream")),
        ({"content-type": "application/vnd.apache.arrow.file"}, INFER, (415, "or application/vnd.apache.arrow.stream")),
        ({"content-type": "application/vnd.apache.parquet"}, "/invocations", (415, "application/json or text/csv or")),
        ({"content-type": "text/html"}, "/labels", (415, "send application/json or application/x-ndjson")),
        ({"inference-header-content-length": "0"}, INFER, (400, "this one's are amount FP32, colour BYTES, age FP32")),
        ({"content-encoding": "br"}, INFER, (415, "content-encoding 'br': send one of gzip, deflate, or the body")),
        ({"content-encoding": "gzip"}, INFER, (400, "content-encoding 'gzip': the body is wrong from byte 0 on: inc")),
    ],
)
def test_what_a_body_says_of_itself_is_refused_with_what_it_may_say(
    server: Server, page: dict[str, Any], headers: dict[str, str], path: str, refusal: tuple[int, str]
) -> None:
    url = path.replace("{model}", "toy-binary")
    answer = server.client.post(url, content=iter([b"{}"]), headers={**headers, **BEARER})
    status, said = refusal
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    conforms(page, answer, path)


@pytest.mark.parametrize("binary", [False, True])
def test_a_compressed_answer_is_what_the_api_document_says(server: Server, page: dict[str, Any], binary: bool) -> None:
    asked = {"inputs": tensors(ROWS * 100), "parameters": {"binary_data_output": binary}}
    headers = {"content-encoding": "gzip", "accept-encoding": "gzip", "content-type": "application/json"}
    packed = gzip.compress(json.dumps(asked).encode())
    answer = server.client.post("/v2/models/toy-binary/infer", content=packed, headers=headers)
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "accept-encoding")
    conforms(page, answer, INFER)


def test_media_types_are_the_same_in_capitals(server: Server) -> None:
    sink = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pylist(ROWS)
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    headers = {"content-type": "Application/Vnd.Apache.Arrow.Stream", "accept": "Application/JSON"}
    for path in ("/v2/models/toy-binary/infer", "/invocations?model=toy-binary"):
        answer = server.client.post(path, content=sink.getvalue().to_pybytes(), headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text


def test_nan_is_null_as_pythons_clients_write_it(server: Server) -> None:
    text = json.dumps({"dataframe_split": {"columns": list(ROW), "data": [[float("nan"), 41, "red", "disc"]]}})
    answer = server.client.post("/invocations?model=toy-binary", content=text)
    wanted = golden({**ROW, "amount": None})[0]
    assert answer.json()["predictions"][0]["probability"] == pytest.approx(wanted, rel=1e-5)


def test_an_explanation_adds_up_to_the_answer(server: Server) -> None:
    for task in TaskKind:
        body = {"inputs": tensors(), "parameters": {"explain": True}, "outputs": [{"name": "contributions"}]}
        told = infer(server, body, f"toy-{task}").json()["outputs"]
        assert [each["name"] for each in told] == ["contributions"]
        parameters = told[0]["parameters"]
        assert json.loads(parameters["columns"]) == ["amount", "colour", "age", "shape"]
        sums = np.reshape(told[0]["data"], told[0]["shape"]).sum(axis=1) + json.loads(parameters["baseline"])
        wanted = [golden(row, task=task) for row in ROWS]
        best = [max(each) if task is TaskKind.MULTICLASS else each[0] for each in wanted]
        np.testing.assert_allclose(sums, best, rtol=1e-4)
        rows = server.client.post(f"/invocations?model=toy-{task}", json={"inputs": ROWS, "params": {"explain": True}})
        for row, total in zip(rows.json()["predictions"], best, strict=True):
            assert sum(row["contributions"].values()) + row["baseline"] == pytest.approx(total, rel=1e-4)
        assert rows.json()["explanation"] == {"of": parameters["of"], "exact": True}


def test_without_being_asked_nothing_is_explained(server: Server) -> None:
    for parameters in ({}, {"explain": False}):
        outputs = infer(server, {"inputs": tensors(), "parameters": parameters}).json()["outputs"]
        assert [each["name"] for each in outputs] == ["probability", "label"]
    answer = infer(server, {"inputs": tensors(), "parameters": {"explain": True}}, "toy-plain")
    assert (answer.status_code, "no typical row" in answer.json()["error"]) == (400, True)


def test_the_callers_id_and_trace_come_back(server: Server) -> None:
    sent = {"x-request-id": "order 66/a", "traceparent": TRACE}
    for answer in (
        infer(server, {"inputs": tensors()}, **sent),
        infer(server, {"inputs": 1}, **sent),
        server.client.post("/invocations?model=toy-binary", json={"inputs": ROWS}, headers=sent),
        server.client.get("/v2", headers=sent),
    ):
        assert {name: answer.headers[name] for name in sent} == sent
    odd = infer(server, {"inputs": tensors()}, **{"x-request-id": "x" * 129, "traceparent": "00-0-0-0"})
    assert odd.status_code == 200
    assert not {"x-request-id", "traceparent"} & set(odd.headers)


def test_an_arm_is_forced_with_the_token_alone(server: Server) -> None:
    routing = server.admin.get("/admin/routing/toy-plain").json()
    body, previous = {"inputs": tensors([ROW])}, routing["previous"]
    for url, arm in ((INFER, {"x-lockgate-arm": "previous"}), (f"{VERSION}/infer", {})):
        path = url.replace("{model}", "toy-plain").replace("{version}", previous)
        refused = server.client.post(path, json=body, headers=arm)
        assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
        assert server.client.post(path, json=body, headers={**arm, "authorization": "Bearer x"}).status_code == 401
        answer = server.client.post(path, json=body, headers={**arm, **BEARER})
        assert answer.headers["x-lockgate-release-digest"] == previous
        assert answer.json()["outputs"][0]["data"] == pytest.approx(golden(ROW), rel=1e-5)
    forced = {"x-lockgate-arm": "previous"}
    rows = server.client.post("/invocations?model=toy-plain", json={"inputs": [ROW]}, headers=forced)
    assert rows.status_code == 401
    rows = server.client.post("/invocations?model=toy-plain", json={"inputs": [ROW]}, headers={**forced, **BEARER})
    assert rows.headers["x-lockgate-arm"] == "previous"
    versions = server.client.get("/v2/models/toy-plain").json()["versions"]
    assert versions == [routing["champion"], previous]


def test_a_body_is_not_read_before_it_may_force_an_arm(server: Server) -> None:
    headers = {"x-lockgate-arm": "champion"}
    for path in ("/v2/models/toy-binary/infer", "/invocations"):
        assert server.client.post(path, content=b"no JSON", headers=headers).status_code == 401


def test_pyarrow_is_loaded_by_the_first_arrow_request_alone(world: World) -> None:
    digest = world.bundle(model="toy-binary", parts={"reference_profile.json": PROFILE})
    with serving(world, "--state", str(world.root / "other")) as fresh:
        maps = Path(f"/proc/{fresh.process.pid}/maps")
        assert fresh.route(1, digest, model="toy-binary").status_code == 200
        assert infer(fresh, {"inputs": tensors()}).status_code == 200
        assert "site-packages/pyarrow/" not in maps.read_text()
        sink = pa.BufferOutputStream()
        batch = pa.RecordBatch.from_pylist(ROWS)
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        kind = {"content-type": "application/vnd.apache.arrow.stream"}
        answer = fresh.client.post("/invocations", content=sink.getvalue().to_pybytes(), headers=kind)
        assert answer.status_code == 200
        assert "site-packages/pyarrow/" in maps.read_text()
        assert "site-packages/pandas/" not in maps.read_text()  # which pyarrow loads for itself where it can
