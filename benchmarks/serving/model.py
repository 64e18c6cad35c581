"""The model that every server of the comparison serves: one ONNX graph, signed bundles of it, and rows to ask about.

Boosted trees on the flights of January and February 2013, fitted and converted by the product's own code from
`deployments/flight-delays.yaml`. The graph takes one float32 matrix: the numbers, then the codes of the categories.
The same bytes go to every server. Two contracts lead to them:

    columns   what callers really have: numbers and strings, one tensor a column
    floats    every column a number, so that a row can be sent as the rivals take it: one FP32 tensor

Made once and kept in the cache folder, under a key of the sources that it depends on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
MONTHS = ("2013-01", "2013-02")
VALIDATION_DAYS = 7
ROWS = 1_000
TOKEN = "a-token-of-the-benchmark"  # noqa: S105 - guards a server that lives for seconds on loopback
CONTRACTS = ("columns", "floats")
_SOURCES = (
    "src/lockgate/models",
    "src/lockgate/core/contract.py",
    "src/lockgate/adapters/bundle_contract.py",
    "src/lockgate/adapters/bundle_store.py",
    "deployments/flight-delays.yaml",
    "deployments/flights/source.py",
    "benchmarks/serving/model.py",
)


def cache_folder() -> Path:
    """Return where models and environments are kept; `LOCKGATE_BENCH_CACHE` moves it."""
    given = os.environ.get("LOCKGATE_BENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "lockgate" / "bench-serving"


@dataclass(frozen=True, slots=True)
class Served:
    """One contract's bundles.

    Attributes:
        model: Name of the model.
        champion: Digest of the bundle.
        challenger: Digest of another bundle of the very same graph, so that a split costs what a split costs.
    """

    model: str
    champion: str
    challenger: str


@dataclass(frozen=True)
class Model:
    """What was made, in its folder."""

    folder: Path

    @property
    def graph(self) -> Path:
        return self.folder / "model.onnx"

    @property
    def bundles(self) -> Path:
        return self.folder / "home" / "bundles"

    @property
    def public_key(self) -> Path:
        return self.folder / "home" / "keys" / "signing.pub"

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """`served` by contract, `graph_input`, `graph_output`, `columns`, `trees`, `leaves`, `train_rows`."""
        found: dict[str, Any] = json.loads((self.folder / "facts.json").read_bytes())
        return found

    @cached_property
    def rows(self) -> Sequence[Mapping[str, float | str]]:
        """The rows to ask about, as a caller has them."""
        found: list[Mapping[str, float | str]] = json.loads((self.folder / "rows.json").read_bytes())
        return found

    @cached_property
    def matrix(self) -> NDArray[np.float32]:
        """The same rows as the graph takes them, float32 [1000, 24]."""
        return np.asarray(np.load(self.folder / "matrix.npy"))

    @cached_property
    def golden(self) -> NDArray[np.float32]:
        """What the fitted estimator, not the graph, says to them, [1000]."""
        return np.asarray(np.load(self.folder / "golden.npy"))

    def served(self, contract: str) -> Served:
        return Served(**self.facts["served"][contract])


def model() -> Model:
    """Return the model, made now if there is none of these sources."""
    folder = cache_folder() / f"model-{_key()}"
    if not (folder / "facts.json").is_file():
        print(f"fitting the model of the comparison into {folder}", file=sys.stderr)
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _make(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    (folder / "token").chmod(0o600)  # the server takes none that others may read
    return Model(folder)


def _key() -> str:
    found = hashlib.sha256()
    for name in _SOURCES:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def _make(folder: Path) -> None:
    """Fit, convert, package twice, and write down rows with their golden answers."""
    import pandas as pd

    from deployments.flights.source import prepare, write_batch
    from lockgate.models import trainer_of
    from lockgate.models.checkpoint import nowhere
    from lockgate.models.frames import graph_matrix, labelled_rows
    from lockgate.models.native import answers_of
    from lockgate.spec_file import read_spec

    spec = read_spec(ROOT / "deployments" / "flight-delays.yaml")
    raw = []
    for month in MONTHS:
        write_batch(month, folder / "raw.parquet")
        raw.append(pd.read_parquet(folder / "raw.parquet"))
    (folder / "raw.parquet").unlink()
    frame = prepare(pd.concat(raw, ignore_index=True))
    late = frame["sched_time"] >= frame["sched_time"].max() - pd.Timedelta(days=VALIDATION_DAYS)
    train, validation = labelled_rows(frame[~late], spec), labelled_rows(frame[late], spec)
    trainer = trainer_of(spec)
    fitted = trainer.fit(train, validation, spec, spec.training.parameters, nowhere())
    form = trainer.form(fitted.native, spec)
    graph = trainer.to_onnx(fitted.native, spec, form)
    seen = pd.concat([train.features, validation.features], ignore_index=True)
    asked = train.features.dropna()  # a null has no JSON form that every rival reads; these rows have none
    asked = asked[(asked[list(spec.data.categorical)] != form.missing_string).all(axis=1)]
    asked = asked.sample(ROWS, random_state=1, replace=len(asked) < ROWS)
    (folder / "model.onnx").write_bytes(graph)
    np.save(folder / "matrix.npy", graph_matrix(asked, form))
    np.save(folder / "golden.npy", answers_of(fitted.native, asked, spec.task.kind).astype(np.float32))
    (folder / "rows.json").write_text(json.dumps([_as_sent(row) for row in asked.to_dict("records")]))
    (folder / "token").write_text(f"{TOKEN}\n")
    facts = {
        "served": _package(folder, spec, (fitted.native, form, graph), seen),
        "graph_input": form.numeric_input,
        "graph_output": form.output,
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        "graph_bytes": len(graph),
        "columns": list(spec.data.features),
        "numeric": list(spec.data.numeric),
        "train_rows": len(train),
        **_size(graph),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1))


def _as_sent(row: Mapping[str, Any]) -> dict[str, float | str]:
    """Return a row as a caller writes it: 39.02, not the double that is nearest to the float32 nearest to it."""
    return {name: value if isinstance(value, str) else float(str(np.float32(value))) for name, value in row.items()}


def _size(graph: bytes) -> dict[str, int]:
    import onnx

    for node in onnx.load_from_string(graph).graph.node:
        if node.op_type == "TreeEnsembleRegressor":
            ids = {each.name: each.ints for each in node.attribute}
            return {"trees": len(set(ids["nodes_treeids"])), "leaves": len(ids["target_nodeids"])}
    raise SystemExit("the graph holds no trees; the comparison needs them")


class _Coded:
    """The estimator behind rows that are codes already."""

    def __init__(self, native: Any) -> None:  # noqa: ANN401 - scikit-learn has no types
        self._trees = native.named_steps["trees"]

    def score(self, frame: Any) -> NDArray[Any]:  # noqa: ANN401 - a pandas frame
        return np.asarray(self._trees.predict_proba(frame.to_numpy(dtype=np.float32)))[:, 1]


def _package(folder: Path, spec: Any, fit: tuple[Any, Any, bytes], seen: Any) -> dict[str, Any]:  # noqa: ANN401 - untyped
    """Store the bundles of both contracts, signed by the product's own store; return their digests."""
    import pandas as pd

    from lockgate.adapters.bundle_contract import contract_of, probes_of
    from lockgate.adapters.bundle_documents import mlmodel
    from lockgate.adapters.bundle_store import FileBundleStore
    from lockgate.adapters.native_scorer import NativeScorer
    from lockgate.config import load_settings
    from lockgate.core.ids import ModelName, canonical_json
    from lockgate.models.frames import graph_matrix

    native, form, graph = fit
    settings = load_settings({"LOCKGATE_PROJECT": str(ROOT), "LOCKGATE_HOME": str(folder / "home")})
    store = FileBundleStore(settings)
    names = [*form.numeric_columns, *(each.name for each in form.coded)]
    codes = pd.DataFrame(graph_matrix(seen, form), columns=names)
    flat_form = dataclasses.replace(form, numeric_columns=tuple(names), coded=())
    flat_data = dataclasses.replace(spec.data, numeric=tuple(names), categorical=())
    flat_name = dataclasses.replace(spec.model, name=ModelName(f"{spec.name}-floats"))
    flat = dataclasses.replace(spec, model=flat_name, data=flat_data)
    strings = seen.copy()
    for name in spec.data.categorical:
        strings[name] = strings[name].where(strings[name] != form.missing_string, None)
    raw = NativeScorer(native, spec.task.kind, spec.data.numeric, spec.data.categorical)
    threshold = 0.5
    cases = {
        "columns": (spec, form, strings, raw),
        "floats": (flat, flat_form, codes, _Coded(native)),
    }
    served = {}
    for contract_name, (its_spec, its_form, rows, answers) in cases.items():
        contract = contract_of(its_spec, rows, threshold, its_form)
        parts = {
            "model.onnx": graph,
            "contract.json": canonical_json(contract),
            "probe_requests.json": canonical_json(probes_of(contract, rows, answers, spec.training.seed)),
            "MLmodel": mlmodel(contract),
        }
        digests = [
            store.put(contract.model, {**parts, "card.md": f"# {contract.model}, {arm}\n".encode()}).digest
            for arm in ("champion", "challenger")
        ]
        served[contract_name] = dataclasses.asdict(Served(contract.model, *digests))
    return served
