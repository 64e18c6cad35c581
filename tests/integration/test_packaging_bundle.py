"""From a snapshot to a sealed bundle: what is in it, who can load it, and what is refused."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from lockgate.adapters.bundle_store import FileBundleStore
from lockgate.adapters.native_scorer import NativeScorer, score_bundle
from lockgate.adapters.packager import OnnxPackager
from lockgate.adapters.sandbox import Sandboxes
from lockgate.adapters.signer import ensure_keys, sign_folder
from lockgate.adapters.trainer import IsolatedTrainer, read_fit
from lockgate.config import Settings, load_settings
from lockgate.core.contract import ModelBundle, TaskKind
from lockgate.core.gates import parity, training
from lockgate.core.ids import Json
from lockgate.core.spec import CostsSection, ReleaseSpec
from lockgate.core.verdict import Verdict
from lockgate.core.wire import infer_call, read_infer
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.line.parity_replay import replay
from lockgate.models.frames import numeric_matrix
from lockgate.ports import Fit, Snapshot
from lockgate.stages.deciding import decided_for
from lockgate.stages.package import ROWS_FILE, Packaged, package
from lockgate.stages.train import train
from tests.unit.models.rows import CATEGORICAL, NUMERIC, judged, rows, snapshot_in, spec_of

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
CODE: dict[str, Json] = {"tree": "a" * 64, "commit": "c0ffee", "dirty": False}
EVALUATION: dict[str, Json] = {"quality": {"auc": {"estimate": 0.8}}}
PARTS = {
    "model.onnx",
    "MLmodel",
    "contract.json",
    "reference_profile.json",
    "probe_requests.json",
    "card.md",
    "evaluation.json",
    "requirements.lock",
    "provenance.json",
}


class Datasets:
    """Reads a snapshot's parts; the one method that packaging asks for."""

    def part(self, snapshot: Snapshot, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        return pd.read_parquet(snapshot.folder / f"{name}.parquet", columns=None if columns is None else list(columns))


@dataclass(frozen=True)
class Made:
    spec: ReleaseSpec
    snapshot: Snapshot
    fit: Fit
    settings: Settings
    packaged: Packaged
    folder: Path

    @property
    def bundle(self) -> ModelBundle:
        return self.packaged.bundle


def settings_in(folder: Path) -> Settings:
    return load_settings({"LOCKGATE_PROJECT": str(PROJECT), "LOCKGATE_HOME": str(folder)})


def packager(settings: Settings) -> OnnxPackager:
    return OnnxPackager(Datasets(), FileBundleStore(settings), PROJECT / "requirements.lock")  # type: ignore[arg-type]  # only `part` is asked for


def make(folder: Path, kind: TaskKind, costs: CostsSection | None = None, **training_section: Any) -> Made:
    spec = spec_of(kind, threshold=None, parameters={"n_estimators": 40}, **training_section)
    spec = spec if costs is None else replace(spec, costs=costs)
    snapshot = snapshot_in(folder / "snapshot", kind)
    settings = settings_in(folder / "home")
    fit = train(IsolatedTrainer(PROJECT), spec, snapshot, folder / "release").fit
    packaged = package(
        packager(settings),
        Sandboxes(settings, folder / "logs"),
        spec,
        fit=fit,
        snapshot=snapshot,
        evaluation=EVALUATION,
        code=CODE,
        release_folder=folder / "release",
    )
    return Made(spec, snapshot, fit, settings, packaged, FileBundleStore(settings).folder(packaged.bundle.digest))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[TaskKind, Made]:
    return {kind: make(tmp_path_factory.mktemp(kind.value), kind) for kind in TaskKind}


@pytest.fixture
def binary(made: Mapping[TaskKind, Made]) -> Made:
    return made[TaskKind.BINARY]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_both_gates_pass_a_good_model(made: Mapping[TaskKind, Made], kind: TaskKind) -> None:
    assert judged(training.GATE, made[kind].fit.facts).verdict is Verdict.PASS
    assert judged(parity.GATE, made[kind].packaged.measurements["parity"]).verdict is Verdict.PASS


def test_the_bundle_holds_exactly_its_parts(binary: Made) -> None:
    assert set(binary.bundle.parts) == PARTS
    assert {path.name for path in binary.folder.iterdir()} == PARTS | {"manifest.json", "signature"}


def test_what_was_measured_is_what_was_sealed(binary: Made) -> None:
    assert binary.packaged.measurements["parity"]["graph"] == binary.bundle.parts["model.onnx"]


def test_worst_rows_stay_out_of_the_ledger(binary: Made) -> None:
    folder = binary.fit.folder.parent
    kept = json.loads((folder / "parity.json").read_text())
    assert kept["groups"]["holdout"]["worst_row"] is not None
    told = json.dumps(binary.packaged.measurements)
    assert "worst_row" not in told
    rows_file = json.loads((folder / ROWS_FILE).read_text())
    assert {each["family"] for each in rows_file["rows"]} >= {"holdout", "boundaries", "sweep", "search", "served"}
    assert {each["origin"] for each in rows_file["rows"]} >= {"real", "a real row with changed values"}
    assert not {"asked", "worst"} & set(binary.packaged.measurements["parity"])
    assert len(told) < 20_000


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_sealed_bundle_is_asked_in_the_production_server(made: Mapping[TaskKind, Made], kind: TaskKind) -> None:
    measured: Any = made[kind].packaged.measurements["parity"]
    served = measured["groups"]["served"]
    assert served["ways"]["single"]["rows"] >= 40
    assert served["not_finite"] == 0
    assert served["max_difference"] <= 1e-5


@pytest.mark.parametrize("kind", list(TaskKind))
def test_kept_rows_are_answered_anew_side_by_side(made: Mapping[TaskKind, Made], kind: TaskKind) -> None:
    one = made[kind]
    found = replay(
        one.fit.folder.parent, FileBundleStore(one.settings), Sandboxes(one.settings, one.folder.parent), None
    )
    kept = json.loads((one.fit.folder.parent / ROWS_FILE).read_text())["rows"]
    recorded = {each["family"]: each for each in kept}
    assert {each.family for each in found} == set(recorded)
    assert all(each.equal for each in found)
    for each in found:
        assert list(each.native) == recorded[each.family]["native"]
    assert any(each.served is not None for each in found)
    assert all(each.unserved for each in found if each.served is None)


def test_a_row_that_differs_is_found_to_differ_anew(binary: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(binary.fit.folder.parent, tmp_path / "release")
    kept = json.loads((folder / ROWS_FILE).read_text())
    (folder / ROWS_FILE).write_text(json.dumps({**kept, "bound": 0.0}))
    found = replay(folder, FileBundleStore(binary.settings), None, "holdout")
    assert [(each.family, each.equal, each.unserved) for each in found] == [("holdout", False, "not asked to serve")]
    with pytest.raises(BadInput, match="there are holdout"):
        replay(folder, FileBundleStore(binary.settings), None, "nonsense")
    (folder / ROWS_FILE).unlink()
    with pytest.raises(BadInput, match="did not come to package_model"):
        replay(folder, FileBundleStore(binary.settings), None, None)


def test_the_same_inputs_give_the_same_digest(binary: Made, tmp_path: Path) -> None:
    again = make(tmp_path, TaskKind.BINARY)
    assert again.bundle.digest == binary.bundle.digest
    assert again.bundle.parts == binary.bundle.parts


def test_packing_again_keeps_the_bundle_that_is_there(binary: Made) -> None:
    before = (binary.folder / "signature").read_bytes()
    tool = packager(binary.settings)
    candidate = tool.convert(binary.spec, binary.fit, binary.snapshot)
    assert tool.pack(binary.spec, candidate, EVALUATION, CODE) == binary.bundle
    assert (binary.folder / "signature").read_bytes() == before


@pytest.mark.parametrize("kind", list(TaskKind))
def test_golden_answers_are_the_estimators_own(made: Mapping[TaskKind, Made], kind: TaskKind) -> None:
    one = made[kind]
    probes = json.loads((one.folder / "probe_requests.json").read_text())["requests"]
    frame = pd.DataFrame([probe["row"] for probe in probes]).astype(dict.fromkeys(NUMERIC, "float32"))
    native = NativeScorer.load(one.fit.folder).score(frame)
    assert np.array_equal(native.reshape(len(probes), -1), np.array([probe["output"] for probe in probes]))
    names = {probe["name"] for probe in probes}
    assert {"smallest", "largest", "missing-all", "missing-x1", "unseen-category-c0", "unseen-all"} <= names
    assert len(probes) >= 15


def test_no_probe_is_a_row_of_the_data(binary: Made) -> None:
    probes = json.loads((binary.folder / "probe_requests.json").read_text())["requests"]
    seen = pd.concat([rows(1500, seed=seed) for seed in (0, 1)])
    real = {tuple(row) for row in seen[[*NUMERIC, *CATEGORICAL]].astype(str).itertuples(index=False)}
    asked = {tuple(str(probe["row"][name]) for name in (*NUMERIC, *CATEGORICAL)) for probe in probes}
    assert not asked & real


def test_nulls_are_asked_for_only_where_training_had_them(binary: Made) -> None:
    nullable = {column.name for column in binary.bundle.contract.inputs if column.nullable}
    assert nullable == {"x1", "c0"}
    probes = json.loads((binary.folder / "probe_requests.json").read_text())["requests"]
    assert {name for probe in probes for name, value in probe["row"].items() if value is None} == nullable


def test_the_threshold_of_least_cost_is_in_the_contract(binary: Made) -> None:
    chosen: Any = binary.fit.facts["threshold"]
    assert binary.bundle.contract.threshold == chosen["value"] != 0.5


def test_costs_travel_from_the_spec_into_the_label_that_the_production_server_answers(tmp_path: Path) -> None:
    ones = {"low": 1.0, "middle": 1.0, "high": 1.0}
    prices = {"low": ones | {"low": 0.0}, "middle": ones | {"middle": 0.0}, "high": {"low": 15.0, "middle": 15.0}}
    one = make(tmp_path, TaskKind.MULTICLASS, costs=CostsSection(matrix=prices))
    assert one.bundle.contract.costs == ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (15.0, 15.0, 0.0))
    assert judged(parity.GATE, one.packaged.measurements["parity"]).verdict is Verdict.PASS
    assert "decided for the least expected cost" in (one.folder / "card.md").read_text()

    frame = pd.read_parquet(one.snapshot.folder / "holdout.parquet")[[*NUMERIC, *CATEGORICAL]].head(300)
    frame = frame[frame["c1"] != "never"]
    told = frame.astype(object).where(frame.notna(), None).to_dict("records")
    with Sandboxes(one.settings, tmp_path / "logs").open("costs") as server:
        assert server.route(one.bundle.contract.model, one.bundle.digest).status == 200
        answer = server.send(infer_call(one.bundle.contract, told))
    assert len(read_infer(one.bundle.contract, answer)) == len(frame)
    labels = next(each["data"] for each in json.loads(answer.body)["outputs"] if each["name"] == "label")
    native = NativeScorer.load(one.fit.folder).score(frame)
    classes = np.array(one.spec.task.classes)
    assert labels == classes[decided_for(one.spec, native, None)].tolist()
    assert (np.array(labels) == "high").sum() > (classes[native.argmax(axis=1)] == "high").sum() + 10


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.filterwarnings("ignore")  # MLflow warns of its own and its libraries' matters when it is imported
def test_mlflow_loads_the_folder_and_predicts_the_same(made: Mapping[TaskKind, Made], kind: TaskKind) -> None:
    import mlflow

    one = made[kind]
    frame = rows(300, kind, seed=9, unseen=True)
    model = mlflow.pyfunc.load_model(str(one.folder))
    told = model.metadata.metadata
    assert told is not None
    codes = [  # as the folder's own metadata tells: a value's place in its column's list
        frame[name].map({value: at for at, value in enumerate(told["coded_columns"][name])}).to_numpy(np.float32)
        for name in CATEGORICAL
    ]
    feeds = {"numeric": np.column_stack([numeric_matrix(frame, told["numeric_columns"]), *codes])}
    answers = model.predict(feeds)["prediction"]
    assert np.array_equal(answers, score_bundle(one.folder, frame))
    native = NativeScorer.load(one.fit.folder).score(frame)
    assert np.allclose(answers, native, atol=1e-5, rtol=1e-5)


def test_the_folder_still_verifies_after_mlflow_has_registered_it(binary: Made, tmp_path: Path) -> None:
    settings = copied(binary, tmp_path)
    (settings.bundles / binary.bundle.digest / "registered_model_meta").write_text("model_name: toy\n")
    assert FileBundleStore(settings).get(binary.bundle.digest) == binary.bundle


def test_the_openssf_library_itself_verifies_the_signature(binary: Made) -> None:
    from model_signing import hashing, verifying

    hashed = hashing.Config().set_ignored_paths(paths=[str(binary.folder / "signature")], ignore_git_paths=False)
    config = verifying.Config().use_elliptic_key_verifier(public_key=binary.settings.public_key)
    config.set_hashing_config(hashed).verify(binary.folder, binary.folder / "signature")


@pytest.mark.parametrize("part", sorted(PARTS | {"manifest.json", "signature"}))
def test_one_flipped_byte_is_refused(binary: Made, tmp_path: Path, part: str) -> None:
    settings = copied(binary, tmp_path)
    path = settings.bundles / binary.bundle.digest / part
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        FileBundleStore(settings).get(binary.bundle.digest)


def test_another_key_is_refused(binary: Made, tmp_path: Path) -> None:
    settings = copied(binary, tmp_path)
    for key in (settings.signing_key, settings.public_key):
        key.unlink()
    ensure_keys(settings)
    with pytest.raises(IntegrityError):
        FileBundleStore(settings).get(binary.bundle.digest)


def test_a_bundle_that_is_not_there_is_bad_input(binary: Made) -> None:
    with pytest.raises(BadInput, match="no bundle"):
        FileBundleStore(binary.settings).get(binary.bundle.digest.replace("a", "b"))  # type: ignore[arg-type]  # a str


def test_the_private_key_is_for_this_user_alone(binary: Made, tmp_path: Path) -> None:
    assert stat.S_IMODE(binary.settings.signing_key.stat().st_mode) == 0o600
    settings = copied(binary, tmp_path)
    settings.signing_key.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        sign_folder(settings.bundles / binary.bundle.digest, settings.signing_key)


def test_keys_are_made_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    ensure_keys(settings)
    before = settings.signing_key.read_bytes(), settings.public_key.read_bytes()
    settings.public_key.unlink()
    ensure_keys(settings)
    assert (settings.signing_key.read_bytes(), settings.public_key.read_bytes()) == before


def test_provenance_names_what_it_was_made_of(binary: Made) -> None:
    statement = json.loads((binary.folder / "provenance.json").read_text())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    subjects = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    assert subjects == {name: digest for name, digest in binary.bundle.parts.items() if name != "provenance.json"}
    made_of = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    digests = {each["name"]: each["digest"]["sha256"] for each in made_of}
    assert digests["data"] == binary.snapshot.digest
    assert digests["spec"] == binary.spec.digest
    assert digests["source"] == "a" * 64
    assert digests["requirements.lock"] == binary.bundle.parts["requirements.lock"]


def test_the_reference_profile_knows_every_feature_and_the_score(binary: Made) -> None:
    profile = json.loads((binary.folder / "reference_profile.json").read_text())
    assert set(profile["numeric"]) == set(NUMERIC)
    assert set(profile["categorical"]) == set(CATEGORICAL)
    assert set(profile["score"]) == {"prediction"}
    assert profile["categorical"]["c0"]["shares"][-1] > 0.05  # missing strings count as missing, not as a value


# -- a wrong graph is stopped ------------------------------------------------------------------------------------------


WIDTH = len(NUMERIC) + len(CATEGORICAL)
"""Columns of the graph's matrix; the trees see it twice, the second time with nulls below everything."""


def wrong(graph: bytes, attribute: str, change: Any) -> bytes:
    model = onnx.load_from_string(graph)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    found = next(each for each in node.attribute if each.name == attribute)
    if found.floats:
        found.floats[:] = change(np.array(found.floats, dtype=np.float32))
    else:
        found.ints[:] = change(np.array(found.ints))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("fault", "stopped_by"),
    [
        (lambda graph: wrong(graph, "nodes_values", lambda v: np.nextafter(v, np.float32(np.inf))), "boundaries"),
        (lambda graph: wrong(graph, "nodes_featureids", lambda v: (v + WIDTH) % (2 * WIDTH)), "missing"),
        (lambda graph: wrong(graph, "target_weights", lambda v: v * np.float32(1.001)), "holdout"),
        (lambda graph: wrong(graph, "base_values", lambda v: v + np.float32(1e-3)), "holdout"),
    ],
    ids=["split one step off", "missing on the wrong side", "a leaf per mille off", "base off"],
)
def test_a_wrong_graph_is_stopped_by_parity(binary: Made, fault: Any, stopped_by: str) -> None:
    tool = packager(binary.settings)
    candidate = tool.convert(binary.spec, binary.fit, binary.snapshot)
    measured = tool.measure(binary.spec, replace(candidate, graph=fault(candidate.graph)))
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    assert "does not answer like the estimator" in report.reason
    assert f"{stopped_by}_difference" in {check.name for check in report.checks if check.verdict is Verdict.FAIL}


