"""Where bundles lie, are listed and are served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.spec import ReleaseSpec


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
