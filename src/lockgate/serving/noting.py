"""What requests leave in the prediction log that the chosen arm has not answered: nobody did, or a shadow did."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lockgate.serving.log.logged_line import FAILED, SHADOW, SHADOW_FAILED
from lockgate.serving.log.record import Record
from lockgate.serving.model.column_values import Columns, rows_of
from lockgate.serving.virtual_time import now_s

if TYPE_CHECKING:
    from lockgate.serving.answering import Asked
    from lockgate.serving.routing.shadow import ShadowResult


def is_even(columns: Columns) -> bool:
    """Tell whether all columns have the same rows, and any: nobody may have looked, while a model rests."""
    rows = rows_of(columns)
    return rows > 0 and all(len(values) == rows for values in columns.values())


def failed_record(asked: Asked, prediction_id: str, *, inputs: Columns | None) -> Record:
    """Return the record of a request that nothing had an answer to, under the chosen arm.

    Args:
        asked: The request.
        prediction_id: An id of its own; nobody was told it.
        inputs: Its columns, if they are to be kept.
    """
    choice, model = asked.choice, asked.choice.arm.model
    return Record(
        now_s(),
        prediction_id,
        model.contract.model,
        model.digest,
        choice.arm.name,
        choice.entity,
        max(1, rows_of(asked.columns)),
        inputs,
        {},
        (),
        int((time.perf_counter() - asked.started) * 1e6),
        model.contract,
        asked.request_id,
        FAILED,
        propensity=choice.propensity,
        trace=asked.trace,
        body_bytes=asked.body_bytes,
    )


def shadow_record(result: ShadowResult) -> Record:
    """Return the record of a copy that a shadow answered, or had no answer to."""
    answer, model = result.answer, result.shadow.model
    return Record(
        now_s(),
        result.prediction_id,
        result.model,
        model.digest,
        result.shadow.name,
        result.choice.entity,
        rows_of(result.columns) if answer is None else answer.rows,
        None,  # the line of the caller's request, of the same id, holds them
        {} if answer is None else answer.outputs,
        () if answer is None else answer.flags,
        int(result.seconds * 1e6),
        model.contract,
        kind=SHADOW_FAILED if answer is None else SHADOW,
        propensity=result.shadow.share,
    )
