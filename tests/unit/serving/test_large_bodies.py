"""A large body, of whatever form, is read beside the event loop; what it may hold is bounded, which is said."""

import asyncio
import gc
import gzip
import json
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from lockgate.core.ids import Digest
from lockgate.serving.hands import Hands
from lockgate.serving.http.app import App, data_app
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.http.json_marks import MOST_VALUES
from lockgate.serving.options import ServerOptions
from lockgate.serving.protocols.apart import apart
from lockgate.serving.protocols.invocation_request import MOST_PARAMS
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.routing.desired import Desired
from lockgate.serving.service import Service
from tests.server_process import ROW, TOKEN, World

V2, INVOKE, LABELS, FEEDBACK = "/v2/models/toy/infer", "/invocations", "/labels", "/feedback"
CSV, LINES = {"content-type": "text/csv"}, {"content-type": "application/x-ndjson"}
ROWS = 6000
LONG = ROW | {"amount": 12.500001}
RUNNER = asyncio.Runner()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    world = World(tmp_path_factory.mktemp("large") / "world")
    champion = Digest(world.bundle())
    service = Service(
        ServerOptions(
            environment="sandbox", bundles=world.store, public_key=world.root / "keys" / "signing.pub",
            state=world.state, admin_token_file=world.root / "token",
        )
    )  # fmt: skip
    desired = Desired(sequence=1, champion=champion, since=datetime.now(UTC))
    RUNNER.run(service.control.put("toy", desired))
    service.labels.within_s = 600.0  # the machine may stall
    yield data_app(service)
    service.close()
    RUNNER.close()


async def ask(app: App, path: str, headers: dict[str, str], body: bytes) -> tuple[int, Any, int]:
    """Return status, answer and how many turns the loop had for others meanwhile."""
    said: dict[str, Any] = {}
    turns, done = 0, False

    async def count() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        said.update(message)

    lines = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}", **headers}
    scope = {
        "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
    }  # fmt: skip
    counting = asyncio.ensure_future(count())
    await app(scope, receive, send)
    done = True
    await counting
    return said["status"], json.loads(said["body"]), turns


def tensors(rows: int, **more: Any) -> bytes:
    kinds = {"amount": "FP32", "age": "INT64", "colour": "BYTES", "shape": "BYTES"}
    inputs = [{"name": n, "shape": [rows], "datatype": k, "data": [LONG[n]] * rows} for n, k in kinds.items()]
    return json.dumps({"inputs": inputs, **more}).encode()


def binary(*inputs: tuple[str, str, int, bytes]) -> tuple[dict[str, str], bytes]:
    said = json.dumps(
        {
            "inputs": [
                {"name": name, "shape": [rows], "datatype": kind, "parameters": {"binary_data_size": len(data)}}
                for name, kind, rows, data in inputs
            ]
        }
    ).encode()
    return {"inference-header-content-length": str(len(said))}, said + b"".join(data for *_, data in inputs)


