"""Stage 1, after the landed files were taken in: freeze the rows of this release, and say what landed.

Measured beside that, under `contract`: what changed against the champion's contract, by the values of the newest batch.
`{"champion", "changes": [{"column", "kind", "was", "is", "share", "far_share", "n"}]}`, or `{"champion", "unknown":
reason}`, or `{"champion": None}` where there never was one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.core.contract import ColumnType
from lockgate.core.contract_diff import form_changes, value_changes
from lockgate.core.ids import Digest, Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.ports import DatasetStore, Ingested, Snapshot
from lockgate.stages.feature_columns import feature_columns

if TYPE_CHECKING:
    import pandas as pd


def measure_ingest(
    store: DatasetStore,
    spec: ReleaseSpec,
    landed: Sequence[Ingested | LedgerRow],
    *,
    champion: Digest | None = None,
    contract: Mapping[str, Json] | None = None,
) -> tuple[Mapping[str, Mapping[str, Json]], Snapshot | None]:
    """Freeze the table, and measure for the schema gate.

    Args:
        landed: What this release is made of: what `DatasetStore.ingest` returned, or the ledger's rows about it
            (BATCH_INGESTED, BATCH_QUARANTINED), so that a crash in between forgets nothing. May be empty: a release
            may also be asked for without new data.
        champion: The bundle that serves; None only when the ledger shows that there never was one.
        contract: Its `contract.json`; None with a champion: the gate will say that it could not compare.

    Returns:
        The measurements by gate, and the snapshot; None when the table is too short for the split and a file of this
        release was refused: then the gate says why, and no snapshot is needed.

    Raises:
        BadInput: The table is empty or too short for the split, and no refused file explains it.
    """
    batches = [_facts(each) for each in landed]
    refused = sum(batch["quarantined"] is not None for batch in batches)
    snapshot, short = None, None
    try:
        snapshot = store.freeze(spec)
    except BadInput as wrong:
        if not refused:
            raise
        short = wrong.message
    measured: dict[str, Json] = {
        "batches": batches,
        "accepted": len(batches) - refused,
        "quarantined": refused,
        "snapshot": None if snapshot is None else _told(snapshot),
        "too_short": short,
        "columns": None if snapshot is None else _columns(store, spec, snapshot),
        "contract": _contract(store, spec, snapshot, champion, contract),
    }
    return {"schema": measured}, snapshot


def _facts(landed: Ingested | LedgerRow) -> dict[str, Json]:
    if isinstance(landed, Ingested):
        return {
            "name": landed.batch.name,
            "sha256": landed.batch.sha256,
            "rows": landed.rows,
            "table_version": landed.table_version,
            "quarantined": landed.quarantined,
            "not_stored": list(landed.columns_not_stored),
        }
    payload = landed.payload
    reason = payload.get("reason", "no reason on record") if landed.event is Event.BATCH_QUARANTINED else None
    kept = {name: payload.get(name) for name in ("name", "sha256", "rows", "table_version")}
    return {**kept, "quarantined": reason}


def _told(snapshot: Snapshot) -> dict[str, Json]:
    quarantined: dict[str, Json] = {"quarantined": dict(snapshot.quarantined)} if snapshot.quarantined else {}
    return {
        "digest": snapshot.digest,
        "table_version": snapshot.table_version,
        "as_of": snapshot.as_of.isoformat(),
        "rows": dict(snapshot.rows),
        "unlabelled": dict(snapshot.unlabelled),
        **quarantined,
    }


def _columns(store: DatasetStore, spec: ReleaseSpec, snapshot: Snapshot) -> dict[str, Json]:
    """Compare the frozen rows with the spec: it may name more than the table has held since its first batch."""
    frame = store.part(snapshot, "validation")  # the smallest part; all have the same columns
    wanted = (*spec.data.key, spec.data.time, spec.data.label, *spec.data.features)
    missing = [name for name in wanted if name not in frame]
    mistyped = [name for name in spec.data.numeric if name in frame and not _is_number(frame, name)]
    mistyped += [name for name in spec.data.categorical if name in frame and _is_number(frame, name)]
    return {"there": len(frame.columns), "missing": missing, "mistyped": mistyped}


def _contract(
    store: DatasetStore,
    spec: ReleaseSpec,
    snapshot: Snapshot | None,
    champion: Digest | None,
    contract: Mapping[str, Json] | None,
) -> dict[str, Json]:
    """Compare the newest batch with the champion's contract."""
    if champion is None:
        return {"champion": None}
    if contract is None or snapshot is None:
        gone = "its contract.json cannot be read" if contract is None else "there is no snapshot to compare"
        return {"champion": champion, "unknown": gone}
    numbers = dict.fromkeys(spec.data.numeric, ColumnType.NUMBER)
    types = {**numbers, **dict.fromkeys(spec.data.categorical, ColumnType.STRING)}
    target: dict[str, Json] = {
        "task": spec.task.kind.value,
        "classes": list(spec.task.classes),
        "unit": spec.task.unit,
    }
    try:
        changes = form_changes(contract, types, spec.data.label, target)
        batch = store.part(snapshot, "batch", list(spec.data.features))
        changes += value_changes(contract, feature_columns(batch, spec))
    except (BadInput, ValueError, TypeError) as why:
        return {"champion": champion, "unknown": str(getattr(why, "message", why))}
    return {"champion": champion, "changes": changes}


def _is_number(frame: pd.DataFrame, name: str) -> bool:
    return frame[name].dtype.kind in "biuf"
