"""Asks a server with MLServer's types and codecs; says on stdout what it got, as JSON. An environment of its own."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec
from mlserver.codecs.json import encode_to_json
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    Parameters,
    RequestOutput,
)

ASKED = json.load(sys.stdin)
ROWS, BASE = ASKED["rows"], ASKED["url"]
MODEL = f"{BASE}/v2/models/{ASKED['model']}"
FRAME = pd.DataFrame(ROWS)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a server of the tests
        body: bytes = answer.read()
    return body


def post(asked: InferenceRequest) -> bytes:
    """Send a request as MLServer's own REST client does: every field, absent ones as null."""
    body = asked.model_dump_json().encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{MODEL}/infer", body, headers)  # noqa: S310 - a server of the tests
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - likewise
        said: bytes = answer.read()
    return said


def ask(request: InferenceRequest) -> dict[str, Any]:
    answer = InferenceResponse.model_validate_json(post(request))
    frame = PandasCodec.decode_response(answer)
    return {"id": answer.id, "version": answer.model_version, **frame.to_dict("list")}


def codecs(number: str, integer: str) -> InferenceRequest:
    """Return the rows with the codec that each column has, which is how null strings can be sent."""
    amounts = FRAME["amount"].to_numpy(number)
    return InferenceRequest(
        id="mine",
        inputs=[
            NumpyCodec.encode_input("amount", amounts),
            NumpyCodec.encode_input("age", FRAME["age"].to_numpy(integer)),
            StringCodec.encode_input("colour", [row["colour"] for row in ROWS], use_bytes=False),
            NumpyCodec.encode_input("shape", np.array([row["shape"] for row in ROWS])),
        ],
    )


def json_texts() -> InferenceRequest:
    """Return the rows as the client sends a column of objects: as JSON texts, null too."""
    request = codecs("float64", "int64")
    for tensor, name in ((request.inputs[2], "colour"), (request.inputs[3], "shape")):
        tensor.data.root = [encode_to_json(row[name], use_bytes=False) for row in ROWS]
        tensor.parameters = Parameters(content_type=PandasCodec.JsonContentType)
    return request


def rows() -> InferenceRequest:
    order = json.loads(json.loads(get(MODEL))["parameters"]["row_major"])
    whole = FRAME.dropna()
    return InferenceRequest(
        inputs=[
            NumpyCodec.encode_input("numbers", whole[order["numbers"]].to_numpy("float32")),
            NumpyCodec.encode_input("strings", whole[order["strings"]].to_numpy(str)),
        ]
    )


def refused(request: InferenceRequest) -> dict[str, Any]:
    try:
        post(request)
    except urllib.error.HTTPError as error:
        with error:
            return {
                "status": str(error.code),
                "message": InferenceErrorResponse.model_validate_json(error.read()).error,
            }
    raise AssertionError("the server took it")


def cases() -> Iterator[tuple[str, Any]]:
    yield "server", MetadataServerResponse.model_validate_json(get(f"{BASE}/v2")).model_dump()
    yield "model", MetadataModelResponse.model_validate_json(get(MODEL)).model_dump(mode="json")
    yield "whole frame", ask(PandasCodec.encode_request(FRAME.dropna(), use_bytes=False))
    yield "null numbers", ask(PandasCodec.encode_request(FRAME.dropna(subset=["colour"]), use_bytes=False))
    yield "json texts", ask(json_texts())
    yield "codecs float64", ask(codecs("float64", "int64"))
    yield "codecs float32", ask(codecs("float32", "uint16"))
    yield "rows", ask(rows())
    selected = codecs("float32", "int8")
    selected.outputs = [RequestOutput(name="label")]
    yield "selected", ask(selected)
    wrong = codecs("float32", "int8")
    wrong.inputs[1].name = "aeg"
    yield "wrong name", refused(wrong)
    fractions = codecs("float32", "int8")
    fractions.inputs[1].data.root[0] = 41.5
    yield "no integer", refused(fractions)


json.dump(dict(cases()), sys.stdout)
