"""The long-running look-out of `lockgate up`: announces landed files, and lets the reaper look every few seconds.

Specs are read again when their files change. One model's broken spec or one orchestrator's silence is told once, tried
again, and stops nothing else.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from lockgate.adapters.code_identity import program_digest
from lockgate.bootstrap import Services
from lockgate.errors import LockgateError
from lockgate.line.alerting import AlertWatch
from lockgate.line.learning import on_code_change
from lockgate.line.model_line import Line
from lockgate.line.upkeep import ANNOUNCE_AGAIN_S, announce, reap_line

log = logging.getLogger(__name__)

QUIET_S = 2.0  # a folder is announced when it was quiet this long, so that files landed together go together
LOOK_S = 1.0
REAP_S = 10.0
PROGRAM_S = 60.0  # ours: every source file is read to tell whether the program changed

Entries = tuple[tuple[str, int, int], ...]


@dataclass
class _Folder:
    """What was seen of one landing folder, and when.

    Attributes:
        entries: Name, size and time of every file.
        since: When it was first seen so.
        announced: When it was announced so; None when it was not.
    """

    entries: Entries = ()
    since: float = 0.0
    announced: float | None = None

    def due(self, entries: Entries, now: float) -> bool:
        """Note what is there, and tell whether it should be announced."""
        if entries != self.entries:
            self.entries, self.since, self.announced = entries, now, None
        quiet = now - self.since >= QUIET_S
        again = self.announced is None or now - self.announced >= ANNOUNCE_AGAIN_S
        return bool(entries) and quiet and again


class Watcher:
    """Looks at every model of one installation.

    Args:
        services: Its parts.
        tell: Emits the event of a model's landed files; tells whether there was something to emit.
        reap: Lets the reaper look at a model; returns what it did.
    """

    def __init__(
        self,
        services: Services,
        tell: Callable[[Line], bool] = announce,
        reap: Callable[[Line], Iterable[str]] = reap_line,
    ) -> None:
        self._services = services
        self._tell = tell
        self._reap = reap
        self._folders: dict[str, _Folder] = {}
        self._troubles: dict[tuple[str, str], str] = {}
        self._reaped: float | None = None
        self._compared: float | None = None
        self._alerts = AlertWatch(services)

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(LOOK_S):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look once at everything that is due."""
        reaping = self._reaped is None or now - self._reaped >= REAP_S
        comparing = self._compared is None or now - self._compared >= PROGRAM_S
        if reaping:
            self._reaped = now
        if comparing:
            self._compared = now
        for model in self._services.specs():
            self._attempt(model, "its landing folder", partial(self._look_at_landing, model, now))
            if reaping:
                self._attempt(model, "its open release", partial(self._look_at_release, model))
            if comparing:
                self._attempt(model, "its program", partial(self._look_at_program, model))
        for whose, what, act in self._alerts.due(now):
            self._attempt(whose, what, act)

    def _line(self, model: str) -> Line:
        return Line(services=self._services, spec=self._services.spec(model))

    def _look_at_landing(self, model: str, now: float) -> None:
        line = self._line(model)
        folder = self._services.settings.landing(line.spec.name)
        found = folder.iterdir() if folder.is_dir() else ()
        entries = tuple(sorted((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in found))
        seen = self._folders.setdefault(model, _Folder())
        if seen.due(entries, now):
            if self._tell(line):
                log.info("announced %d landed files of %s", len(entries), model)
            seen.announced = now

    def _look_at_release(self, model: str) -> None:
        for did in self._reap(self._line(model)):
            log.warning("%s", did)

    def _look_at_program(self, model: str) -> None:
        line = self._line(model)
        if line.spec.retraining.on_code_change:
            on_code_change(line, program_digest(self._services.settings.project))

    def _attempt(self, model: str, what: str, act: Callable[[], object]) -> None:
        """Act; a trouble is told when it begins or changes, and when it is over."""
        try:
            act()
        except (LockgateError, OSError) as trouble:
            if self._troubles.get((model, what)) != str(trouble):
                log.warning("%s: cannot look at %s: %s", model, what, trouble)
            self._troubles[model, what] = str(trouble)
        else:
            if self._troubles.pop((model, what), None) is not None:
                log.info("%s: can look at %s again", model, what)