def test_codes_of_another_column_are_stopped_by_parity(binary: Made) -> None:
    tool = packager(binary.settings)
    candidate = tool.convert(binary.spec, binary.fit, binary.snapshot)
    one, other = candidate.contract.graph.coded
    swapped = (replace(one, values=other.values), replace(other, values=one.values))
    contract = replace(candidate.contract, graph=replace(candidate.contract.graph, coded=swapped))
    report = judged(parity.GATE, tool.measure(binary.spec, replace(candidate, contract=contract)))
    assert report.verdict is Verdict.FAIL
    assert "holdout_difference" in {check.name for check in report.checks if check.verdict is Verdict.FAIL}


def test_a_graph_that_answers_nan_is_stopped(binary: Made) -> None:
    tool = packager(binary.settings)
    candidate = tool.convert(binary.spec, binary.fit, binary.snapshot)
    graph = wrong(candidate.graph, "base_values", lambda values: values * np.float32(np.nan))
    measured = tool.measure(binary.spec, replace(candidate, graph=graph))
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    assert "NaN" in report.reason


def test_a_fit_of_unknown_types_is_not_loaded(binary: Made, tmp_path: Path) -> None:
    import skops.io

    folder = shutil.copytree(binary.fit.folder, tmp_path / "fit")
    skops.io.dump({"harmless": Path("x")}, folder / "model.skops")
    with pytest.raises(IntegrityError, match="which this family does not; it is not loaded"):
        NativeScorer.load(folder)


def test_a_fit_is_found_again_in_its_folder(binary: Made) -> None:
    assert read_fit(binary.fit.folder) == binary.fit


def copied(one: Made, folder: Path) -> Settings:
    settings = settings_in(folder / "home")
    shutil.copytree(one.settings.home, settings.home)
    return settings
