"""A real server takes compressed bodies on every path that takes one, and compresses answers for whoever did so."""

import contextlib
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bundles import golden
from tests.server_process import ROW, TOKEN, Server, World, serving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MOST_BYTES, MOST_ROWS = 1 << 20, 5000
INFER, INVOKE = "/v2/models/toy/infer", "/invocations"
ARROW = "application/vnd.apache.arrow.stream"
BEARER = {"authorization": f"Bearer {TOKEN}"}
KINDS = {"amount": "FP64", "age": "INT64", "colour": "BYTES", "shape": "BYTES"}
PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    world = World(tmp_path_factory.mktemp("compression") / "world")
    with serving(world, "--max-body-bytes", str(MOST_BYTES), "--max-rows", str(MOST_ROWS)) as running:
        assert running.route(1, world.bundle()).status_code == 200
        yield running


def tensors(rows: list[dict[str, Any]], **more: Any) -> bytes:
    inputs = [
        {"name": name, "shape": [len(rows)], "datatype": kind, "data": [row[name] for row in rows]}
        for name, kind in KINDS.items()
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def binary(rows: list[dict[str, Any]]) -> tuple[bytes, int]:
    """Return JSON and tensors behind it, and the bytes of JSON."""
    inputs, behind = [], b""
    for name, kind in KINDS.items():
        values = [row[name] for row in rows]
        if kind == "BYTES":
            raw = b"".join(struct.pack("<I", len(text)) + text.encode() for text in values)
        else:
            raw = np.array(values, "<f8" if kind == "FP64" else "<i8").tobytes()
        size = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "shape": [len(rows)], "datatype": kind, "parameters": size})
        behind += raw
    said = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    return said + behind, len(said)


