"""The promises of `ports.Registry`, kept by the fake and by MLflow alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from lockgate.adapters.mlflow_registry import MlflowRegistry
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.ports import Registry
from tests.fakes import FakeRegistry
from tests.mlflow_process import running_mlflow
from tests.record import small_bundle, small_spec

FIRST, SECOND = ReleaseId("flights-0001"), ReleaseId("flights-0002")


@pytest.fixture(scope="module")
def mlflow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(params=["fake", pytest.param("mlflow", marks=pytest.mark.integration)])
def registry(request: pytest.FixtureRequest) -> Registry:
    if request.param == "fake":
        return FakeRegistry()
    return MlflowRegistry(request.getfixturevalue("mlflow_url"))


@pytest.fixture
def spec() -> ReleaseSpec:
    """A model of this test's own, so that tests share one server and nothing else."""
    made = small_spec()
    return replace(made, model=replace(made.model, name=ModelName(f"m{uuid4().hex[:12]}")))


def _pointed(registry: Registry, model: ModelName) -> dict[str, Digest]:
    if isinstance(registry, MlflowRegistry):
        return dict(registry.aliases(model))
    assert isinstance(registry, FakeRegistry)
    return {alias: bundle for (of, alias), bundle in registry.aliases.items() if of == model}


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[ModelBundle, Path]:
    return small_bundle(tmp_path / "bundles")


def test_a_bundle_has_one_version_however_often_it_is_registered(
    registry: Registry, spec: ReleaseSpec, bundle: tuple[ModelBundle, Path]
) -> None:
    first = registry.register(spec, FIRST, *bundle, {})
    assert first["version"] == "1"
    assert registry.register(spec, FIRST, *bundle, {}) == first
    assert registry.register(spec, SECOND, *bundle, {}) == first


def test_another_bundle_has_another_version(registry: Registry, spec: ReleaseSpec, tmp_path: Path) -> None:
    one, two = small_bundle(tmp_path / "one", b"one"), small_bundle(tmp_path / "two", b"two")
    versions = [
        registry.register(spec, FIRST, *one, {})["version"],
        registry.register(spec, SECOND, *two, {})["version"],
    ]
    assert versions == ["1", "2"]


def test_an_alias_points_where_it_was_last_set_and_can_be_dropped(
    registry: Registry, spec: ReleaseSpec, tmp_path: Path
) -> None:
    one, two = small_bundle(tmp_path / "one", b"one"), small_bundle(tmp_path / "two", b"two")
    registry.register(spec, FIRST, *one, {})
    registry.register(spec, SECOND, *two, {})
    registry.set_alias(spec.name, "champion", one[0].digest)
    registry.set_alias(spec.name, "champion", two[0].digest)
    registry.set_alias(spec.name, "previous", one[0].digest)
    assert _pointed(registry, spec.name) == {"champion": two[0].digest, "previous": one[0].digest}
    registry.drop_alias(spec.name, "previous")
    registry.drop_alias(spec.name, "previous")
    assert _pointed(registry, spec.name) == {"champion": two[0].digest}


def test_an_alias_for_a_bundle_that_was_never_registered_is_refused(registry: Registry, spec: ReleaseSpec) -> None:
    with pytest.raises(BadInput, match="register it first"):
        registry.set_alias(spec.name, "champion", Digest("a" * 64))
    registry.drop_alias(spec.name, "champion")


def test_a_file_can_be_shown_beside_a_version(
    registry: Registry, spec: ReleaseSpec, bundle: tuple[ModelBundle, Path], tmp_path: Path
) -> None:
    page = tmp_path / "dossier.html"
    page.write_text("<h1>Dossier</h1>")
    registry.register(spec, FIRST, *bundle, {})
    assert registry.attach(spec.name, bundle[0].digest, page).endswith("dossier.html")
    with pytest.raises(BadInput):
        registry.attach(spec.name, Digest("a" * 64), page)
