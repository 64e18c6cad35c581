"""What the record knows of earlier releases: who served before, and how often this holdout was judged on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial

from lockgate.core.ids import Digest
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.core.spec import SplitMethod
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line, release_of_bundle
from lockgate.line.scoring import answerer, known_keys
from lockgate.ports import Snapshot
from lockgate.stages.examination import HoldoutUses
from lockgate.stages.staleness import Opened, PastChampion

_DAY_S = 86_400.0


def past_champions(line: Line, so_far: Progress) -> tuple[PastChampion, ...]:
    """Return every bundle that production ever served, the one it took up last first."""
    rows = line.ledger.rows(line.model, events=(Event.TRAFFIC_VERIFIED,))
    served = [str(row.payload["to"]) for row in reversed(rows) if row.payload["environment"] == "production"]
    return tuple(
        PastChampion(
            bundle=bundle,
            release=release_of_bundle(line, bundle) or "",
            open=partial(_open, line, so_far, bundle),
        )
        for bundle in map(Digest, dict.fromkeys(served))
    )


def _open(line: Line, so_far: Progress, bundle: Digest) -> Opened:
    asked = answerer(line, bundle)
    fitted_on = line.services.store.snapshot(data_of(line, bundle))
    now = line.services.store.snapshot(Digest(so_far.refs["data"]))
    return Opened(
        ask=asked.ask,
        threshold=asked.threshold,
        known_keys=known_keys(line, bundle),
        age_days=(now.as_of - fitted_on.as_of).total_seconds() / _DAY_S,
    )


def data_of(line: Line, bundle: Digest) -> Digest:
    """Return the snapshot that a bundle was fitted on.

    Raises:
        LockgateError: The ledger does not say.
    """
    for row in reversed(line.ledger.rows(line.model, events=(Event.BUNDLE,))):
        if row.payload["bundle"] == bundle:
            return Digest(str(row.payload["data"]))
    raise LockgateError(f"the ledger does not say what bundle {bundle[:12]} was fitted on")


def holdout_uses(line: Line, so_far: Progress, snapshot: Snapshot) -> HoldoutUses:
    """Count the earlier releases that were judged on this release's holdout, from the ledger's evidence."""
    ours = _holdout_hash(snapshot)
    same = overlapping = 0
    for data in _judged_before(line, so_far):
        try:
            theirs = line.services.store.snapshot(data)
            equal = _holdout_hash(theirs) == ours
            shares = equal or _overlap(line, snapshot, theirs)
        except LockgateError:  # its rows are gone: that they were other rows cannot be shown
            equal, shares = data == snapshot.digest, True
        same, overlapping = same + equal, overlapping + shares
    return HoldoutUses(same=same, overlapping=overlapping)


def _judged_before(line: Line, so_far: Progress) -> Iterator[Digest]:
    """Yield the snapshot of each other release with evidence of the `quality` gate, once a release."""
    found: dict[str, Digest] = {}
    for row in line.ledger.rows(line.model, events=(Event.EVIDENCE,)):
        subjects = row.payload.get("subjects")
        if row.payload.get("gate") != "quality" or row.release in (None, so_far.release):
            continue
        if isinstance(subjects, Mapping) and "data" in subjects:
            found[str(row.release)] = Digest(str(subjects["data"]))
    yield from found.values()


def _holdout_hash(snapshot: Snapshot) -> str:
    index: dict[str, dict[str, str]] = json.loads((snapshot.folder / "snapshot.json").read_bytes())
    return index["parts"]["holdout"]


def _overlap(line: Line, ours: Snapshot, theirs: Snapshot) -> bool:
    """Tell whether two holdouts share days; hashed splits keep a row in its part, so they always share rows."""
    if line.spec.split.method is not SplitMethod.TIME:
        return True
    return abs(ours.as_of - theirs.as_of) < timedelta(days=line.spec.split.holdout_days)
