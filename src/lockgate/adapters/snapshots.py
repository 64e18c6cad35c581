"""Frozen, split sets of rows on disk: one folder a digest, whole or not at all, checked whenever it is read.

    snapshots/<digest>/  train.parquet  validation.parquet  holdout.parquet  batch.parquet  snapshot.json

The digest is over the spec's split section and the sha256 of every part; rows are in one order (time, then key), so
that the same rows make the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published
from numpy.typing import NDArray
from pyarrow.compute import sort_indices  # type: ignore[import-untyped]  # no stubs published
from pyarrow.dataset import Dataset, InMemoryDataset  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters.durable_files import room_for, sha256_of
from lockgate.adapters.split import PARTS, Split, split
from lockgate.adapters.table_reading import whole_files
from lockgate.core.ids import Digest, Json, canonical_json, digest_of, is_digest
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, IntegrityError
from lockgate.ports import Snapshot
from lockgate.serving.disk import sync

SCHEMA_VERSION = 1
BATCH_PART = "batch"
_INDEX = "snapshot.json"
_ROW_GROUP = 1 << 20  # pyarrow's own default


def freeze(
    source: Dataset | pa.Table, spec: ReleaseSpec, folder: Path, batch_column: str, table_version: int
) -> Snapshot:
    """Split a table into a snapshot; the same rows and split give the same snapshot.

    In memory are every row once, unsorted, and one row group of what is written.

    Args:
        source: Every row, with the technical `batch_column`, in the same order each time it is read.
        spec: Says how to split.
        folder: Where snapshots lie.
        batch_column: Ordinal of the batch that brought the row; the largest is the newest batch.
        table_version: The Delta version of `source`.

    Raises:
        BadInput: The table is empty, or too short for the split.
        IntegrityError: A file of the table is missing, unreadable or broken.
        TransientError: The disk is full; nothing half-written is visible.
    """
    table = InMemoryDataset(source) if isinstance(source, pa.Table) else source
    order, divided, newest, batch_unlabelled = _divided(table, spec, batch_column)
    masks = {**divided.rows, BATCH_PART: newest}
    facts: dict[str, Json] = {
        "schema_version": SCHEMA_VERSION,
        "model": spec.name,
        "table_version": table_version,
        "as_of": divided.as_of.isoformat(),
        "rows": {part: int(mask.sum()) for part, mask in masks.items()},
        "unlabelled": {**divided.unlabelled, BATCH_PART: batch_unlabelled},
        "quarantined": divided.quarantined,
    }
    with whole_files(table):
        rows = table.to_table(columns=[name for name in table.schema.names if name != batch_column])
    parts = {part: _groups(rows, order[mask]) for part, mask in masks.items()}
    # The same rows may have been frozen before an incident was named whose rows are in the holdout alone.
    return replace(load(folder, _write(parts, facts, spec, folder)), quarantined=divided.quarantined)


def _divided(
    table: Dataset, spec: ReleaseSpec, batch_column: str
) -> tuple[NDArray[np.int64], Split, NDArray[np.bool_], int]:
    """Return the places of the rows by time and key, and in that order their parts and who is of the newest batch.

    Last comes how many of the newest batch have no label. Only the columns that tell this are read.
    """
    needed = [*spec.data.key, spec.data.time, spec.data.label, *([spec.split.group] if spec.split.group else [])]
    with whole_files(table):
        told = table.to_table(columns=[*dict.fromkeys(needed), batch_column])
    if told.num_rows == 0:
        raise BadInput(f"the table of {spec.name} is empty; land a file")
    order = sort_indices(told, [(name, "ascending") for name in (spec.data.time, *spec.data.key)])
    told = told.take(order)
    ordinals = told[batch_column].to_numpy()
    newest = ordinals == ordinals.max()
    unlabelled = told[spec.data.label].filter(pa.array(newest)).null_count
    divided = split(told.drop_columns([batch_column]).to_pandas(self_destruct=True), spec)
    return order.to_numpy().astype(np.int64), divided, newest, unlabelled


def _groups(rows: pa.Table, places: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Yield the rows of some places, a row group at a time; one without rows where there are none."""
    for start in range(0, max(len(places), 1), _ROW_GROUP):
        yield rows.take(pa.array(places[start : start + _ROW_GROUP]))


def load(folder: Path, digest: Digest) -> Snapshot:
    """Return the snapshot of that digest.

    Raises:
        BadInput: There is none.
        IntegrityError: Its index does not hash to its digest.
    """
    path = folder / digest
    if not is_digest(digest) or not (path / _INDEX).is_file():
        raise BadInput(f"there is no snapshot {digest} in {folder}; freeze the table again", digest=digest)
    index = _index(path, digest)
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
    index = _index(snapshot.folder, snapshot.digest)
    if name not in index["parts"]:
        raise BadInput(f"a snapshot has no part {name!r}; it has {', '.join((*PARTS, BATCH_PART))}")
    path = snapshot.folder / f"{name}.parquet"
    try:
        same = sha256_of(path) == index["parts"][name]
    except OSError:
        same = False
    if not same:
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


def _write(
    parts: Mapping[str, Iterator[pa.Table]], facts: Mapping[str, Json], spec: ReleaseSpec, folder: Path
) -> Digest:
    """Write parts and index under a hidden name, then give the folder its digest as name."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{spec.name}.{os.getpid()}.tmp"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with room_for("a snapshot", folder):
            partial.mkdir()
            hashes = {}
            for name, groups in parts.items():
                path = partial / f"{name}.parquet"
                _write_part(path, groups)
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


def _write_part(path: Path, groups: Iterator[pa.Table]) -> None:
    first = next(groups).replace_schema_metadata(None)
    with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
        writer.write_table(first, row_group_size=_ROW_GROUP)
        for group in groups:
            writer.write_table(group.replace_schema_metadata(None), row_group_size=_ROW_GROUP)


def _split_section(spec: ReleaseSpec) -> Json:
    section: Json = json.loads(canonical_json(spec.split))
    return section


def _digest(parts: Mapping[str, str], section: Json) -> Digest:
    return digest_of({"parts": parts, "split": section})


def _index(path: Path, digest: Digest) -> dict[str, Any]:
    """Return a snapshot's index.

    Raises:
        IntegrityError: It cannot be read, or does not hash to the snapshot's digest.
    """
    try:
        index: dict[str, Any] = json.loads((path / _INDEX).read_bytes())
        same = _digest(index["parts"], index["split"]) == digest
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise IntegrityError(
            f"snapshot {digest}: its index in {path} cannot be read ({type(broken).__name__}); freeze the table again",
            digest=digest,
        ) from broken
    if not same:
        raise IntegrityError(
            f"snapshot {digest}: its index is not what was frozen; freeze the table again", digest=digest
        )
    return index
