"""One model's part of the prediction log: the lines that wait for the disk, and the segment they go to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from lockgate.core.contract import ModelContract
from lockgate.serving.disk import put_synced
from lockgate.serving.log.binary_columns import Line
from lockgate.serving.log.dropped import Why
from lockgate.serving.log.logged_line import columns_file, describe, read_columns
from lockgate.serving.log.placed_lines import Placed
from lockgate.serving.log.record import Record
from lockgate.serving.log.segments import Segment

logger = logging.getLogger(__name__)


class Lane:
    """One model's lines: those that wait, and the file they go to.

    Attributes:
        rows: Rows that wait.
        counted: For how many they count, see `weight`.
        bytes: Bytes of their lines.
        is_stuck: Whether the disk did not take them when it was asked last.
        why: The reason where some have to be given up.
    """

    why: Final = Why.QUEUE_FULL

    def __init__(self, folder: Path, worker: int, opener: Callable[[Path], int]) -> None:
        self._folder, self._worker, self._opener = folder, worker, opener
        self._segment: Segment | None = None
        self._opened = 0
        self._began = 0.0  # of the open segment; the wall clock may jump
        self._described: set[str] = set()  # bundles whose columns lie beside the open segment
        self._contracts: dict[str, ModelContract] = {}  # of those that lines of it, or that wait for it, are of
        self._waiting = Placed()
        self.rows = self.counted = self.bytes = 0
        self.is_stuck = False
        self._marks: list[tuple[int, int, int, tuple[int, int, int]]] = []  # before each line that came while stuck

    def add(self, record: Record, line: Line, counted: int) -> None:
        """Take a record's line, and for how many rows it counts, see `weight`."""
        if record.contract is not None:
            self._contracts.setdefault(record.digest, record.contract)
        if self.is_stuck:
            self._marks.append((self.rows, self.counted, self.bytes, self._waiting.mark()))
        self._waiting.add(line)
        self.rows += record.rows
        self.counted += counted
        self.bytes += line.size

    def give_up_newest(self) -> tuple[int, int, int]:
        """Give up the line that came last, of those that came before the disk was asked first all of them.

        Returns:
            How many rows that were, for how many they counted, and how many bytes.
        """
        rows, counted, size, mark = self._marks.pop() if self._marks else (0, 0, 0, (0, 0, 0))
        gone = self.rows - rows, self.counted - counted, self.bytes - size
        self.rows, self.counted, self.bytes = rows, counted, size
        self._waiting.cut(mark)
        return gone

    def write(self) -> tuple[int, int, int]:
        """Write what waits; all of it still waits after an error.

        Returns:
            How many rows that was, for how many they counted, and how many bytes.

        Raises:
            OSError: The disk does not take it.
        """
        if not self._waiting.pieces:
            return 0, 0, 0
        self.is_stuck = True  # until all of it is written
        self._put(self._waiting)
        self.is_stuck = False
        self._marks.clear()
        written = self.rows, self.counted, self.bytes
        self._waiting.clear()
        self.rows = self.counted = self.bytes = 0
        return written

    def _put(self, waiting: Placed) -> None:
        segment = self._opened_segment()
        waiting.place(segment.binary_size)
        try:
            segment.write(waiting.pieces, waiting.blobs)
        except OSError as broken:
            if segment.gives_way_after(broken):  # this file may not grow, or is on no disk any more
                self.close()
            raise

    def _opened_segment(self) -> Segment:
        """Return the segment that is written, a new one where there is none any more.

        Raises:
            OSError: The disk does not take a new one.
        """
        if self._segment is not None and self._segment.is_gone:
            logger.error("%s: a segment was removed while it was written; what it held is lost", self._folder)
            self.close()
        if self._segment is None:
            self._opened += 1
            self._began = time.monotonic()
            self._segment = Segment(self._folder, worker=self._worker, number=self._opened, opener=self._opener)
        return self._segment

    def keep_columns(self) -> None:
        """Keep the types of bundles' columns beside their lines, while the archive cannot take these yet.

        After the lines and not before: syncing may take seconds, and as long nothing would be safe from a kill.

        Raises:
            OSError: The disk does not take it; tried again with the next call.
        """
        if self._segment is None or self.is_stuck:
            return
        for digest in self._contracts.keys() - self._described:
            if read_columns(self._folder, digest) is None:  # not there, or of no use
                self._keep_columns(columns_file(self._folder, digest), self._contracts[digest])
            self._described.add(digest)

    def _keep_columns(self, target: Path, contract: ModelContract) -> None:
        new = target.with_name(f".{target.name}.w{self._worker}")
        try:
            new.write_bytes(msgspec.json.encode(describe(contract)))
            put_synced(new, target)
        except FileNotFoundError:
            if self._segment is None or not self._segment.is_gone:  # else the next line begins all of it again
                raise

    def close_if(self, size: int, age_s: float) -> None:
        """Close a segment that has grown to a size or an age, and holds nothing that is still to be written."""
        segment = self._segment
        if segment is None or segment.is_torn:
            return
        if segment.size + segment.binary_size >= size or time.monotonic() - self._began >= age_s:
            self.close()

    def close(self) -> None:
        """Close the segment, if there is one; the next line opens another."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        self._described.clear()  # whoever removed the segment may have removed these, too
        if not self._waiting.pieces:  # bundles come and go
            self._contracts.clear()
