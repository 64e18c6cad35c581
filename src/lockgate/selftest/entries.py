"""Where faults enter: the landed file, the frozen rows, the spec, the packager, the sandboxed server.

Each entry changes what such a part gives the line and nothing else; the stages after it run as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lockgate.adapters.durable_files import sha256_of
from lockgate.adapters.sandbox import Limits, Sandbox, Sandboxes
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, Stage, canonical_json, digest_of
from lockgate.core.load import CHAMPION
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import DatasetStore, Fit, Snapshot
from lockgate.selftest.production import ask
from lockgate.selftest.world import Candidate

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.adapters.packager import Candidate as Converted
    from lockgate.stages.package import Packager
    from lockgate.stages.stress import ReachableSandboxes

PARTS = ("train", "validation", "holdout", "batch")
Change: TypeAlias = "Callable[[pd.DataFrame, ReleaseSpec, float], pd.DataFrame]"
"""Changes landed rows."""
Parts: TypeAlias = "Mapping[str, pd.DataFrame]"
ChangeParts: TypeAlias = "Callable[[Parts, ReleaseSpec, float], Parts]"
"""Changes frozen rows; returns the parts it changed."""
ChangeSpec: TypeAlias = "Callable[[ReleaseSpec, float], ReleaseSpec]"
Bend: TypeAlias = "Callable[[Converted, ReleaseSpec, float], Converted]"
"""Changes a converted fit."""


@dataclass(frozen=True, slots=True)
class Landed:
    """In the newest landed file.

    Attributes:
        change: Changes its rows.
    """

    change: Change
    before = Stage.INGEST

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Land the changed rows and open the release."""
        import pandas as pd

        rows = pd.read_parquet(candidate.world.plan.batch)
        so_far = candidate.world.open_release(self.change(rows, candidate.spec, amount), "candidate")
        return replace(candidate, so_far=so_far)


@dataclass(frozen=True, slots=True)
class Frozen:
    """In the frozen rows, as a fault in the table or in the split leaves them.

    Attributes:
        change: Changes the parts.
        spec: Changes the spec, e.g. names a new feature.
    """

    change: ChangeParts
    spec: ChangeSpec | None = None
    before = Stage.INGEST

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Put a store in the place of the real one that freezes the changed rows; open the release by the new spec."""
        services = candidate.world.services
        services.store = _BentStore(services.store, lambda parts: self.change(parts, candidate.world.plan.spec, amount))
        bad = candidate if self.spec is None else candidate.judged_by(self.spec(candidate.spec, amount))
        return replace(bad, so_far=bad.opened())


@dataclass(frozen=True, slots=True)
class Asked:
    """In what production is asked.

    Attributes:
        change: Changes rows between the table and the request.
    """

    change: Change
    before = Stage.VALIDATE_DATA

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Let production have been asked the changed rows."""
        import pandas as pd

        champion = Digest(candidate.opened().refs["champion"])
        rows = pd.read_parquet(candidate.world.plan.batch)
        ask(candidate.world, champion, self.change(rows, candidate.spec, amount))
        return candidate


@dataclass(frozen=True, slots=True)
class Specified:
    """In what is fitted.

    Attributes:
        change: Changes the spec.
    """

    change: ChangeSpec
    before = Stage.TRAIN

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Go on under the changed spec."""
        return candidate.judged_by(self.change(candidate.spec, amount))


@dataclass(frozen=True, slots=True)
class Packaged:
    """In the packaging.

    Attributes:
        graph: Changes what was converted, before parity is measured.
        seal: Changes what goes into the bundle, after parity was measured.
    """

    graph: Bend | None = None
    seal: Bend | None = None
    before = Stage.PACKAGE

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Put a faulty packager in the place of the real one; it does its work by the real one."""
        services = candidate.world.services
        services.packager = _BentPackager(services.packager, self, amount)
        return candidate


