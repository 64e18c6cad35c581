"""The target against a server that lies; what honest servers do is the contract suite's matter."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.http_probe import HttpClient
from lockgate.adapters.server_target import ServerTarget, read_probes
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName, canonical_json, digest_bytes
from lockgate.core.wire import Call
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, TransientError
from tests.bundles import contract, probes

MODEL = ModelName("toy")


def write_bundle(store: Path) -> Digest:
    parts = {"contract.json": canonical_json(contract()), "probe_requests.json": canonical_json(_probes())}
    digests = {name: digest_bytes(data) for name, data in parts.items()}
    manifest = canonical_json({"schema_version": 1, "model": "toy", "parts": digests})
    folder = store / digest_bytes(manifest)
    folder.mkdir(parents=True)
    for name, data in {**parts, "manifest.json": manifest}.items():
        (folder / name).write_bytes(data)
    return Digest(folder.name)


def _probes() -> Any:
    made = probes(0.0, TaskKind.BINARY)
    return type(made)(absolute=made.absolute, relative=made.relative, requests=made.requests[:2])


@contextmanager
def answering(status: int, body: object, headers: dict[str, str] | None = None) -> Iterator[str]:
    data = json.dumps(body).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_POST()

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Folders:
    def __init__(self, store: Path) -> None:
        self._store = store

    def folder(self, digest: Digest) -> Path:
        return self._store / digest


def target_at(url: str, store: Path) -> ServerTarget:
    store.mkdir(exist_ok=True)
    (store / "token").write_text("t")
    return ServerTarget("production", url, url, store / "token", Folders(store))


def test_a_live_answer_with_the_right_digest_and_other_numbers_is_an_integrity_error(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "store")
    body = {"outputs": [{"name": "probability", "data": [0.123]}], "sequence": 1}
    with answering(200, body, {"x-lockgate-release-digest": digest}) as url:
        target = target_at(url, tmp_path / "store")
        with pytest.raises(IntegrityError, match="differs from the golden"):
            target.readback(MODEL, digest, 1)
        target.close()


def test_live_answers_of_another_bundle_are_told_and_not_judged(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "store")
    body = {"outputs": [{"name": "probability", "data": [0.123]}], "sequence": 4}
    with answering(200, body, {"x-lockgate-release-digest": "9" * 64}) as url:
        target = target_at(url, tmp_path / "store")
        seen = target.readback(MODEL, digest, 3)
        target.close()
    assert (seen.sequence, seen.answers) == (4, ("9" * 64,) * 3)


def test_an_answer_without_a_digest_proves_nothing(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path / "store")
    with answering(200, {"outputs": [{"name": "probability", "data": [0.1]}]}) as url:
        target = target_at(url, tmp_path / "store")
        with pytest.raises(TransientError):
            target.readback(MODEL, digest, 1)
        target.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (409, LedgerConflict),
        (404, IntegrityError),
        (422, IntegrityError),
        (401, BadInput),
        (400, BadInput),
        (503, TransientError),
    ],
)
def test_a_refused_switch_is_the_ports_error_with_the_servers_words(
    tmp_path: Path, status: int, error: type[Exception]
) -> None:
    with answering(status, {"error": "because of this"}) as url:
        target = target_at(url, tmp_path / "store")
        with pytest.raises(error, match="because of this"):
            target.switch(MODEL, Digest("a" * 64), sequence=1, previous=None)
        target.close()


@pytest.mark.parametrize("part", ["manifest.json", "contract.json", "probe_requests.json"])
def test_golden_requests_that_are_not_the_bundles_own_are_refused(tmp_path: Path, part: str) -> None:
    digest = write_bundle(tmp_path)
    path = tmp_path / digest / part
    path.write_bytes(path.read_bytes().replace(b"toy", b"boy").replace(b"1e-05", b"1.0"))
    with pytest.raises(IntegrityError, match=part):
        read_probes(tmp_path / digest, digest)


def test_a_bundle_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_probes(tmp_path / "nothing", Digest("a" * 64))


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(BadInput, match="no address"):
        HttpClient("localhost:8080", timeout_s=1)


def test_nobody_listening_is_transient() -> None:
    client = HttpClient("http://127.0.0.1:1", timeout_s=1)
    with pytest.raises(TransientError, match="did not answer GET /v2"):
        client.send(Call(path="/v2"))
