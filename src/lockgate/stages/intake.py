"""Taking in what landed: every file once, its fate in the ledger once, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import TransientError
from lockgate.ports import DatasetStore, Ingested, Ledger

TAKE_IN_S = 300.0
"""Ours: a third of what the stage's task has; what is left is taken up by its next try, ten seconds later."""


def take_in(
    ledger: Ledger,
    store: DatasetStore,
    spec: ReleaseSpec,
    *,
    within_s: float = TAKE_IN_S,
    elapsed_s: Callable[[], float] | None = None,
) -> tuple[Ingested, ...]:
    """Ingest or quarantine every landed file, each outcome recorded in the ledger once.

    Args:
        ledger: Records what became of each file.
        store: Takes them.
        spec: The model's spec.
        within_s: After this the rest is left to the next call, so that no number of files outlasts a task.
        elapsed_s: Tells how long this call took so far; None: by the machine's monotonic clock.

    Raises:
        TransientError: Files are left; what was taken in is on record, and the next call goes on there.
    """
    began = time.monotonic()
    spent = elapsed_s or (lambda: time.monotonic() - began)
    landed, results = store.landed(spec.name), list[Ingested]()
    rows = ledger.rows(spec.name, events=(Event.BATCH_INGESTED, Event.BATCH_QUARANTINED)) if landed else ()
    recorded = {(row.event, str(row.payload["sha256"])) for row in rows}
    for result in store.ingest_all(spec, landed):
        event, facts = _fate(result)
        if (event, result.batch.sha256) not in recorded:
            ledger.append(spec.name, event, facts)
            recorded.add((event, result.batch.sha256))
        results.append(result)
        if spent() > within_s and len(results) < len(landed):
            raise TransientError(f"took in {len(results)} of {len(landed)} landed files so far; the rest comes next")
    return tuple(results)


def _fate(result: Ingested) -> tuple[Event, dict[str, Json]]:
    """Return what is recorded of a file."""
    facts: dict[str, Json] = {"sha256": result.batch.sha256, "name": result.batch.name}
    if result.quarantined is not None:
        return Event.BATCH_QUARANTINED, {**facts, "reason": result.quarantined}
    return Event.BATCH_INGESTED, {**facts, "rows": result.rows, "table_version": result.table_version}
