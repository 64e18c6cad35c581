"""What time it is for whatever is logged: the machine's; where the past is replayed, what a file says.

    LOCKGATE_CLOCK_FILE=<home>/clock    holds an ISO time; since the file was written, time runs on from there
    <home>/replay.json                  must lie beside it: no other home may be told another time

All processes of a replay read the same file, so that their times agree; leases and waits are measured by the monotonic
clock, which nobody moves.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from lockgate.errors import ConfigError

VARIABLE: Final = "LOCKGATE_CLOCK_FILE"
MARK: Final = "replay.json"
_LOOK_S: Final = 0.02  # ours: a replay waits longer than this after it moved the time; a look costs 10 us


class FileTime:
    """The time that a file says, in seconds since 1970; it runs on from when the file was written."""

    def __init__(self, path: Path) -> None:
        """Take the file.

        Raises:
            ConfigError: It lies in no replay's home, or holds no ISO time.
        """
        if not (path.parent / MARK).is_file():
            raise ConfigError(
                f"{VARIABLE} names {path}, and {path.parent} is no replay's home (it holds no {MARK}): only `lockgate "
                "replay` may say another time. Unset it",
                path=str(path),
            )
        self._path = path
        self._ahead_s = self._read()
        self._looked = time.monotonic()

    def __call__(self) -> float:
        """Return the time."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._ahead_s, self._looked = self._read(), now
        return time.time() + self._ahead_s

    def _read(self) -> float:
        """Return how far the file's time is ahead of the machine's."""
        try:
            with self._path.open() as file:  # replaced whole: time and content belong together
                written_s, text = os.fstat(file.fileno()).st_mtime, file.read().strip()
            return _seconds(text) - written_s
        except (OSError, ValueError) as wrong:
            raise ConfigError(
                f"{self._path} must hold an ISO time with its zone: {wrong}", path=str(self._path)
            ) from wrong


def _seconds(text: str) -> float:
    told = datetime.fromisoformat(text)
    if told.tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return told.timestamp()


@lru_cache(maxsize=1)
def clock() -> Callable[[], float]:
    """Return this process's clock, seconds since 1970.

    Raises:
        ConfigError: The variable is set outside a replay's home.
    """
    named = os.environ.get(VARIABLE)
    return FileTime(Path(named)) if named else time.time


def now_s() -> float:
    """Return the time in seconds since 1970."""
    return clock()()


def now() -> datetime:
    """Return the time, aware UTC."""
    return datetime.fromtimestamp(now_s(), UTC)
