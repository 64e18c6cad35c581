"""Finds predictions, and labels, in the archive's Parquet files by the ids of predictions."""

from __future__ import annotations

import bisect
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.compute as pc  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.serving.log.archive_tables import FACTS, metadata_of
from lockgate.serving.log.logged_line import SHADOW, SHADOW_FAILED

logger = logging.getLogger(__name__)

Key: TypeAlias = tuple[str, int]
"""A prediction's id and the row in its request."""

LABELS: Final = pa.schema(
    {
        "prediction_id": pa.string(),
        "row": pa.int32(),
        "label": pa.string(),
        "label_number": pa.float64(),
        "label_time": pa.timestamp("us", "UTC"),
        "received": pa.timestamp("us", "UTC"),
        "prediction_time": pa.timestamp("us", "UTC"),
        "late": pa.bool_(),
        "revision": pa.int32(),
    }
)
"""The columns of a file of labels."""

_ID: Final = "prediction_id"
_TYPES: Final = {**FACTS, **{field.name: field.type for field in LABELS}}  # those of one name have one type
_COPIES: Final = frozenset((SHADOW, SHADOW_FAILED))


class Found(msgspec.Struct, frozen=True):
    """A prediction that a label is about.

    Attributes:
        model: Whose it is.
        time: When it was made.
    """

    model: str
    time: datetime


class IdRange:
    """A file of predictions or labels, and which ids each part of it may hold."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, path.parent.parent.name
        self.parts: list[tuple[str, str] | None] = []
        metadata = metadata_of(path)
        if metadata is not None:
            self._types = {field.name: field.type for field in metadata.schema.to_arrow_schema()}
            if self._is_ours([_ID]):
                self.parts = [_range(metadata.row_group(part)) for part in range(metadata.num_row_groups)]

    def _is_ours(self, columns: Iterable[str]) -> bool:
        """Tell whether the file has some columns as this program writes them; it is said where it has not."""
        strange = [name for name in columns if self._types.get(name) != _TYPES[name]]
        if strange:
            logger.error(
                "%s is none of this archive's files (%s: %s, not %s) and is left as it is; put it elsewhere",
                self.path, strange[0], self._types.get(strange[0], "no column"), _TYPES[strange[0]],
            )  # fmt: skip
        return not strange

    def rows(self, ids: Sequence[str], wanted: pa.Array, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """Return the rows of some predictions; none, and said, where the file is broken or somebody else's.

        Args:
            ids: The predictions', sorted.
            wanted: The same as an array.
            columns: What of each row; the id is among them.
        """
        if not self.parts or not self._is_ours(columns):
            return
        try:
            yield from self._rows(ids, wanted, columns)
        except (OSError, ValueError) as broken:
            logger.error("%s cannot be read and is left as it is: %s", self.path, broken)  # noqa: TRY400 - said

    def _rows(self, ids: Sequence[str], wanted: pa.Array, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        with pq.ParquetFile(self.path) as file:
            for index, part in enumerate(self.parts):
                if part is None or bisect.bisect_left(ids, part[0]) < bisect.bisect_right(ids, part[1]):
                    table = file.read_row_group(index, columns, use_threads=False)
                    table = table.filter(pc.is_in(table[_ID], wanted))
                    yield from zip(*(table[name].to_pylist() for name in columns), strict=True)


def _range(group: pq.RowGroupMetaData) -> tuple[str, str] | None:
    """Return the first and the last id of a group of rows; None where nothing is said of them."""
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == _ID:
            found = column.statistics
            return None if found is None or not found.has_min_max else (found.min, found.max)
    return None


def find(index: Iterable[IdRange], ids: set[str]) -> dict[Key, Found]:
    """Return the predictions of some ids, by id and row."""
    found: dict[Key, Found] = {}
    ordered, wanted = sorted(ids), pa.array(ids, pa.string())
    for each in index:
        for prediction_id, row, time, kind in each.rows(ordered, wanted, [_ID, "row", "time", "kind"]):
            if kind not in _COPIES or (prediction_id, row) not in found:  # the caller's own says the date
                found[prediction_id, row] = Found(each.model, time)
    return found
