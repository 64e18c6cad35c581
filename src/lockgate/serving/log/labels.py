"""Labels: what turned out to be true, told later by prediction id; on the disk before the caller is told so.

Nothing is looked up here: the archive joins labels to predictions, see `archive_labels`.

    <state>/labels/<UTC time of opening>-w<worker>-<number>.jsonl     see `synced_log`

A line is {"prediction_id", "row", "label", "label_time", "received"}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from lockgate.serving import virtual_time
from lockgate.serving.log.segments import open_for_appending
from lockgate.serving.log.synced_log import ID_LENGTH, LARGEST_ROW, SEGMENT_BYTES, SyncedLog

QUEUE_BYTES = 8 << 20  # of lines that wait for the disk
SEGMENT_AGE_S = 60.0  # ours: what the join waits for at most
LABELS_AT_MOST: Final = 10_000  # of one request
LABEL_LENGTH: Final = 256
LARGEST_WHOLE: Final = 2**53  # what a double holds exactly

Value: TypeAlias = (
    Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_LENGTH)]
    | bool
    | Annotated[int, msgspec.Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
    | float
)
"""A label: the class's name, a truth value, or a number."""


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one row turned out to be.

    Attributes:
        prediction_id: The id that the answer carried.
        label: What is true.
        row: Which row of the request, from 0.
        time: When it became known; None: now.
    """

    prediction_id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
    label: Value
    row: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_ROW)] = 0
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class StoredLabel(msgspec.Struct, frozen=True):
    """A label as it lies on the disk.

    Attributes:
        prediction_id: The id that the answer carried.
        row: Which row of the request.
        label: What is true.
        label_time: When it became known.
        received: When the server was told.
    """

    prediction_id: str
    row: int
    label: str | bool | int | float
    label_time: Annotated[datetime, msgspec.Meta(tz=True)]
    received: Annotated[datetime, msgspec.Meta(tz=True)]


class LabelLog(SyncedLog):
    """The labels that one process takes; used on its event loop."""

    def __init__(
        self,
        folder: Path,
        *,
        worker: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s: float = SEGMENT_AGE_S,
        opener: Callable[[Path], int] = open_for_appending,
    ) -> None:
        """Name the folder; see `SyncedLog`."""
        super().__init__(
            folder,
            what="labels",
            queue_bytes=QUEUE_BYTES,
            segment_age_s=segment_age_s,
            worker=worker,
            segment_bytes=segment_bytes,
            opener=opener,
        )

    async def add(self, labels: Sequence[Label]) -> None:
        """Keep labels; when this returns, they survive a power cut.

        Raises:
            RequestRefused: Too many wait for the disk; or it took too long, and may keep them yet.
            OSError: The disk did not take them; none of them was kept.
        """
        await self.keep(_lines(labels), len(labels))


def _lines(labels: Sequence[Label]) -> bytes:
    now = virtual_time.now()
    encode = msgspec.json.encode
    return b"".join(
        encode(StoredLabel(each.prediction_id, each.row, each.label, each.time or now, now)) + b"\n" for each in labels
    )
