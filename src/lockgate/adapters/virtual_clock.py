"""The clock of a replay: the past as a file says it, for everything that asks a `Clock`.

The server's log follows the same file by `serving.virtual_time`; what is refused there is refused here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from lockgate.adapters.durable_files import write_whole
from lockgate.errors import BadInput
from lockgate.serving.virtual_time import MARK, FileTime

FILE = "clock"


class FileClock:
    """Reads the time of a replay's home, and moves it.

    Args:
        path: The clock's file.

    Raises:
        ConfigError: It lies in no replay's home, or holds no ISO time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._time = FileTime(path)

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        return datetime.fromtimestamp(self._time(), UTC)

    def move(self, to: datetime) -> None:
        """Let every process of the home read this time from now on; it runs on from there.

        Raises:
            BadInput: It lies before what the clock says: the record would run backwards.
        """
        if to + timedelta(seconds=1) < self.now():
            raise BadInput(f"the clock says {self.now():%Y-%m-%d %H:%M}; it cannot go back to {to:%Y-%m-%d %H:%M}")
        write_whole(self._path, to.isoformat())


def start_clock(home: Path, at: datetime) -> Path:
    """Mark a home as a replay's and start its clock, unless it has one; returns the clock's file."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / FILE
    if not (home / MARK).is_file():
        write_whole(home / MARK, '{"schema_version": 1}')
    if not path.is_file():
        write_whole(path, at.isoformat())
    return path
