"""Frozen, split sets of rows on disk: one folder a digest, whole or not at all, checked whenever it is read.

    snapshots/<digest>/  train.parquet  validation.parquet  holdout.parquet  batch.parquet  snapshot.json

The digest is over the spec's split section and the sha256 of every part; rows are in one order (time, then key), so
that the same rows make the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters.durable_files import room_for, sha256_of
from lockgate.adapters.split import PARTS, split
from lockgate.core.ids import Digest, Json, canonical_json, digest_of, is_digest
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, IntegrityError
from lockgate.ports import Snapshot
from lockgate.serving.disk import sync

SCHEMA_VERSION = 1
BATCH_PART = "batch"
_INDEX = "snapshot.json"


def freeze(table: pa.Table, spec: ReleaseSpec, folder: Path, batch_column: str, table_version: int) -> Snapshot:
    """Split a table into a snapshot; the same rows and split give the same snapshot.

    Args:
        table: Every row, with the technical `batch_column`.
        spec: Says how to split.
        folder: Where snapshots lie.
        batch_column: Ordinal of the batch that brought the row; the largest is the newest batch.
        table_version: The Delta version of `table`.

    Raises:
        BadInput: The table is empty, or too short for the split.
        TransientError: The disk is full; nothing half-written is visible.
    """
    if table.num_rows == 0:
        raise BadInput(f"the table of {spec.name} is empty; land a file")
    ordered = table.sort_by([(name, "ascending") for name in (spec.data.time, *spec.data.key)])
    needed = [*spec.data.key, spec.data.time, spec.data.label, *([spec.split.group] if spec.split.group else [])]
    divided = split(ordered.select(list(dict.fromkeys(needed))).to_pandas(), spec)
    ordinals = ordered[batch_column].to_numpy()
    masks = {**divided.rows, BATCH_PART: ordinals == ordinals.max()}
    rows = ordered.drop_columns([batch_column])
    batch_unlabelled = rows[spec.data.label].filter(pa.array(masks[BATCH_PART])).null_count
    facts: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "model": spec.name,
        "table_version": table_version,
        "as_of": divided.as_of.isoformat(),
        "rows": {part: int(mask.sum()) for part, mask in masks.items()},
        "unlabelled": {**divided.unlabelled, BATCH_PART: batch_unlabelled},
        "quarantined": divided.quarantined,
    }
    parts = {part: rows.filter(pa.array(mask)) for part, mask in masks.items()}
    # The same rows may have been frozen before an incident was named whose rows are in the holdout alone.
    return replace(load(folder, _write(parts, facts, spec, folder)), quarantined=divided.quarantined)


def load(folder: Path, digest: Digest) -> Snapshot:
    """Return the snapshot of that digest.

    Raises:
        BadInput: There is none.
        IntegrityError: Its index does not hash to its digest.
    """
    path = folder / digest
    if not is_digest(digest) or not (path / _INDEX).is_file():
        raise BadInput(f"there is no snapshot {digest} in {folder}; freeze the table again", digest=digest)
    index = _index(path)
    if _digest(index["parts"], index["split"]) != digest:
        raise IntegrityError(f"snapshot {digest}: its index is not what was frozen", digest=digest)
    return Snapshot(
        digest=digest,
        folder=path,
        table_version=int(index["table_version"]),
        as_of=datetime.fromisoformat(index["as_of"]),
        rows=index["rows"],
        unlabelled=index["unlabelled"],
        quarantined=index.get("quarantined", {}),
    )


def read_part(snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read one part of a snapshot after checking its hash.

    Args:
        name: train, validation or holdout (labelled rows), or batch (every row of the newest batch).
        columns: Only these; None: all.

    Raises:
        BadInput: There is no such part or column; says which there are.
        IntegrityError: The part's bytes are not what was frozen.
    """
    index = _index(snapshot.folder)
    if _digest(index["parts"], index["split"]) != snapshot.digest:
        raise IntegrityError(f"snapshot {snapshot.digest}: its index is not what was frozen", digest=snapshot.digest)
    if name not in index["parts"]:
        raise BadInput(f"a snapshot has no part {name!r}; it has {', '.join((*PARTS, BATCH_PART))}")
    path = snapshot.folder / f"{name}.parquet"
    if not path.is_file() or sha256_of(path) != index["parts"][name]:
        raise IntegrityError(f"{path} is not what was frozen; freeze the table again", part=name)
    unknown = sorted(set(columns or ()) - set(pq.read_schema(path).names))
    if unknown:
        raise BadInput(f"the snapshot has no column {unknown[0]!r}; it has {', '.join(pq.read_schema(path).names)}")
    return _by_column(path, columns)


def _by_column(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    """Read a file one column after the other: at its peak it takes the frame and one column, not the frame twice."""
    with pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names if columns is None else dict.fromkeys(columns))
        read = {name: file.read([name]).to_pandas(self_destruct=True)[name] for name in names}
        return pd.DataFrame(read, columns=names, index=pd.RangeIndex(file.metadata.num_rows), copy=False)


def _write(parts: Mapping[str, pa.Table], facts: Mapping[str, Json], spec: ReleaseSpec, folder: Path) -> Digest:
    """Write parts and index under a hidden name, then give the folder its digest as name."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{spec.name}.{os.getpid()}.tmp"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with room_for("a snapshot", folder):
            partial.mkdir()
            hashes = {}
            for name, rows in parts.items():
                path = partial / f"{name}.parquet"
                pq.write_table(rows.replace_schema_metadata(None), path, compression="zstd")
                sync(path)
                hashes[name] = sha256_of(path)
            digest = _digest(hashes, _split_section(spec))
            index = {**facts, "digest": digest, "parts": hashes, "split": _split_section(spec)}
            (partial / _INDEX).write_bytes(canonical_json(index))
            sync(partial / _INDEX)
            if not (folder / digest).exists():
                partial.rename(folder / digest)
                sync(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest


def _split_section(spec: ReleaseSpec) -> Json:
    section: Json = json.loads(canonical_json(spec.split))
    return section


def _digest(parts: Mapping[str, str], section: Json) -> Digest:
    return digest_of({"parts": parts, "split": section})


def _index(path: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((path / _INDEX).read_bytes())
    return index
