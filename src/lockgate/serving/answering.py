"""Answers requests: chosen arm -> its model, or what stands behind it -> log, counters, shadows. Knows no transport."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from lockgate.serving.cores import usable_cores
from lockgate.serving.hands import Hands
from lockgate.serving.log.logged_line import FORCED, LIVE, PROBE
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.model.batching import Done, MicroBatches
from lockgate.serving.model.column_values import MatrixColumns, RowColumns, rows_of
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.fence import ModelFailed, RunTimedOut
from lockgate.serving.model.row import EncodedRow
from lockgate.serving.noting import failed_record, is_even, shadow_record
from lockgate.serving.options import ServerOptions
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.routing.constant import constant_answer, constant_arm
from lockgate.serving.routing.router import Arm, Choice, Route, Router
from lockgate.serving.routing.shadow import ShadowResult, ShadowRunner
from lockgate.serving.virtual_time import clock
from lockgate.serving.watch.metrics import Metrics

if TYPE_CHECKING:
    from lockgate.serving.model.explanation import Explanation

INLINE_ROWS: Final = 32  # ours: up to about 0.3 ms of ONNX Runtime, cheaper than a thread's hand-over, and no stall
BATCH_THREADS: Final = 2  # ours: one large request does not keep another one waiting; two on one core would keep both


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """An answer with where it came from.

    Attributes:
        id: Unique; the answer, its log row and later its label carry it.
        arm: What answered.
        answer: What it said.
        choice: What the routing had chosen.
        fallback: Whether something else than the chosen arm answered, because that one failed.
        explanation: Contributions of the columns; None unless asked for.
    """

    id: str
    arm: Arm
    answer: Answer
    choice: Choice
    fallback: bool = False
    explanation: Explanation | None = None


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request on its way.

    Attributes:
        choice: What the routing had chosen.
        columns: Values by column name.
        started: `time.perf_counter()` when its headers were there.
        request_id: The caller's own id.
        trace: The caller's W3C trace context, `traceparent`.
        body_bytes: How large it was.
    """

    choice: Choice
    columns: Columns
    started: float
    request_id: str | None = None
    trace: str | None = None
    body_bytes: int = 0