def arrow(rows: list[dict[str, Any]]) -> bytes:
    batch, sink = pa.RecordBatch.from_pylist(rows), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def ask(server: Server, path: str, body: bytes, encoding: str, **headers: str) -> httpx.Response:
    """Send a body that is compressed already; no answer is, unless the headers ask for it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"content-type": "application/json", "content-encoding": encoding, "accept-encoding": "identity", **BEARER}
    return server.client.post(path, content=body, headers={**lines, **named})


def same(one: httpx.Response, other: httpx.Response) -> bool:
    """Tell whether two answers differ in their prediction id alone."""
    ids = [each.headers.get("x-lockgate-prediction-id", "-").encode() for each in (one, other)]
    told = [each.content.replace(name, b"-") for each, name in zip((one, other), ids, strict=True)]
    return one.status_code == other.status_code == 200 and told[0] == told[1]


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("rows", [1, 3000])
def test_every_form_of_a_body_is_answered_as_it_is_without_compression(
    server: Server, encoding: str, rows: int
) -> None:
    many = [{**ROW, "amount": float(i % 90)} for i in range(rows)]
    mixed, length = binary(many)
    table = "amount,age,colour,shape\n" + "".join(f"{row['amount']},41,red,disc\n" for row in many)
    digest = server.admin.get("/admin/routing/toy").json()["champion"]
    for path, body, headers in (
        (INFER, tensors(many), {}),
        (f"/v2/models/toy/versions/{digest}/infer", tensors(many), {}),
        (INFER, mixed, {"inference_header_content_length": str(length)}),
        (INFER, arrow(many), {"content_type": ARROW}),
        (INVOKE, json.dumps({"dataframe_records": many}).encode(), {}),
        (INVOKE, table.encode(), {"content_type": "text/csv"}),
        (INVOKE, arrow(many), {"content_type": ARROW}),
    ):
        plain = ask(server, path, body, "identity", **headers)
        assert same(plain, ask(server, path, PACK[encoding](body), encoding, **headers)), (path, headers)
    answer = ask(server, INFER, PACK[encoding](tensors(many)), encoding).json()
    wanted = [golden(row)[0] for row in many[:50]]
    np.testing.assert_allclose(answer["outputs"][0]["data"][:50], wanted, rtol=1e-5)


@pytest.mark.parametrize("encoding", PACK)
def test_labels_and_feedback_come_compressed_as_well(server: Server, encoding: str) -> None:
    label = b'{"prediction_id": "x-1", "label": "yes"}'
    for path, body, kind in (
        ("/labels", b'{"labels": [%s]}' % label, "application/json"),
        ("/labels", label, "application/x-ndjson"),
        ("/feedback", b'{"feedback": [{"prediction_id": "x-1", "verdict": "wrong"}]}', "application/json"),
    ):
        answer = ask(server, path, PACK[encoding](body), encoding, content_type=kind)
        assert (answer.status_code, answer.json()) == (200, {"accepted": 1})


def test_the_length_of_the_json_part_counts_what_is_decompressed(server: Server) -> None:
    body, length = binary([ROW] * 100)
    packed = gzip.compress(body)
    assert len(packed) < length
    answer = ask(server, INFER, packed, "gzip", inference_header_content_length=str(length), accept_encoding="deflate")
    said = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:said])["outputs"]
    assert sum(each["parameters"]["binary_data_size"] for each in outputs) == len(answer.content) - said
    assert answer.headers["content-encoding"] == "deflate"


@pytest.mark.parametrize("encoding", UNPACK)
def test_an_answer_is_compressed_on_the_wire(server: Server, encoding: str) -> None:
    body = gzip.compress(tensors([ROW] * 1000))
    headers = {"content-encoding": "gzip", "accept-encoding": f"{encoding}, br;q=1", "connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n{lines}\r\n"
        sock.sendall(head.encode() + body)
        with sock.makefile("rb") as file:
            raw = file.read()
    told, _, sent = raw.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 200")
    for line in (f"content-encoding: {encoding}", "vary: accept-encoding", f"content-length: {len(sent)}"):
        assert told.count(line.encode()) == 1, told
    plain = UNPACK[encoding](sent)
    assert json.loads(plain)["outputs"][0]["shape"] == [1000]
    assert len(sent) < len(plain) / 10


def test_who_does_not_compress_gets_no_compressed_answer(server: Server) -> None:
    for encoding in ("identity", ""):
        answer = ask(server, INFER, tensors([ROW] * 1000), encoding, accept_encoding="gzip")
        assert answer.status_code == 200
        assert not {"content-encoding", "vary"} & set(answer.headers)
    for accepts in ("gzip;q=0", "br", "identity"):
        answer = ask(server, INFER, gzip.compress(tensors([ROW] * 1000)), "gzip", accept_encoding=accepts)
        assert (answer.status_code, answer.headers["vary"]) == (200, "accept-encoding")
        assert "content-encoding" not in answer.headers
    short = ask(server, INFER, gzip.compress(tensors([ROW])), "gzip", accept_encoding="gzip")
    assert not {"content-encoding", "vary"} & set(short.headers)


def refused(server: Server, reason: str) -> float:
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    return sum(
        each.value
        for family in families
        for each in family.samples
        if each.name == "lockgate_refused_total" and each.labels["reason"] == reason
    )


@pytest.mark.parametrize("path", [INFER, INVOKE, "/labels", "/feedback"])
def test_what_cannot_be_decompressed_is_refused_and_counted(server: Server, path: str) -> None:
    whole = gzip.compress(tensors([ROW]))
    for body, encoding, status, reason, words in (
        (whole, "br", 415, "unsupported_encoding", "send one of gzip, deflate"),
        (gzip.compress(whole), "gzip, gzip", 415, "unsupported_encoding", "send one of gzip, deflate"),
        (whole[:-3], "gzip", 400, "malformed", "it is cut short"),
        (whole + b"more of it", "gzip", 400, "malformed", f"from byte {len(whole)} on"),
        (whole, "deflate", 400, "malformed", "content-encoding 'deflate'"),
        (gzip.compress(bytes(8 * MOST_BYTES)), "gzip", 413, "body_too_large", "taken, once it is decompressed"),
    ):
        before = refused(server, reason)
        answer = ask(server, path, body, encoding)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), answer.text
        assert words in answer.json()["error"]
        assert answer.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)
        assert refused(server, reason) == before + 1


def test_bombs_from_many_callers_leave_the_server_as_it_was(server: Server) -> None:
    bomb = gzip.compress(b" " * (MOST_BYTES - 100) + tensors([ROW]) * 3)
    status = Path(f"/proc/{server.process.pid}/status")

    def peak_kb() -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])

    assert ask(server, INFER, bomb, "gzip").status_code == 413
    before = peak_kb()
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: {len(bomb)}\r\n\r\n"
    with contextlib.ExitStack() as held:
        callers = [held.enter_context(socket.create_connection(("127.0.0.1", server.port), 30)) for _ in range(100)]
        for caller in callers:
            caller.sendall(head.encode() + bomb)
        for caller in callers:
            assert caller.recv(12) == b"HTTP/1.1 413"
    assert peak_kb() - before < 40 << 10  # ours: a hundred bodies at once would be 100 MiB
    assert ask(server, INFER, gzip.compress(tensors([ROW])), "gzip").status_code == 200
