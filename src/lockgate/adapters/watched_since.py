"""Since when each model's monitor is watched: one small file, so that a watcher which restarts does not begin anew.

    <home>/watched.json     model: its schedule, since when it is watched, when it was last looked at

A watcher that was away for long watched nobody meanwhile, and what starts monitors may have been away with it: what was
due in that time proves nothing, and the watch begins anew.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from lockgate.adapters.durable_files import write_whole
from lockgate.core.ids import to_json
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError

LONGEST_AWAY: Final = timedelta(minutes=15)
"""Ours: a supervised process that dies is back in a minute or two, one that is replaced by hand in some more."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One model's watch.

    Attributes:
        schedule: That is watched; another one is another watch.
        since: When the watch began, aware UTC.
        seen: When it was last looked at.
    """

    schedule: str | None
    since: datetime
    seen: datetime


class WatchedSince:
    """The account of one installation's watcher; a file that cannot be read is an empty one, and is told.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Watched] | None = None

    def since(self, model: str, schedule: str | None, now: datetime) -> datetime:
        """Return since when a model's schedule is watched, and take note that it is looked at now; see `write`.

        Args:
            model: Which.
            schedule: The schedule as it is now.
            now: The time, aware UTC.
        """
        if self._known is None:
            self._known = self._read(now)
        known = self._known.get(model)
        if known is None or known.schedule != schedule:
            known = Watched(schedule=schedule, since=now, seen=now)
        self._known[model] = replace(known, seen=now)
        return known.since

    def write(self) -> None:
        """Keep what was noted.

        Raises:
            OSError: It cannot be written; what this process knows it still knows.
            TransientError: The disk is full; likewise.
        """
        write_whole(self._path, json.dumps(to_json(self._known or {}), indent=1))

    def _read(self, now: datetime) -> dict[str, Watched]:
        """Return the watches that go on: those that were looked at not long ago."""
        try:
            told = dict(json.loads(self._path.read_text(encoding="utf-8")))
            known = {str(name): read_record(Watched, each) for name, each in told.items()}
            return {name: each for name, each in known.items() if abs(now - each.seen) <= LONGEST_AWAY}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, IntegrityError) as broken:
            _log.warning("%s cannot be read (%s): monitors are watched anew from now on", self._path, broken)
            return {}
