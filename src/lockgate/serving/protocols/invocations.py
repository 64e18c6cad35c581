"""MLflow's scoring form at `/invocations`, and its server's other paths."""

from __future__ import annotations

import urllib.parse
from typing import Final

from lockgate import __version__
from lockgate.serving.http.handling import Headers, Request, Response, Route, error_response, json_response
from lockgate.serving.protocols.apart import read_body
from lockgate.serving.protocols.arrow import (
    ARROW_GIVEN,
    ARROW_TAKEN,
    arrow_response,
    is_arrow,
    read_columns,
    wants_arrow,
)
from lockgate.serving.protocols.asking import READ, authorize, choose, predict
from lockgate.serving.protocols.invocation_request import Invocation, parse_invocation, read_csv, typed
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Prediction, Service

CSV: Final = "text/csv"
TEXT: Final = b"text/plain; charset=utf-8"


async def invocations(service: Service, request: Request) -> Response:
    """Answer rows in MLflow's form."""
    authorize(service, request)
    model, limits = _asked_model(request.query), service.options.limits
    if is_arrow(request):
        asked = Invocation(await read_columns(request, limits))
    else:
        asked = await read_body(service, request, _read, request, limits.rows)
    columns = asked.columns
    choice = choose(service, request, model, columns)
    if request.media_type == CSV:
        columns = await read_body(service, request, typed, choice.arm.model.encoder, columns)
    prediction, headers = await predict(service, request, choice, columns, explain=asked.explain)
    if is_arrow(request) and wants_arrow(request):
        return arrow_response(prediction, headers)
    return _response(prediction, asked, headers)


def _read(request: Request, max_rows: int) -> Invocation:
    """Read a request that is CSV, or one of the JSON forms."""
    if request.media_type != CSV:
        return parse_invocation(request.json(CSV, *ARROW_TAKEN), max_rows)
    request.expect_utf8()
    return Invocation(read_csv(request.body, max_rows))


def _response(prediction: Prediction, asked: Invocation, headers: Headers) -> Response:
    answer, explanation = prediction.answer, prediction.explanation
    names = tuple(answer.outputs)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*answer.outputs.values(), strict=True)]
    body: dict[str, object] = {"predictions": rows}
    if explanation is not None:
        for at, row in enumerate(rows):
            row["contributions"] = dict(zip(explanation.columns, explanation.contributions[at], strict=True))
            row["baseline"] = explanation.baseline[at]
        body["explanation"] = {"of": explanation.of, "exact": explanation.exact}
    if answer.flags:
        body["flags"] = answer.flags
    if prediction.fallback:
        body["fallback"] = True
    if asked.ignored:
        body["ignored_params"] = asked.ignored
    return json_response(body, headers=headers)


async def ping(service: Service, request: Request) -> Response:
    """Say whether every routed model is loaded, as MLflow's server says it."""
    del request
    problems = service.problems()
    return error_response(503, "; ".join(problems)) if problems else Response(200, b"\n", TEXT)


async def health(service: Service, request: Request) -> Response:
    """Say the same as `ping`."""
    return await ping(service, request)


async def version(service: Service, request: Request) -> Response:
    """Say which version of this server answers."""
    del service, request
    return Response(200, __version__.encode(), TEXT)


def _asked_model(query: bytes) -> str | None:
    if not query:
        return None
    models = urllib.parse.parse_qs(query.decode("latin-1"), keep_blank_values=True).get("model", [])
    if len(models) > 1:
        raise refuse(Reason.MALFORMED, "the query names more than one model")
    return models[0] if models else None


_ANSWERS: Final = {
    200: "One prediction a row.",
    400: "The request is of no known form or does not fit the model's contract; names the field.",
    401: "An arm is forced without the admin token.",
    404: "No such model or arm is routed.",
    408: "The body did not arrive in time.",
    413: "The body or the number of rows is above the limit.",
    415: "The body is neither JSON nor CSV nor an Arrow stream.",
    422: "The model has no finite answer to a row.",
    500: "The server failed; its log says why.",
    503: "The model is not loaded or has no answer, or too many requests are being answered.",
}
ROUTES: Final = (
    Route(
        method="POST",
        path="/invocations",
        handler=invocations,
        summary="Answer rows in MLflow's scoring form.",
        responses=_ANSWERS,
        body="Invocation",
        returns="Predictions",
        query={"model": "Which model; needed only where several are served."},
        headers=READ,
        takes={CSV: "A header line, then rows; an empty cell is null.", **ARROW_TAKEN},
        gives=ARROW_GIVEN,
        answers=True,
        limited=True,
    ),
    *(
        Route(
            method="GET",
            path=path,
            handler=handler,
            summary=summary,
            responses={200: "An empty line: every routed model answers.", 503: "Says which does not, and why."},
        )
        for path, handler, summary in (
            ("/ping", ping, "Whether every routed model is loaded, as MLflow's server says it."),
            ("/health", health, "The same as `/ping`."),
        )
    ),
    Route(
        method="GET",
        path="/version",
        handler=version,
        summary="The server's version.",
        responses={200: "It."},
    ),
)
