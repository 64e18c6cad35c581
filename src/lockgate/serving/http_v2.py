"""Open Inference Protocol v2 over REST: health, metadata, infer.

https://github.com/kserve/open-inference-protocol (rest, v2). One tensor a column: its name, shape [n] or [n, 1], a
number datatype for a number and BYTES for a string; null where the value is not known. A version is a bundle's digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from lockgate import __version__
from lockgate.core.contract import ColumnType, TaskKind
from lockgate.serving.columns import Columns, InputEncoder
from lockgate.serving.dataplane import OUTPUTS
from lockgate.serving.http import Request, Response, Route, error_response, json_response
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Prediction, Service

_INTEGERS: Final = frozenset(f"{kind}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64))
DATATYPES: Final[Mapping[str, ColumnType]] = {
    **dict.fromkeys((*_INTEGERS, "FP16", "FP32", "FP64"), ColumnType.NUMBER),
    "BYTES": ColumnType.STRING,
}
ENTITY_HEADER: Final = b"x-lockgate-entity"
_INTEGER_KINDS: Final = frozenset((int, type(None)))


async def server_metadata(service: Service, request: Request) -> Response:
    """Say what this server is."""
    del request
    return json_response({"name": f"lockgate-{service.options.environment}", "version": __version__, "extensions": []})


async def live(service: Service, request: Request) -> Response:
    """Say that the process answers."""
    del service, request
    return json_response({"live": True})


async def ready(service: Service, request: Request) -> Response:
    """Say whether every routed model is loaded; a server without any can take routing and is ready."""
    del request
    problems = service.problems()
    models = [{"name": name, "ready": route.ready} for name, route in sorted(service.router.table.items())]
    if problems:
        return error_response(503, "; ".join(problems), ready=False, models=models)
    return json_response({"ready": True, "models": models})


async def model_ready(service: Service, request: Request) -> Response:
    """Say whether a model answers."""
    arm, _ = service.choose(request.params["model"], request.params.get("version"), {}, None)
    return json_response({"name": arm.model.contract.model, "ready": True})


async def model_metadata(service: Service, request: Request) -> Response:
    """Say what a model takes and gives."""
    arm, _ = service.choose(request.params["model"], request.params.get("version"), {}, None)
    contract = arm.model.contract
    route = service.router.find(contract.model)
    label = OUTPUTS[contract.task][-1]
    return json_response(
        {
            "name": contract.model,
            "versions": [each.model.digest for each in route.arms],
            "platform": "onnxruntime_onnx",
            "inputs": [
                {
                    "name": column.name,
                    "datatype": "BYTES" if column.type is ColumnType.STRING else "FP32",
                    "shape": [-1],
                    "parameters": {"nullable": column.nullable},
                }
                for column in contract.inputs
            ],
            "outputs": [
                {
                    "name": name,
                    "datatype": "BYTES" if name == label and name != "value" else "FP32",
                    "shape": [-1, len(contract.classes)] if name == "probabilities" else [-1],
                }
                for name in OUTPUTS[contract.task]
            ],
            "parameters": {
                "task": contract.task,
                "classes": orjson.dumps(contract.classes).decode(),
                "unit": contract.unit,
            },
        }
    )


async def infer(service: Service, request: Request) -> Response:
    """Answer a request."""
    if b"inference-header-content-length" in request.headers:
        raise refuse(Reason.UNSUPPORTED_MEDIA, "the binary tensor extension is not spoken here; send tensors as JSON")
    body = request.json()
    columns, datatypes = parse_tensors(body)
    wanted = _wanted(body)
    arm, entity = service.choose(
        request.params["model"], request.params.get("version"), columns, request.header(ENTITY_HEADER)
    )
    _check_datatypes(arm.model.encoder, columns, datatypes)
    if wanted is not None:
        _check_wanted(wanted, arm.model.contract.task)
    prediction = await service.predict(arm, columns, entity=entity, started=request.started)
    return _answer(prediction, wanted, body.get("id"))


def parse_tensors(body: object) -> tuple[Columns, Mapping[str, str]]:
    """Return the values and the datatype of every tensor of an infer request, by name.

    Raises:
        RequestRefused: The request is not of the protocol's form; names the tensor.
    """
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise refuse(Reason.MALFORMED, "an infer request is an object with 'inputs', a list of one tensor a column")
    columns: dict[str, list[object]] = {}
    datatypes: dict[str, str] = {}
    for index, tensor in enumerate(inputs):
        if not isinstance(tensor, dict) or not isinstance(name := tensor.get("name"), str):
            raise refuse(Reason.MALFORMED, f"inputs[{index}] must be an object with a 'name'")
        if name in columns:
            raise refuse(Reason.MALFORMED, f"input {name!r} is sent twice")
        columns[name] = _data(name, tensor)
        datatypes[name] = _datatype(name, tensor)
    return columns, datatypes


def _datatype(name: str, tensor: Mapping[str, Any]) -> str:
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise refuse(
            Reason.WRONG_TYPE, f"input {name!r}: datatype {datatype!r}; known are {', '.join(sorted(DATATYPES))}"
        )
    return datatype


def _data(name: str, tensor: Mapping[str, Any]) -> list[object]:
    """Return a tensor's values, flat, after checking them against its shape."""
    data, shape = tensor.get("data"), tensor.get("shape")
    if not isinstance(data, list):
        raise refuse(Reason.MALFORMED, f"input {name!r}: 'data' must be an array of its values")
    if shape == [len(data)]:
        return data
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise refuse(Reason.MALFORMED, f"input {name!r}: 'shape' must be an array of sizes, like [{len(data)}]")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise refuse(
            Reason.MALFORMED, f"input {name!r}: shape {shape}; one tensor is one column, of shape [n] or [n, 1]"
        )
    if len(shape) == 2 and data and all(isinstance(row, list) and len(row) == 1 for row in data):
        data = [row[0] for row in data]
    if len(data) != shape[0]:
        raise refuse(Reason.UNEQUAL_LENGTHS, f"input {name!r}: shape {shape} but {len(data)} values")
    return data


