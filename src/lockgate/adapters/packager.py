"""Makes a bundle of a fit: one graph from raw columns, and everything that is needed to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lockgate.adapters.bundle_contract import contract_of, probes_of
from lockgate.adapters.bundle_documents import card, mlmodel, provenance
from lockgate.adapters.bundle_store import FileBundleStore
from lockgate.adapters.native_scorer import GraphScorer, NativeScorer
from lockgate.adapters.parity_meter import measure_parity
from lockgate.core.contract import ModelBundle, ModelContract
from lockgate.core.drift import reference_profile
from lockgate.core.gates.parity import Thresholds
from lockgate.core.ids import Json, canonical_json, digest_bytes
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.models import trainer_of
from lockgate.models.frames import native_frame
from lockgate.models.trainer import MISSING
from lockgate.ports import DatasetStore, Fit, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A converted fit: what a bundle is made of, before it is one.

    Attributes:
        fit: The fit.
        snapshot: The rows it was fitted on.
        native: The fitted estimator.
        contract: What it takes and gives.
        graph: The serialized graph.
        seen: Rows of training and validation, null for missing.
    """

    fit: Fit
    snapshot: Snapshot
    native: NativeScorer
    contract: ModelContract
    graph: bytes
    seen: pd.DataFrame


class OnnxPackager:
    """Converts, measures and packs.

    Args:
        datasets: Reads the snapshot's rows.
        bundles: Where the bundle goes.
        lock: The lock file of this environment, which becomes a part.
    """

    def __init__(self, datasets: DatasetStore, bundles: FileBundleStore, lock: Path) -> None:
        self._datasets = datasets
        self._bundles = bundles
        self._lock = lock

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> Candidate:
        """Convert a fit.

        Raises:
            ConfigError: The estimator holds something that was not proved to convert faithfully.
            BadInput: The converter refuses it, or the folder holds no fit.
            IntegrityError: The fit's file, or the rows, are not what they must be.
        """
        native = NativeScorer.load(fit.folder)
        parts = [self._datasets.part(snapshot, name, spec.data.features) for name in ("train", "validation")]
        threshold: Any = fit.facts.get("threshold")
        seen = _seen(pd.concat(parts, ignore_index=True), spec)
        trainer = trainer_of(spec)
        form = trainer.form(native.native, spec)
        contract = contract_of(spec, seen, None if threshold is None else float(threshold["value"]), form)
        graph = trainer.to_onnx(native.native, spec, form)
        return Candidate(fit=fit, snapshot=snapshot, native=native, contract=contract, graph=graph, seen=seen)

    def measure(self, spec: ReleaseSpec, candidate: Candidate) -> dict[str, Json]:
        """Return the `parity` gate's measurements, `graph` being the sha256 of what was measured.

        Beside them, and not for the record, the rows `worst` and `asked`: see `parity_meter`.
        """
        measured = measure_parity(
            candidate.native,
            GraphScorer(candidate.graph, candidate.contract.graph),
            holdout=self._datasets.part(candidate.snapshot, "holdout", spec.data.features),
            contract=candidate.contract,
            splits=trainer_of(spec).split_points(candidate.native.native, spec),
            bound=spec.gates.get("parity", Thresholds()).difference,
            seed=spec.training.seed,
        )
        return {"graph": digest_bytes(candidate.graph), **measured}

    @staticmethod
    def model_parts(spec: ReleaseSpec, candidate: Candidate) -> dict[str, bytes]:
        """Return the parts of a bundle that are the model itself (`core.reproduction.MODEL_PARTS`)."""
        return {
            "model.onnx": candidate.graph,
            "contract.json": canonical_json(candidate.contract),
            "reference_profile.json": canonical_json(_profile(spec, candidate)),
        }

    def pack(
        self, spec: ReleaseSpec, candidate: Candidate, evaluation: Mapping[str, Json], code: Mapping[str, Json]
    ) -> ModelBundle:
        """Write, sign and keep the bundle; the same inputs give the same digest.

        Args:
            spec: What was asked for.
            candidate: From `convert`.
            evaluation: What the evaluation measured, by gate; kept as `evaluation.json`. No times, or the digest
                changes with them.
            code: Facts of the program: `tree` (sha256), `commit`, `dirty`.

        Raises:
            BadInput: There is no lock file.
            TransientError: The disk is full.
        """
        if not self._lock.is_file():
            raise BadInput(f"there is no lock file {self._lock}; a bundle names the exact libraries it was made with")
        contract, lock = candidate.contract, self._lock.read_bytes()
        parts = {
            **self.model_parts(spec, candidate),
            "MLmodel": mlmodel(contract),
            "probe_requests.json": canonical_json(
                probes_of(contract, candidate.seen, candidate.native, spec.training.seed)
            ),
            "evaluation.json": canonical_json(evaluation),
            "card.md": card(spec, contract, candidate.fit.facts, evaluation),
            "requirements.lock": lock,
        }
        digests = {name: digest_bytes(data) for name, data in parts.items()}
        parts["provenance.json"] = provenance(spec, candidate.snapshot.digest, code, digest_bytes(lock), digests)
        return self._bundles.put(spec.name, parts)


def _seen(rows: pd.DataFrame, spec: ReleaseSpec) -> pd.DataFrame:
    """Return rows as models see them, but with null for a missing string."""
    frame = native_frame(rows, spec.data.numeric, spec.data.categorical)
    for name in spec.data.categorical:
        frame[name] = frame[name].where(frame[name] != MISSING, None)
    return frame


def _profile(spec: ReleaseSpec, candidate: Candidate) -> dict[str, Json]:
    """Return the frozen bins of every feature, and under `score` of each of the estimator's answers."""
    seen = candidate.seen
    columns = {name: seen[name].to_numpy() for name in spec.data.features}
    profile = reference_profile(columns, spec.data.numeric, spec.data.categorical)
    answers = np.atleast_2d(candidate.native.score(seen).T)
    names = spec.task.classes if len(answers) > 1 else ("prediction",)
    scores = dict(zip(names, answers, strict=True))
    return {**profile, "score": reference_profile(scores, tuple(scores), ())["numeric"]}
