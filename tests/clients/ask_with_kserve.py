"""Asks a server with KServe's InferenceRESTClient; says on stdout what it got, as JSON. An environment of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import from_np_dtype

ASKED = json.load(sys.stdin)
ROWS, MODEL, URL = ASKED["rows"], ASKED["model"], ASKED["url"]
client = InferenceRESTClient(RESTConfig(protocol="v2"))


def arrays(number: str, integer: str) -> dict[str, np.ndarray[Any, Any]]:
    amounts = [np.nan if row["amount"] is None else row["amount"] for row in ROWS]
    return {
        "amount": np.array(amounts, number),
        "age": np.array([row["age"] for row in ROWS], integer),
        "colour": np.array([row["colour"] for row in ROWS], object),
        "shape": np.array([row["shape"].encode() for row in ROWS], object),
    }


def tensors(number: str = "float64", integer: str = "int64", *, binary: bool) -> list[InferInput]:
    made = []
    for name, array in arrays(number, integer).items():
        tensor = InferInput(name, list(array.shape), from_np_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


def lists() -> list[InferInput]:
    """Return the rows as JSON values, null for null."""
    datatypes = {"amount": "FP32", "age": "INT32", "colour": "BYTES", "shape": "BYTES"}
    return [
        InferInput(name, [len(ROWS), 1], datatype, [row[name] for row in ROWS]) for name, datatype in datatypes.items()
    ]


async def ask(inputs: list[InferInput], outputs: dict[str, bool] | None = None, **parameters: Any) -> dict[str, Any]:
    asked = [RequestedOutput(name, {"binary_data": wanted}) for name, wanted in (outputs or {}).items()]
    request = InferRequest(MODEL, inputs, "mine", parameters=parameters or None, request_outputs=asked or None)
    answer = await client.infer(URL, request, model_name=MODEL)
    return {"id": answer.id, **{output.name: output.as_numpy().tolist() for output in answer.outputs}}


async def refused(data: Any, model: str = MODEL) -> dict[str, Any]:
    try:
        await client.infer(URL, data, model_name=model)
    except httpx.HTTPStatusError as error:
        return {"status": str(error.response.status_code), "message": str(error)}
    raise AssertionError("the server took it")


async def cases() -> AsyncIterator[tuple[str, Any]]:
    yield "lists", await ask(lists())
    if ASKED.get("only") == ["lists"]:  # the rows hold what no array of this client can
        return
    yield "live", await client.is_server_live(URL)
    yield "ready", await client.is_server_ready(URL)
    yield "model ready", await client.is_model_ready(URL, MODEL)
    yield "other model ready", await client.is_model_ready(URL, "other")
    for binary in (True, False):
        yield f"columns {binary}", await ask(tensors(binary=binary))
        yield f"small {binary}", await ask(tensors("float32", "uint8", binary=binary))
        yield f"binary answer {binary}", await ask(tensors(binary=binary), binary_data_output=True)
        yield f"mixed outputs {binary}", await ask(tensors(binary=binary), {"probability": True, "label": False})
    yield "half", await ask(tensors("float16", "int8", binary=True))
    yield "no inputs", await refused({"inputs": []})
    yield "no such model", await refused(InferRequest("other", lists()), "other")
    yield "missing column", await refused(InferRequest(MODEL, lists()[:2]))


async def main() -> None:
    async with client:
        json.dump({name: result async for name, result in cases()}, sys.stdout)


asyncio.run(main())
