"""Sends broken bodies of every form through the application of the data port; prints what came of them, as JSON.

A process of its own, so that a parser that ends the process is a failure like any other. Without sockets: what HTTP
itself does with odd bytes is its library's.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import resource
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lockgate.core.ids import Digest
from lockgate.serving.http.app import App, data_app
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.options import Limits, ServerOptions
from lockgate.serving.routing.desired import Desired
from lockgate.serving.service import Service
from tests.server_process import World

Sent = tuple[str, dict[str, str], bytes]
ROW: dict[str, Any] = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}
ROWS = [ROW, ROW | {"amount": None, "colour": None}, ROW | {"age": 7, "shape": "cube"}]
V2, INVOKE, ARROW = "/v2/models/toy/infer", "/invocations", "application/vnd.apache.arrow.stream"
TOKENS = [b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"[]", b"{}", b'"\\ud800"', b"\xff", b"[" * 999, b"true"]


def bodies() -> Iterator[Sent]:
    """Yield a whole request of every form."""
    columns = {name: [row[name] for row in ROWS] for name in ROW}
    for value in (
        {"dataframe_split": {"columns": list(ROW), "data": [list(row.values()) for row in ROWS], "index": [1, 2, 3]}},
        {"dataframe_records": ROWS, "params": {"explain": False, "other": 1}},
        {"instances": ROWS},
        {"inputs": columns},
        {"inputs": ROW},
    ):
        yield INVOKE, {}, json.dumps(value).encode()
    yield INVOKE, {"content-type": "text/csv"}, b'amount,age,"colour",shape\r\n12.5,41,red,disc\r\n,7,"x,y",\r\n'
    kinds = {"amount": "FP64", "age": "INT64", "colour": "BYTES", "shape": "BYTES"}
    for rows in (ROWS, ROWS[:1]):
        tensors = [
            {"name": n, "shape": [len(rows), 1], "datatype": k, "data": [row[n] for row in rows]}
            for n, k in kinds.items()
        ]
        more = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "label"}], "id": "x"}
        yield V2, {}, json.dumps({"inputs": tensors, **more}).encode()
        matrix = {"name": "numbers", "shape": [len(rows), 2], "datatype": "FP32", "data": [12.5, 41] * len(rows)}
        texts = {"name": "strings", "shape": [len(rows), 2], "datatype": "BYTES", "data": ["red", "disc"] * len(rows)}
        yield V2, {}, json.dumps({"inputs": [matrix, texts]}).encode()
        yield binary(rows, kinds)
    records = json.dumps({"dataframe_records": ROWS}).encode()
    for encoding, packed in (("gzip", gzip.compress(records)), ("deflate", zlib.compress(records))):
        yield INVOKE, {"content-encoding": encoding}, packed
    yield INVOKE, {"content-encoding": "gzip"}, gzip.compress(records[:50]) + gzip.compress(records[50:])
    for options in ({}, {"compression": "zstd"}):
        yield from ((path, {"content-type": ARROW}, stream(**options)) for path in (V2, INVOKE))
    yield (
        "/labels",
        {},
        b'{"labels": [{"prediction_id": "x", "label": "yes", "row": 1, "time": "2026-01-01T00:00:00Z"}]}',
    )
    yield (
        "/feedback",
        {},
        b'{"feedback": [{"prediction_id": "x", "verdict": "wrong", "row": 1, "comment": "late", "who": "a"}]}',
    )


def binary(rows: list[dict[str, Any]], kinds: dict[str, str]) -> Sent:
    inputs, behind = [], b""
    for name, kind in kinds.items():
        if kind == "BYTES":
            raw = b"".join(struct.pack("<I", len(text)) + text for text in (str(row[name]).encode() for row in rows))
        else:
            values = [0 if row[name] is None else row[name] for row in rows]
            raw = np.array(values, "<f8" if kind == "FP64" else "<i8").tobytes()
        size = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "shape": [len(rows)], "datatype": kind, "parameters": size})
        behind += raw
    said = json.dumps({"inputs": inputs}).encode()
    return V2, {"inference-header-content-length": str(len(said))}, said + behind


def stream(**options: Any) -> bytes:
    batch = pa.RecordBatch.from_pylist(ROWS)
    batch = batch.set_column(2, "colour", batch["colour"].dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def flip(body: bytearray, chance: random.Random) -> bytes:
    for _ in range(chance.choice([1, 2, 8])):
        body[chance.randrange(len(body))] = chance.choice([0, 1, 0x22, 0x2C, 0x5B, 0x7F, 0xFF, chance.randrange(256)])
    return bytes(body)


def cut(body: bytearray, chance: random.Random) -> bytes:
    return bytes(body[: chance.randrange(len(body))])


def lose(body: bytearray, chance: random.Random) -> bytes:
    at = chance.randrange(len(body))
    return bytes(body[:at] + body[at + chance.randrange(1, 9) :])


def repeat(body: bytearray, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(body)), chance.randrange(1, 60)
    return bytes(body[:at] + body[at : at + length] * chance.choice([2, 3, 50]) + body[at + length :])


def insert(body: bytearray, chance: random.Random) -> bytes:
    at = chance.choice([i for i, each in enumerate(body) if each in b":,[{"] or [0]) + 1
    return bytes(body[:at] + chance.choice(TOKENS) + chance.choice([b"", b","]) + body[at:])


def replace(body: bytearray, chance: random.Random) -> bytes:
    """Put another value in place of a number or a text of JSON."""
    at = chance.choice([i for i, each in enumerate(body) if each in b":,["] or [0]) + 1
    end = next((i for i in range(at, len(body)) if body[i] in b",]}"), len(body))
    return bytes(body[:at] + chance.choice(TOKENS) + body[end:])


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2,
    1.5,
    1e300,
    2**63,
    "",
    "red",
    "BYTES",
    "FP16",
    "label",
    [],
    [1],
    [[]],
    {},
    {"a": 1},
]


def graft(body: bytearray, chance: random.Random) -> bytes:
    """Change one value of a JSON body, or leave one out: what comes is JSON still."""
    try:
        whole = json.loads(bytes(body))
    except ValueError:
        return flip(body, chance)
    node, places = whole, []
    while isinstance(node, dict | list) and node:
        places.append((node, chance.choice(list(node) if isinstance(node, dict) else range(len(node)))))
        node = places[-1][0][places[-1][1]]
    holder, key = chance.choice(places)
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = chance.choice(VALUES)
    return json.dumps(whole).encode()


WAYS: list[Callable[[bytearray, random.Random], bytes]] = [flip, cut, lose, repeat, insert, replace, graft, graft]


async def ask(app: App, sent: Sent) -> tuple[int, bytes]:
    path, headers, body = sent
    answer: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answer.update(message)

    lines = {"content-type": "application/json", "authorization": "Bearer a-token-of-tests", **headers}
    await app(
        {
            "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in lines.items()],
        },
        receive, send,
    )  # fmt: skip
    return answer["status"], answer["body"]


async def main(seed: int, cases: int) -> None:
    chance, outcomes, failed = random.Random(seed), Counter[str](), []  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder) / "world")
        champion = Digest(world.bundle())
        service = Service(
            ServerOptions(
                environment="sandbox", bundles=world.store, public_key=world.root / "keys" / "signing.pub",
                state=world.state, admin_token_file=world.root / "token", limits=Limits(body_bytes=1 << 20, rows=100),
            )
        )  # fmt: skip
        try:
            await service.control.put("toy", Desired(sequence=1, champion=champion, since=datetime.now(UTC)))
            app, whole, settled = data_app(service), list(bodies()), 0
            for number in range(cases):
                path, headers, body = chance.choice(whole)
                broken = chance.choice(WAYS)(bytearray(body), chance)
                if not headers and chance.random() < 0.1:  # a large body is read in another way
                    broken = b" " * LARGE_BYTES + broken
                status, said = await ask(app, (path, headers, broken))
                outcomes[str(status)] += 1
                told = json.loads(said) if 400 <= status < 500 else {"error": ""}
                if status >= 500 or list(told) != ["error"] or len(said) > 1 << 20:
                    failed.append([path, headers, broken.hex()[:4000], status, said[:500].decode(errors="replace")])
                if number == cases // 3:
                    settled = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - settled
        finally:
            service.close()
    json.dump({"outcomes": outcomes, "failed": failed[:5], "grown_mb": grown / 1024}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
