"""One request in every form that any protocol has for it is answered, flagged and logged alike."""

import asyncio
import csv
import io
import json
import random
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.http.app import App, data_app
from lockgate.serving.options import Limits, ServerOptions
from lockgate.serving.routing.desired import Desired
from lockgate.serving.service import Service
from tests.server_process import World

Row = dict[str, Any]
Sent = tuple[str, str, dict[str, str], bytes]
INFER, INVOKE = "/v2/models/toy/infer", "/invocations"
JSON, CSV = {"content-type": "application/json"}, {"content-type": "text/csv"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream", "accept": "application/json"}
NUMBERS, TEXTS = ("amount", "age"), ("colour", "shape")
COLUMNS = ("amount", "colour", "age", "shape")
OF_COLUMN: dict[str, Sequence[Any]] = {  # numbers that float32 holds, so that every datatype sends the same
    "amount": (0.0, -0.0, 1.5, 99.0, 1e6, -3.0, 2.0**53, 2.0**-140, None),
    "age": (0.0, 41.0, 18.5, 121.0, -1.0, 2.0**100),
    "colour": (
        "red",
        "green",
        "octarine",
        "",
        "é",
        "\0",
        "x" * 300,
        "a\nb",
        '"',
        " red",
        "NA",
        "null",
        "1",
        "😀",
        None,
    ),
    "shape": ("disc", "cube", "Disc", "\ufeff", None),
}


def texts_sent(values: Sequence[str]) -> bytes:
    return b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in values)


def numbers_sent(values: Sequence[Any], dtype: str) -> bytes:
    return np.array([np.nan if each is None else each for each in values], dtype).tobytes()


class Forms:
    """Some rows, in every form."""

    def __init__(self, rows: Sequence[Row], chance: random.Random) -> None:
        self.rows, self.chance = rows, chance
        self.columns = {name: [row[name] for row in rows] for name in COLUMNS}
        self.flat = {  # of the row-major form
            tensor: [row[name] for row in rows for name in names]
            for tensor, names in (("numbers", NUMBERS), ("strings", TEXTS))
        }

    def all(self) -> Iterator[Sent]:
        yield from self.tensors()
        if None not in self.flat["strings"]:
            yield from self.binary()
        yield from self.arrow()
        yield from self.invocations()

    def tensor(self, name: str, **more: Any) -> dict[str, Any]:
        kind = "FP64" if name in NUMBERS else "BYTES"
        return {"name": name, "shape": [len(self.rows)], "datatype": kind, "data": self.columns[name], **more}

    def tensors(self) -> Iterator[Sent]:
        plain = [self.tensor(name) for name in COLUMNS]
        upright = [
            each | {"shape": [len(self.rows), 1], "data": [[value] for value in each["data"]]}
            for each in self.chance.sample(plain, 4)
        ]
        nan = [each | {"data": [np.nan if value is None else value for value in each["data"]]} for each in plain]
        matrices = [
            {"name": name, "shape": [len(self.rows), 2], "datatype": kind, "data": self.flat[name]}
            for name, kind in (("numbers", "FP64"), ("strings", "BYTES"))
        ]
        for what, inputs in (("columns", plain), ("upright", upright), ("nan", nan), ("row-major", matrices)):
            yield what, INFER, JSON, json.dumps({"inputs": inputs}).encode()

    def binary(self) -> Iterator[Sent]:
        rows = len(self.rows)
        for kind, dtype in (("FP32", "<f4"), ("FP64", "<f8")):
            columns = [
                (name, kind, [rows], numbers_sent(values, dtype))
                if name in NUMBERS
                else (name, "BYTES", [rows], texts_sent(values))
                for name, values in self.columns.items()
            ]
            matrices = [
                ("numbers", kind, [rows, 2], numbers_sent(self.flat["numbers"], dtype)),
                ("strings", "BYTES", [rows, 2], texts_sent(self.flat["strings"])),
            ]
            for tensors in (columns, columns, matrices):  # what was read before is read again by a way of its own
                inputs = [
                    {"name": name, "shape": shape, "datatype": of, "parameters": {"binary_data_size": len(raw)}}
                    for name, of, shape, raw in tensors
                ]
                said = json.dumps({"inputs": inputs}).encode()
                headers = {"inference-header-content-length": str(len(said))}
                yield f"binary {kind} {len(tensors)}", INFER, headers, said + b"".join(raw for *_, raw in tensors)

    def arrow(self) -> Iterator[Sent]:
        for numbers, texts, compression in (
            (pa.float64(), None, None), (pa.float32(), None, None), (pa.float64(), pa.string(), None),
            (pa.float64(), pa.large_string(), "zstd"), (pa.float32(), pa.string_view(), "lz4"),
        ):  # fmt: skip
            arrays = {
                name: pa.array(values, numbers)
                if name in NUMBERS
                else pa.array(values, texts)
                if texts
                else pa.array(values, pa.string()).dictionary_encode()
                for name, values in self.columns.items()
            }
            whole, half = pa.record_batch(arrays), len(self.rows) // 2
            for batches in ((whole,), (whole,), (whole.slice(0, half), whole.slice(half))):
                sink = pa.BufferOutputStream()
                options = pa.ipc.IpcWriteOptions(compression=compression)
                with pa.ipc.new_stream(sink, whole.schema, options=options) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
                yield f"arrow {numbers} {texts} {len(batches)}", INFER, ARROW, sink.getvalue().to_pybytes()

    def invocations(self) -> Iterator[Sent]:
        table = [[row[name] for name in COLUMNS] for row in self.rows]
        records = [dict(self.chance.sample(list(row.items()), 4)) for row in self.rows]
        for what, said in (
            ("dataframe_split", {"columns": COLUMNS, "data": table}), ("dataframe_records", records),
            ("instances", self.rows), ("inputs", self.columns),
        ):  # fmt: skip
            yield what, INVOKE, JSON, json.dumps({what: said}).encode()
        if "" not in self.flat["strings"]:  # which CSV cannot tell from null
            text = io.StringIO()
            csv.writer(text).writerows([COLUMNS, *[["" if each is None else each for each in line] for line in table]])
            yield "csv", INVOKE, CSV, text.getvalue().encode()


