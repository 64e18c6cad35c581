"""A log that processes append to by themselves, and that is cut when it grows too long.

Processes write to the file and not to a pipe, so that they outlive the supervisor. It is cut by copying and
truncating, which may lose what is written in between: the price of not asking them to open it again.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import BinaryIO


class ProcessLog:
    """One process's log file."""

    def __init__(self, path: Path, *, limit_bytes: int = 10_000_000, backups: int = 3, every_s: float = 5.0) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._backups = backups
        self._every_s = every_s
        self._looked = 0.0

    def open(self) -> BinaryIO:
        """Open it for a process to append to.

        Raises:
            OSError: The disk is full, or the folder may not be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path.open("ab")

    def note(self, text: str) -> None:
        """Append one line of our own."""
        with self.open() as file:
            file.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n".encode())

    def rotate_if_due(self) -> None:
        """Look at its size every few seconds, and cut it when it is too long."""
        if time.monotonic() - self._looked < self._every_s:
            return
        self._looked = time.monotonic()
        with contextlib.suppress(OSError):  # a full disk must not end the supervisor; the next look tries again
            self.rotate()

    def rotate(self) -> None:
        """Cut it when it is too long, keeping the last few as `<name>.1`, `<name>.2`, ..."""
        if not self.path.is_file() or self.path.stat().st_size <= self._limit_bytes:
            return
        for number in range(self._backups - 1, 0, -1):
            if self._backup(number).is_file():
                self._backup(number).replace(self._backup(number + 1))
        self._backup(1).write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)

    def tail(self, lines: int) -> str:
        """Return its last lines; empty when there are none."""
        try:
            with self.path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - 400 * lines))
                return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
