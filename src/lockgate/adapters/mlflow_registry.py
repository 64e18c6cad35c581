"""MLflow as the registry: where people and other tools read versions. A projection of the ledger, never its source.

One experiment a model, one run a release and bundle, one logged model holding the bundle as it was signed, one
version a bundle. MLflow's aliases are last-writer-wins and its tags can be edited, so nothing here is believed when
something is decided.

    run ── inputs ──> dataset (our digest: MLflow's own is over the first 10,000 rows)
     └── outputs ──> logged model (the bundle's folder) <── source ── version (tag lockgate.bundle) <── aliases
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.adapters.mlflow_client import answering, client
from lockgate.adapters.mlflow_facts import allowed_name, dataset_input, numbers, paths, texts
from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, digest_bytes
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError, IntegrityError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run
    from mlflow.entities.model_registry import ModelVersion

BUNDLE_TAG = "lockgate.bundle"
RELEASE_TAG = "lockgate.release"


class MlflowRegistry:
    """Implements `ports.Registry` on an MLflow server.

    A server and no bare database: MLflow resolves a database's logged models by a global of the process.

    Args:
        tracking_uri: The server's URL.
        page_base: The URL people open in a browser; None: the same.

    Raises:
        ConfigError: The URI is not http(s).
    """

    def __init__(self, tracking_uri: str, *, page_base: str | None = None) -> None:
        if not tracking_uri.startswith(("http://", "https://")):
            raise ConfigError(f"MLflow must be a server's URL (http://host:port), got {tracking_uri!r}")
        self._uri = tracking_uri.rstrip("/")
        self._pages = (page_base or tracking_uri).rstrip("/")

    def register(
        self, spec: ReleaseSpec, release: ReleaseId, bundle: ModelBundle, folder: Path, facts: Mapping[str, Json]
    ) -> Mapping[str, Json]:
        """Create the version of a bundle, with its lineage; a bundle that has one keeps it.

        Args:
            facts: `params`, `metrics` and `tags` (name to value), `dataset` (name, digest, source, rows by part),
                `artifacts` (paths of files to show beside the run), `description` (markdown). All may be absent.

        Returns:
            version, run, model_id, uri, page, run_page, and a page by name of every HTML artifact.

        Raises:
            IntegrityError: What MLflow stores is not byte for byte the bundle.
            TransientError: MLflow did not answer; the same call may be made again.
        """
        with answering(self._uri):
            mlflow = client(self._uri)
            version = _version_of(mlflow, spec.name, bundle.digest)
            if version is None:
                version = _create(mlflow, spec, release, bundle, folder, facts)
            return self._links(mlflow, spec.name, version)

    def set_alias(self, model: ModelName, alias: str, bundle: Digest) -> None:
        """Point an alias at the version of a bundle; nothing is written when it points there.

        Raises:
            BadInput: The bundle has no version.
            TransientError: MLflow did not answer.
        """
        with answering(self._uri):
            mlflow = client(self._uri)
            version = _require_version(mlflow, model, bundle)
            if _aliases(mlflow, model).get(alias) != str(version.version):
                mlflow.set_registered_model_alias(model, alias, str(version.version))

    def attach(self, model: ModelName, bundle: Digest, path: Path) -> str:
        """Show a file beside the run of a bundle's version, and return the page that shows it.

        Raises:
            BadInput: The bundle has no version.
            TransientError: MLflow did not answer.
        """
        with answering(self._uri):
            mlflow = client(self._uri)
            run = mlflow.get_run(str(_require_version(mlflow, model, bundle).run_id))
            mlflow.log_artifact(run.info.run_id, str(path))
            return f"{self._run_page(run)}/artifacts/{path.name}"

    def drop_alias(self, model: ModelName, alias: str) -> None:
        """Take an alias away; nothing when it is not set."""
        with answering(self._uri):
            mlflow = client(self._uri)
            if alias in _aliases(mlflow, model):
                mlflow.delete_registered_model_alias(model, alias)

    def aliases(self, model: ModelName) -> Mapping[str, Digest]:
        """Return the bundle that each alias points at."""
        with answering(self._uri):
            mlflow = client(self._uri)
            pointed = {
                alias: mlflow.get_model_version(model, version) for alias, version in _aliases(mlflow, model).items()
            }
        return {alias: Digest(version.tags.get(BUNDLE_TAG, "")) for alias, version in pointed.items()}

    def _links(self, mlflow: MlflowClient, model: ModelName, version: ModelVersion) -> Mapping[str, Json]:
        run = mlflow.get_run(str(version.run_id))
        run_page = self._run_page(run)
        html = [each.path for each in mlflow.list_artifacts(run.info.run_id) if each.path.endswith(".html")]
        return {
            "version": str(version.version),
            "run": run.info.run_id,
            "model_id": _model_id(version),
            "uri": f"models:/{model}/{version.version}",
            "page": f"{self._pages}/#/models/{model}/versions/{version.version}",
            "run_page": run_page,
            # the artifact page shows the file; the download link would hand it to the browser as an attachment
            **{Path(path).stem: f"{run_page}/artifacts/{path}" for path in html},
        }

    def _run_page(self, run: Run) -> str:
        return f"{self._pages}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def _create(  # noqa: PLR0913, PLR0917 - a version is made of this many things, all handed on as they came
    mlflow: MlflowClient,
    spec: ReleaseSpec,
    release: ReleaseId,
    bundle: ModelBundle,
    folder: Path,
    facts: Mapping[str, Json],
) -> ModelVersion:
    tags = {
        **texts(facts.get("tags")),
        RELEASE_TAG: release,
        BUNDLE_TAG: bundle.digest,
        "lockgate.spec": spec.digest,
    }
    experiment = _experiment(mlflow, spec.name)
    run = _run(mlflow, experiment, release, bundle.digest, tags)
    dataset = dataset_input(facts.get("dataset"))
    if dataset is not None:
        mlflow.log_inputs(run, [dataset])
    for path in paths(facts.get("artifacts")):
        mlflow.log_artifact(run, str(path))
    model_id = _upload(mlflow, experiment, run, bundle, folder, tags)
    _log_numbers(mlflow, run, model_id, dataset, facts)
    if not mlflow.search_registered_models(filter_string=f"name = '{spec.name}'"):
        mlflow.create_registered_model(spec.name, description=spec.model.description)
    version = mlflow.create_model_version(
        spec.name,
        f"models:/{model_id}",
        run_id=run,
        tags=tags,
        description=str(facts.get("description") or ""),
        model_id=model_id,
        await_creation_for=0,  # it is ready when it is made; waiting would only sleep
    )
    mlflow.set_terminated(run, "FINISHED")
    return version


def _experiment(mlflow: MlflowClient, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(mlflow.create_experiment(name))


def _run(mlflow: MlflowClient, experiment: str, release: ReleaseId, bundle: Digest, tags: Mapping[str, str]) -> str:
    """Return the run of this release and bundle; a crash between here and the version finds the one it had made."""
    wanted = f"tags.`{RELEASE_TAG}` = '{release}' and tags.`{BUNDLE_TAG}` = '{bundle}'"
    found = mlflow.search_runs([experiment], filter_string=wanted, max_results=1)
    if found:
        return str(found[0].info.run_id)
    return str(mlflow.create_run(experiment, run_name=release, tags=dict(tags)).info.run_id)


def _upload(  # noqa: PLR0913, PLR0917 - see `_create`
    mlflow: MlflowClient, experiment: str, run: str, bundle: ModelBundle, folder: Path, tags: Mapping[str, str]
) -> str:
    """Store the bundle's folder as a logged model, prove that it is there byte for byte, and return the model's id."""
    from mlflow.entities import LoggedModelOutput

    made = mlflow.create_logged_model(
        experiment, name=str(bundle.contract.model), source_run_id=run, tags=dict(tags), model_type="lockgate-bundle"
    )
    model_id = str(made.model_id)
    mlflow.log_model_artifacts(model_id, str(folder))
    try:
        _require_same_bytes(mlflow, model_id, bundle)
    except IntegrityError:
        mlflow.finalize_logged_model(model_id, "FAILED")
        raise
    mlflow.finalize_logged_model(model_id, "READY")
    mlflow.log_outputs(run, [LoggedModelOutput(model_id, 0)])
    return model_id


def _require_same_bytes(mlflow: MlflowClient, model_id: str, bundle: ModelBundle) -> None:
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as empty:  # a folder that is not empty hides what did not arrive
        # Not models:/{id}: MLflow resolves that by its global tracking URI, whatever is passed beside it.
        stored_at = mlflow.get_logged_model(model_id).artifact_location
        there = Path(download_artifacts(stored_at, dst_path=empty, tracking_uri=mlflow.tracking_uri))
        for name, wanted in bundle.parts.items():
            stored = there / name
            if not stored.is_file() or digest_bytes(stored.read_bytes()) != wanted:
                raise IntegrityError(
                    f"MLflow does not hold {name} of bundle {bundle.digest} byte for byte; check its artifact store",
                    part=name,
                )


def _log_numbers(
    mlflow: MlflowClient, run: str, model_id: str, dataset: DatasetInput | None, facts: Mapping[str, Json]
) -> None:
    """Log parameters and metrics; the metrics also stand on the logged model, with the data they were measured on."""
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    about = {} if dataset is None else {"dataset_name": dataset.dataset.name, "dataset_digest": dataset.dataset.digest}
    metrics = [
        Metric(name, number, now, 0, model_id=model_id, run_id=run, **about)
        for name, number in numbers(facts.get("metrics")).items()
    ]
    params = [Param(allowed_name(name), text) for name, text in texts(facts.get("params")).items()]
    mlflow.log_batch(run, metrics=metrics, params=params)


def _version_of(mlflow: MlflowClient, model: ModelName, bundle: Digest) -> ModelVersion | None:
    wanted = f"name = '{model}' and tags.`{BUNDLE_TAG}` = '{bundle}'"
    found = mlflow.search_model_versions(wanted)
    return min(found, key=lambda version: int(version.version), default=None)


def _require_version(mlflow: MlflowClient, model: ModelName, bundle: Digest) -> ModelVersion:
    version = _version_of(mlflow, model, bundle)
    if version is None:
        raise BadInput(f"{model} has no version of bundle {bundle} in MLflow; register it first", bundle=bundle)
    return version


def _aliases(mlflow: MlflowClient, model: ModelName) -> Mapping[str, str]:
    found = mlflow.search_registered_models(filter_string=f"name = '{model}'")
    return {alias: str(version) for each in found for alias, version in each.aliases.items()}


def _model_id(version: ModelVersion) -> str:
    return str(version.source).removeprefix("models:/")  # `version.model_id` comes back None
