"""The admin port: which bundle answers for which model, asked and changed with a bearer token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from lockgate.core.ids import Digest, is_digest, is_model_name
from lockgate.errors import ConfigError
from lockgate.serving.app import App
from lockgate.serving.http import Request, Response, Route, json_response
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Service


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    sequence: int
    champion: str
    previous: str | None = None


async def all_routing(service: Service, request: Request) -> Response:
    """Return the routing of every model."""
    del request
    models = {name: route.to_json() for name, route in sorted(service.router.table.items())}
    return json_response({"environment": service.options.environment, "models": models})


async def model_routing(service: Service, request: Request) -> Response:
    """Return the routing of one model."""
    return json_response(service.router.find(request.params["model"]).to_json())


async def put_routing(service: Service, request: Request) -> Response:
    """Put a model's routing in place and return what is really served."""
    model = request.params["model"]
    if not is_model_name(model):
        raise refuse(Reason.MALFORMED, f"{model!r} is no model name: 2 to 48 of a-z, 0-9 and '-', a letter first")
    asked = _parse(request.json())
    previous = None if asked.previous is None else Digest(asked.previous)
    route = await service.put_routing(
        model, sequence=asked.sequence, champion=Digest(asked.champion), previous=previous
    )
    return json_response(route.to_json())


def _parse(body: object) -> _Asked:
    try:
        asked = msgspec.convert(body, _Asked)
    except msgspec.ValidationError as wrong:
        raise refuse(Reason.MALFORMED, f"routing: {wrong}; it is {{sequence, champion, previous}}") from wrong
    if asked.sequence < 1:
        raise refuse(Reason.MALFORMED, f"routing: sequence is {asked.sequence}; the ledger counts from 1")
    for name, digest in (("champion", asked.champion), ("previous", asked.previous)):
        if digest is not None and not is_digest(digest):
            raise refuse(
                Reason.MALFORMED, f"routing: {name} is {digest!r}, not a bundle digest (64 hexadecimal digits)"
            )
    return asked


def read_token(path: Path) -> bytes:
    """Read the admin token.

    Raises:
        ConfigError: There is no such file, or it is empty: an admin port without a token would be open to all.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as broken:
        raise ConfigError(f"admin token file {path}: {broken.strerror}; give a file that holds the token") from broken
    if not token:
        raise ConfigError(f"admin token file {path} is empty; the admin port needs a token")
    return token


def bearer(token: bytes) -> Callable[[Request], None]:
    """Return a check that refuses a request without this token; compared in constant time."""
    wanted = b"Bearer " + token

    def authorize(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get(b"authorization", b""), wanted):
            raise refuse(Reason.UNAUTHORIZED, "the admin port needs 'Authorization: Bearer <token>'")

    return authorize


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
            400: "The body is not {sequence, champion, previous}.",
            **_TOKEN,
            404: "No such bundle in the store.",
            409: "A higher sequence was accepted before.",
            422: "The bundle is refused; says why.",
            503: "The routing could not be kept on disk; what was served before still is.",
        },
        body="Routing",
    ),
)


def admin_app(service: Service, token: bytes) -> App:
    """Return the application of the admin port."""
    return App(service, ROUTES, bearer(token))
