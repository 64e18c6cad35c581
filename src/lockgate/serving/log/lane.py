"""One model's part of the prediction log: the lines that wait for the disk, and the segment they go to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from lockgate.core.contract import ModelContract
from lockgate.core.ids import Digest
from lockgate.serving.log.binary_columns import Line, Placed
from lockgate.serving.log.logged_line import columns_file, describe
from lockgate.serving.log.record import Record
from lockgate.serving.log.segments import Segment


class Lane:
    """One model's lines: those that wait, and the file they go to."""

    def __init__(self, folder: Path, worker: int, opener: Callable[[Path], int]) -> None:
        self._folder, self._worker, self._opener = folder, worker, opener
        self._segment: Segment | None = None
        self._opened = 0
        self._began = 0.0  # of the open segment; the wall clock may jump
        self._described: set[str] = set()
        self._contracts: dict[str, ModelContract] = {}  # of bundles that are not described yet
        self._waiting = Placed()
        self._rows = self._bytes = 0

    def add(self, record: Record, line: Line) -> None:
        """Take a line."""
        if record.contract is not None and record.digest not in self._described:
            self._described.add(record.digest)
            self._contracts[record.digest] = record.contract
        self._waiting.add(line)
        self._rows += record.rows
        self._bytes += line.size

    def write(self) -> tuple[int, int]:
        """Write what waits and return how many rows and bytes that was; all of it still waits after an error.

        Raises:
            OSError: The disk does not take it.
        """
        waiting = self._waiting
        if not waiting.pieces:
            return 0, 0
        if self._segment is None:
            self._opened += 1
            self._began = time.monotonic()
            self._segment = Segment(self._folder, worker=self._worker, number=self._opened, opener=self._opener)
        for digest in tuple(self._contracts):
            self._describe(Digest(digest))
        waiting.place(self._segment.binary_size)
        self._segment.write(waiting.pieces, waiting.blobs)
        written = self._rows, self._bytes
        waiting.clear()
        self._rows = self._bytes = 0
        return written

    def _describe(self, digest: Digest) -> None:
        """Keep the types of a bundle's columns beside its lines, before the first of them."""
        target = columns_file(self._folder, digest)
        if not target.exists():
            new = target.with_name(f".{target.name}.w{self._worker}")
            new.write_bytes(msgspec.json.encode(describe(self._contracts[digest])))
            new.rename(target)
        del self._contracts[digest]

    def close_if(self, size: int, age_s: float) -> None:
        """Close a segment that has grown to a size or an age."""
        segment = self._segment
        if segment is not None and (
            segment.size + segment.binary_size >= size or time.monotonic() - self._began >= age_s
        ):
            self.close()

    def close(self) -> None:
        """Close the segment, if there is one; the next line opens another."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
