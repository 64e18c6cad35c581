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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters import snapshots
from lockgate.adapters.delta_append import BATCH, Appending, open_table
from lockgate.adapters.landing import Landing
from lockgate.adapters.row_contract import conform
from lockgate.config import Settings
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError, LockgateError
from lockgate.ports import Batch, Clock, Ingested, Snapshot

if TYPE_CHECKING:
    import pandas as pd

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
        return next(iter([*self.ingest_all(spec, (batch,))]))

    def ingest_all(self, spec: ReleaseSpec, batches: Sequence[Batch]) -> Iterator[Ingested]:
        """Take landed files in, many in one commit, and yield what became of each, in order; raises as `ingest`.

        A file leaves the landing folder after its caller took the result and asked for the next one: what was not
        written down yet is found there again.
        """
        left = list(batches)
        while left:
            with self._locked(spec.name):
                results, trouble = self._group(spec, left)
            for result in results:
                yield result
                if result.quarantined is None:
                    self._landing.finish(spec.name, result.batch)
            if trouble is not None:
                raise trouble
            left = left[len(results) :]

    def freeze(self, spec: ReleaseSpec) -> Snapshot:
        """Split the table as it stands into a content-addressed snapshot; see `snapshots.freeze`."""
        table = open_table(self._settings.table(spec.name))
        if table is None:
            raise BadInput(f"nothing was ingested for {spec.name} yet; land a file: lockgate land FILE -m {spec.name}")
        return snapshots.freeze(table.to_pyarrow_dataset(), spec, self._settings.snapshots, BATCH, table.version())

    def snapshot(self, digest: Digest) -> Snapshot:
        """Return the snapshot of that digest; see `snapshots.load`."""
        return snapshots.load(self._settings.snapshots, digest)

    def part(self, snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read one part of a snapshot after checking its hash; see `snapshots.read_part`."""
        return snapshots.read_part(snapshot, name, columns)

    # -- one batch ---------------------------------------------------------------------------------------------------

    def _group(self, spec: ReleaseSpec, batches: Sequence[Batch]) -> tuple[list[Ingested], LockgateError | None]:
        """Take in as many files as go into one commit; what one of them raises comes after those before it."""
        appending = Appending(self._settings.table(spec.name))
        results: list[Ingested] = []
        trouble: LockgateError | None = None
        for batch in batches:
            try:
                results.append(self._take(spec, batch, appending))
            except LockgateError as raised:
                trouble = raised
                break
            if appending.full:
                break
        version = appending.write()
        return [replace(each, table_version=version) if each.rows else each for each in results], trouble

    def _take(self, spec: ReleaseSpec, batch: Batch, appending: Appending) -> Ingested:
        before = self._ingested_before(spec, batch, appending)
        if before is not None:
            return before
        try:
            _refuse_no_rows(batch.path)
            rows, added = conform(self._prepared(spec, batch), spec, appending.columns)
            if rows.num_rows == 0:
                raise BadInput("no rows are left after data.prepare")  # noqa: TRY301 - refused as every other reason
            appending.add(batch, rows, spec)
        except ConfigError:
            raise
        except BadInput as refused:
            self._landing.refuse(spec.name, batch, refused.message)
            return Ingested(batch=batch, rows=0, table_version=None, quarantined=refused.message)
        return Ingested(batch=batch, rows=rows.num_rows, table_version=None, columns_not_stored=added)

    def _ingested_before(self, spec: ReleaseSpec, batch: Batch, appending: Appending) -> Ingested | None:
        """Return what became of this content earlier; None when it is new."""
        if appending.holds(batch):
            return Ingested(batch=batch, rows=0, table_version=appending.version_of(batch), already=True)
        if batch.path.exists():
            return None
        reason = self._landing.refused(spec.name, batch)
        if reason is None:
            raise BadInput(f"{batch.name} is no longer in the landing folder and was never ingested; land it again")
        return Ingested(batch=batch, rows=0, table_version=None, quarantined=reason, already=True)

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

    # -- the table ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _locked(self, model: ModelName) -> Iterator[None]:
        """Let one process at a time ask for a batch and append it; the system frees the lock of one that died."""
        path = self._settings.home / "tables" / f".{model}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


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
