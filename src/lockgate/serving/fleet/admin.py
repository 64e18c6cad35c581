"""The admin port of several workers: the same paths, forms and answers, fulfilled by all of them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, cast

from lockgate.serving.fleet.routing import FleetRouting
from lockgate.serving.http import admin as http_admin
from lockgate.serving.http.app import App
from lockgate.serving.http.handling import Handler, Request, Response, json_response
from lockgate.serving.options import ServerOptions
from lockgate.serving.service import Service
from lockgate.serving.tokens import check_bearer
from lockgate.serving.watch.metrics import Metrics


@dataclass(frozen=True, slots=True)
class FleetService:
    """What an application needs of the parent, which answers no requests.

    Attributes:
        options: How the server was started.
        metrics: What the parent counts.
    """

    options: ServerOptions
    metrics: Metrics


class FleetAdmin:
    """The handlers."""

    def __init__(self, environment: str, routing: FleetRouting) -> None:
        """Take what fulfils them."""
        self._environment, self._routing = environment, routing
        self.by_handler: Final[Mapping[Handler, Handler]] = {
            http_admin.all_routing: self.all_routing,
            http_admin.model_routing: self.model_routing,
            http_admin.put_routing: self.put_routing,
            http_admin.renew_lease: self.renew_lease,
        }

    async def all_routing(self, service: Service, request: Request) -> Response:
        """Return the routing of every model."""
        del service, request
        return json_response({"environment": self._environment, "models": await self._routing.read_all()})

    async def model_routing(self, service: Service, request: Request) -> Response:
        """Return the routing of one model."""
        del service
        return json_response(await self._routing.read(request.params["model"]))

    async def put_routing(self, service: Service, request: Request) -> Response:
        """Put a model's routing in place on every worker and return what they really serve."""
        del service
        return json_response(await self._routing.put(*http_admin.asked_routing(request)))

    async def renew_lease(self, service: Service, request: Request) -> Response:
        """Renew the lease of a model on every worker and return what they really serve."""
        del service
        return json_response(await self._routing.renew(*http_admin.asked_renewal(request)))


def fleet_admin_app(service: FleetService, routing: FleetRouting, token: bytes) -> App:
    """Return the application of the parent's admin port."""
    handlers = FleetAdmin(service.options.environment, routing).by_handler
    return App(
        cast("Service", service),  # limits and counters are all that an application itself takes of it
        [replace(route, handler=handlers[route.handler]) for route in http_admin.ROUTES],
        lambda request: check_bearer(token, request.header(b"authorization"), "the admin port"),
    )
