"""Open Inference Protocol v2 over REST: health, metadata, infer.

https://github.com/kserve/open-inference-protocol (rest, v2), with its binary tensor data extension and, beyond it,
Arrow streams. A version is a bundle's digest; asking one to infer forces it, which needs the admin token.
"""

from __future__ import annotations

from typing import Final

from lockgate import __version__
from lockgate.serving.http.handling import Request, Response, Route, error_response, json_response
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.protocols.apart import read_body
from lockgate.serving.protocols.arrow import (
    ARROW_GIVEN,
    ARROW_TAKEN,
    arrow_response,
    is_arrow,
    read_columns,
    wants_arrow,
)
from lockgate.serving.protocols.asking import READ, authorize, choose, plain_row, predict
from lockgate.serving.protocols.v2_answer import BINARY, infer_response
from lockgate.serving.protocols.v2_binary import HEADER
from lockgate.serving.protocols.v2_model import form_of, is_row_major
from lockgate.serving.protocols.v2_repeated import read_binary
from lockgate.serving.protocols.v2_request import EVERYTHING, InferRequest, read_infer
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Service

EXTENSIONS: Final = ("binary_tensor_data",)


async def server_metadata(service: Service, request: Request) -> Response:
    """Say what this server is."""
    del request
    return json_response(
        {"name": f"lockgate-{service.options.environment}", "version": __version__, "extensions": EXTENSIONS}
    )


async def server_metadata_too(service: Service, request: Request) -> Response:
    """Say the same, where the protocol's own OpenAPI document asks for it."""
    return await server_metadata(service, request)


async def live(service: Service, request: Request) -> Response:
    """Say that the process answers."""
    del service, request
    return json_response({"live": True})


async def ready(service: Service, request: Request) -> Response:
    """Say whether every routed model is loaded; a server without any can take routing and is ready."""
    del request
    problems = service.problems()
    models = [
        {"name": name, "ready": service.health.ready(route)} for name, route in sorted(service.router.table.items())
    ]
    if problems:
        return error_response(503, "; ".join(problems), ready=False, models=models)
    return json_response({"ready": True, "models": models})


def _model(service: Service, request: Request) -> ServedModel:
    """Return the champion of the model that a path names, or the version that it names."""
    params = request.params
    route = service.router.find(params["model"])
    if not route.arms:
        raise refuse(Reason.NOT_LOADED, route.problem)
    version = params.get("version")
    return route.arms[0].model if version is None else route.choose(None, version=version).arm.model


async def model_ready(service: Service, request: Request) -> Response:
    """Say whether a model, or a version of it, answers, and rightly."""
    name, version = request.params["model"], request.params.get("version")
    route = service.router.find(name)
    if version is None or not route.ready:
        problem = next(service.health.of_model(route), None)
    else:
        wrong = service.health.self_probe.wrong.get(_model(service, request).digest)
        problem = None if wrong is None else f"version {version} of model {name!r} answers wrong: {wrong}"
    if problem is not None:
        return error_response(503, problem, name=name, ready=False)
    return json_response({"name": name, "ready": True})


async def model_metadata(service: Service, request: Request) -> Response:
    """Say what a model takes and gives."""
    model = _model(service, request)
    route = service.router.find(model.contract.model)
    versions = dict.fromkeys(str(arm.model.digest) for arm in route.forcible.values())
    return json_response(form_of(model).metadata(tuple(versions)))


async def infer(service: Service, request: Request) -> Response:
    """Answer a request."""
    authorize(service, request)
    model = request.params["model"]
    if is_arrow(request):
        columns = await read_columns(request, service.options.limits)
        prediction, headers = await predict(service, request, choose(service, request, model, columns), columns)
        if wants_arrow(request):
            return arrow_response(prediction, headers)
        return infer_response(prediction, EVERYTHING, headers)
    asked, columns = await read_body(service, request, _read, service, request)
    choice = choose(service, request, model, columns)
    form_of(choice.arm.model).check(asked)
    prediction, headers = await predict(service, request, choice, columns, explain=asked.explain)
    return infer_response(prediction, asked, headers)


def _read(service: Service, request: Request) -> tuple[InferRequest, Columns]:
    """Return what a request in any of the protocol's own forms asks for, and its columns by their own names."""
    asked = _asked(service, request)
    columns = _columns(service, request, asked) if is_row_major(asked) else asked.columns
    return asked, plain_row(columns) if HEADER in request.headers else columns


def _columns(service: Service, request: Request, asked: InferRequest) -> Columns:
    """Return the columns that a row-major request holds, in the order of the metadata of the model it asks."""
    form = form_of(_model(service, request))
    return form.columns(asked) if form.row_major else asked.columns


def _asked(service: Service, request: Request) -> InferRequest:
    """Read a request in any of the protocol's forms: JSON, JSON and binary tensors, or one tensor's bytes alone."""
    length = request.headers.get(HEADER)
    if not length:
        request.expect_json(f"{OCTETS} with Inference-Header-Content-Length", *ARROW_TAKEN)
        return read_infer(request.body)
    if length == b"0":
        return form_of(_model(service, request)).raw(request.body)
    return read_binary(request.body, length)


OCTETS: Final = BINARY.decode()
_READ: Final = {
    **READ,
    "inference-header-content-length": "Bytes of JSON in front of the binary tensors; 0: they are the only input's.",
}
_NO_MODEL = {404: "No such model or version is routed.", 503: "The model is routed but could not be loaded."}
_INFER = {
    200: "The model's answer.",
    400: "The request does not fit the protocol or the model's contract; names the field.",
    401: "An arm or version is forced without the admin token.",
    404: "No such model, version or arm is routed.",
    408: "The body did not arrive in time.",
    413: "The body or the number of rows is above the limit.",
    415: "The body is of no form that is taken here.",
    422: "The model has no finite answer to a row.",
    500: "The server failed; its log says why.",
    503: "The model is not loaded or has no answer, or too many requests are being answered.",
}
ROUTES: Final = (
    *(
        Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            responses={200: "What this server is."},
            returns="ServerMetadata",
        )
        for path, handler, summary in (
            ("/v2", server_metadata, "Server metadata."),
            ("/v2/", server_metadata_too, "The same as `/v2`."),
        )
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
                responses={200: "It does.", **_NO_MODEL, 503: "It could not be loaded, or answers wrong; says which."},
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
                headers=_READ,
                takes={OCTETS: "JSON and binary tensors, see `Inference-Header-Content-Length`.", **ARROW_TAKEN},
                gives={OCTETS: "JSON and the binary tensors that were asked for.", **ARROW_GIVEN},
                answers=True,
                limited=True,
            ),
        )
    ),
)
