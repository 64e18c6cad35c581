"""The ASGI application: limits, dispatch, and the one seam where an error becomes a status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from lockgate.errors import BadInput, IntegrityError, LedgerConflict, LockgateError
from lockgate.serving import http_invocations, http_server, http_v2
from lockgate.serving.bundle import UnknownBundle
from lockgate.serving.http import STATUS, Dispatch, Headers, Request, Response, Route, error_response
from lockgate.serving.options import Limits
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.service import Service

logger = logging.getLogger(__name__)

Scope: TypeAlias = Mapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

DATA_ROUTES: Final = http_server.described((*http_v2.ROUTES, *http_invocations.ROUTES, *http_server.ROUTES))
_RETRY_AFTER: Final[Headers] = ((b"retry-after", b"1"),)
_BEARER: Final[Headers] = ((b"www-authenticate", b'Bearer realm="lockgate admin"'),)


_STATUS_OF: Final[Mapping[type[Exception], int]] = {
    UnknownBundle: 404,
    LedgerConflict: 409,
    IntegrityError: 422,
    BadInput: 400,
}
"""Status by error, the more particular first; a refusal has its reason's, anything else is the server's fault."""


class _Gone(Exception):
    """The caller went away."""


class App:
    """One port's application."""

    def __init__(self, service: Service, routes: Sequence[Route], authorize: Callable[[Request], None]) -> None:
        """Make the application of one port.

        Args:
            service: What answers.
            routes: What it can be asked.
            authorize: Refuses a request that may not be answered, before its path is looked at.
        """
        self._service = service
        self._dispatch = Dispatch(routes)
        self._authorize = authorize
        self._limits: Limits = service.options.limits
        self._in_flight = 0
        self.responses: Counter[int] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        try:
            response = await self._answer(scope, receive, started)
        except _Gone:
            return
        except Exception as error:  # noqa: BLE001 - the one seam: whatever it is, the caller gets an answer
            response = self._to_response(error, scope)
        self.responses[response.status] += 1
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", b"%d" % len(response.body)),
            *response.headers,
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _answer(self, scope: Scope, receive: Receive, started: float) -> Response:
        headers = dict(scope["headers"])
        request = Request({}, scope["query_string"], headers, b"", started)
        self._authorize(request)
        route, request.params = self._dispatch.find(scope["method"], scope["path"])
        if not route.limited:
            request.body = await self._read(receive, headers) if route.body else b""
            return await route.handler(self._service, request)
        if self._in_flight >= self._limits.in_flight:
            raise refuse(Reason.OVERLOADED, f"{self._in_flight} requests are being answered already; try again later")
        self._in_flight += 1
        self._service.metrics.in_flight = self._in_flight
        try:
            request.body = await self._read(receive, headers)
            return await route.handler(self._service, request)
        finally:
            self._in_flight -= 1
            self._service.metrics.in_flight = self._in_flight

    async def _read(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """Read the body, within the limits on size and time."""
        encoding = headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            raise refuse(Reason.UNSUPPORTED_MEDIA, f"content-encoding {encoding.decode('latin-1')!r}: send it plain")
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._limits.body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._limits.read_timeout_s):
                return await self._read_whole(receive)
        except TimeoutError as late:
            seconds = self._limits.read_timeout_s
            raise refuse(Reason.READ_TIMEOUT, f"the body did not arrive in {seconds:g} s") from late

    async def _read_whole(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message["more_body"] and len(body) <= self._limits.body_bytes:
            return body  # the common case: one piece
        pieces, size = [body], len(body)
        while True:
            if message["type"] == "http.disconnect":
                raise _Gone
            if size > self._limits.body_bytes:
                raise self._too_large()
            if not message["more_body"]:
                return b"".join(pieces)
            message = await receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])

    def _too_large(self) -> RequestRefused:
        return refuse(Reason.BODY_TOO_LARGE, f"the body is larger than the {self._limits.body_bytes} bytes taken")

    def _to_response(self, error: Exception, scope: Scope) -> Response:
        if isinstance(error, RequestRefused):
            self._service.metrics.refused[error.reason] += 1
            return error_response(STATUS.get(error.reason, 400), error.message, self._extra(error.reason, scope))
        status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
        if isinstance(error, LockgateError) and status != 500:
            return error_response(status, error.message)
        self._service.metrics.failures += 1
        logger.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
        if isinstance(error, OSError):
            return error_response(503, f"the server could not keep its state: {error.strerror}", _RETRY_AFTER)
        return error_response(500, "the server failed to answer; its log says why")

    def _extra(self, reason: Reason, scope: Scope) -> Headers:
        match reason:
            case Reason.OVERLOADED | Reason.NOT_LOADED:
                return _RETRY_AFTER
            case Reason.UNAUTHORIZED:
                return _BEARER
            case Reason.WRONG_METHOD:
                return ((b"allow", self._dispatch.allowed(scope["path"]).encode()),)
            case _:
                return ()


def data_app(service: Service) -> App:
    """Return the application of the data port."""
    app = App(service, DATA_ROUTES, lambda _: None)
    service.metrics.responses = app.responses
    return app
