"""Requests in every form that is measured, over the rows of the comparison, and how an answer is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from benchmarks.serving.model import Model

JSON = "application/json"
NUMBERS = "numbers"
"""What our server calls a matrix of all numeric columns; rivals take a tensor of any name."""
VARIED = 256
"""How many different rows are asked in turns: the same row again would be answered from warm caches."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP POST.

    Attributes:
        path: From the root.
        body: Its bytes.
        headers: By name; content type included.
    """

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """One form of request.

    Attributes:
        name: As it is reported.
        contract: Which contract of ours it is for; None: it is no request of ours.
        make: Makes the call for some rows, given by their indices.
    """

    name: str
    contract: str
    make: Callable[[Model, Sequence[int]], Call]


def _infer(model: Model, contract: str, tensors: list[dict[str, Any]]) -> Call:
    path = f"/v2/models/{model.served(contract).model}/infer"
    return Call(path, orjson.dumps({"inputs": tensors}, option=orjson.OPT_SERIALIZE_NUMPY), {"content-type": JSON})


def v2_columns(model: Model, at: Sequence[int]) -> Call:
    """One tensor a column, strings as BYTES."""
    return _infer(
        model,
        "columns",
        [
            {
                "name": name,
                "shape": [len(at)],
                "datatype": "FP32" if name in model.facts["numeric"] else "BYTES",
                "data": [model.rows[index][name] for index in at],
            }
            for name in model.facts["columns"]
        ],
    )


def v2_numbers(model: Model, at: Sequence[int]) -> Call:
    """One FP32 tensor a column, categories as codes."""
    columns = zip(model.facts["columns"], model.matrix[list(at)].T, strict=True)
    return _infer(
        model,
        "floats",
        [
            {"name": name, "shape": [len(at)], "datatype": "FP32", "data": np.ascontiguousarray(values)}
            for name, values in columns
        ],
    )


def v2_matrix(model: Model, at: Sequence[int]) -> Call:
    """One FP32 tensor [rows, columns], row by row: what every rival takes."""
    rows = np.ascontiguousarray(model.matrix[list(at)])
    tensor = {"name": NUMBERS, "shape": list(rows.shape), "datatype": "FP32", "data": rows.reshape(-1)}
    return _infer(model, "floats", [tensor])


def v2_matrix_binary(model: Model, at: Sequence[int]) -> Call:
    """The same by the binary tensor extension: a JSON header, then the bytes of the tensor."""
    rows = np.ascontiguousarray(model.matrix[list(at)])
    tensor = {
        "name": NUMBERS,
        "shape": list(rows.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": rows.nbytes},
    }
    header = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return Call(
        f"/v2/models/{model.served('floats').model}/infer",
        header + rows.tobytes(),
        {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))},
    )


def v2_columns_binary(model: Model, at: Sequence[int]) -> Call:
    """One binary tensor a column; strings with a length of four bytes before each."""
    tensors, blobs = [], []
    for name in model.facts["columns"]:
        values = [model.rows[index][name] for index in at]
        numeric = name in model.facts["numeric"]
        if numeric:
            blob = np.array(values, np.float32).tobytes()
        else:
            texts = [str(value).encode() for value in values]
            blob = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        tensors.append(
            {
                "name": name,
                "shape": [len(at)],
                "datatype": "FP32" if numeric else "BYTES",
                "parameters": {"binary_data_size": len(blob)},
            }
        )
        blobs.append(blob)
    header = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
    return Call(
        f"/v2/models/{model.served('columns').model}/infer",
        header + b"".join(blobs),
        {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))},
    )


def split(model: Model, at: Sequence[int]) -> Call:
    """MLflow's dataframe_split."""
    names = model.facts["columns"]
    data = [[model.rows[index][name] for name in names] for index in at]
    path = f"/invocations?model={model.served('columns').model}"
    return Call(path, orjson.dumps({"dataframe_split": {"columns": names, "data": data}}), {"content-type": JSON})


def records(model: Model, at: Sequence[int]) -> Call:
    """MLflow's dataframe_records."""
    path = f"/invocations?model={model.served('columns').model}"
    return Call(path, orjson.dumps({"dataframe_records": [model.rows[index] for index in at]}), {"content-type": JSON})


def arrow(model: Model, at: Sequence[int]) -> Call:
    """An Arrow IPC stream, strings dictionary-encoded."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in model.facts["columns"]:
        values = [model.rows[index][name] for index in at]
        numeric = name in model.facts["numeric"]
        columns[name] = pa.array(values, pa.float32()) if numeric else pa.array(values, pa.string()).dictionary_encode()
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    path = f"/invocations?model={model.served('columns').model}"
    return Call(path, sink.getvalue(), {"content-type": "application/vnd.apache.arrow.stream"})


FORMS = {
    form.name: form
    for form in (
        Form("v2 row, one FP32 tensor", "floats", v2_matrix),
        Form("v2 columns with strings", "columns", v2_columns),
        Form("v2 columns, all numbers", "floats", v2_numbers),
        Form("v2 row, binary tensor", "floats", v2_matrix_binary),
        Form("v2 columns, binary tensors", "columns", v2_columns_binary),
        Form("invocations, dataframe_split", "columns", split),
        Form("invocations, dataframe_records", "columns", records),
        Form("arrow stream", "columns", arrow),
    )
}


def probabilities(body: bytes, headers: Mapping[str, str]) -> list[float]:
    """Return the probabilities that an answer of ours holds, in any of its forms.

    Raises:
        ValueError: It holds none.
    """
    length = headers.get("inference-header-content-length")
    if length is not None:
        return _binary_output(body, int(length))
    if headers.get("content-type", "").startswith("application/vnd.apache.arrow"):
        import pyarrow as pa

        return [float(value) for value in pa.ipc.open_stream(body).read_all()["probability"].to_pylist()]
    answer = json.loads(body)
    if "predictions" in answer:
        return [float(each["probability"]) for each in answer["predictions"]]
    for output in answer.get("outputs", ()):
        if output["name"] == "probability":
            return [float(value) for value in output["data"]]
    raise ValueError(f"no probability in {body[:200]!r}")


def _binary_output(body: bytes, header_length: int) -> list[float]:
    at = header_length
    for output in json.loads(body[:header_length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if output["name"] == "probability":
            return [float(v) for v in (output["data"] if size is None else np.frombuffer(body[at : at + size], "<f4"))]
        at += size or 0
    raise ValueError("no probability among the outputs")
