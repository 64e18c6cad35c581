"""Faulty copies of a champion's bundle, for rehearsing a rollback: signed, loadable, marked, and never to be promoted.

    the champion's graph ──> "sound" answer ──> [planted fault] ──> output

What keeps a copy out of production: it belongs to no release, so there is no evidence, no verdict and no blessing of
its digest, which `promote` asks for and an audit of the ledger looks for. Its card, its provenance and a part
`drill.json` say what it is. It is removed when the drill is over; what a dead drill left is removed by the next one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lockgate.adapters.bundle_documents import PREDICATE_TYPE, STATEMENT_TYPE
from lockgate.adapters.bundle_store import FileBundleStore
from lockgate.config import Settings
from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.drill_plan import SHARE
from lockgate.core.drills import Fault, FaultyCopy
from lockgate.core.ids import Digest, ModelName, canonical_json, digest_bytes, is_digest
from lockgate.core.records import read_record
from lockgate.errors import BadInput, ConfigError
from lockgate.serving.model.bundle import MANIFEST, SIGNATURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARK = "drill.json"
BUILD_TYPE = "https://github.com/lockgate/lockgate/drill-bundle/v1"
_SALTS = 64  # ours: at half of the rows hit, twenty probes are all hit, or none, less than once in ten thousand salts


class FaultyBundles:
    """Makes and removes faulty copies in one bundle store."""

    def __init__(self, settings: Settings) -> None:
        """Take the installation's store and key; nothing is written yet."""
        self._settings = settings
        self._store = FileBundleStore(settings)

    def make(self, champion: Digest, fault: Fault, *, drill: str, share: float = SHARE) -> FaultyCopy:
        """Sign and store a copy of a bundle with a planted fault.

        Args:
            champion: The bundle that is copied; verified first.
            fault: What is planted.
            drill: Whose it is; two drills have two copies.
            share: The share of the rows that it hits; latency hits every row.

        Raises:
            IntegrityError: The champion's bundle is not what was signed.
            ConfigError: The signing key cannot be used, or the fault cannot be planted into this graph.
            TransientError: The disk is full.
        """
        contract = self._store.get(champion).contract
        folder = self._store.folder(champion)
        parts = {each.name: each.read_bytes() for each in folder.iterdir() if each.name not in (MANIFEST, SIGNATURE)}
        if MARK in parts:
            raise BadInput(f"bundle {champion[:12]} is itself a drill's copy; drill with the champion's")
        probes = read_record(ProbeSet, json.loads(parts["probe_requests.json"]))
        graph, spared = _planted(parts["model.onnx"], contract, probes, fault, share)
        parts |= {"model.onnx": graph, "probe_requests.json": canonical_json(spared)}
        parts |= _documents(parts, contract, champion, fault, drill)
        return FaultyCopy(digest=self._store.put(contract.model, parts).digest, contract=contract, probes=spared)

    def remove(self, digest: Digest) -> bool:
        """Remove a copy; what is no drill's copy is left alone. Tells whether it was there."""
        folder = self._store.folder(digest)
        if not is_digest(digest) or not (folder / MARK).is_file():
            return False
        gone = folder.with_name(f".gone-{digest}")  # first out of sight, so that nobody loads half of it
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def left_behind(self, model: ModelName) -> tuple[Digest, ...]:
        """Return the copies of a model's bundles that are in the store."""
        marks = sorted(self._settings.bundles.glob(f"*/{MARK}"))
        return tuple(Digest(each.parent.name) for each in marks if json.loads(each.read_bytes()).get("model") == model)


def _documents(
    parts: Mapping[str, bytes], contract: ModelContract, champion: Digest, fault: Fault, drill: str
) -> dict[str, bytes]:
    """Return the parts by which people and programs know a drill's copy."""
    facts = {"model": contract.model, "drill": drill, "fault": fault.value, "copy_of": champion, "promotable": False}
    card = (
        f"# DRILL, not a model to release: {contract.model}\n\n"
        f"A copy of bundle `{champion}` with the planted fault `{fault.value}`, made by {drill} to rehearse a "
        "rollback. It has no blessing and is removed when the drill is over.\n"
    )
    made = {**parts, MARK: canonical_json(facts), "card.md": card.encode()}
    named = sorted(set(made) - {"provenance.json"})
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest_bytes(made[name])}} for name in named],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": facts,
                "resolvedDependencies": [{"name": "champion", "digest": {"sha256": champion}}],
            },
            "runDetails": {"builder": {"id": "lockgate"}},
        },
    }
    return {MARK: made[MARK], "card.md": made["card.md"], "provenance.json": canonical_json(statement)}


def _planted(
    graph: bytes, contract: ModelContract, probes: ProbeSet, fault: Fault, share: float
) -> tuple[bytes, ProbeSet]:
    """Return the faulty graph and the probes it spares: some, and, but for latency, not all.

    Raises:
        ConfigError: The fault hits all of the probes or none of them, however the rows are drawn.
    """
    for salt in range(_SALTS):
        faulty = plant(graph, contract, probes, fault, share, salt=salt)
        spared = _spared(faulty, contract, probes)
        if spared.requests and (fault is Fault.LATENCY or len(spared.requests) < len(probes.requests)):
            return faulty, spared
    raise ConfigError(
        f"fault {fault.value} at a share of {share:g} of the rows hits all or none of the {len(probes.requests)} probe "
        f"requests of {contract.model}; give the model more of them"
    )


def _spared(graph: bytes, contract: ModelContract, probes: ProbeSet) -> ProbeSet:
    """Return the probes whose golden answers the faulty graph still gives, alone and beside others."""
    from lockgate.core.probes import golden_problem
    from lockgate.serving.model.dataplane import ServedModel

    model = ServedModel(Digest("0" * 64), contract, graph)
    columns = {name: [probe.row.get(name) for probe in probes.requests] for name in model.encoder.names}
    scores: NDArray[Any] = model.scores(columns, len(probes.requests)).reshape(len(probes.requests), -1)
    kept = [
        probe
        for probe, got in zip(probes.requests, scores.tolist(), strict=True)
        if golden_problem(probes, probe, got) is None
    ]
    return replace(probes, requests=tuple(kept))


def plant(  # noqa: PLR0913 - a graph, what is known of it, and a fault
    graph: bytes, contract: ModelContract, probes: ProbeSet, fault: Fault, share: float, *, salt: int
) -> bytes:
    """Return a graph with a fault behind its output.

    Args:
        graph: Serialized ONNX.
        contract: Which form it has.
        probes: Its golden answers say what would be wrong.
        fault: What is planted.
        share: The share of the rows that it hits, by a hash of the row.
        salt: Draws which rows those are.
    """
    from lockgate.adapters.faulty_graph import Wires, finish, hit, nothing, shifted, slowed, spoiled

    wires = Wires.of(graph, contract)
    if fault is Fault.LATENCY:
        slowed(wires)
        return finish(wires)
    rows = hit(wires, share, np.random.default_rng(salt))
    golden = np.array([probe.output for probe in probes.requests], dtype=np.float64)
    spoiled(wires, rows, nothing(wires) if fault is Fault.ERRORS else shifted(wires, golden))
    return finish(wires)