async def ask(app: App, sent: Sent, request_id: str) -> dict[str, Any]:
    _, path, headers, body = sent
    answer: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answer.update(message)

    lines = {**headers, "x-request-id": request_id}
    await app(
        {
            "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        },
        receive, send,
    )  # fmt: skip
    assert answer["status"] == 200, (sent, answer["body"])
    said: dict[str, Any] = json.loads(answer["body"])
    return said


def outcome(said: dict[str, Any]) -> tuple[Any, ...]:
    """Return an answer's scores, labels and flags, whatever form it has."""
    if "outputs" in said:
        scores, labels = said["outputs"]
        flags = json.loads(said["parameters"].get("flags", "[]"))
        found, decided = np.reshape(scores["data"], scores["shape"]), labels["data"]
    else:
        found = np.array([row["probabilities"] for row in said["predictions"]])
        decided, flags = [row["label"] for row in said["predictions"]], said.get("flags", [])
    return found.tolist(), decided, sorted(flags, key=json.dumps)


def serving(folder: Path) -> Service:
    world = World(folder / "world")
    options = ServerOptions(
        environment="sandbox", bundles=world.store, public_key=world.root / "keys" / "signing.pub",
        state=folder / "state", admin_token_file=world.root / "token",
        limits=Limits(request_timeout_s=60.0),  # the machine may stall
    )  # fmt: skip
    digest = Digest(world.bundle(task=TaskKind.MULTICLASS))

    async def made() -> Service:
        service = Service(options)
        await service.control.put("toy", Desired(sequence=1, champion=digest, since=datetime.now(UTC)))
        return service

    return asyncio.run(made())


def test_a_request_is_answered_flagged_and_logged_alike_in_every_form(tmp_path: Path) -> None:
    chance, forms, service = random.Random(3), set(), serving(tmp_path)  # noqa: S311 - no secret

    async def play() -> None:
        app = data_app(service)
        for number, count in enumerate([1] * 12 + [2, 3, 5, 7, 16, 17, 40, 150]):
            rows = [{name: chance.choice(values) for name, values in OF_COLUMN.items()} for _ in range(count)]
            if number % 2:  # half of them without null strings, which bytes have no word for
                rows = [row | {name: row[name] or "red" for name in TEXTS} for row in rows]
            wanted = None
            for at, sent in enumerate(Forms(rows, chance).all()):
                forms.add(sent[0])
                found = outcome(await ask(app, sent, f"{number}-{at}"))
                wanted = wanted or found
                assert found == wanted, (sent[0], rows)

    try:
        asyncio.run(play())
    finally:
        service.close()
    assert len(forms) == 23
    logged: dict[str, Any] = {}
    for file in sorted((tmp_path / "state" / "predictions").rglob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            row = json.loads(line) if line.startswith(b"{") else {"rows": 0}
            if 0 < row["rows"] <= 7:  # more are packed
                inputs = [[as_float32(value) for value in row["inputs"][name]] for name in COLUMNS]
                assert inputs == logged.setdefault(row["request_id"].partition("-")[0], inputs)
    assert len(logged) == 16


def as_float32(value: Any) -> Any:
    return float(np.float32(value)) if isinstance(value, int | float) else value
