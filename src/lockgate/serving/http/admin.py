"""The admin port: which bundle answers for which model, asked and changed with a bearer token."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
import orjson

from lockgate.core.ids import is_model_name
from lockgate.serving.http.app import App
from lockgate.serving.http.handling import Request, Response, Route, json_response
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.routing.account import account
from lockgate.serving.routing.desired import Desired
from lockgate.serving.routing.form import RoutingForm
from lockgate.serving.service import Service
from lockgate.serving.tokens import check_bearer


class _Fallback(msgspec.Struct, forbid_unknown_fields=True):
    constant: dict[str, Any]


class _Asked(RoutingForm, forbid_unknown_fields=True, kw_only=True):
    timeout_ms: float | None = None
    fallback: _Fallback | None = None


class _Renewal(msgspec.Struct, forbid_unknown_fields=True):
    sequence: int


_Body = TypeVar("_Body", bound=msgspec.Struct)


async def all_routing(service: Service, request: Request) -> Response:
    """Return the routing of every model."""
    del request
    models = {name: account(route) for name, route in sorted(service.router.table.items())}
    return json_response({"environment": service.options.environment, "models": models})


async def model_routing(service: Service, request: Request) -> Response:
    """Return the routing of one model."""
    return json_response(account(service.router.find(request.params["model"])))


async def put_routing(service: Service, request: Request) -> Response:
    """Put a model's routing in place and return what is really served."""
    return json_response(account(await service.control.put(*asked_routing(request))))


async def renew_lease(service: Service, request: Request) -> Response:
    """Renew the lease of a model's challengers and shadows and return what is really served."""
    return json_response(account(await service.control.renew(*asked_renewal(request))))


def asked_routing(request: Request) -> tuple[str, Desired]:
    """Return the model and the desired routing that a request asks for.

    Raises:
        RequestRefused: The path names no possible model, or the body is not of the form.
    """
    model = request.params["model"]
    if not is_model_name(model):
        raise refuse(Reason.MALFORMED, f"{model!r} is no model name: 2 to 48 of a-z, 0-9 and '-', a letter first")
    return model, parse_routing(_json(request))


def asked_renewal(request: Request) -> tuple[str, int]:
    """Return the model and the sequence whose lease a request renews.

    Raises:
        RequestRefused: The body is not of the form.
    """
    return request.params["model"], _read("lease", _json(request), _Renewal).sequence


def _json(request: Request) -> object:
    """Return the body; NaN is not null here: a limit that was computed wrong is none that was left out."""
    request.expect_json()
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError as broken:
        raise refuse(Reason.MALFORMED, f"the body is not JSON: {broken}") from broken


def parse_routing(body: object) -> Desired:
    """Return the desired routing that a body asks for; whether it keeps the rules is `Desired.problem`'s to say.

    Raises:
        RequestRefused: The body is not of the form; names the field.
    """
    asked = _read("routing", body, _Asked)
    return asked.desired(
        since=datetime.now(UTC),
        timeout_s=None if asked.timeout_ms is None else asked.timeout_ms / 1000,
        constant=None if asked.fallback is None else asked.fallback.constant,
    )


def _read(what: str, body: object, form: type[_Body]) -> _Body:
    try:
        return msgspec.convert(body, form)
    except msgspec.ValidationError as wrong:
        fields = ", ".join(form.__struct_fields__)
        raise refuse(Reason.MALFORMED, f"{what}: {wrong}; it is {{{fields}}}") from wrong


_TOKEN: Final[Mapping[int, str]] = {401: "No token, or a wrong one."}
ROUTES: Final[tuple[Route, ...]] = (
    Route(
        method="GET",
        path="/admin/routing",
        handler=all_routing,
        summary="The routing of every model.",
        responses={200: "By model.", **_TOKEN},
    ),
    Route(
        method="GET",
        path="/admin/routing/{model}",
        handler=model_routing,
        summary="The routing of one model.",
        responses={200: "What is really served.", **_TOKEN, 404: "The model is not routed."},
    ),
    Route(
        method="PUT",
        path="/admin/routing/{model}",
        handler=put_routing,
        summary="Put a routing in place.",
        responses={
            200: "What is really served.",
            400: "The body is not of the form, or breaks a rule; names the field.",
            **_TOKEN,
            404: "No such bundle in the store.",
            409: "A higher sequence was accepted before.",
            422: "The bundle is refused; says why.",
            503: "It could not be kept on disk, and what was served before still is; or no worker runs: read it again.",
        },
        body="Routing",
    ),
    Route(
        method="POST",
        path="/admin/routing/{model}/lease",
        handler=renew_lease,
        summary="Renew the lease of challengers and shadows.",
        responses={
            200: "What is really served.",
            400: "The body is not {sequence}.",
            **_TOKEN,
            404: "The model is not routed.",
            409: "Another sequence is served.",
        },
        body="Renewal",
    ),
)


def admin_app(service: Service, token: bytes) -> App:
    """Return the application of the admin port."""
    return App(service, ROUTES, lambda request: check_bearer(token, request.header(b"authorization"), "the admin port"))
