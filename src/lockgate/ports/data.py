"""Landed files, the table made of them, frozen snapshots, and the suite they are held against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.spec import ReleaseSpec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One landed file.

    Attributes:
        path: Where it lies.
        name: Its file name.
        sha256: Its content.
    """

    path: Path
    name: str
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of one landed file.

    Attributes:
        batch: The file.
        rows: Rows appended to the table; 0 when quarantined or already ingested.
        table_version: The Delta version that first holds them; None when none were appended. For content that was
            ingested before: the version of then, while the table's history reaches back to it.
        quarantined: Why it was refused; None when it was not.
        already: True when this content was ingested before.
        columns_not_stored: Columns of the file that neither the table nor the spec knows; they were left out.
    """

    batch: Batch
    rows: int
    table_version: int | None
    quarantined: str | None = None
    already: bool = False
    columns_not_stored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A frozen set of rows, split; content-addressed, so that one digest is one set of rows.

    Attributes:
        digest: sha256 over the spec's split section and the content hash of every part.
        folder: Holds `train.parquet`, `validation.parquet`, `holdout.parquet`, `batch.parquet` (newest batch).
        table_version: The Delta version it was read from.
        as_of: The release's time: the newest `data.time` of the labelled rows, aware UTC.
        rows: Rows by part. Train, validation and holdout hold labelled rows only; batch holds every row of the newest
            batch.
        unlabelled: Rows without a label, by part: traffic, not training data. For train, validation and holdout those
            of the same windows, left out of the part; for batch those in it.
        quarantined: Labelled rows in the time of an incident, by part: left out of train and validation, kept in the
            holdout. Empty where the spec names no incident.
    """

    digest: Digest
    folder: Path
    table_version: int
    as_of: datetime
    rows: Mapping[str, int]
    unlabelled: Mapping[str, int]
    quarantined: Mapping[str, int] = field(default_factory=dict)


class DatasetStore(Protocol):
    """Landed files, the versioned table made of them, and frozen snapshots of it."""

    def landed(self, model: ModelName) -> tuple[Batch, ...]:
        """Return the whole files that wait in the landing folder, oldest name first; half-written ones are left."""
        ...

    def land(self, model: ModelName, source: Path) -> Batch:
        """Copy a file into the landing folder: whole or not at all.

        Raises:
            BadInput: There is no such file, or it is empty.
        """
        ...

    def ingest(self, spec: ReleaseSpec, batch: Batch) -> Ingested:
        """Take one landed file into the table exactly once, or quarantine it with the reason.

        Raises:
            TransientError: The store did not answer.
        """
        ...

    def ingest_all(self, spec: ReleaseSpec, batches: Sequence[Batch]) -> Iterator[Ingested]:
        """Take landed files in as `ingest` does, and yield what became of each, in order.

        A file leaves the landing folder only when the next result is asked for, so that none is lost to a crash of
        whoever writes the results down.
        """
        ...

    def freeze(self, spec: ReleaseSpec) -> Snapshot:
        """Split the table as it stands into a content-addressed snapshot.

        Raises:
            BadInput: The table is empty, or too short for the split; says what is there and what is needed.
        """
        ...

    def snapshot(self, digest: Digest) -> Snapshot:
        """Return the snapshot that was frozen under this digest.

        Raises:
            BadInput: There is none.
            IntegrityError: Its index is not what was frozen.
        """
        ...

    def part(self, snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Read one part (`train`, `validation`, `holdout`, `batch`) of a snapshot after checking its hash."""
        ...


class DataValidator(Protocol):
    """The model's expectation suite."""

    def validate(self, spec: ReleaseSpec, frames: Mapping[str, pd.DataFrame], docs: Path) -> Mapping[str, Json]:
        """Run the suite on each frame and build the pages a person reads.

        Returns:
            The `expectations` gate's measurements.

        Raises:
            BadInput: There is no such suite, or it holds something the library would silently drop.
        """
        ...
