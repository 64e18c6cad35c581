"""The dataset store on Delta Lake: landed files into a versioned table, exactly once, and frozen snapshots of it.

    landing/ ── prepare, row contract ──> tables/<model> (Delta) ── freeze ──> snapshots/<digest>/
                        └── refused ──> quarantine/

Exactly once: a batch's sha256 is the application id of its Delta transaction. Delta records it with the rows, in one
commit, but does not enforce it; so it is asked for before every append, under a lock of the table. A crash after the
commit is found by the same question. Not here: the ledger's rows about batches, which their callers write.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters import snapshots
from lockgate.adapters.durable_files import room_for
from lockgate.adapters.landing import Landing
from lockgate.adapters.row_contract import conform
from lockgate.config import Settings
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError, TransientError
from lockgate.ports import Batch, Clock, Ingested, Snapshot

if TYPE_CHECKING:
    from deltalake import DeltaTable

BATCH = "_lockgate_batch"
"""Technical column of the table: the ordinal of the batch that brought the row, from 1."""
PREPARE_TIME_LIMIT_S = 600.0
PREPARE_MEMORY_LIMIT_BYTES = 8 * 1024**3

Isolated = Callable[..., Json]
"""The form of `isolated.run_isolated`."""


class DeltaDatasetStore:
    """`ports.DatasetStore` on local Delta tables.

    Args:
        settings: Where everything lies.
        clock: Tells how long a landed file has not changed.
        isolated: Runs `data.prepare`; None: `isolated.run_isolated`, in a process of its own.
    """

    def __init__(self, settings: Settings, clock: Clock, *, isolated: Isolated | None = None) -> None:
        self._settings = settings
        self._landing = Landing(settings, clock)
        self._isolated = isolated

    def landed(self, model: ModelName) -> tuple[Batch, ...]:
        """Return the whole files that wait, by name."""
        return self._landing.landed(model)

    def land(self, model: ModelName, source: Path) -> Batch:
        """Copy a file into the landing folder; see `Landing.land`."""
        return self._landing.land(model, source)

    def ingest(self, spec: ReleaseSpec, batch: Batch) -> Ingested:
        """Take one landed file into the table exactly once, or quarantine it with the reason.

        Raises:
            ConfigError: `data.prepare` cannot be imported, or is no such function: nothing is wrong with the file.
            MeasurementError: `data.prepare` hit a limit of time or memory.
            TransientError: The disk is full, or the store did not answer.
        """
        with self._locked(spec.name):
            before = self._ingested_before(spec, batch)
            if before is None:
                before = self._take(spec, batch)
            if before.quarantined is None:
                self._landing.finish(spec.name, batch)
            return before

    def freeze(self, spec: ReleaseSpec) -> Snapshot:
        """Split the table as it stands into a content-addressed snapshot; see `snapshots.freeze`."""
        table = self._table(spec.name)
        if table is None:
            raise BadInput(f"nothing was ingested for {spec.name} yet; land a file: lockgate land FILE -m {spec.name}")
        return snapshots.freeze(table.to_pyarrow_table(), spec, self._settings.snapshots, BATCH, table.version())

    def snapshot(self, digest: Digest) -> Snapshot:
        """Return the snapshot of that digest; see `snapshots.load`."""
        return snapshots.load(self._settings.snapshots, digest)

    def part(self, snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read one part of a snapshot after checking its hash; see `snapshots.read_part`."""
        return snapshots.read_part(snapshot, name, columns)

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _ingested_before(self, spec: ReleaseSpec, batch: Batch) -> Ingested | None:
        """Return what became of this content earlier; None when it is new."""
        table = self._table(spec.name)
        ordinal = None if table is None else table.transaction_version(batch.sha256)
        if table is not None and ordinal is not None:
            return Ingested(batch=batch, rows=0, table_version=_version_of(table, batch), already=True)
        if batch.path.exists():
            return None
        reason = self._landing.refused(spec.name, batch)
        if reason is None:
            raise BadInput(f"{batch.name} is no longer in the landing folder and was never ingested; land it again")
        return Ingested(batch=batch, rows=0, table_version=None, quarantined=reason, already=True)

    def _take(self, spec: ReleaseSpec, batch: Batch) -> Ingested:
        try:
            rows, added = self._checked(spec, batch)
        except ConfigError:
            raise
        except BadInput as refused:
            self._landing.refuse(spec.name, batch, refused.message)
            return Ingested(batch=batch, rows=0, table_version=None, quarantined=refused.message)
        version = self._append(spec, batch, rows)
        return Ingested(batch=batch, rows=rows.num_rows, table_version=version, columns_not_stored=added)

    def _checked(self, spec: ReleaseSpec, batch: Batch) -> tuple[pa.Table, tuple[str, ...]]:
        """Return the batch's rows in the table's form, or raise `BadInput` with the reason to refuse it."""
        _refuse_no_rows(batch.path)
        table = self._table(spec.name)
        known = None if table is None else _columns_of(table)
        rows, added = conform(self._prepared(spec, batch), spec, known)
        if rows.num_rows == 0:
            raise BadInput("no rows are left after data.prepare")
        if table is not None:
            _refuse_repeats(rows, table, spec)
        return rows, added

    def _prepared(self, spec: ReleaseSpec, batch: Batch) -> pa.Table:
        if spec.data.prepare is None:
            return _read(batch.path)
        from lockgate.adapters.isolated import run_isolated

        run = self._isolated or run_isolated
        scratch = self._settings.home / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            destination = Path(folder) / "prepared.parquet"
            run(
                "lockgate.adapters.prepare:prepare_file",
                {"source": str(batch.path), "destination": str(destination), "prepare": spec.data.prepare},
                time_limit_s=PREPARE_TIME_LIMIT_S,
                memory_limit_bytes=PREPARE_MEMORY_LIMIT_BYTES,
                project=self._settings.project,
            )
            return _read(destination)

    def _append(self, spec: ReleaseSpec, batch: Batch, rows: pa.Table) -> int:
        from deltalake import CommitProperties, Transaction, write_deltalake

        ordinal = self._last_ordinal(spec.name) + 1
        marked = rows.append_column(BATCH, pa.array([ordinal] * rows.num_rows, pa.int64()))
        path = self._settings.table(spec.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with room_for(f"the rows of {batch.name}", path), _answering(path):
            write_deltalake(
                path,
                marked,
                mode="append",
                schema_mode="merge",
                commit_properties=CommitProperties(
                    custom_metadata={"lockgate.sha256": batch.sha256, "lockgate.batch": batch.name},
                    app_transactions=[Transaction(batch.sha256, ordinal)],
                ),
            )
        table = self._table(spec.name)
        if table is None:
            raise TransientError(f"the table at {path} is not there after a commit to it; is something else writing?")
        return table.version()

    def _last_ordinal(self, model: ModelName) -> int:
        table = self._table(model)
        if table is None:
            return 0
        ordinals = table.to_pyarrow_table(columns=[BATCH])[BATCH].to_numpy()
        return int(ordinals.max()) if len(ordinals) else 0

    # -- the table ---------------------------------------------------------------------------------------------------

    def _table(self, model: ModelName) -> DeltaTable | None:
        from deltalake import DeltaTable

        path = self._settings.table(model)
        with _answering(path):
            return DeltaTable(path) if DeltaTable.is_deltatable(str(path)) else None

    @contextmanager
    def _locked(self, model: ModelName) -> Iterator[None]:
        """Let one process at a time ask for a batch and append it; the system frees the lock of one that died."""
        path = self._settings.home / "tables" / f".{model}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


@contextmanager
def _answering(path: Path) -> Iterator[None]:
    """Turn the store's own failures into the error that tasks retry."""
    from deltalake.exceptions import DeltaError

    try:
        yield
    except DeltaError as error:
        raise TransientError(f"the table at {path} did not take or give its rows: {error}") from error


def _refuse_no_rows(path: Path) -> None:
    try:
        rows = pq.ParquetFile(path).metadata.num_rows
    except (pa.ArrowException, OSError) as broken:
        raise BadInput(f"it is not a whole Parquet file: {broken}") from broken
    if rows == 0:
        raise BadInput("it holds no rows")


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as broken:
        raise BadInput(f"it cannot be read as Parquet: {broken}") from broken


def _columns_of(table: DeltaTable) -> pa.Schema:
    """Return the table's columns without the technical one, in the types this store writes."""
    fields = [field for field in pa.schema(table.schema().to_arrow()) if field.name != BATCH]
    return pa.schema([(f.name, pa.string() if pa.types.is_string_view(f.type) else f.type) for f in fields])


def _refuse_repeats(rows: pa.Table, table: DeltaTable, spec: ReleaseSpec) -> None:
    key = list(spec.data.key)
    new = pd.MultiIndex.from_frame(rows.select(key).to_pandas())
    old = pd.MultiIndex.from_frame(table.to_pyarrow_table(columns=key).to_pandas())
    repeated = int(new.isin(old).sum())
    if repeated:
        raise BadInput(
            f"{repeated} of its {len(new)} rows have a key ({', '.join(key)}) that the table already holds; rows are "
            "ingested once: land only new ones",
            repeated=repeated,
        )


def _version_of(table: DeltaTable, batch: Batch) -> int | None:
    """Return the version that first held a batch, while the table's history reaches back to it."""
    commits: Sequence[Mapping[str, Any]] = table.history()
    return next((int(c["version"]) for c in commits if c.get("lockgate.sha256") == batch.sha256), None)
