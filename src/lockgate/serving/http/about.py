"""What the server says about itself on the data port: counters and the API document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from lockgate.serving.http.handling import Request, Response, Route, json_response
from lockgate.serving.protocols.openapi import document
from lockgate.serving.service import Service
from lockgate.serving.watch.metric_page import CONTENT_TYPE, metrics_page


async def metrics(service: Service, request: Request) -> Response:
    """Return the counters in the Prometheus text format."""
    del request
    return Response(200, await metrics_page(service.metrics, service.router.table), CONTENT_TYPE)


ROUTES: Final = (
    Route(
        method="GET",
        path="/metrics",
        handler=metrics,
        summary="Counters in the Prometheus text format.",
        responses={200: "The counters."},
    ),
)


def described(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes and one more, which describes them all and itself."""

    async def openapi(service: Service, request: Request) -> Response:
        del service, request
        return json_response(page)

    own = Route(
        method="GET",
        path="/openapi.json",
        handler=openapi,
        summary="This document.",
        responses={200: "An OpenAPI 3.1 document."},
        returns="Document",
    )
    page = document((*routes, own))
    return (*routes, own)
