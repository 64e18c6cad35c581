"""Which addresses do not take messages, since when, and when each is tried again: one small file, written whole."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lockgate.adapters.durable_files import write_whole
from lockgate.core.ids import to_json
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError
from lockgate.ports import Clock

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
"""Ours: a restart of a receiver is over in seconds; after an outage nobody waits longer than five minutes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """An address that does not answer.

    Attributes:
        name: Its name.
        since: When it first did not.
        failures: How often in a row.
        again: When it is tried again.
    """

    name: str
    since: datetime
    failures: int
    again: datetime


class SilentAddresses:
    """The account of one outbox.

    Args:
        path: The file; without it every address is tried at once.
        clock: Dates it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    def due(self, name: str) -> bool:
        """Tell whether an address may be tried now."""
        silent = self.read().get(name)
        return silent is None or self._clock.now() >= silent.again

    def note_silence(self, name: str) -> None:
        """Note that an address did not take a message; the first time it is said aloud."""
        now, known = self._clock.now(), self.read()
        before = known.get(name)
        failures = 1 if before is None else before.failures + 1
        known[name] = Silent(
            name=name,
            since=now if before is None else before.since,
            failures=failures,
            again=now + timedelta(seconds=pause_after(failures)),
        )
        self._write(known)
        if before is None:
            _log.warning("address %s does not take messages; they wait, and it is tried again", name)

    def note_answer(self, name: str) -> None:
        """Note that an address took a message."""
        known = self.read()
        if known.pop(name, None) is not None:
            self._write(known)
            _log.info("address %s takes messages again", name)

    def read(self) -> dict[str, Silent]:
        """Return the silent addresses by name."""
        try:
            held = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(name): read_record(Silent, each) for name, each in held.items()}
        except (FileNotFoundError, ValueError, AttributeError, IntegrityError):
            return {}

    def _write(self, known: Mapping[str, Silent]) -> None:
        write_whole(self._path, json.dumps(to_json(known), indent=1))


def pause_after(failures: int) -> float:
    """Return the seconds until an address is tried again that failed so many times in a row.

    >>> [pause_after(n) for n in (1, 2, 3, 7, 1000)]
    [5.0, 10.0, 20.0, 300.0, 300.0]
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10), LONGEST_PAUSE_S)
