"""One model's line: its spec, the parts that carry it, and what a stage hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.bootstrap import Services, services
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model's line: its spec and the parts that carry it.

    Attributes:
        services: Every port.
        spec: The model's spec.
    """

    services: Services
    spec: ReleaseSpec

    @property
    def ledger(self) -> Ledger:
        """The record."""
        return self.services.ledger

    @property
    def model(self) -> ModelName:
        """The model's name."""
        return self.spec.name

    def folder(self, so_far: Progress) -> Path:
        """Return the release's working folder, made if absent."""
        folder = self.services.settings.release(so_far.release)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def line_of(model: str) -> Line:
    """Return the line of a model in this process.

    Raises:
        ConfigError: The model has no spec, or it is wrong.
    """
    found = services()
    return Line(services=found, spec=found.spec(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a stage measured and made.

    Attributes:
        so_far: The progress, with the references the stage made.
        measurements: By gate name; empty for a stage without gates.
        words: Markdown for the stage's page, below its gates.
        links: Pages by name.
    """

    so_far: Progress
    measurements: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    words: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


Runner = Callable[[Line, Progress], Measured]


def champion_of(so_far: Progress) -> Digest | None:
    """Return the champion the release is compared with, fixed when it was opened; None when there never was one."""
    named = so_far.refs.get("champion")
    return Digest(named) if named else None


def release_of_bundle(line: Line, bundle: Digest) -> str | None:
    """Return the release that made a bundle, from the ledger."""
    for row in reversed(line.ledger.rows(line.model, events=(Event.BUNDLE,))):
        if row.payload["bundle"] == bundle:
            return row.release
    return None
