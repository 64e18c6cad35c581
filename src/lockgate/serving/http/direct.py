"""The shortest way of the commonest request: one row of JSON for a model, answered without a task of its own.

    body complete --> read, choose, encode --> end of this turn: one run for all --> counted, logged, written

It does what `App` and `v2.infer` do, with the same parts and in the same order, or it does nothing: whatever is
unusual about a request, wrong with it, or fails, is left to the ordinary way, which finds the words for it. What does
not change from request to request is made once for a published routing: paths, encoders, the fixed parts of answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lockgate.serving.answering import Asked
from lockgate.serving.http.handling import CHOICE, JSON, REQUEST_ID, TRACE_PARENT, Headers, Request, Response
from lockgate.serving.http.handling import caller_request_id as request_id_of
from lockgate.serving.http.handling import caller_trace as trace_of
from lockgate.serving.model.column_values import RowColumns
from lockgate.serving.model.dataplane import Answer
from lockgate.serving.net.exchange import Exchange
from lockgate.serving.protocols.asking import ARM_HEADER, ENTITY_HEADER, PROBE_HEADER
from lockgate.serving.protocols.v2_answer import RowAnswer, infer_response
from lockgate.serving.protocols.v2_binary import HEADER as BINARY_HEADER
from lockgate.serving.protocols.v2_model import form_of
from lockgate.serving.protocols.v2_request import EVERYTHING, InferRequest
from lockgate.serving.protocols.v2_row import PlainRow, RowFit, RowReader
from lockgate.serving.refusals import RequestRefused
from lockgate.serving.routing.router import Arm, Choice, Route
from lockgate.serving.routing.sticky import entity_of_header, entity_text
from lockgate.serving.service import Prediction, Service

if TYPE_CHECKING:
    from lockgate.serving.http.app import App

BODY_BYTES: Final = 64 << 10  # ours: a row of some thousand columns; reading more would keep the loop
PREDICTION_ID: Final = b"x-lockgate-prediction-id"
_UNUSUAL: Final = frozenset((b"content-encoding", b"transfer-encoding", ARM_HEADER, PROBE_HEADER, BINARY_HEADER))
_BEFORE, _AFTER = b"/v2/models/", b"/infer"


class _ArmWay:
    """What is fixed for the answers of one arm."""

    __slots__ = ("arm", "fit", "lines", "model", "outputs", "row_answer")

    def __init__(self, arm: Arm, reader: RowReader) -> None:
        self.arm, self.model = arm, arm.model
        self.fit = RowFit(arm.model, reader)
        self.outputs = frozenset(form_of(arm.model).outputs)
        self.row_answer = RowAnswer(arm)
        self.lines = header_lines(((b"content-type", JSON), *arm.headers)) + PREDICTION_ID + b": "


class _Way:
    """What is fixed for the requests to one model, for as long as its route is published."""

    __slots__ = ("arms", "entity", "limit_s", "reader", "route")
    arms: dict[str, _ArmWay]
    reader: RowReader

    def __init__(self, route: Route, before: _Way | None) -> None:
        champion = route.arms[0].model
        self.route, self.limit_s, self.entity = route, route.timeout_s, champion.contract.entity
        if before is not None and before.route.arms is route.arms:  # a renewed lease
            self.reader, self.arms = before.reader, before.arms
        else:
            self.reader = RowReader(champion)
            self.arms = {arm.name: _ArmWay(arm, self.reader) for arm in route.arms}


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """A request that is being answered."""

    direct: DirectInfer
    way: _ArmWay
    asked: Asked
    row: PlainRow
    headers: Mapping[bytes, bytes]
    exchange: Exchange
    ordinary: Callable[[Exchange], None]

    def __call__(self, found: Answer | Exception) -> None:
        self.direct.settle(self, found)


class DirectInfer:
    """Answers requests on the event loop; what it does not take is as it was."""

    def __init__(self, app: App, service: Service) -> None:
        """Make the way.

        Args:
            app: Counts and limits what is being answered, on every way.
            service: What answers.
        """
        self._app = app
        self._router, self._answering = service.router, service.answering
        self._table: Mapping[str, Route] = {}
        self._ways: dict[bytes, _Way] = {}

    def __call__(self, exchange: Exchange, ordinary: Callable[[Exchange], None]) -> bool:
        """Take a request whose body is complete, if it is of the common kind.

        Args:
            exchange: The request, and where its answer goes.
            ordinary: Lets the ordinary way answer after all.

        Returns:
            Whether it was taken.
        """
        started = time.perf_counter()
        if self._table is not self._router.table:
            self._learn()
        scope, body = exchange.scope, exchange.body
        way = self._ways.get(scope["raw_path"])
        if way is None or len(body) > BODY_BYTES or not self._app.has_room:
            return False
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if headers.get(b"content-type", JSON) != JSON or not _UNUSUAL.isdisjoint(headers):
            return False
        row = way.reader.read(body)
        return row is not None and self._begin(way, row, started, headers, exchange, ordinary)

    def _begin(  # noqa: PLR0913, PLR0917 - one flat call: an object a request would cost more
        self,
        way: _Way,
        row: PlainRow,
        started: float,
        headers: Mapping[bytes, bytes],
        exchange: Exchange,
        ordinary: Callable[[Exchange], None],
    ) -> bool:
        try:
            choice = way.route.choose(_entity(way, headers, row))
        except RequestRefused:
            return False  # the ordinary way refuses it again, and counts and says so
        arm = way.arms[choice.arm.name]
        encoded = arm.fit.encode(row)
        outputs = row.outputs
        if encoded is None or (outputs and not arm.outputs.issuperset(each.name for each in outputs)):
            return _left_to_ordinary(exchange, choice)
        asked = Asked(
            choice,
            RowColumns(row.names, row.values),
            started,
            request_id_of(headers) if REQUEST_ID in headers else None,
            trace_of(headers) if TRACE_PARENT in headers else None,
            len(exchange.body),
        )
        taken = _Taken(self, arm, asked, row, headers, exchange, ordinary)
        if not self._answering.begin(arm.model, encoded, way.limit_s, taken):
            return _left_to_ordinary(exchange, choice)
        self._app.in_flight += 1
        return True

    def _learn(self) -> None:
        """Make the ways of the models that are routed now; what is routed as before keeps what was made for it."""
        self._table = table = self._router.table
        paths = {name: _BEFORE + name.encode() + _AFTER for name, route in table.items() if route.arms}
        self._ways = {path: _Way(table[name], self._ways.get(path)) for name, path in paths.items()}

    def settle(self, taken: _Taken, found: Answer | Exception) -> None:
        """Answer a request that was taken, or let the ordinary way try again what failed."""
        app = self._app
        app.in_flight -= 1
        if not isinstance(found, Answer):
            _left_to_ordinary(taken.exchange, taken.asked.choice)
            taken.ordinary(taken.exchange)
            return
        try:
            prediction_id = self._answering.note(taken.asked, taken.way.arm, found)
            wanted = taken.row
            if wanted.outputs or wanted.parameters is not None:
                response = _as_wanted(taken, found, prediction_id)
            else:
                self._answer(taken, found, prediction_id)
                return
        except Exception as error:  # noqa: BLE001 - nobody is above this to answer the caller
            response = app.failed(error, taken.exchange.scope, taken.headers)
        taken.exchange.answer(app.completed(taken.exchange.scope, _request(taken), response))

    def _answer(self, taken: _Taken, found: Answer, prediction_id: str) -> None:
        """Write an answer as `App.completed` and `infer_response` make it."""
        way, asked, app = taken.way, taken.asked, self._app
        id_bytes = prediction_id.encode()
        body = way.row_answer.body(found, id_bytes, taken.row.id)
        lines = way.lines + id_bytes + b"\r\n"
        if asked.request_id is not None:
            lines += b"%s: %s\r\n" % (REQUEST_ID, asked.request_id.encode())
        if asked.trace is not None:
            lines += b"%s: %s\r\n" % (TRACE_PARENT, asked.trace.encode())
        app.responses[200] += 1
        if app.notes:
            app.note(taken.exchange.scope, _request(taken), Response(200, body, headers=_said(way.arm, prediction_id)))
        taken.exchange.answer_ok(lines, body)


def _left_to_ordinary(exchange: Exchange, choice: Choice) -> bool:
    """Let the ordinary way keep to what was chosen; return that the request is not taken.

    It would draw again for a request without an entity, and failures would hide behind the arm that has none.
    """
    scope: Any = exchange.scope  # ASGI's, to which a server may add
    scope[CHOICE] = choice
    return False


def _entity(way: _Way, headers: Mapping[bytes, bytes], row: PlainRow) -> str | None:
    """Return what keys the routing: the caller's own header, else the contract's column."""
    given = headers.get(ENTITY_HEADER)
    entity = entity_of_header(given) if given else None
    if entity is not None or way.entity is None:
        return entity
    return entity_text(row.values[row.names.index(way.entity)]) if way.entity in row.names else None


def _said(arm: Arm, prediction_id: str) -> Headers:
    return (*arm.headers, (PREDICTION_ID, prediction_id.encode()))


def _request(taken: _Taken) -> Request:
    return Request({}, b"", taken.headers, taken.exchange.body, taken.asked.started, 1)


def _as_wanted(taken: _Taken, answer: Answer, prediction_id: str) -> Response:
    """Return the answer to a request that says which outputs it wants, or in what form."""
    wanted, arm = taken.row, taken.way.arm
    parameters, outputs = wanted.parameters, wanted.outputs
    asked: InferRequest = msgspec.structs.replace(
        EVERYTHING,
        outputs={each.name: each.parameters.binary_data if each.parameters else None for each in outputs}
        if outputs
        else None,
        binary_output=parameters is not None and parameters.binary_data_output,
        id=wanted.id,
    )
    return infer_response(Prediction(prediction_id, arm, answer, taken.asked.choice), asked, _said(arm, prediction_id))


def header_lines(headers: Headers) -> bytes:
    """Return headers as they are sent.

    Raises:
        ValueError: One holds a line break.
    """
    text = b"".join(b"%s: %s\r\n" % header for header in headers)
    if not text.count(b"\r") == text.count(b"\n") == len(headers):
        raise ValueError("a header of the answer holds a line break")
    return text
