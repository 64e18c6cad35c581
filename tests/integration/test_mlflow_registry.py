"""What people see of a version in a real MLflow, and what happens when MLflow is down or does not keep bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from lockgate.adapters.mlflow_registry import MlflowRegistry
from lockgate.core.heads import Head
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, digest_bytes
from lockgate.core.ledger import Event
from lockgate.errors import ConfigError, IntegrityError, NotBlessed, TransientError
from lockgate.stages.register import Lineage, register
from tests.fakes import FakeBundleStore, FakeClock, FakeLedger
from tests.mlflow_process import running_mlflow
from tests.ports import free_port
from tests.record import MODEL, Writer, small_bundle, small_spec

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

FIRST = ReleaseId("flights-0001")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("mlflow")
    with running_mlflow(folder) as url:
        yield url, folder


def _get(url: str, path: str, **query: str) -> dict[str, Json]:
    answer = httpx.get(f"{url}/api/2.0/mlflow/{path}", params=query, timeout=60)
    answer.raise_for_status()
    found: dict[str, Json] = answer.json()
    return found


def _pairs(listed: object) -> dict[str, str]:
    assert isinstance(listed, list)
    return {each["key"]: each["value"] for each in listed}


def test_a_blessed_release_is_a_version_that_tells_where_it_comes_from(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = server
    bundle, parts = small_bundle(tmp_path)
    store = FakeBundleStore(root=tmp_path, bundles={bundle.digest: bundle})
    clock = FakeClock()
    writer = Writer(FakeLedger(clock), clock, FIRST, bundle.digest)
    writer.open()
    blessing = writer.bless()
    dossier = tmp_path / "dossier.html"
    dossier.write_text("<h1>Dossier</h1>")
    lineage = Lineage(
        commit="c0ffee",
        parameters={"max_depth": 6, "nested": {"a": [1]}},
        source="tables/flights@3",
        rows={"train": 10, "holdout": 5},
        artifacts=(dossier, parts / "evaluation.json"),
        head=Head(model=MODEL, seq=7, row_hash=Digest("e" * 64), signature="c2lnbmVk"),
    )
    registry = MlflowRegistry(url)

    answer = register(writer.ledger, registry, store, writer.spec, blessing, lineage=lineage)
    assert register(writer.ledger, registry, store, writer.spec, blessing, lineage=lineage) == answer

    (row,) = writer.ledger.rows(MODEL, events=(Event.REGISTERED,))
    assert (row.payload["bundle"], row.payload["version"]) == (bundle.digest, answer["version"])
    version = _get(url, "model-versions/get", name=MODEL, version=str(answer["version"]))["model_version"]
    assert isinstance(version, dict)
    tags = _pairs(version["tags"])
    assert tags["lockgate.bundle"] == bundle.digest
    assert tags["lockgate.ledger.hash"] == "e" * 64
    assert tags["lockgate.commit"] == "c0ffee"
    assert "| quality | ✓ PASS |" in str(version["description"])
    assert version["aliases"] == ["challenger"]
    run = _get(url, "runs/get", run_id=str(answer["run"]))["run"]
    assert isinstance(run, dict)
    assert run["info"]["status"] == "FINISHED"
    assert _pairs(run["data"]["params"])["parameter.max_depth"] == "6"
    assert {each["key"] for each in run["data"]["metrics"]} == {"quality/score", "infra/score"}
    assert run["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == blessing.subjects.data[:32]
    assert run["outputs"]["model_outputs"][0]["model_id"] == answer["model_id"]
    (stored,) = folder.glob(f"artifacts/*/models/{answer['model_id']}/artifacts/model.onnx")
    assert digest_bytes(stored.read_bytes()) == bundle.parts["model.onnx"]
    assert str(answer["dossier"]).endswith(f"/runs/{answer['run']}/artifacts/dossier.html")
    assert httpx.get(str(answer["page"]), timeout=60).is_success


def test_what_the_registry_stores_must_be_the_bundle_byte_for_byte(server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = server
    bundle, folder = small_bundle(tmp_path, b"the graph that was signed")
    (folder / "model.onnx").write_bytes(b"the graph that was signeD")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        MlflowRegistry(url).register(small_spec(), ReleaseId("flights-0666"), bundle, folder, {})
    answer = httpx.get(
        f"{url}/api/2.0/mlflow/model-versions/search",
        params={"filter": f"tags.`lockgate.bundle` = '{bundle.digest}'"},
        timeout=60,
    )
    assert answer.json().get("model_versions", []) == []


def test_a_blessing_that_is_not_on_record_registers_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    bundle, _ = small_bundle(tmp_path)
    clock = FakeClock()
    writer = Writer(FakeLedger(clock), clock, FIRST, bundle.digest)
    writer.open()
    blessing = writer.bless()
    forged = replace(blessing, subjects=replace(blessing.subjects, bundle=Digest("f" * 64)))
    lineage = Lineage(commit=None, parameters={}, source="", rows={})
    with pytest.raises(NotBlessed, match="on record"):
        register(writer.ledger, MlflowRegistry(server[0]), FakeBundleStore(), writer.spec, forged, lineage=lineage)
    assert writer.ledger.rows(MODEL, events=(Event.REGISTERED,)) == ()
    assert writer.judge(Stage.STAGING)


def test_mlflow_that_is_down_is_a_transient_error_within_seconds(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    with pytest.raises(TransientError, match="did not answer"):
        registry.set_alias(MODEL, "champion", Digest("a" * 64))
    with pytest.raises(TransientError, match="did not answer"):
        registry.register(small_spec(), FIRST, *small_bundle(tmp_path), {})
    assert time.monotonic() - began < 120  # the client's own retries go on for four minutes, at each call


def test_a_registration_that_was_cut_off_is_finished_when_it_is_made_again(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    registry, made = MlflowRegistry(server[0]), small_spec()
    spec = replace(made, model=replace(made.model, name=ModelName("cut-off")))
    bundle, folder = small_bundle(tmp_path)
    broken = replace(bundle, parts={**bundle.parts, "model.onnx": Digest("0" * 64)})  # ends after the upload
    with pytest.raises(IntegrityError):
        registry.register(spec, FIRST, broken, folder, {"params": {"a": 1}})
    answer = registry.register(spec, FIRST, bundle, folder, {"params": {"a": 1}})
    run = _get(server[0], "runs/get", run_id=str(answer["run"]))["run"]
    assert isinstance(run, dict)
    wanted = {"experiment_ids": [run["info"]["experiment_id"]]}
    runs = httpx.post(f"{server[0]}/api/2.0/mlflow/runs/search", json=wanted, timeout=60).json()["runs"]
    assert answer["version"] == "1"
    assert [each["info"]["run_id"] for each in runs] == [answer["run"]]


def test_a_database_without_a_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="http"):
        MlflowRegistry("sqlite:///mlflow.db")
