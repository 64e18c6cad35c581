"""A prediction -> the answer of the Open Inference Protocol, as JSON or with binary tensors behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from lockgate.core.contract import TaskKind
from lockgate.serving.http.handling import Headers, Response, json_bytes
from lockgate.serving.model.column_values import Labels
from lockgate.serving.model.dataplane import OUTPUTS, Answer, Output
from lockgate.serving.protocols.v2_binary import raw_bytes
from lockgate.serving.protocols.v2_model import CONTRIBUTIONS
from lockgate.serving.protocols.v2_request import InferRequest
from lockgate.serving.service import Prediction

if TYPE_CHECKING:  # loaded with the first request that asks for one
    from lockgate.serving.model.explanation import Explanation
    from lockgate.serving.routing.router import Arm

BINARY: Final = b"application/octet-stream"
BINARY_HEADER: Final = b"inference-header-content-length"


def infer_response(prediction: Prediction, asked: InferRequest, headers: Headers) -> Response:
    """Return the answer to a request, with these headers; float32 in its shortest form that reads back the same."""
    outputs, wanted = prediction.answer.outputs, asked.outputs
    tensors = [_tensor(name, data) for name, data in outputs.items() if wanted is None or name in wanted]
    if prediction.explanation is not None:
        tensors.append(_contributions(prediction.explanation))
    body = {
        "model_name": prediction.arm.model.contract.model,
        "model_version": prediction.arm.model.digest,
        "id": prediction.id if asked.id is None else asked.id,
        "parameters": _parameters(prediction),
        "outputs": tensors,
    }
    if (wanted is not None or asked.binary_output) and any(asked.wants_binary(tensor["name"]) for tensor in tensors):
        return _with_binary(body, tensors, asked, headers)
    _list_labels(tensors)
    return Response(200, json_bytes(body), headers=headers)


class RowAnswer:
    """The body of an arm's answers to one row, all of it but the ids and the outputs written once.

    Byte by byte what `infer_response` makes of a request that asks for every output as JSON.
    """

    __slots__ = ("_after_id", "_before_id", "_labels", "_output", "_outputs")

    def __init__(self, arm: Arm) -> None:
        """Write what does not change."""
        contract = arm.model.contract
        model, digest = orjson.dumps(contract.model), orjson.dumps(arm.model.digest)
        self._output: Final = OUTPUTS[contract.task][0]
        shape = [1, len(contract.classes)] if contract.task is TaskKind.MULTICLASS else [1]
        opening = json_bytes({"name": self._output, "datatype": "FP32", "shape": shape})[:-1]
        self._before_id: Final = b'{"model_name":%s,"model_version":%s,"id":' % (model, digest)
        self._after_id: Final = b',"parameters":{"model":%s,"release_digest":%s,"arm":%s,"prediction_id":"' % (
            model, digest, orjson.dumps(arm.name),
        )  # fmt: skip
        self._outputs: Final = b'},"outputs":[%s,"data":' % opening
        self._labels: Final = {
            label: b"},%s]}" % json_bytes(_tensor(OUTPUTS[contract.task][1], [label])) for label in contract.classes
        }

    def body(self, answer: Answer, prediction_id: bytes, caller_id: str | None) -> bytes:
        """Return the body.

        Args:
            answer: What the arm's model said to one row.
            prediction_id: ASCII that JSON holds as it is.
            caller_id: The request's own id.
        """
        outputs: Mapping[str, Any] = answer.outputs
        numbers = outputs[self._output]
        quoted = b'"%s"' % prediction_id
        return b"".join((
            self._before_id,
            quoted if caller_id is None else orjson.dumps(caller_id),
            self._after_id,
            prediction_id,
            b'"' if not answer.flags else b'","flags":%s' % orjson.dumps(orjson.dumps(answer.flags).decode()),
            self._outputs,
            orjson.dumps(numbers if numbers.ndim == 1 else numbers.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY),
            self._labels[outputs["label"][0]] if self._labels else b"}]}",
        ))  # fmt: skip


def _parameters(prediction: Prediction) -> dict[str, object]:
    arm = prediction.arm
    parameters: dict[str, object] = {
        "model": arm.model.contract.model,
        "release_digest": arm.model.digest,
        "arm": arm.name,
        "prediction_id": prediction.id,
    }
    if prediction.answer.flags:
        parameters["flags"] = orjson.dumps(prediction.answer.flags).decode()
    if prediction.fallback:
        parameters["fallback"] = True
    return parameters


def _tensor(name: str, data: Output) -> dict[str, Any]:
    if type(data) is list or isinstance(data, Labels):
        return {"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data}
    numbers: Any = data
    if numbers.ndim == 1:
        return {"name": name, "datatype": "FP32", "shape": [len(numbers)], "data": numbers}
    return {"name": name, "datatype": "FP32", "shape": list(numbers.shape), "data": numbers.reshape(-1)}


def _list_labels(tensors: list[dict[str, Any]]) -> None:
    """Make strings of the labels that go into the JSON."""
    for tensor in tensors:
        if isinstance(tensor.get("data"), Labels):
            tensor["data"] = tensor["data"].tolist()


def _contributions(explanation: Explanation) -> dict[str, Any]:
    tensor = _tensor(CONTRIBUTIONS, explanation.contributions)
    said: dict[str, object] = {
        "columns": explanation.columns,
        "baseline": explanation.baseline,
        "classes": explanation.classes,
    }
    # a parameter of the protocol is a text, a number, or true or false
    tensor["parameters"] = {name: json_bytes(value).decode() for name, value in said.items() if value is not None}
    tensor["parameters"] |= {"of": explanation.of, "exact": explanation.exact}
    return tensor


def _with_binary(
    body: dict[str, Any], tensors: list[dict[str, Any]], asked: InferRequest, headers: Headers
) -> Response:
    """Return the answer with the data of the tensors that are wanted so behind its JSON, in their order."""
    behind = []
    for tensor in tensors:
        if asked.wants_binary(tensor["name"]):
            raw = raw_bytes(tensor.pop("data"))
            tensor["parameters"] = {**tensor.get("parameters", {}), "binary_data_size": len(raw)}
            behind.append(raw)
    _list_labels(tensors)
    said = json_bytes(body)
    length = (BINARY_HEADER, b"%d" % len(said))
    return Response(200, b"".join((said, *behind)), BINARY, (*headers, length))
