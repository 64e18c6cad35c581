"""Runs requests of one row that arrive together as one run of the graph: a run's fixed cost is shared.

A request waits for nothing but the others that the same turn of the event loop has read already, so that a server with
time on its hands answers one by one, and a busy one in batches.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from lockgate.serving.model.columns import EncodedRow
from lockgate.serving.model.dataplane import Answer, ServedModel

logger = logging.getLogger(__name__)

ROWS_AT_MOST: Final = 64  # ours: about 0.3 ms of trees, which is how long the loop may be kept

Done: TypeAlias = Callable[[Answer | Exception], None]
"""Told of an answer, or why there is none."""
_Waiting: TypeAlias = tuple[EncodedRow, Done]


class MicroBatches:
    """The rows that wait for the end of this turn, by model; used from the event loop alone."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[ServedModel, float | None], list[_Waiting]] = {}

    def submit(self, model: ServedModel, row: EncodedRow, limit_s: float | None, done: Done) -> None:
        """Answer a row at the end of this turn.

        Args:
            model: What answers.
            row: From its encoder.
            limit_s: How long a run may take, in seconds; None: the fence's own limit.
            done: Called then; what it raises is logged, and keeps nobody else from an answer.
        """
        waiting = self._waiting
        if not waiting:
            asyncio.get_running_loop().call_soon(self._run)
        key = (model, limit_s)
        if key in waiting:
            waiting[key].append((row, done))
        else:
            waiting[key] = [(row, done)]

    def answer(self, model: ServedModel, row: EncodedRow, limit_s: float | None) -> asyncio.Future[Answer]:
        """Return what will hold the answer to a row at the end of this turn; arguments as `submit` has them."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.submit(model, row, limit_s, functools.partial(_settle, future))
        return future

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for (model, limit_s), all_rows in waiting.items():
            for at in range(0, len(all_rows), ROWS_AT_MOST):
                _answer_together(model, all_rows[at : at + ROWS_AT_MOST], limit_s)


def _answer_together(model: ServedModel, waiting: list[_Waiting], limit_s: float | None) -> None:
    try:
        found: Sequence[Answer | Exception] = model.answer_rows([row for row, _ in waiting], limit_s)
    except Exception as broken:  # noqa: BLE001 - whatever it is, those who wait must hear of it
        found = [broken] * len(waiting)
    for (_, done), answer in zip(waiting, found, strict=True):
        try:
            done(answer)
        except Exception:
            logger.exception("an answer could not be handed over")  # the others of this run still wait for theirs


def _settle(future: asyncio.Future[Answer], found: Answer | Exception) -> None:
    if future.done():  # whoever asked went away
        return
    if isinstance(found, Answer):
        future.set_result(found)
    else:
        future.set_exception(found)
