"""Labels: what turned out to be true, told later by prediction id; on the disk before the caller is told so.

Requests that come while the disk syncs share the next sync. Nothing is looked up here: the archive joins labels to
predictions, see `archive_labels`.

    <state>/labels/<UTC time of opening>-w<worker>-<number>.jsonl     see `segments`

A line is {"prediction_id", "row", "label", "label_time", "received"}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from lockgate.serving.disk import sync
from lockgate.serving.log.segments import Segment, open_for_appending
from lockgate.serving.refusals import Reason, refuse

QUEUE_BYTES = 8 << 20  # of lines that wait for the disk
SEGMENT_BYTES = 16 << 20
SEGMENT_AGE_S = 60.0  # ours: what the join waits for at most
LABELS_AT_MOST: Final = 10_000  # of one request
ID_LENGTH: Final = 128
LABEL_LENGTH: Final = 256
LARGEST_WHOLE: Final = 2**53  # what a double holds exactly
LARGEST_ROW: Final = 2**31 - 1
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9998  # a year later in UTC, whatever the zone, is still a time that can be written

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
    label_time: datetime
    received: datetime


class LabelLog:
    """The labels that one process takes; used on its event loop.

    Attributes:
        accepted: Labels that the disk holds.
        errors: Times it did not take them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        worker: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s: float = SEGMENT_AGE_S,
        opener: Callable[[Path], int] = open_for_appending,
    ) -> None:
        """Name the folder; nothing is written, and no thread runs, before the first label.

        Args:
            folder: Holds the segments; made where it is not there.
            worker: Which of the server's processes this is; names its files.
            segment_bytes: A file that has grown to this size is closed and the next one opened.
            segment_age_s: So is one of this age, in seconds.
            opener: Opens a segment for appending and returns its descriptor.
        """
        self.accepted = self.errors = 0
        self._folder, self._worker, self._opener = folder, worker, opener
        self._segment_bytes, self._segment_age_s = segment_bytes, segment_age_s
        self._segment: Segment | None = None
        self._opened = 0
        self._aging: asyncio.TimerHandle | None = None
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="labels")  # starts with the first label
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._waiting_labels = 0
        self._next: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def add(self, labels: Sequence[Label]) -> None:
        """Keep labels; when this returns, they survive a power cut.

        Raises:
            RequestRefused: Too many wait for the disk.
            OSError: The disk did not take them; none of them was kept.
        """
        data = _lines(labels)
        if self._waiting and self._waiting_bytes + len(data) > QUEUE_BYTES:
            raise refuse(Reason.OVERLOADED, "too many labels wait for the disk; send them again in a second")
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._waiting_labels += len(labels)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        kept = self._next
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        await asyncio.shield(kept)  # others wait for the same group

    async def _write_groups(self) -> None:
        """Write what waits, group by group, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._next is not None:
            group, count, kept = b"".join(self._waiting), self._waiting_labels, self._next
            self._waiting.clear()
            self._waiting_bytes = self._waiting_labels = 0
            self._next = None
            try:
                await loop.run_in_executor(self._disk, self._write, group)
            except Exception as broken:  # noqa: BLE001 - whatever it is, those who wait are told
                self.errors += 1
                kept.set_exception(broken)
                kept.exception()  # they may be gone
            else:
                self.accepted += count
                kept.set_result(None)
        self._writing = None
        if self._segment is not None and self._aging is None:
            self._aging = loop.call_later(self._segment_age_s, self._age)

    def _write(self, group: bytes) -> None:
        """Write a group whole or not at all; runs in the disk's thread, as everything that touches the segment."""
        segment = self._segment
        if segment is not None and segment.size >= self._segment_bytes:
            self._close_segment()
            segment = None
        if segment is None:
            self._opened += 1
            segment = Segment(self._folder, worker=self._worker, number=self._opened, opener=self._opener)
            self._segment = segment
            sync(self._folder)
        size = segment.size
        segment.write([group])
        try:
            segment.sync()
        except OSError:
            segment.cut(size)
            raise

    def _age(self) -> None:
        self._aging = None
        self._disk.submit(self._close_segment)

    def _close_segment(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    async def aclose(self) -> None:
        """Wait until what was taken is written, and let the archive take the segment."""
        if self._writing is not None:
            await self._writing
        self.close()

    def close(self) -> None:
        """Let the archive take the segment; after the event loop has ended, when nothing is being written any more."""
        if self._aging is not None:
            self._aging.cancel()
        self._disk.shutdown()
        self._close_segment()


def _lines(labels: Sequence[Label]) -> bytes:
    now = datetime.now(UTC)
    encode = msgspec.json.encode
    return b"".join(
        encode(StoredLabel(each.prediction_id, each.row, each.label, each.time or now, now)) + b"\n" for each in labels
    )
