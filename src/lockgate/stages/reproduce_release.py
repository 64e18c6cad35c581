"""Make a past release's model again from its record, and say whether it is the same.

    ledger ── spec as it was resolved, snapshot's digest, what the fit chose ─┐
    bundle ── graph, contract, profile; program and lock it was made by ──────┼── fit ── convert ── the same bytes?
    here ──── the program, the lock, the libraries, the machine of today ─────┘

It writes nothing to the record. A search is not repeated: the parameters it chose are on record. What differs between
then and now is named, and decides what a difference means: with the same program and libraries the record does not
hold; with others nobody can say.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lockgate.core.contract import ModelBundle
from lockgate.core.evidence import Evidence
from lockgate.core.gates.registry import GATES
from lockgate.core.ids import Digest, ReleaseId, digest_bytes
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.records import read_record
from lockgate.core.reproduction import MODEL_PARTS, differing_paths, model_digest
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.ports import BundleStore, DatasetStore, Fit, Snapshot
from lockgate.stages.recording import read_evidence, spec_on_record
from lockgate.stages.reproducing import REUSED, without_search
from lockgate.stages.then_and_now import Changed, Program, fit_changes, program_changes
from lockgate.stages.train import Trainer

C = TypeVar("C")


class Reproduced(StrEnum):
    """What came of making a model again."""

    SAME = "same"
    DIFFERS = "differs"
    CANNOT_SAY = "cannot_say"


class Converter(Protocol[C]):
    """Makes of a fit the parts that are the model; `C` is whatever it keeps in between."""

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> C:
        """Convert a fit to its graph."""
        ...

    def model_parts(self, spec: ReleaseSpec, candidate: C) -> dict[str, bytes]:
        """Return the bytes of `MODEL_PARTS`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What it takes to make a model again.

    Attributes:
        bundles: Holds what was made.
        store: Holds the snapshots.
        trainer: Fits.
        converter: Converts.
        program: The program of today.
        specs: Specs of today by digest, for releases whose record does not hold theirs.
    """

    bundles: BundleStore
    store: DatasetStore
    trainer: Trainer
    converter: Converter[Any]
    program: Program
    specs: Mapping[Digest, ReleaseSpec]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the model.

    Attributes:
        name: Its name in the bundle.
        recorded: sha256 of the released one.
        rebuilt: sha256 of the one made again.
        where: Paths at which the two differ, the first few; empty for the graph and for equal parts.
    """

    name: str
    recorded: str
    rebuilt: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """Whether a release's model is the same when it is made again.

    Attributes:
        release: Which.
        verdict: same, differs, or cannot_say.
        reason: One sentence, with the next step.
        bundle: The released bundle.
        data: The snapshot.
        recorded: Model digest of the release; None when its bundle is gone.
        rebuilt: Model digest of what was made again; None when it could not be.
        parts: Part by part.
        changed: What differs between then and now.
        notes: What else a reader must know.
        seconds: What it took.
    """

    release: ReleaseId
    verdict: Reproduced
    reason: str
    bundle: Digest
    data: Digest
    recorded: Digest | None = None
    rebuilt: Digest | None = None
    parts: tuple[Part, ...] = ()
    changed: tuple[Changed, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def reproduce(means: Means, rows: Sequence[LedgerRow], release: ReleaseId, scratch: Path) -> Reproduction:
    """Make a release's model again.

    Args:
        means: With what.
        rows: The rows of its model.
        release: Which.
        scratch: An empty folder for the fit.

    Raises:
        BadInput: There is no such release, or it came to no bundle.
        IntegrityError: The record contradicts itself, or bytes are not what it says.
        MeasurementError: The fit hit a limit.
    """
    began = time.monotonic()
    opened, bundle, data = _made(rows, release)
    told = Reproduction(release=release, verdict=Reproduced.CANNOT_SAY, reason="", bundle=bundle, data=data)
    try:
        held, snapshot = means.bundles.get(bundle), means.store.snapshot(data)
    except BadInput as gone:
        return replace(told, reason=f"what it was made of, or what was made, is gone: {gone.message}")
    told = replace(
        told,
        recorded=model_digest(held.parts),
        changed=tuple(program_changes(means.program, means.bundles.folder(bundle), str(opened.payload["code"]))),
    )
    spec = _spec_of(opened, means.specs)
    if spec is None:
        reason = "its record does not hold its spec (releases of older versions), and the spec file is another one now"
        return replace(told, reason=reason)
    fitting, evidence, notes = _fitting(spec, rows, release)
    try:
        fit = means.trainer.fit(fitting, snapshot, scratch)
        made = means.converter.model_parts(fitting, means.converter.convert(fitting, fit, snapshot))
    except BadInput as refused:
        if not told.changed:
            raise
        return replace(told, reason=f"the program of today does not fit it: {refused.message}", notes=notes)
    changed = (*told.changed, *fit_changes(means.program, evidence, fit))
    parts = tuple(_parts(means.bundles.folder(bundle), held, made))
    rebuilt = model_digest({part.name: part.rebuilt for part in parts})
    told = replace(told, rebuilt=rebuilt, parts=parts, changed=changed, notes=notes)
    return replace(_judged(told), seconds=time.monotonic() - began)


def _judged(told: Reproduction) -> Reproduction:
    if told.recorded == told.rebuilt:
        return replace(told, verdict=Reproduced.SAME, reason="made again from its record, the model is the same")
    names = ", ".join(part.name for part in told.parts if part.recorded != part.rebuilt)
    if not told.changed:
        reason = (
            f"by the same program, libraries and platform, {names} came out otherwise: the record does not lead to "
            f"what was released; see the gate reproducibility in: lockgate explain {told.release}"
        )
        return replace(told, verdict=Reproduced.DIFFERS, reason=reason)
    what = ", ".join(each.what for each in told.changed[:5])
    reason = (
        f"{names} came out otherwise, but so much is not what it was then: {what}; to know, run it in the checkout "
        "and environment that are named as recorded"
    )
    return replace(told, reason=reason)


def _made(rows: Sequence[LedgerRow], release: ReleaseId) -> tuple[LedgerRow, Digest, Digest]:
    """Return the row that opened the release, and the digests of its bundle and of its snapshot."""
    mine = [row for row in rows if row.release == release]
    opened = next((row for row in mine if row.event is Event.RELEASE_OPENED), None)
    if opened is None:
        raise BadInput(f"the ledger knows no release {release!r}; see: lockgate history", release=release)
    made = [row for row in mine if row.event is Event.BUNDLE]
    if not made:
        raise BadInput(
            f"{release} came to no bundle, so there is no model to make again; see: lockgate explain {release}",
            release=release,
        )
    return opened, Digest(str(made[-1].payload["bundle"])), Digest(str(made[-1].payload["data"]))


def _spec_of(opened: LedgerRow, specs: Mapping[Digest, ReleaseSpec]) -> ReleaseSpec | None:
    """Return the spec a release was opened with; None when neither the record nor a file of today has it.

    Raises:
        IntegrityError: What is on record is not what its digest says.
    """
    digest, content = spec_on_record(opened)
    if content is None:
        return specs.get(digest)
    spec = read_record(ReleaseSpec, content)
    known = {gate.name: gate.thresholds for gate in GATES}
    gates = {name: read_record(known[name], given) for name, given in spec.gates.items() if name in known}
    return replace(spec, gates=gates)


def _fitting(
    spec: ReleaseSpec, rows: Sequence[LedgerRow], release: ReleaseId
) -> tuple[ReleaseSpec, Evidence | None, tuple[str, ...]]:
    """Return the spec to fit by: as recorded, with what its search chose and the threads it ran in."""
    judged = [row for row in rows if row.release == release and row.event is Event.EVIDENCE]
    found = [each for each in map(read_evidence, judged) if each.gate == "training"]
    if not found:
        return spec, None, ("the record holds no facts of the fit; a search, if there was one, was made again",)
    facts, notes = found[-1].measurements, []
    if spec.training.search is not None:
        notes.append(f"the search was {REUSED}")
    plain, threads = without_search(spec, facts), facts.get("threads")
    if isinstance(threads, int) and plain.training.threads is None:
        plain = replace(plain, training=replace(plain.training, threads=threads))
    return plain, found[-1], tuple(notes)


def _parts(folder: Path, held: ModelBundle, made: Mapping[str, bytes]) -> Iterator[Part]:
    for name in MODEL_PARTS:
        recorded, rebuilt = held.parts[name], digest_bytes(made[name])
        where: list[str] = []
        if recorded != rebuilt and name.endswith(".json"):
            where = differing_paths(json.loads((folder / name).read_bytes()), json.loads(made[name]))
        yield Part(name=name, recorded=recorded, rebuilt=rebuilt, where=tuple(where))
