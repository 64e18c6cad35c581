"""The summaries of a model's days on disk, reduced to what the board shows; a file is read once, until it changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from lockgate.core.board_windows import DayPart, part_of
from lockgate.core.monitoring.summary import SCHEMA_VERSION, DaySummary

_MOST: Final = 10_000
"""Files of one model that are read, the newest by name. Ours: 27 bundles a day for a year, some 50 MB."""


class DayFiles:
    """One model's folder of days.

    Args:
        folder: `<home>/monitoring/<model>`; need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._decoder = msgspec.json.Decoder(DaySummary)
        self._known: dict[str, tuple[tuple[int, int], DayPart | None]] = {}

    def read(self) -> tuple[tuple[DayPart, ...], tuple[str, ...], bool]:
        """Return the days, the names of files that cannot be read, and whether anything differs from the last time."""
        there = self._there()
        changed = there.keys() != self._known.keys()
        for name, stamp in there.items():
            if name not in self._known or self._known[name][0] != stamp:
                self._known[name], changed = (stamp, self._part(name)), True
        self._known = {name: self._known[name] for name in there}
        parts = tuple(part for _, part in self._known.values() if part is not None)
        return parts, tuple(name for name, (_, part) in self._known.items() if part is None), changed

    def _there(self) -> dict[str, tuple[int, int]]:
        try:
            with os.scandir(self._folder) as entries:
                named = [each for each in entries if each.name.endswith(".json") and not each.name.startswith(".")]
                stamped = {each.name: each.stat() for each in named}
        except OSError:  # no folder yet; or a file went away between its name and its time
            return {name: stamp for name, (stamp, _) in self._known.items() if (self._folder / name).is_file()}
        newest = sorted(stamped)[-_MOST:]
        return {name: (stamped[name].st_mtime_ns, stamped[name].st_size) for name in newest}

    def _part(self, name: str) -> DayPart | None:
        try:
            day = self._decoder.decode((self._folder / name).read_bytes())
            return part_of(day) if day.schema_version == SCHEMA_VERSION else None
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
