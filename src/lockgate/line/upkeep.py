"""What goes on beside releases: landed files announced, dead runs ended, aliases and half-done switches reconciled."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from uuid import NAMESPACE_URL, uuid5

from lockgate.core.ids import Json, as_float
from lockgate.line.model_line import Line

LANDED = "lockgate.batch.landed"
ANNOUNCE_AGAIN_S = 600.0  # an event that started nothing is emitted again; ingestion makes a second run a no-op


def announce(line: Line) -> bool:
    """Emit the event that starts a release, if files wait that the ledger does not know; tells whether it did.

    The event's id is made from the files' content, so that announcing the same files twice is one event.
    """
    known = line.ledger.state(line.spec.name).ingested
    fresh = [batch for batch in line.services.store.landed(line.spec.name) if batch.sha256 not in known]
    if not fresh or not line.spec.retraining.on_new_data:
        return False
    content = ",".join(sorted(batch.sha256 for batch in fresh))
    window = int(time.time() // ANNOUNCE_AGAIN_S)
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
