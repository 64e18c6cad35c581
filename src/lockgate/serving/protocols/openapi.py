"""The OpenAPI 3.1 document of the data port, rendered from the routes that the application dispatches on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from lockgate import __version__
from lockgate.serving.http.handling import Route
from lockgate.serving.protocols.asking import SOMETIMES_WRITTEN, WRITTEN
from lockgate.serving.protocols.openapi_schemas import SCHEMAS, TEXT, Schema

_TOKEN: Final = "adminToken"  # noqa: S105 - the scheme's name
_TOKENS: Final = "The admin token; for /feedback, its own token as well."
_AUTHORIZATION: Final = "authorization"
_CALLERS: Final = {
    "x-request-id": "The caller's own id, where it gave one that can be kept.",
    "traceparent": "The caller's trace context, where it gave a valid one.",
}
_PLAIN: Final = {"text/plain": "A text."}
_OF_STATUS: Final = {
    401: {"www-authenticate": "The scheme: Bearer."},
    415: {"accept-encoding": "What `Content-Encoding` may be, where the request's is nothing that is taken."},
    503: {"retry-after": "Seconds to wait, where waiting helps."},
}
_OF_MEDIA: Final = {
    "application/octet-stream": {"inference-header-content-length": "Bytes of JSON in front of the binary tensors."}
}
_COMPRESSED: Final = {
    "content-encoding": "Gzip or deflate, where the request was compressed too and its `Accept-Encoding` takes it.",
    "vary": "That header, where it decided.",
}
_BODY: Final = "Plain, or compressed as `Content-Encoding` says: gzip or deflate; limits and lengths count it as plain."
_ANYWHERE: Final = {500: "The server failed; its log says why.", 503: "Too many connections are open."}


def document(routes: Sequence[Route]) -> Schema:
    """Return the document that describes these routes."""
    paths: dict[str, dict[str, Schema]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    named = {name for route in routes for name in (route.body, route.returns) if name}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lockgate model server",
            "version": __version__,
            "description": "Open Inference Protocol v2 and MLflow scoring; a model's own columns are in its metadata. "
            "A path that takes GET takes HEAD as well, and every path OPTIONS; other methods get 405 and `Allow`, "
            "other paths 404. Before a path is looked at, 400 is said to what is no HTTP/1.1, 431 to a head too large.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in SCHEMAS.items() if name in named or name == "Error"},
            "securitySchemes": {_TOKEN: {"type": "http", "scheme": "bearer", "description": _TOKENS}},
        },
    }


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": f"{route.handler.__name__}{'_version' if '{version}' in route.path else ''}",
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            str(status): _response(route, status, what)
            for status, what in sorted({**_ANYWHERE, **route.responses}.items())
        },
    }
    if _AUTHORIZATION in route.headers:
        # a version in the path forces it, an arm in a header only where there is one
        open_to_all: list[Schema] = [] if "{version}" in route.path or "x-lockgate-arm" not in route.headers else [{}]
        operation["security"] = [*open_to_all, {_TOKEN: []}]
    if route.body is not None:
        content = _content(route.body, route.takes)
        operation["requestBody"] = {"required": True, "description": _BODY, "content": content}
    return operation


def _parameters(route: Route) -> list[Schema]:
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    headers = {name: what for name, what in route.headers.items() if name != _AUTHORIZATION}
    return [
        *({"name": name, "in": "path", "required": True, "schema": TEXT} for name in named),
        *({"name": n, "in": "query", "description": what, "schema": TEXT} for n, what in route.query.items()),
        *({"name": n, "in": "header", "description": what, "schema": TEXT} for n, what in headers.items()),
    ]


def _response(route: Route, status: int, what: str) -> Schema:
    headers = {**_CALLERS, **_OF_STATUS.get(status, {}), **(_COMPRESSED if status == 200 and route.body else {})}
    if status != 200:
        content = _content("Error")
    elif route.returns is not None:
        content = _content(route.returns, route.gives)
    else:
        content = {name: {"schema": {**TEXT, "description": said}} for name, said in (route.gives or _PLAIN).items()}
    described: Schema = {name: {"description": said, "schema": TEXT} for name, said in headers.items()}
    if status == 200 and route.answers:
        for name, said in {**WRITTEN, **SOMETIMES_WRITTEN}.items():
            described[name] = {"description": said, "required": name in WRITTEN, "schema": TEXT}
        for media in _OF_MEDIA.keys() & route.gives.keys():
            described |= {name: {"description": said, "schema": TEXT} for name, said in _OF_MEDIA[media].items()}
    return {"description": what, "headers": described, "content": content}


def _content(schema: str, others: Any = ()) -> Schema:  # noqa: ANN401 - a mapping of names to what they mean
    """Return the media types of a body: JSON of a schema, and others that have none."""
    return {
        "application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}},
        **{name: {"schema": {**_BYTES, "description": others[name]}} for name in others},
    }


_BYTES: Final[Schema] = {"type": "string", "contentEncoding": "binary"}