def _check_datatypes(encoder: InputEncoder, columns: Columns, datatypes: Mapping[str, str]) -> None:
    """Refuse a datatype that the contract's column is not, and a fraction that is called an integer."""
    by_name = encoder.by_name
    for name, datatype in datatypes.items():
        column = by_name.get(name)
        if column is not None and DATATYPES[datatype] is not column.type:
            wanted = "BYTES" if column.type is ColumnType.STRING else "a number's, such as FP32"
            raise refuse(Reason.WRONG_TYPE, f"input {name!r}: datatype {datatype}, the contract's is {wanted}")
        if datatype in _INTEGERS and not _INTEGER_KINDS.issuperset(map(type, columns[name])):
            row = next(i for i, value in enumerate(columns[name]) if type(value) not in _INTEGER_KINDS)
            raise refuse(
                Reason.WRONG_TYPE, f"input {name!r}, row {row}: not an integer, though its datatype is {datatype}"
            )


def _wanted(body: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the outputs that were asked for; None: all."""
    outputs = body.get("outputs")
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or not all(
        isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
    ):
        raise refuse(Reason.MALFORMED, "'outputs' must be a list of objects with a 'name'")
    return frozenset(each["name"] for each in outputs)


def _check_wanted(wanted: frozenset[str], task: TaskKind) -> None:
    for name in sorted(wanted.difference(OUTPUTS[task])):
        raise refuse(Reason.UNKNOWN_OUTPUT, f"output {name!r} is not one of {', '.join(OUTPUTS[task])}")


def _answer(prediction: Prediction, wanted: frozenset[str] | None, caller_id: object) -> Response:
    arm, answer = prediction.arm, prediction.answer
    model = arm.model
    parameters: dict[str, object] = {
        "model": model.contract.model,
        "release_digest": model.digest,
        "arm": arm.name,
        "prediction_id": prediction.id,
    }
    if answer.flags:
        parameters["flags"] = orjson.dumps(answer.flags).decode()
    tensors = []
    for name, data in answer.outputs.items():
        if wanted is None or name in wanted:
            is_text = type(data) is list
            shape = [answer.rows] if is_text or name != "probabilities" else [answer.rows, len(model.contract.classes)]
            flat = data if is_text else data.reshape(-1)  # type: ignore[union-attr]  # an array where it is no list
            tensors.append({"name": name, "datatype": "BYTES" if is_text else "FP32", "shape": shape, "data": flat})
    body = {
        "model_name": model.contract.model,
        "model_version": model.digest,
        "id": caller_id if isinstance(caller_id, str) else prediction.id,
        "parameters": parameters,
        "outputs": tensors,
    }
    return json_response(body, headers=(*arm.headers, (b"x-lockgate-prediction-id", prediction.id.encode())))


_ENTITY = {"x-lockgate-entity": "Keys sticky routing; goes before the contract's entity column."}
_NO_MODEL = {404: "No such model or version is routed.", 503: "The model is routed but could not be loaded."}
_INFER = {
    200: "The model's answer.",
    400: "The request does not fit the protocol or the model's contract; names the field.",
    404: _NO_MODEL[404],
    408: "The body did not arrive in time.",
    413: "The body or the number of rows is above the limit.",
    415: "The body is not JSON.",
    422: "The model has no finite answer to a row.",
    503: "The model is not loaded, or too many requests are being answered.",
}
ROUTES: Final = (
    Route(
        method="GET",
        path="/v2",
        handler=server_metadata,
        summary="Server metadata.",
        responses={200: "What this server is."},
        returns="ServerMetadata",
    ),
    Route(
        method="GET",
        path="/v2/health/live",
        handler=live,
        summary="Whether the process answers.",
        responses={200: "It does."},
        returns="Live",
    ),
    Route(
        method="GET",
        path="/v2/health/ready",
        handler=ready,
        summary="Whether every routed model is loaded.",
        responses={200: "Every routed model answers; none may be routed yet.", 503: "Says which does not, and why."},
        returns="Ready",
    ),
    *(
        route
        for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        for route in (
            Route(
                method="GET",
                path=prefix,
                handler=model_metadata,
                summary="What a model takes and gives.",
                responses={200: "Its metadata.", **_NO_MODEL},
                returns="ModelMetadata",
            ),
            Route(
                method="GET",
                path=f"{prefix}/ready",
                handler=model_ready,
                summary="Whether a model answers.",
                responses={200: "It does.", **_NO_MODEL},
                returns="ModelReady",
            ),
            Route(
                method="POST",
                path=f"{prefix}/infer",
                handler=infer,
                summary="Answer rows, one tensor a column.",
                responses=_INFER,
                body="InferRequest",
                returns="InferResponse",
                headers=_ENTITY,
                limited=True,
            ),
        )
    ),
)
