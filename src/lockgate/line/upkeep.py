"""What goes on beside releases: landed files announced, dead runs ended, aliases and half-done switches reconciled."""

from __future__ import annotations

import logging
import platform
import threading
import time
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from lockgate.config import Settings
from lockgate.core.ids import Json, as_float
from lockgate.errors import LockgateError
from lockgate.line.running import Line

log = logging.getLogger(__name__)

LANDED = "lockgate.batch.landed"
_QUIET_S = 2.0  # a batch is announced when its folder was quiet this long, so that files landed together go together
_LOOK_S = 1.0
_REAP_S = 15.0
_ANNOUNCE_AGAIN_S = 600.0  # an event that started nothing is emitted again; ingestion makes a second run a no-op


def announce(line: Line) -> bool:
    """Emit the event that starts a release, if files wait that the ledger does not know; tells whether it did.

    The event's id is made from the files' content, so that announcing the same files twice is one event.
    """
    known = line.ledger.state(line.spec.name).ingested
    fresh = [batch for batch in line.services.store.landed(line.spec.name) if batch.sha256 not in known]
    if not fresh or not line.spec.retraining.on_new_data:
        return False
    content = ",".join(sorted(batch.sha256 for batch in fresh))
    window = int(time.time() // _ANNOUNCE_AGAIN_S)
    payload: dict[str, Json] = {"model": line.spec.name, "files": [batch.name for batch in fresh]}
    line.services.runs.emit_event(
        LANDED,
        f"lockgate.model.{line.spec.name}",
        payload,
        id=str(uuid5(NAMESPACE_URL, f"{line.spec.name}:{content}:{window}")),
    )
    return True


def reap_line(line: Line) -> list[str]:
    """Let the reaper look at the model once; returns what it did."""
    from lockgate.stages.reaping import reap

    services = line.services
    done = reap(line.ledger, services.runs, services.clock, services.notifier, line.spec, lives=process_lives)
    return [] if done is None else [f"{done.release}: {done.did}"]


def reconcile_line(line: Line) -> list[str]:
    """Bring half-recorded switches to an end and set the registry's aliases from the ledger."""
    from lockgate.stages.reconcile import reconcile

    services = line.services
    targets = [services.target(name) for name in ("staging", "production")]
    return list(reconcile(line.ledger, services.registry, targets, line.spec.name, clock=services.clock))


def process_lives(process: Mapping[str, Json]) -> bool | None:
    """Tell whether a recorded process still runs; None when it ran on another machine or was not recorded."""
    import psutil

    if process.get("host") != platform.node():
        return None
    try:
        found = psutil.Process(int(as_float(process["pid"])))
        return abs(found.create_time() - as_float(process["started"])) < 1.0
    except psutil.NoSuchProcess:
        return False


class Watcher:
    """The long-running look-out of `lockgate up`: announces landed files, and lets the reaper look every few seconds.

    One model's broken spec or one orchestrator's silence is logged and tried again; it stops nothing else.
    """

    def __init__(self, lines: Mapping[str, Line], settings: Settings) -> None:
        self._lines = lines
        self._settings = settings
        self._seen: dict[str, tuple[object, float]] = {}
        self._announced: dict[str, tuple[object, float]] = {}
        self._reaped = 0.0

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        while not stop.wait(_LOOK_S):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look once at everything that is due."""
        for name, line in self._lines.items():
            self._attempt(name, "landing", lambda line=line, name=name: self._look_at_landing(name, line, now))
        if now - self._reaped >= _REAP_S:
            self._reaped = now
            for name, line in self._lines.items():
                for did in self._attempt(name, "reaper", lambda line=line: reap_line(line)) or []:
                    log.warning("reaped %s", did)

    def _look_at_landing(self, name: str, line: Line, now: float) -> None:
        folder = self._settings.landing(line.spec.name)
        entries = (
            sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in folder.iterdir())
            if folder.is_dir()
            else []
        )
        before = self._seen.get(name)
        if before is None or before[0] != entries:
            self._seen[name] = (entries, now)
            return
        announced = self._announced.get(name)
        due = announced is None or announced[0] != entries or now - announced[1] >= _ANNOUNCE_AGAIN_S
        if entries and due and now - before[1] >= _QUIET_S:
            if announce(line):
                log.info("announced %d landed files of %s", len(entries), name)
            self._announced[name] = (entries, now)

    @staticmethod
    def _attempt(name: str, what: str, act: object) -> list[str] | None:
        try:
            return act()  # type: ignore[operator,no-any-return]  # both callables above return a list or nothing
        except LockgateError as failed:
            log.warning("%s of %s: %s", what, name, failed)
        except OSError as failed:
            log.warning("%s of %s: %s", what, name, failed)
        return None
