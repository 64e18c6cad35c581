"""Lines that callers are told are kept: on the disk before they hear of it, group by group.

Who comes while the disk syncs shares the next sync. What the lines say is the business of `labels` and `feedback`.

    <folder>/<UTC time of opening>-w<worker>-<number>.jsonl     see `segments`
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final

from lockgate.serving.disk import sync
from lockgate.serving.log.segments import Segment, open_for_appending
from lockgate.serving.refusals import Reason, refuse

logger = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 16 << 20
LARGEST_ROW: Final = 2**31 - 1
ID_LENGTH: Final = 128  # of a prediction; a server's own are shorter
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 9998  # a year later in UTC, whatever the zone, is still a time that can be written


class SyncedLog:
    """The lines that one process takes; used on its event loop.

    Attributes:
        accepted: Lines that the disk holds.
        errors: Times it did not take them.
        within_s: How long a caller waits for the disk at most, in seconds.
    """

    within_s: float = 30.0  # ours: as long as taking an answer may; a disk that is well takes milliseconds

    def __init__(  # noqa: PLR0913 - half have defaults that only tests change
        self,
        folder: Path,
        *,
        what: str,
        queue_bytes: int,
        segment_age_s: float,
        worker: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        opener: Callable[[Path], int] = open_for_appending,
    ) -> None:
        """Name the folder; nothing is written, and no thread runs, before the first line.

        Args:
            folder: Holds the segments; made where it is not there.
            what: What a line is, in the plural; for messages and for the name of the thread.
            queue_bytes: Of lines that wait for the disk.
            segment_age_s: A file of this age, in seconds, is closed and the next one opened.
            worker: Which of the server's processes this is; names its files.
            segment_bytes: So is one that has grown to this size.
            opener: Opens a segment for appending and returns its descriptor.
        """
        self.accepted = self.errors = 0
        self._folder, self._what, self._worker, self._opener = folder, what, worker, opener
        self._queue_bytes, self._segment_bytes, self._segment_age_s = queue_bytes, segment_bytes, segment_age_s
        self._segment: Segment | None = None
        self._opened = 0
        self._aging: asyncio.TimerHandle | None = None
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix=what)  # starts with the first line
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._waiting_lines = 0
        self._next: asyncio.Future[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def keep(self, data: bytes, lines: int) -> None:
        """Keep lines; when this returns, they survive a power cut.

        Args:
            data: The lines, each with its end.
            lines: How many they are.

        Raises:
            RequestRefused: Too many wait for the disk; or it took too long, and may keep them yet.
            OSError: The disk did not take them; none of them was kept.
        """
        if self._waiting and self._waiting_bytes + len(data) > self._queue_bytes:
            raise refuse(Reason.OVERLOADED, f"too much waits for the disk: send the {self._what} again in a second")
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._waiting_lines += lines
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        kept = self._next
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        try:
            await asyncio.wait_for(asyncio.shield(kept), self.within_s)  # others wait for the same group
        except TimeoutError:
            if kept.done():  # the disk's own, as a network's is
                raise
            raise refuse(
                Reason.OVERLOADED,
                f"the disk did not take the {self._what} within {self.within_s:g} s and may yet: send the same again",
            ) from None

    async def _write_groups(self) -> None:
        """Write what waits, group by group, until nothing does."""
        loop = asyncio.get_running_loop()
        while self._next is not None:
            group, count, kept = b"".join(self._waiting), self._waiting_lines, self._next
            self._waiting.clear()
            self._waiting_bytes = self._waiting_lines = 0
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
        if segment is not None and (segment.size >= self._segment_bytes or segment.is_gone):
            if segment.is_gone:
                logger.error("%s: a segment was removed while it was written; what it held is lost", self._folder)
            self._close_segment()
            segment = None
        if segment is None:
            self._opened += 1
            segment = Segment(self._folder, worker=self._worker, number=self._opened, opener=self._opener)
            self._segment = segment
            sync(self._folder)
            sync(self._folder.parent)  # which may have it since just now
        size = segment.size
        try:
            segment.write([group])
        except OSError as broken:
            if segment.gives_way_after(broken):  # this file may not grow, or is on no disk any more
                self._close_segment()
            raise
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
        """Wait until what was taken is written, and let others take the segment."""
        if self._writing is not None:
            await self._writing
        self.close()

    def close(self) -> None:
        """Let others take the segment; after the event loop has ended, when nothing is being written any more."""
        if self._aging is not None:
            self._aging.cancel()
        self._disk.shutdown()
        self._close_segment()


def year_problem(time: datetime | None) -> str | None:
    """Return why a time cannot be kept; None where it can, or there is none."""
    if time is None or FIRST_YEAR <= time.year <= LAST_YEAR:
        return None
    return f"year {time.year}; allowed are {FIRST_YEAR} to {LAST_YEAR}"