class Answering:
    """The way of a request through one server.

    Attributes:
        shadows: Answer copies of requests.
    """

    def __init__(self, router: Router, metrics: Metrics, log: PredictionLog, options: ServerOptions) -> None:
        """Make the way; nothing runs yet."""
        self._router, self._metrics, self._log = router, metrics, log
        self._max_rows, self._log_inputs = options.limits.rows, options.log_inputs
        self._together = MicroBatches()
        self.shadows: Final = ShadowRunner(self._shadowed, max_rows=options.limits.rows)
        threads = min(BATCH_THREADS, usable_cores())
        self._hands = Hands(threads, "batch")
        self._id_prefix = f"{time.time_ns() // 1_000_000:x}{os.urandom(5).hex()}-"
        self._id_count = 0
        self._now = clock()

    async def predict(  # noqa: PLR0913 - what a request is; an object of it would cost more than the call
        self,
        choice: Choice,
        columns: Columns,
        *,
        started: float,
        request_id: str | None = None,
        trace: str | None = None,
        body_bytes: int = 0,
        explain: bool = False,
    ) -> Prediction:
        """Answer a request, count it and log it; when the chosen arm fails, by what stands behind it.

        Args:
            choice: What shall answer, from `choose`.
            columns: Values by column name.
            started: `time.perf_counter()` when the request's headers were there.
            request_id: The caller's own id.
            trace: The caller's W3C trace context, `traceparent`.
            body_bytes: How large the request was.
            explain: Whether contributions are wanted.

        Raises:
            RequestRefused: The request does not fit the contract.
            ModelFailed: The model failed, and nothing stands behind it.
        """
        asked = Asked(choice, columns, started, request_id, trace, body_bytes)
        arm, fallback = choice.arm, False
        route = self._router.table.get(arm.model.contract.model)
        limit_s = None if route is None else route.timeout_s
        try:
            answer = await self._ask(arm.model, columns, limit_s)
        except (ModelFailed, RequestRefused) as failed:
            if isinstance(failed, RequestRefused) and failed.reason is not Reason.NO_FINITE_ANSWER:
                raise  # the caller's doing
            arm, answer = await self._fall_back(route, asked, failed)
            fallback = True
        explanation = await self._explain(asked, arm.model) if explain else None
        return self.finish(asked, arm, answer, fallback=fallback, explanation=explanation)

    def begin(self, model: ServedModel, row: EncodedRow, limit_s: float | None, done: Done) -> bool:
        """Let a model answer one row at the end of this turn, unless it rests.

        Args:
            model: What shall answer.
            row: From its encoder.
            limit_s: How long a run may take, in seconds; None: the fence's own limit.
            done: Told of the answer, which `note` counts and logs, or why there is none.

        Returns:
            Whether it was begun; False where `predict` must look closer.
        """
        if model.breaker.resting_until and model.breaker.open:
            return False
        self._together.submit(model, row, limit_s, done)
        return True

    def finish(
        self, asked: Asked, arm: Arm, answer: Answer, *, fallback: bool = False, explanation: Explanation | None = None
    ) -> Prediction:
        """Do as `note`, and return what the caller is told."""
        prediction_id = self.note(asked, arm, answer, fallback=fallback)
        return Prediction(prediction_id, arm, answer, asked.choice, fallback, explanation)

    def note(self, asked: Asked, arm: Arm, answer: Answer, *, fallback: bool = False) -> str:
        """Count and log an answer, offer the request to the shadows, and return the answer's id."""
        choice, columns = asked.choice, asked.columns
        self._id_count += 1
        prediction_id = self._id_prefix + format(self._id_count, "x")
        seconds = time.perf_counter() - asked.started
        model = arm.model
        contract = model.contract
        name, rows = contract.model, answer.rows
        kind: Literal["live", "forced", "probe"] = FORCED if choice.forced else PROBE if choice.probe else LIVE
        if kind == LIVE:
            self._metrics.answered(name, arm.name, rows, answer.flags, seconds, answer.outputs)
        else:
            self._metrics.uncounted(kind, name, arm.name, rows, seconds)
        self._log.append(
            Record(
                self._now(),
                prediction_id,
                name,
                model.digest,
                arm.name,
                choice.entity,
                rows,
                columns if self._log_inputs else None,
                answer.outputs,
                answer.flags,
                int(seconds * 1e6),
                contract,
                asked.request_id,
                kind,
                fallback,
                choice.propensity,
                asked.trace,
                asked.body_bytes,
                choice.arm.name if fallback else None,
            )
        )
        route = self._router.table.get(name)
        if route is not None and route.shadows:
            if isinstance(columns, RowColumns):
                columns = columns.to_dict()
            self.shadows.offer(route, choice, columns, prediction_id=prediction_id, rows=rows)
        return prediction_id

    async def _ask(self, model: ServedModel, columns: Columns, limit_s: float | None) -> Answer:
        if model.breaker.open:
            kind = RunTimedOut if model.breaker.timed_out else ModelFailed
            raise kind(f"bundle {model.digest} failed several times in a row and is not asked for a while")
        row = None if isinstance(columns, MatrixColumns) else model.encoder.encode_row(columns)
        if row is not None:
            return await self._together.answer(model, row, limit_s)
        if rows_of(columns) <= INLINE_ROWS:
            return model.answer(columns, self._max_rows, limit_s)
        return await self._hands.run(model.answer, columns, self._max_rows, limit_s)

    async def _fall_back(
        self, route: Route | None, asked: Asked, failed: ModelFailed | RequestRefused
    ) -> tuple[Arm, Answer]:
        """Return what answers in place of an arm that failed, and its answer.

        Raises:
            ModelFailed: Everything behind it failed too, or there is nothing; likewise RequestRefused.
        """
        why = "timeout" if isinstance(failed, RunTimedOut) else "error"
        choice, columns = asked.choice, asked.columns
        self._metrics.fell_back(choice.arm.model.contract.model, choice.arm.name, why)
        if choice.forced:
            raise failed
        if route is not None:
            for arm in route.fallback(choice.arm):
                try:
                    return arm, await self._ask(arm.model, columns, route.timeout_s)
                except (ModelFailed, RequestRefused):
                    continue
            if route.constant is not None:
                return constant_arm(choice.arm), constant_answer(route.constant, len(next(iter(columns.values()))))
        self._note_failed(asked)
        raise failed

    @property
    def hands(self) -> Hands:
        """Threads that do what would keep the event loop for long."""
        return self._hands

    async def _explain(self, asked: Asked, model: ServedModel) -> Explanation:
        from lockgate.serving.model.explanation import explain

        try:
            return await self._hands.run(explain, model, asked.columns)
        except ModelFailed:
            self._note_failed(asked)
            raise

    def _note_failed(self, asked: Asked) -> None:
        """Log a request that nobody answered, and offer it to the shadows: they may have an answer where we have none.

        A forced one is not, nor a probe: they are never counted, and the line would look as if they were.
        """
        choice, columns = asked.choice, asked.columns
        if choice.forced or choice.probe:
            return
        if isinstance(columns, RowColumns):
            columns = columns.to_dict()
        self._id_count += 1
        prediction_id = self._id_prefix + format(self._id_count, "x")
        even = is_even(columns)
        self._log.append(failed_record(asked, prediction_id, inputs=columns if self._log_inputs and even else None))
        route = self._router.table.get(choice.arm.model.contract.model)
        if route is not None and route.shadows and even:
            self.shadows.offer(route, choice, columns, prediction_id=prediction_id, rows=rows_of(columns))

    def _shadowed(self, result: ShadowResult) -> None:
        answer = result.answer
        if answer is not None:
            self._metrics.shadowed(result.model, result.shadow.name, answer.rows, result.seconds, answer.outputs)
        self._log.append(shadow_record(result))

    def close(self) -> None:
        """Run the copies that wait, for a while at most, and end the threads."""
        self.shadows.close()
        self._hands.close()
