"""What a release's data is held against: the champion's contract, profile and rows, and the batches before this one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from lockgate.core.ids import Digest, Json
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line
from lockgate.ports import Snapshot
from lockgate.stages.releasing import opened_row


def json_part(line: Line, bundle: Digest | None, name: str) -> Mapping[str, Json] | None:
    """Return a JSON part of a bundle; None without a bundle, or where the part is gone or empty."""
    if bundle is None:
        return None
    path = line.services.bundles.folder(bundle) / name
    found: dict[str, Json] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found or None


def champion_rows(line: Line, champion: Digest | None) -> tuple[Snapshot | None, str]:
    """Return the snapshot the champion was trained on, or None and why it is gone."""
    if champion is None:
        return None, "there never was a champion"
    rows = [row for row in line.ledger.rows(line.model, events=(Event.BUNDLE,)) if row.payload["bundle"] == champion]
    if not rows:
        return None, f"the ledger does not say which rows champion {champion[:12]} was fitted on"
    try:
        return line.services.store.snapshot(Digest(str(rows[-1].payload["data"]))), ""
    except LockgateError as why:
        return None, why.message


def earlier_batches(line: Line, so_far: Progress) -> tuple[int, ...]:
    """Return the rows of the batches before the newest one of this release, oldest first."""
    mine = opened_row(line.ledger, line.spec, so_far.release).seq
    taken = [row for row in line.ledger.rows(line.model, events=(Event.BATCH_INGESTED,)) if row.seq < mine]
    rows = [row.payload.get("rows") for row in taken[:-1]]
    return tuple(each for each in rows if isinstance(each, int) and each > 0)
