"""What the release needs from outside, as protocols; `bootstrap.py` chooses the real part behind each.

Every port has a fake in `tests/fakes.py` or a contract suite in `tests/contract/` that runs against the real part.
Measurements cross a port as JSON mappings, because they become `Evidence`; frames cross as pandas, by reference
(`Snapshot`, a path) between tasks and by value only within one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, ModelState
from lockgate.core.spec import ReleaseSpec

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


class Clock(Protocol):
    """The only way to ask for the time."""

    def now(self) -> datetime:
        """Return the time, aware UTC."""
        ...


class Ledger(Protocol):
    """The append-only, hash-chained record."""

    def append(  # noqa: PLR0913 - a row has this many facts
        self,
        model: ModelName,
        event: Event,
        payload: Mapping[str, Json],
        *,
        release: ReleaseId | None = None,
        actor: str = "lockgate",
        expect_seq: int | None = None,
    ) -> LedgerRow:
        """Append one row and return it.

        Args:
            expect_seq: The last sequence the writer saw; the row is refused if another came since. None: append
                whatever came since (retrying lost races), for rows that do not depend on what was read.

        Raises:
            LedgerConflict: `expect_seq` is not the last sequence any more.
            TransientError: The database did not answer.
        """
        ...

    def rows(
        self, model: ModelName, *, release: ReleaseId | None = None, events: Sequence[Event] = ()
    ) -> tuple[LedgerRow, ...]:
        """Return the model's rows in order, of one release and of some events where given."""
        ...

    def state(self, model: ModelName) -> ModelState:
        """Return what the model's rows add up to."""
        ...

    def last_seq(self, model: ModelName) -> int:
        """Return the last sequence, 0 for a model without rows."""
        ...

    def models(self) -> tuple[ModelName, ...]:
        """Return the models that have rows."""
        ...


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
    """

    digest: Digest
    folder: Path
    table_version: int
    as_of: datetime
    rows: Mapping[str, int]
    unlabelled: Mapping[str, int]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted estimator on disk.

    Attributes:
        folder: Holds `model.skops` (the fitted pipeline), `fit.json` (facts of the fit, history, parameters).
        family: The name in TRAINERS.
        facts: The `training` gate's measurements.
    """

    folder: Path
    family: str
    facts: Mapping[str, Json]


class Scorer(Protocol):
    """A native estimator that answers rows."""

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return [n] probabilities of the second class, [n] values, or [n, classes] probabilities."""
        ...


class Notifier(Protocol):
    """Tells people."""

    def notify(self, title: str, body: str) -> bool:
        """Send one message; False when no address is set or no address took it. Never raises."""
        ...


class BundleStore(Protocol):
    """Signed bundles by digest."""

    def get(self, digest: Digest) -> ModelBundle:
        """Verify signature and manifest, and return the bundle.

        Raises:
            IntegrityError: It is not what was signed, or its digest is not this one.
            BadInput: There is no such bundle.
        """
        ...

    def folder(self, digest: Digest) -> Path:
        """Return where the bundle's parts lie."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Readback:
    """What a target really serves, read from its live answers.

    Attributes:
        sequence: The ledger sequence the target acknowledged.
        answers: Digest carried by each live answer that was asked for.
    """

    sequence: int
    answers: tuple[Digest, ...]


class DeployTarget(Protocol):
    """An environment that serves models."""

    name: str

    def switch(self, model: ModelName, bundle: Digest, *, sequence: int, previous: Digest | None) -> None:
        """Make the bundle the champion, keeping `previous` loaded and warm; idempotent for one sequence.

        Raises:
            IntegrityError: The target refused the bundle: signature, manifest or digest.
            LedgerConflict: The target has seen a higher sequence.
            TransientError: The target did not answer.
        """
        ...

    def readback(self, model: ModelName, bundle: Digest, requests: int) -> Readback:
        """Send golden requests of the bundle and return what live answers say.

        Raises:
            TransientError: The target did not answer.
        """
        ...

    def serving(self, model: ModelName) -> Mapping[str, Json]:
        """Return the target's own account of what it serves (its admin API).

        Raises:
            NotRunning: Nothing listens there.
        """
        ...


class Registry(Protocol):
    """Where versions are listed for people and other tools: MLflow. A projection of the ledger."""

    def register(
        self, spec: ReleaseSpec, release: ReleaseId, bundle: ModelBundle, folder: Path, facts: Mapping[str, Json]
    ) -> Mapping[str, Json]:
        """Create the version for this bundle once, with lineage; return version, run and page links."""
        ...

    def attach(self, model: ModelName, bundle: Digest, path: Path) -> str:
        """Show a file beside the version of a bundle, and return the page that shows it."""
        ...

    def set_alias(self, model: ModelName, alias: str, bundle: Digest) -> None:
        """Point an alias at the version of a bundle."""
        ...

    def drop_alias(self, model: ModelName, alias: str) -> None:
        """Take an alias away; nothing when it is not set."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The state of one flow run.

    Attributes:
        type: The orchestrator's type of state, upper case: RUNNING, PAUSED, COMPLETED, CANCELLED, CRASHED...
        name: Its name: Suspended, Blocked, Expired...
        since: When the run entered it, aware UTC.
    """

    type: str
    name: str
    since: datetime

    @property
    def ended(self) -> bool:
        """Whether the run will do nothing more by itself."""
        return self.type in ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


class FlowRuns(Protocol):
    """The orchestrator's runs."""

    def state(self, run: str) -> RunState | None:
        """Return the run's state; None when the orchestrator does not know it.

        Raises:
            TransientError: The orchestrator did not answer.
        """
        ...

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002 - the orchestrator's word
        """Put the run in an end state of that type (CANCELLED or CRASHED), name and message."""
        ...