RECORDS = json.dumps({"dataframe_records": [ROW] * ROWS}).encode()
RED = struct.pack("<I", 3) + b"red"
MUCH = binary(
    ("amount", "FP64", 9999, struct.pack("<d", 1) * 9999), ("age", "INT64", 9999, struct.pack("<q", 2) * 9999),
    ("colour", "BYTES", 9999, RED * 9999), ("shape", "BYTES", 9999, RED * 9999),
)  # fmt: skip
WHOLE: dict[str, tuple[str, dict[str, str], bytes, str]] = {
    "v2": (V2, {}, tensors(9999), "outputs"),
    "v2 binary": (V2, *MUCH, "outputs"),
    "records": (INVOKE, {}, RECORDS, "predictions"),
    "instances": (INVOKE, {}, json.dumps({"instances": [ROW] * ROWS}).encode(), "predictions"),
    "inputs": (INVOKE, {}, json.dumps({"inputs": {n: [v] * 9999 for n, v in LONG.items()}}).encode(), "predictions"),
    "split": (
        INVOKE, {},
        json.dumps({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())] * 9999}}).encode(),
        "predictions",
    ),
    "csv": (
        INVOKE, CSV, b"amount,age,colour,shape\n" + b"12.500000000000,41.000000000,red,disc\n" * 9999, "predictions"
    ),
    "compressed": (INVOKE, {"content-encoding": "gzip"}, gzip.compress(RECORDS), "predictions"),
    "labels": (
        LABELS, {}, json.dumps({"labels": [{"prediction_id": "x" * 30, "label": "yes"}] * 9999}).encode(), "accepted"
    ),
    "label lines": (LABELS, LINES, b'{"prediction_id": "xxxxxxx", "label": "yes"}\n' * 9999, "accepted"),
    "feedback": (
        FEEDBACK, {},
        json.dumps({"feedback": [{"prediction_id": "x", "verdict": "wrong", "comment": "c" * 300}] * 999}).encode(),
        "accepted",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", WHOLE)
def test_a_large_request_of_every_form_is_answered(app: App, form: str) -> None:
    path, headers, body, holds = WHOLE[form]
    assert len(body) >= LARGE_BYTES or headers.get("content-encoding")
    status, answer, turns = RUNNER.run(ask(app, path, headers, body))
    assert (status, holds in answer) == (200, True), answer
    assert turns


BLANK = b" " * LARGE_BYTES
REFUSED: dict[str, tuple[str, dict[str, str], bytes, int, str]] = {
    "v2": (V2, {}, BLANK + b"{}", 400, "'inputs'"),
    "v2 values": (V2, {}, b"[" + b"1," * MOST_VALUES + b"1]", 413, f"more than the {MOST_VALUES} values"),
    "v2 broken": (V2, {}, BLANK + b"{", 400, "not JSON"),
    "v2 strings": (
        V2, *binary(("colour", "BYTES", MOST_VALUES + 1, bytes(4 * MOST_VALUES + 4))), 413,
        f"more than the {MOST_VALUES} strings",
    ),
    "v2 booleans": (V2, *binary(("amount", "BOOL", LARGE_BYTES, b"\2" * LARGE_BYTES)), 400, "a BOOL is one byte"),
    "invocations": (INVOKE, {}, BLANK + b"{}", 400, "exactly one of"),
    "params": (
        INVOKE, {}, json.dumps({"inputs": ROW, "params": dict.fromkeys(map(str, range(40_000)))}).encode(), 400,
        f"params holds 40000 of them, at most {MOST_PARAMS}",
    ),
    "csv": (INVOKE, CSV, b"a\n" + b"," * LARGE_BYTES, 400, "csv.data[0]"),
    "csv values": (INVOKE, CSV, b"a\n" + b"," * MOST_VALUES, 413, f"more than the {MOST_VALUES} values"),
    "labels": (LABELS, {}, BLANK, 400, "labels:"),
    "labels many": (LABELS, {}, b'{"labels":[' + b"{}," * LARGE_BYTES, 413, "more than the 80000 fields"),
    "labels blank": (LABELS, LINES, b"\n" * LARGE_BYTES, 413, "more than the 80000 fields or lines"),
    "feedback": (FEEDBACK, {}, BLANK, 400, "feedback:"),
    "feedback many": (FEEDBACK, {}, b'{"feedback":[' + b"{}," * LARGE_BYTES, 413, "more than the 8000 fields"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_a_large_body_at_fault_is_read_beside_the_loop_and_refused(app: App, form: str) -> None:
    path, headers, body, wanted, said = REFUSED[form]
    status, answer, turns = RUNNER.run(ask(app, path, headers, body))
    assert (status, said in answer["error"]) == (wanted, True), answer
    assert turns, "nobody else had a turn while it was read"
    assert gc.isenabled()


def test_no_more_large_bodies_are_read_at_once_than_are_answered(app: App) -> None:
    async def several() -> Any:
        return await asyncio.gather(*(ask(app, *WHOLE[form][:3]) for form in ("split", "records", "csv", "v2") * 2))

    assert [status for status, *_ in RUNNER.run(several())] == [200] * 8
    assert not app.in_flight


def test_large_labels_that_wait_for_the_disk_hold_up_no_large_request(app: App) -> None:
    held = threading.Event()

    async def meanwhile() -> tuple[int, list[int]]:
        labels = app._service.labels
        labels._disk.submit(held.wait)  # a disk that takes its time
        said = b'{"labels":[%s]}' % b",".join([b'{"prediction_id":"a-1","label":1}'] * 9000)
        waiting = [asyncio.ensure_future(ask(app, LABELS, {}, said)) for _ in range(3)]
        try:
            status, *_ = await asyncio.wait_for(ask(app, *WHOLE["csv"][:3]), 60)
            assert not any(each.done() for each in waiting)
        finally:
            held.set()
        return status, [status for status, *_ in await asyncio.gather(*waiting)]

    assert RUNNER.run(meanwhile()) == (200, [200] * 3)


def test_however_many_labels_wait_for_the_disk_rows_are_answered(app: App) -> None:
    held = threading.Event()
    said, row = b'{"labels":[{"prediction_id":"a-1","label":1}]}', json.dumps({"dataframe_records": [ROW]}).encode()

    async def meanwhile() -> tuple[int, list[int]]:
        app._service.labels._disk.submit(held.wait)  # a disk that takes its time
        waiting = [asyncio.ensure_future(ask(app, LABELS, {}, said)) for _ in range(600)]
        try:
            await asyncio.sleep(0)
            status, *_ = await asyncio.wait_for(ask(app, INVOKE, {}, row), 60)
        finally:
            held.set()
        return status, [status for status, *_ in await asyncio.gather(*waiting)]

    status, told = RUNNER.run(meanwhile())
    assert status == 200
    assert Counter(told) == {200: 128, 503: 472}
    assert (app.kept, app.in_flight) == (0, 0)


def test_looks_for_garbage_come_back_after_the_last_of_several_readers_and_a_refusal_keeps_nothing() -> None:
    async def read() -> list[bool]:
        hands = Hands(2, "hand")
        service: Any = SimpleNamespace(answering=SimpleNamespace(hands=hands))
        both = threading.Barrier(2)

        def one(number: int) -> bool:
            both.wait(30)
            found = gc.isenabled()
            both.wait(30)
            if number:
                raise refuse(Reason.MALFORMED, "as asked")
            return found

        first, second = await asyncio.gather(apart(service, one, 0), apart(service, one, 1), return_exceptions=True)
        assert isinstance(second, RequestRefused)
        frames, trace = [], second.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert "one" not in frames
        assert (second.__cause__, second.__context__) == (None, None)
        hands.close()
        return [bool(first)]

    assert asyncio.run(read()) == [False]
    assert gc.isenabled()
