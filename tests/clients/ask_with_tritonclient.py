"""Asks a server with NVIDIA's tritonclient; says on stdout what it got, as JSON. Runs in an environment of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ASKED = json.load(sys.stdin)
ROWS, MODEL = ASKED["rows"], ASKED["model"]
client = triton.InferenceServerClient(ASKED["url"].removeprefix("http://"))
TIMES = 200
Arrays = dict[str, np.ndarray[Any, Any]]


def columns(number: str = "float64", integer: str = "int64") -> Arrays:
    """Return the rows as one array a column; this client has no null but NaN."""
    amounts = [np.nan if row["amount"] is None else row["amount"] for row in ROWS]
    return {
        "amount": np.array(amounts, number),
        "age": np.array([row["age"] for row in ROWS], integer),
        "colour": np.array([row["colour"] for row in ROWS], object),
        "shape": np.array([row["shape"].encode() for row in ROWS], object),
    }


def matrices() -> Arrays:
    """Return the rows in the row-major form, in the order that the model's metadata tells."""
    order = json.loads(client.get_model_metadata(MODEL)["parameters"]["row_major"])
    apart = columns()
    return {
        "numbers": np.stack([apart[name].astype("float32") for name in order["numbers"]], axis=1),
        "strings": np.stack([columns()[name].astype(str) for name in order["strings"]], axis=1).astype(object),
    }


def first(arrays: Arrays, rows: int) -> Arrays:
    return {name: array[:rows] for name, array in arrays.items()}


def many(binary: bool, **more: Any) -> dict[str, Any]:
    """Ask for so many rows that the answer is compressed too; return what it says of the first ones."""
    arrays = {name: np.concatenate([array] * TIMES) for name, array in columns().items()}
    said = ask(arrays, binary=binary, outputs={"probability": binary, "label": binary}, **more)
    assert said["probability"] == said["probability"][: len(ROWS)] * TIMES
    return {**said, "probability": said["probability"][: len(ROWS)], "label": said["label"][: len(ROWS)]}


def ask(arrays: Arrays, *, binary: bool = True, outputs: dict[str, bool] | None = None, **more: Any) -> dict[str, Any]:
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array, binary_data=binary))
    asked = [triton.InferRequestedOutput(name, binary_data=wanted) for name, wanted in (outputs or {}).items()]
    more.setdefault("model_name", MODEL)
    answer = client.infer(inputs=inputs, outputs=asked or None, request_id="mine", **more)
    said = answer.get_response()
    found = {each["name"]: answer.as_numpy(each["name"]) for each in said["outputs"]}
    return {
        "id": said["id"],
        "version": said["model_version"],
        "binary": sorted(each["name"] for each in said["outputs"] if "binary_data_size" in each.get("parameters", {})),
        **{name: [text(value) for value in array.tolist()] for name, array in found.items()},
    }


def text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def refused(ask_wrongly: Callable[[], Any]) -> dict[str, str]:
    try:
        ask_wrongly()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    raise AssertionError("the server took it")


def cases() -> Iterator[tuple[str, Any]]:
    yield "live", client.is_server_live()
    yield "ready", client.is_server_ready()
    yield "model ready", client.is_model_ready(MODEL)
    yield "version ready", client.is_model_ready(MODEL, ASKED["digest"])
    yield "other model ready", client.is_model_ready("other")
    yield "server", client.get_server_metadata()
    yield "model", client.get_model_metadata(MODEL, ASKED["digest"])
    for binary in (True, False):
        for number, integer in (
            ("float64", "int64"),
            ("float32", "uint8"),
            ("float16", "int16"),
            ("float32", "uint64"),
        ):
            yield f"columns {binary} {number} {integer}", ask(columns(number, integer), binary=binary)
        yield f"rows {binary}", ask(matrices(), binary=binary)
        yield f"one {binary}", ask(first(columns(), 1), binary=binary)
        yield f"upright {binary}", ask({name: array[:, None] for name, array in columns().items()}, binary=binary)
        yield f"binary outputs {binary}", ask(columns(), binary=binary, outputs={"probability": True, "label": True})
        yield f"json outputs {binary}", ask(columns(), binary=binary, outputs={"probability": False})
        yield f"mixed outputs {binary}", ask(columns(), binary=binary, outputs={"label": True, "probability": False})
    token = {"authorization": f"Bearer {ASKED['token']}"}
    yield "version", ask(columns(), model_version=ASKED["digest"], headers=token)
    yield "unknown parameters", ask(columns(), priority=3, timeout=5, parameters={"temperature": 0.5})
    yield "compressed answer", ask(columns(), response_compression_algorithm="gzip")
    yield "in a sequence", ask(columns(), sequence_id=7, sequence_start=True, sequence_end=True)
    both = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    for way in ("gzip", "deflate"):
        yield f"compressed {way}", ask(columns(), request_compression_algorithm=way)
        yield f"compressed one {way}", ask(first(columns(), 1), binary=False, request_compression_algorithm=way)
        for binary in (True, False):
            for back in ("gzip", "deflate"):
                ways = {"request_compression_algorithm": way, "response_compression_algorithm": back}
                yield f"many {way} {back} {binary}", many(binary, **ways)
    yield "compressed and refused", refused(lambda: ask({"age": columns()["age"]}, **both))
    yield "true is one", ask(columns() | {"age": np.array([True] * len(ROWS))})
    yield "no such model", refused(lambda: ask(columns(), model_name="other"))
    yield "no token", refused(lambda: ask(columns(), model_version=ASKED["digest"]))
    yield "no such output", refused(lambda: ask(columns(), outputs={"other": True}))
    yield "wrong type", refused(lambda: ask(columns() | {"age": np.array(["x"] * len(ROWS), object)}))
    yield "missing column", refused(lambda: ask({"age": columns()["age"]}))
    yield "unequal", refused(lambda: ask(columns() | {"age": np.zeros(1)}))
    yield (
        "no binary fractions",
        refused(lambda: ask(columns() | {"amount": columns()["amount"].astype(str).astype("S8")})),
    )


json.dump(dict(cases()), sys.stdout)
client.close()
