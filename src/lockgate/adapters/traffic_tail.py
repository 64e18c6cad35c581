"""Reads segments to their ends and on from there, a bounded part at a time; see `serving.log.segments`.

A segment that was begun is held open: once it is closed the archive takes it away, and what of it was not read yet is
read all the same. Only one that left while nobody held it must be looked for in the archive.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lockgate.adapters.traffic_cursor import Held, Part, before, worker_of
from lockgate.serving.log.segments import segments

BLOCK_BYTES: Final = 1 << 20


@dataclass(slots=True)
class Budget:
    """What one reading may take; it ends with the line that goes beyond.

    Attributes:
        rows: Rows of requests, labels or numbers.
        bytes: Of lines.
    """

    rows: int
    bytes: int

    def is_spent(self) -> bool:
        """Tell whether nothing more is to be read."""
        return self.rows <= 0 or self.bytes <= 0

    def take(self, size: int, rows: int = 1) -> None:
        """Count a line."""
        self.bytes -= size
        self.rows -= rows


@dataclass(slots=True)
class Left:
    """Segments that have left a folder and were not read to their ends.

    Attributes:
        unheld: Those that nobody held open.
        held: Those that are read on all the same.
    """

    unheld: list[Held] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)


class Tail:
    """The segments of one folder."""

    def __init__(self, folder: Path, *, counts_lines: bool) -> None:
        """Take the folder, which need not be there yet.

        Args:
            folder: Holds the segments.
            counts_lines: Whether `Part.gone` counts lines; else it counts segments.
        """
        self._folder, self._counts = folder, counts_lines
        self._there: set[str] = set()
        self._open: dict[str, int] = {}

    def close(self) -> None:
        """Let go of all segments."""
        for name in tuple(self._open):
            os.close(self._open.pop(name))

    def look(self, part: Part) -> Left:
        """List the folder, hold what is unread open, and return what has left it since the last time.

        Raises:
            OSError: The folder cannot be read.
        """
        self._there = set()
        for path in segments(self._folder):
            held = part.held.get(path.name)
            if held is None:
                held = part.held[path.name] = Held(time=before(path.name))
            if held.done or self._hold(path, held):
                self._there.add(path.name)
        left = Left()
        for name, held in [*part.held.items()]:
            if name in self._there:
                continue
            if not held.left:
                held.left = True
                part.gone += 0 if self._counts else 1
                if name in self._open:
                    left.held.append(held)
            if name not in self._open:
                del part.held[name]
                part.gone += held.lines if self._counts else 0
                if not held.done:
                    left.unheld.append(held)
        return left

    def read(self, part: Part, budget: Budget, take: Callable[[bytes, Held], int]) -> bool:
        """Read on, oldest segments first.

        Args:
            part: How far it was read; as far as `look` has found it.
            budget: What may be taken.
            take: Told of each line, without its end; returns its rows.

        Returns:
            Whether there may be more.

        Raises:
            OSError: A segment cannot be read.
        """
        for name in sorted(part.held):
            held = part.held[name]
            if not held.done:
                if not self._read(self._open[name], held, budget, take):
                    return True
                self._ended(name, part)
        return False

    def to_end(self, part: Part, told: Callable[[bytes, Held], object]) -> None:
        """Go behind all that is there.

        Args:
            part: How far it was read; nothing, as `look` has found it.
            told: Told of each segment's last line.

        Raises:
            OSError: A segment cannot be read.
        """
        for name in sorted(part.held):
            held, handle = part.held[name], self._open[name]
            held.offset, last = _end(handle, held.size)
            held.lines = _count_lines(handle, held.offset) if self._counts else 0
            if last:
                told(last, held)
            self._ended(name, part)

    def _hold(self, path: Path, held: Held) -> bool:
        """Hold a segment open; tell whether it is there."""
        name = path.name
        if name not in self._open:
            try:
                self._open[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # taken since it was listed
                return False
        held.size = os.fstat(self._open[name]).st_size
        return True

    def _read(self, handle: int, held: Held, budget: Budget, take: Callable[[bytes, Held], int]) -> bool:
        """Read one segment on; tell whether its end was reached."""
        while not budget.is_spent():
            block = _whole_lines(handle, held.offset)
            if not block:
                return True
            for line in block[:-1].split(b"\n"):
                budget.take(len(line) + 1, take(line, held))
                held.offset += len(line) + 1
                held.lines += 1
                if budget.is_spent():
                    break
        return False

    def _ended(self, name: str, part: Part) -> None:
        """Let go of a segment that was read to its end and will not grow any more."""
        if name not in self._there:
            held = part.held.pop(name)
            part.gone += held.lines if self._counts else 0
        elif any(other > name and worker_of(other) == worker_of(name) for other in self._there):
            part.held[name].done = True  # a worker opens one after the other, and another process after it has ended
        else:
            return
        os.close(self._open.pop(name))


def _whole_lines(handle: int, offset: int) -> bytes:
    """Return some whole lines from an offset on, one at least; nothing where there is none, or half a one."""
    size = BLOCK_BYTES
    while True:
        data = os.pread(handle, size, offset)
        cut = data.rfind(b"\n")
        if cut >= 0:
            return data[: cut + 1]
        if len(data) < size:
            return b""
        size *= 4


def _end(handle: int, size: int) -> tuple[int, bytes]:
    """Return where the last whole line ends within so many bytes, and that line; 0 where there is none."""
    reach = BLOCK_BYTES
    while True:
        start = max(0, size - reach)
        data = os.pread(handle, size - start, start)
        cut = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(cut, 0))
        if cut >= 0 and (begin >= 0 or start == 0):
            return start + cut + 1, data[begin + 1 : cut]
        if start == 0:
            return 0, b""
        reach *= 4


def _count_lines(handle: int, end: int) -> int:
    return sum(os.pread(handle, min(BLOCK_BYTES, end - at), at).count(b"\n") for at in range(0, end, BLOCK_BYTES))