@dataclass(frozen=True, slots=True)
class Served:
    """In the server.

    Attributes:
        option: Option of `lockgate.selftest.bad_server`, which takes the amount; None: the real server.
        spoil: Changes the challenger's bundle on disk when a sandbox is opened.
    """

    option: str | None = None
    spoil: Callable[[Path, float], None] | None = None
    before = Stage.INFRA

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Open sandboxes with the fault in them."""
        services = candidate.world.services
        bundle = services.bundles.folder(Digest(candidate.opened().refs["bundle"]))

        def sandboxes(folder: Path, limits: Limits | None) -> ReachableSandboxes:
            real = Sandboxes(services.settings, folder, limits)
            if self.option is None:
                return _FaultySandboxes(real, real, lambda: self.spoil and self.spoil(bundle, amount))
            program = ("-m", "lockgate.selftest.bad_server", self.option, f"{amount:g}", "--")
            return _FaultySandboxes(real, Sandboxes(services.settings, folder, limits, program=program))

        services.sandboxes = sandboxes
        return candidate


@dataclass(frozen=True, slots=True)
class Staged:
    """On the staging host.

    Attributes:
        spoil: Changes the bundle there; the bundle store still has what was sealed.
    """

    spoil: Callable[[Path, float], None]
    before = Stage.STAGING

    def enter(self, candidate: Candidate, amount: float) -> Candidate:
        """Let the copy go wrong on its way to the host."""
        candidate.world.spoil = lambda bundle: self.spoil(bundle, amount)
        return candidate


def freeze_again(snapshot: Snapshot, changed: Parts) -> Digest:
    """Write a snapshot like this one but for the changed parts, in the store's own form; return its digest.

    Args:
        snapshot: The rows as they were.
        changed: New rows by part; parts not named stay.
    """
    import shutil

    partial = snapshot.folder.with_name(f".{snapshot.digest}.again")
    shutil.copytree(snapshot.folder, partial)
    index: dict[str, Any] = json.loads((partial / "snapshot.json").read_bytes())
    for name, rows in changed.items():
        path = partial / f"{name}.parquet"
        path.unlink()
        rows.to_parquet(path, index=False, compression="zstd")
        index["parts"][name] = sha256_of(path)
        index["rows"][name] = len(rows)
    digest = digest_of({"parts": index["parts"], "split": index["split"]})
    (partial / "snapshot.json").write_bytes(canonical_json({**index, "digest": digest}))
    partial.rename(snapshot.folder.with_name(digest))
    return digest


class _BentStore:
    """A dataset store that freezes other rows than the table's; all else it does by the real one."""

    def __init__(self, real: DatasetStore, change: Callable[[Parts], Parts]) -> None:
        self._real = real
        self._change = change
        self.landed = real.landed
        self.land = real.land
        self.ingest = real.ingest
        self.ingest_all = real.ingest_all
        self.snapshot = real.snapshot
        self.part = real.part

    def freeze(self, spec: ReleaseSpec) -> Snapshot:
        """Freeze, then freeze the changed rows in the same form."""
        snapshot = self._real.freeze(spec)
        return self._real.snapshot(
            freeze_again(snapshot, self._change({name: self._real.part(snapshot, name) for name in PARTS}))
        )


class _FaultySandboxes:
    """Sandboxes whose servers are faulty but for the champion's."""

    def __init__(self, real: Sandboxes, faulty: Sandboxes, spoil: Callable[[], object] = lambda: None) -> None:
        self._real = real
        self._faulty = faulty
        self._spoil = spoil

    def open(self, name: str) -> Sandbox:
        """Return a sandbox to be entered."""
        if name.endswith(CHAMPION):
            return self._real.open(name)
        self._spoil()
        return self._faulty.open(name)


class _BentPackager:
    """A packager that changes what the real one made."""

    def __init__(self, real: Packager[Any], entry: Packaged, amount: float) -> None:
        self._real = real
        self._entry = entry
        self._amount = amount

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> Converted:
        """Convert, then change the graph."""
        made: Converted = self._real.convert(spec, fit, snapshot)
        return made if self._entry.graph is None else self._entry.graph(made, spec, self._amount)

    def measure(self, spec: ReleaseSpec, candidate: Converted) -> dict[str, Json]:
        """Measure what was converted."""
        return self._real.measure(spec, candidate)

    def pack(
        self, spec: ReleaseSpec, candidate: Converted, evaluation: Mapping[str, Json], code: Mapping[str, Json]
    ) -> ModelBundle:
        """Seal something else."""
        sealed = candidate if self._entry.seal is None else self._entry.seal(candidate, spec, self._amount)
        return self._real.pack(spec, sealed, evaluation, code)
