"""What a request weighs while it waits for the prediction log: rows and bytes, both counted for the bound on memory.

A request of many rows is a few arrays: it counts for as many rows as are ever kept one by one, and for all its bytes.
"""

from __future__ import annotations

from typing import Final

from lockgate.serving.log.packed_columns import PACKED_ROWS
from lockgate.serving.log.record import Record
from lockgate.serving.model.column_values import MatrixColumns

_LISTED_BYTES: Final = 32  # of one number in a list: 8 for its place, 24 for the float; a text's own are in the body


def weigh(record: Record) -> tuple[int, int]:
    """Return for how many rows and for how many bytes a record counts; always the same for one record.

    Arrays are what the caller sent, or as much; values in lists take more than their text. What a caller names as
    entity is in a header, which may be larger than any body.
    """
    rows, size = record.rows, record.body_bytes
    if record.entity is not None:
        size += len(record.entity)
    if rows <= PACKED_ROWS:
        return rows, size
    if record.inputs is not None and not isinstance(record.inputs, MatrixColumns):  # whose columns are no lists
        size += _LISTED_BYTES * rows * [*map(type, record.inputs.values())].count(list)
    return PACKED_ROWS, size
