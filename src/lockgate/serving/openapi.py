"""The OpenAPI 3.1 document of the data port, rendered from the routes that the application dispatches on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from lockgate import __version__
from lockgate.serving.http import Route

Schema: TypeAlias = dict[str, Any]


def _object(required: Sequence[str] = (), **properties: object) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _array(items: object, **more: object) -> Schema:
    return {"type": "array", "items": items, **more}


_TEXT: Final = {"type": "string"}
_YES: Final = {"type": "boolean"}
_NAMES: Final = _array(_TEXT)
_SHAPE: Final = _array({"type": "integer"})
_CELL: Final = {"type": ["number", "string", "null"]}
_COLUMN: Final = _array(_CELL)
_RECORDS: Final = _array({"type": "object", "additionalProperties": _CELL}, minItems=1)
_NUMBERS: Final = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
_DATATYPE: Final = {"enum": [*_NUMBERS, "FP16", "FP32", "FP64", "BYTES"]}
_DESCRIBED: Final = _object(("name", "datatype", "shape"), name=_TEXT, datatype=_TEXT, shape=_SHAPE)
_TENSOR: Final = _object(
    ("name", "shape", "datatype", "data"), name=_TEXT, shape=_SHAPE, datatype=_DATATYPE, data={"type": "array"}
)
_FLAG: Final = _object(
    ("flag", "column", "rows"), flag={"enum": ["unknown_category", "out_of_range"]}, column=_TEXT, rows=_SHAPE
)

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Error": _object(("error",), error=_TEXT),
    "Document": _object(("openapi",), openapi=_TEXT),
    "Live": _object(("live",), live=_YES),
    "Ready": _object(
        ("ready", "models"), ready=_YES, models=_array(_object(("name", "ready"), name=_TEXT, ready=_YES))
    ),
    "ServerMetadata": _object(("name", "version", "extensions"), name=_TEXT, version=_TEXT, extensions=_NAMES),
    "ModelReady": _object(("name", "ready"), name=_TEXT, ready=_YES),
    "ModelMetadata": _object(
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_TEXT,
        versions=_NAMES,
        platform=_TEXT,
        inputs=_array(_DESCRIBED),
        outputs=_array(_DESCRIBED),
        parameters=_object(),
    ),
    "InferRequest": _object(
        ("inputs",),
        id=_TEXT,
        parameters=_object(),
        inputs=_array(_TENSOR, minItems=1),
        outputs=_array(_object(("name",), name=_TEXT)),
    ),
    "InferResponse": _object(
        ("model_name", "model_version", "id", "parameters", "outputs"),
        model_name=_TEXT,
        model_version=_TEXT,
        id=_TEXT,
        parameters=_object(
            ("model", "release_digest", "arm", "prediction_id"),
            model=_TEXT,
            release_digest=_TEXT,
            arm=_TEXT,
            prediction_id=_TEXT,
            flags={"type": "string", "description": "JSON: an array of {flag, column, rows}."},
        ),
        outputs=_array(_TENSOR),
    ),
    "Invocation": {
        "oneOf": [
            _object(
                ("dataframe_split",),
                dataframe_split=_object(("columns", "data"), columns=_NAMES, data=_array(_COLUMN), index={}),
            ),
            _object(("dataframe_records",), dataframe_records=_RECORDS),
            _object(("instances",), instances=_RECORDS),
            _object(
                ("inputs",),
                inputs={
                    "oneOf": [
                        {"type": "object", "additionalProperties": _CELL},
                        {"type": "object", "additionalProperties": _COLUMN},
                        _RECORDS,
                    ]
                },
            ),
        ]
    },
    "Predictions": _object(("predictions",), predictions=_array({"type": "object"}, minItems=1), flags=_array(_FLAG)),
}
_ANSWER_HEADERS: Final = {
    "x-lockgate-model": "The model that answered.",
    "x-lockgate-release-digest": "The bundle that answered.",
    "x-lockgate-arm": "The arm it answered for.",
    "x-lockgate-prediction-id": "Unique; the answer's row in the prediction log carries it.",
}


def document(routes: Sequence[Route]) -> Schema:
    """Return the document that describes these routes."""
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockgate model server",
            "version": __version__,
            "description": "Open Inference Protocol v2 and MLflow scoring; a model's own columns are in its metadata.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(SCHEMAS)},
    }


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": f"{route.handler.__name__}{'_version' if '{version}' in route.path else ''}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {str(status): _response(route, status, what) for status, what in sorted(route.responses.items())},
    }
    if route.body is not None:
        content: Schema = {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.body}"}}}
        if 415 in route.responses and "CSV" in route.responses[415]:
            content["text/csv"] = {"schema": _TEXT}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameters(route: Route) -> list[Schema]:
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [
        *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named),
        *({"name": n, "in": "query", "description": what, "schema": _TEXT} for n, what in route.query.items()),
        *({"name": n, "in": "header", "description": what, "schema": _TEXT} for n, what in route.headers.items()),
    ]


def _response(route: Route, status: int, what: str) -> Schema:
    response: Schema = {"description": what}
    if status != 200:
        response["content"] = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    elif route.returns is not None:
        response["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.returns}"}}}
    else:
        response["content"] = {"text/plain": {"schema": _TEXT}}
    if status == 200 and route.limited:
        response["headers"] = {name: {"description": d, "schema": _TEXT} for name, d in _ANSWER_HEADERS.items()}
    return response
