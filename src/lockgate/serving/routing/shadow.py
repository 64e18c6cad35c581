"""Answers copies of requests on shadow bundles, off the way of the request: nobody waits for it or feels it fail.

    offer (event loop) --> bounded queue --> thread: batches of rows of one shadow --> flush (event loop) --> deliver

What does not fit into the queue is dropped and counted; a shadow that refuses, fails or hangs is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from lockgate.serving.model.columns import Columns, EncodedRow
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.fence import ModelFailed
from lockgate.serving.refusals import RequestRefused
from lockgate.serving.routing.router import Choice, Route, Shadow

logger = logging.getLogger(__name__)

QUEUE_ROWS: Final = 1024  # ours: some 4 MB of requests, 50 ms at the highest rate measured
BATCH_ROWS: Final = 32  # ours: about 0.2 ms in one go, which is how long a request may be kept from the interpreter
GATHER_S: Final = 0.005  # ours: long enough for a batch, and half a second is what the log may lose
CLOSE_S: Final = 2.0

_Asked = tuple[str, str]


class ShadowResult(msgspec.Struct, frozen=True, gc=False):
    """What became of one copy.

    Attributes:
        model: Name of the model.
        shadow: What answered.
        choice: What the routing had chosen for the caller, with the entity.
        prediction_id: The id of the answer the caller got.
        columns: The request.
        answer: The shadow's; None when it has none.
        problem: Why it has none; empty when it has one.
        seconds: Its part of the batch's time.
    """

    model: str
    shadow: Shadow
    choice: Choice
    prediction_id: str
    columns: Columns
    answer: Answer | None
    problem: str
    seconds: float


class _Copy(msgspec.Struct, frozen=True, gc=False):
    model: str
    shadow: Shadow
    choice: Choice
    prediction_id: str
    columns: Columns
    rows: int


class ShadowRunner:
    """The shadows of one process.

    Attributes:
        dropped: Copies that found the queue full, by model and shadow.
        failed: Copies that the shadow had no answer to, by model and shadow.
    """

    def __init__(
        self,
        deliver: Callable[[ShadowResult], None],
        *,
        max_rows: int,
        queue_rows: int = QUEUE_ROWS,
        close_s: float = CLOSE_S,
    ) -> None:
        """Make the runner; its thread starts with the first copy.

        Args:
            deliver: Told of every copy that was run; called on the event loop, and by `close` in its caller's thread.
            max_rows: A request with more rows is refused by the shadow, too.
            queue_rows: Rows that may wait.
            close_s: How long `close` lets the shadows answer what waits, in seconds.
        """
        self.dropped: Counter[_Asked] = Counter()
        self.failed: Counter[_Asked] = Counter()
        self._deliver = deliver
        self._max_rows, self._queue_rows, self._close_s = max_rows, queue_rows, close_s
        self._queue: deque[_Copy] = deque()
        self._offered_rows = self._taken_rows = 0  # one for each thread, so that neither count needs a lock
        self._results: deque[ShadowResult] = deque()
        self._wake = threading.Event()
        self._idle = False
        self._closed_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def queued_rows(self) -> int:
        """Rows that wait."""
        return self._offered_rows - self._taken_rows

    def offer(self, route: Route, choice: Choice, columns: Columns, *, prediction_id: str, rows: int) -> None:
        """Copy an answered request to the shadows that see it; never blocks, never fails. On the event loop only.

        Args:
            route: The model's routing.
            choice: What answered; a forced request, or a probe, is copied to nobody.
            columns: The request, which must not be changed any more.
            prediction_id: The id of the caller's answer.
            rows: How many rows it has.
        """
        if choice.forced or choice.probe:
            return
        for shadow in route.active_shadows():
            if not shadow.takes(choice.entity):
                continue
            if self._offered_rows - self._taken_rows + rows > self._queue_rows or self._closed_at is not None:
                self.dropped[route.model, shadow.name] += 1
                continue
            self._offered_rows += rows
            self._queue.append(_Copy(route.model, shadow, choice, prediction_id, columns, rows))
            if self._idle:
                self._idle = False
                self._wake.set()
            elif self._thread is None:
                self._start()

    def flush(self) -> None:
        """Deliver what is done; on the event loop, which the runner asks for it by itself."""
        results = self._results
        while results:
            result = results.popleft()
            if result.answer is None:
                self._note(result)
            self._deliver(result)

    def _note(self, result: ShadowResult) -> None:
        """Count a failure; said at the first, second, fourth, ... one, so that a log does not fill with them."""
        name = result.shadow.name
        self.failed[result.model, name] += 1
        count = self.failed[result.model, name]
        if count & (count - 1) == 0:
            logger.warning(
                "shadow %s of model %s had no answer %d times by now: %s", name, result.model, count, result.problem
            )

    def close(self) -> None:
        """Run what waits, for a while at most, deliver it, and end the thread."""
        self._closed_at = time.monotonic()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(self._close_s)
        with contextlib.suppress(IndexError):  # the queue is empty
            while True:
                copy = self._queue.popleft()
                self.dropped[copy.model, copy.shadow.name] += 1
        self.flush()

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._work_off()
            if self._closed_at is not None:
                return
            self._idle = True
            if not self._queue:  # what was offered before `_idle` was set did not wake
                self._wake.wait()
            self._idle = False
            self._wake.clear()
            if self._closed_at is None:
                time.sleep(GATHER_S)

    def _work_off(self) -> None:
        """Run everything that waits; after the closing only as long as `close` looks."""
        while self._queue:
            if self._closed_at is not None and time.monotonic() - self._closed_at > self._close_s:
                return  # `close` counts the rest
            for batch in self._next_batches():
                self._results.extend(_run_batch(batch, self._max_rows))
                self._taken_rows += sum(copy.rows for copy in batch)
            self._ask_for_flush()

    def _next_batches(self) -> Collection[list[_Copy]]:
        """Take the oldest copies; those of one row are put together by shadow."""
        batches: dict[tuple[int, int], list[_Copy]] = {}
        for at in range(min(len(self._queue), BATCH_ROWS)):
            copy = self._queue.popleft()
            batches.setdefault((id(copy.shadow), -1 if copy.rows == 1 else at), []).append(copy)
        return batches.values()

    def _ask_for_flush(self) -> None:
        loop = self._loop
        if loop is None or self._closed_at is not None:
            return  # `close` flushes
        try:
            loop.call_soon_threadsafe(self.flush)
        except RuntimeError:
            logger.debug("the event loop has ended; what is left is delivered at the closing")


def _run_batch(batch: list[_Copy], max_rows: int) -> list[ShadowResult]:
    started = time.perf_counter()
    answers = _answers(batch, max_rows)
    seconds = (time.perf_counter() - started) / len(batch)
    return [
        ShadowResult(
            copy.model,
            copy.shadow,
            copy.choice,
            copy.prediction_id,
            copy.columns,
            answer if isinstance(answer, Answer) else None,
            "" if isinstance(answer, Answer) else str(answer),
            seconds,
        )
        for copy, answer in zip(batch, answers, strict=True)
    ]


def _answers(batch: list[_Copy], max_rows: int) -> list[Answer | Exception]:
    model = batch[0].shadow.model
    if model.breaker.open:
        return [ModelFailed("it failed several times in a row and is not asked for a while")] * len(batch)
    try:
        return _together(model, batch, max_rows)
    except Exception as broken:
        logger.exception("shadow %s of model %s failed", batch[0].shadow.name, batch[0].model)
        return [broken] * len(batch)


def _together(model: ServedModel, batch: list[_Copy], max_rows: int) -> list[Answer | Exception]:
    """Answer what can be answered in one run that way, the rest one by one."""
    rows: dict[int, EncodedRow] = {}
    answers: dict[int, Answer | Exception] = {}
    for at, copy in enumerate(batch):
        try:
            row = model.encoder.encode_row(copy.columns)
            if row is None:
                answers[at] = model.answer(copy.columns, max_rows)
            else:
                rows[at] = row
        except (RequestRefused, ModelFailed) as refused:
            answers[at] = refused
    if rows:
        answers |= zip(rows, model.answer_rows(list(rows.values())), strict=True)
    return [answers[at] for at in range(len(batch))]
