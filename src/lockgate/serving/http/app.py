"""The ASGI application: limits, dispatch, and the one seam where an error becomes a status."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from lockgate.errors import BadInput, IntegrityError, LedgerConflict, LockgateError
from lockgate.serving.http import about, status_page
from lockgate.serving.http.access_log import AccessLog, Entry
from lockgate.serving.http.body_reader import BodyReader, Gone, Message, Receive
from lockgate.serving.http.compression import ACCEPT_ENCODING, CONTENT_ENCODING, LARGE_AT_ONCE, TAKEN, Compression
from lockgate.serving.http.direct import DirectInfer
from lockgate.serving.http.handling import (
    CHOICE,
    REQUEST_ID,
    STATUS,
    TRACE_PARENT,
    Dispatch,
    Handler,
    Headers,
    Request,
    Response,
    Route,
    caller_request_id,
    caller_trace,
    error_response,
)
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.model.bundle import UnknownBundle
from lockgate.serving.model.fence import ModelFailed
from lockgate.serving.protocols import feedback, invocations, labels, v2
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.service import Service

logger = logging.getLogger(__name__)

Scope: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

DATA_ROUTES: Final = about.described(
    (*v2.ROUTES, *invocations.ROUTES, *labels.ROUTES, *feedback.ROUTES, *about.ROUTES, *status_page.ROUTES)
)
_NO_PARAMS: Final[Mapping[str, str]] = {}
_KEPT_PART: Final = 4  # ours: of the requests in flight, so many more may wait for the disk
_RETRY_AFTER: Final[Headers] = ((b"retry-after", b"1"),)
_MORE_OF_REASON: Final[Mapping[Reason, Headers]] = {
    Reason.OVERLOADED: _RETRY_AFTER,
    Reason.NOT_LOADED: _RETRY_AFTER,
    Reason.READ_TIMEOUT: ((b"connection", b"close"),),
    Reason.UNSUPPORTED_ENCODING: ((ACCEPT_ENCODING, TAKEN),),
    Reason.UNAUTHORIZED: ((b"www-authenticate", b'Bearer realm="lockgate admin"'),),
}
"""Headers that an answer carries beside the message, by reason."""

_STATUS_OF: Final[Mapping[type[Exception], int]] = {
    UnknownBundle: 404,
    LedgerConflict: 409,
    IntegrityError: 422,
    BadInput: 400,
}
"""Status by error, the more particular first; a refusal has its reason's, anything else is the server's fault."""


class App:
    """One port's application.

    Attributes:
        responses: Answers by status.
        in_flight: Requests of limited routes that are being answered with rows.
        kept: Those that are answered when the disk holds what they say.
        direct: Answers the commonest requests without a task; None: there is no such way.
    """

    def __init__(
        self,
        service: Service,
        routes: Sequence[Route],
        authorize: Callable[[Request], None] | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        """Make the application of one port.

        Args:
            service: What answers.
            routes: What it can be asked.
            authorize: Refuses a request that may not be answered, before its path is looked at; None: nobody is.
            access_log: Takes a line an answer; None: nothing does.
        """
        self.responses: Counter[int] = Counter()
        self.in_flight = self.kept = 0
        self._unanswered = 0
        self.direct: DirectInfer | None = None
        self._service = service
        self._dispatch = Dispatch(routes)
        self._authorize = authorize
        self._access_log = access_log
        limits = service.options.limits
        self._most_in_flight, self._most_kept = limits.in_flight, max(1, limits.in_flight // _KEPT_PART)
        self._body = BodyReader(limits)
        self._compression = Compression(limits)
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        asked = dict(scope["headers"])
        request = Request(_NO_PARAMS, scope["query_string"], asked, b"", started, None, scope.get(CHOICE))
        try:
            response = await self._answer(scope, request, receive)
        except Gone:
            return
        except Exception as error:  # noqa: BLE001 - the one seam: whatever it is, the caller gets an answer
            response = self.failed(error, scope, asked)
        start, body = self.completed(scope, request, response)
        await send(start)
        await send({"type": "http.response.body", "body": body})

    @property
    def has_room(self) -> bool:
        """Whether a further request of a limited route is answered now."""
        return self.in_flight < self._most_in_flight

    def completed(self, scope: Scope, request: Request, response: Response) -> tuple[Message, bytes]:
        """Count an answer and note it in the access log; return its head, as ASGI has it, and its body."""
        asked = request.headers
        if REQUEST_ID in asked or TRACE_PARENT in asked:
            response.headers = _with_callers(asked, response.headers)
        body = response.body
        self.responses[response.status] += 1
        headers = [(b"content-type", response.content_type), (b"content-length", b"%d" % len(body)), *response.headers]
        if self._access_log is not None:
            self.note(scope, request, response)
        return {"type": "http.response.start", "status": response.status, "headers": headers}, body

    async def _answer(self, scope: Scope, request: Request, receive: Receive) -> Response:
        if self._authorize is not None:
            self._authorize(request)
        method = scope["method"]
        # an answer to HEAD is one to GET whose body is not sent, which the HTTP layer sees to
        route, request.params = self._dispatch.find("GET" if method == "HEAD" else method, scope["path"])
        handle = route.handler
        if CONTENT_ENCODING in request.headers and route.body is not None:
            handle = self._compression.around(handle, request.headers)
        if not route.limited:
            if route.body is not None:
                request.body = await self._body.read(receive, request.headers, request.started)
            return await handle(self._service, request)
        if not route.answers:
            return await self._keep(handle, request, receive)
        if self.in_flight >= self._most_in_flight:
            raise refuse(Reason.OVERLOADED, f"{self.in_flight} requests are being answered already; try again later")
        self.in_flight += 1
        try:
            request.body = await self._body.read(receive, request.headers, request.started)
            if len(request.body) < LARGE_BYTES:
                return await handle(self._service, request)
            async with self._large:
                return await handle(self._service, request)
        finally:
            self.in_flight -= 1

    async def _keep(self, handle: Handler, request: Request, receive: Receive) -> Response:
        """Have the disk hold what a request says: however many wait for it, no model's answer does."""
        if self.kept >= self._most_kept:
            raise refuse(Reason.OVERLOADED, f"{self.kept} requests wait for the disk already; try again later")
        self.kept += 1
        try:
            request.body = await self._body.read(receive, request.headers, request.started)
            return await handle(self._service, request)
        finally:
            self.kept -= 1

    def failed(self, error: Exception, scope: Scope, asked: Mapping[bytes, bytes]) -> Response:
        """Return what a caller is told of an error; what is not its own fault is logged and counted."""
        if isinstance(error, RequestRefused):
            return self._refusal(error, scope)
        status = next((code for kind, code in _STATUS_OF.items() if isinstance(error, kind)), 500)
        if isinstance(error, LockgateError) and status != 500:
            return error_response(status, error.message)
        request_id = caller_request_id(asked) or os.urandom(8).hex()
        self._service.metrics.failed(f"{scope['method']} failed: {type(error).__name__}, request {request_id}")
        said = ((REQUEST_ID, request_id.encode()),)
        if isinstance(error, ModelFailed):
            return self._without_answer(error, said)
        logger.error(
            "%s %s failed, request %s", scope["method"], scope["path"], request_id, exc_info=error,
            extra={"request_id": request_id},
        )  # fmt: skip
        if isinstance(error, OSError):
            return error_response(503, f"the server could not keep its state: {error.strerror}", (*said, *_RETRY_AFTER))
        return error_response(500, f"the server failed to answer; its log says why, under {request_id}", said)

    def _without_answer(self, error: ModelFailed, said: Headers) -> Response:
        """Return what is told of a model that has no answer: another server may have one, and this one after a while.

        Said in the log at the first, second, fourth, ... such request: while a model rests, they are many.
        """
        self._unanswered += 1
        count = self._unanswered
        if count & (count - 1) == 0:
            logger.error("requests without an answer, %d by now: %s", count, error.message)
        return error_response(503, f"the model has no answer: {error.message}", (*said, *_RETRY_AFTER))

    def _refusal(self, error: RequestRefused, scope: Scope) -> Response:
        extra = _MORE_OF_REASON.get(error.reason, ())
        if error.reason is Reason.WRONG_METHOD:
            extra = ((b"allow", self._allowed(scope["path"])),)
            if scope["method"] == "OPTIONS":
                return Response(200, b"", b"text/plain", extra)
        self._service.metrics.refused(error.reason)
        return error_response(STATUS.get(error.reason, 400), error.message, extra)

    def _allowed(self, path: str) -> bytes:
        methods = self._dispatch.allowed(path).split(", ")
        return ", ".join(sorted({*methods, "OPTIONS", *(("HEAD",) if "GET" in methods else ())})).encode()

    @property
    def notes(self) -> bool:
        """Whether there is an access log."""
        return self._access_log is not None

    def note(self, scope: Scope, request: Request, response: Response) -> None:
        """Note an answer in the access log, if there is one."""
        if self._access_log is None:
            return
        seconds = time.perf_counter() - request.started
        self._access_log.note(
            Entry(
                time.time(),
                scope["method"],
                scope["raw_path"],
                request.headers,
                response.status,
                response.headers,
                0 if scope["method"] == "HEAD" else len(response.body),
                request.rows,
                seconds,
            )
        )


def _with_callers(asked: Mapping[bytes, bytes], told: Headers) -> Headers:
    """Return an answer's headers with the caller's own request id and trace context, where they can be kept."""
    request_id, trace = caller_request_id(asked), caller_trace(asked)
    callers = [] if request_id is None else [(REQUEST_ID, request_id.encode())]
    callers += [] if trace is None else [(TRACE_PARENT, trace.encode())]
    names = {name for name, _ in callers}
    return (*(header for header in told if header[0] not in names), *callers)


def data_app(service: Service, access_log: AccessLog | None = None) -> App:
    """Return the application of the data port, its answers counted by the service's metrics."""
    app = App(service, DATA_ROUTES, None, access_log)
    app.direct = DirectInfer(app, service)
    service.metrics.responses = app.responses
    service.metrics.watch("lockgate_in_flight", "Requests being answered.", lambda: app.in_flight + app.kept)
    return app
