"""The shortest way of the commonest request: one row of JSON for a model, answered without a task of its own.

    body complete --> read, choose, encode --> end of this turn: one run for all --> counted, logged, written

It does what `App` and `v2.infer` do, with the same parts and in the same order, or it does nothing: whatever is
unusual about a request, wrong with it, or fails, is left to the ordinary way, which finds the words for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from lockgate.serving.answering import Asked
from lockgate.serving.http.handling import JSON, Request, caller_request_id, caller_trace
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import Answer
from lockgate.serving.net.exchange import Exchange
from lockgate.serving.protocols.asking import ARM_HEADER, ENTITY_HEADER
from lockgate.serving.protocols.v2_answer import infer_response
from lockgate.serving.protocols.v2_binary import HEADER as BINARY_HEADER
from lockgate.serving.protocols.v2_model import form_of, is_row_major
from lockgate.serving.protocols.v2_request import InferRequest, read_infer
from lockgate.serving.refusals import RequestRefused
from lockgate.serving.routing.router import Arm
from lockgate.serving.service import Service

if TYPE_CHECKING:
    from lockgate.serving.http.app import App

BODY_BYTES: Final = 64 << 10  # ours: a row of some thousand columns; reading more would keep the loop
_UNUSUAL: Final = frozenset((b"content-encoding", b"transfer-encoding", ARM_HEADER, BINARY_HEADER))
_BEFORE, _AFTER = b"/v2/models/", b"/infer"


class DirectInfer:
    """Answers requests on the event loop; what it does not take is as it was."""

    def __init__(self, app: App, service: Service) -> None:
        """Make the way.

        Args:
            app: Counts and limits what is being answered, on every way.
            service: What answers.
        """
        self._app = app
        self._service = service
        self._table: Mapping[str, Any] = {}
        self._models: dict[bytes, str] = {}

    def __call__(self, exchange: Exchange, ordinary: Callable[[], None]) -> bool:
        """Take a request whose body is complete, if it is of the common kind.

        Args:
            exchange: The request, and where its answer goes.
            ordinary: Lets the ordinary way answer after all.

        Returns:
            Whether it was taken.
        """
        scope, body = exchange.scope, exchange.body
        if self._table is not self._service.router.table:
            self._learn()
        model = self._models.get(scope["raw_path"])
        if model is None or len(body) > BODY_BYTES or not self._app.has_room:
            return False
        headers = dict(scope["headers"])
        if headers.get(b"content-type", JSON) != JSON or not _UNUSUAL.isdisjoint(headers):
            return False
        request = Request({}, b"", headers, body, time.perf_counter(), 1)
        try:
            return self._begin(model, request, exchange, ordinary)
        except RequestRefused:
            return False  # the ordinary way refuses it again, and counts and says so

    def _learn(self) -> None:
        """Read the paths of the models that are routed now."""
        self._table = self._service.router.table
        self._models = {_BEFORE + name.encode() + _AFTER: name for name in self._table}

    def _begin(self, model: str, request: Request, exchange: Exchange, ordinary: Callable[[], None]) -> bool:
        wanted = read_infer(request.body)
        if wanted.explain:
            return False
        service, headers = self._service, request.headers
        columns: Columns = wanted.columns
        if is_row_major(wanted):
            arms = service.router.find(model).arms
            columns = form_of(arms[0].model).columns(wanted) if arms else columns
        entity = request.header(ENTITY_HEADER) if ENTITY_HEADER in headers else None
        choice = service.choose(model, None, columns, entity)
        form_of(choice.arm.model).check(wanted)
        asked = Asked(
            choice, columns, request.started, caller_request_id(headers), caller_trace(headers), len(request.body)
        )

        def done(found: Answer | Exception) -> None:
            self._app.in_flight -= 1
            if isinstance(found, Answer):
                self._answer(asked, choice.arm, found, wanted, request, exchange)
            else:
                ordinary()

        if not service.answering.begin(choice, columns, done):
            return False
        self._app.in_flight += 1
        return True

    def _answer(  # noqa: PLR0913, PLR0917 - a request, its answer, and where that goes
        self,
        asked: Asked,
        arm: Arm,
        answer: Answer,
        wanted: InferRequest,
        request: Request,
        exchange: Exchange,
    ) -> None:
        try:
            prediction = self._service.answering.finish(asked, arm, answer)
            said = (*arm.headers, (b"x-lockgate-prediction-id", prediction.id.encode()))
            response = infer_response(prediction, wanted, said)
        except Exception as error:  # noqa: BLE001 - nobody is above this to answer the caller
            response = self._app.failed(error, exchange.scope, request.headers)
        exchange.answer(self._app.completed(exchange.scope, request, response))
