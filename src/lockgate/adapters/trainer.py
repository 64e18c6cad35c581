"""Fits what a spec says, in a process without tokens or keys, within the spec's time and memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.adapters.isolated import run_isolated
from lockgate.core.ids import Json, to_json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import ConfigError, IntegrityError
from lockgate.models import refuse_weights, trainer_of
from lockgate.ports import Fit, Snapshot

_CHECK_TIME_S = 60.0  # ours: building an unfitted estimator is imports and constructors
_CHECK_MEMORY_BYTES = 4 * 1024**3


class IsolatedTrainer:
    """Fits in a process of its own.

    Args:
        project: The checkout: the user's estimator is imported from there.
    """

    def __init__(self, project: Path) -> None:
        self._project = project

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        """Fit on the snapshot's train part, with validation for everything that is chosen; nothing sees the holdout.

        A fit that was killed goes on where it was when asked for again with the same `out`; a fit that is done is
        answered from its folder.

        Args:
            spec: What to fit.
            snapshot: The rows.
            out: Folder to write; made if absent.

        Raises:
            BadInput: The user's function, the parameters or the rows are refused; says where.
            MeasurementError: A limit of `training` was hit, or the process died.
            IntegrityError: The rows are not what was frozen.
        """
        trainer_of(spec).check(spec)
        _check_parts(snapshot)
        out.mkdir(parents=True, exist_ok=True)
        request = {"spec": to_json(spec), **_files(snapshot, "train", "validation"), "out": str(out.resolve())}
        facts: Any = self._run("lockgate.models.fit_process:fit", request, spec, spec.training.time_limit_s)
        return Fit(folder=out, family=spec.training.family, facts=facts)

    def ask_again(self, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit) -> Mapping[str, Json]:
        """Ask the saved model the validation rows in another process: `models.refit.ask_again`.

        Raises:
            BadInput, MeasurementError, IntegrityError: As `fit`.
        """
        _check_parts(snapshot)
        request = {"spec": to_json(spec), **_files(snapshot, "validation"), "fitted": str(fit.folder.resolve())}
        told: Any = self._run("lockgate.models.refit:ask_again", request, spec, spec.training.time_limit_s)
        return told  # type: ignore[no-any-return]  # an answer of another process is JSON, and that one is an object

    def fit_again(
        self, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit, out: Path, time_limit_s: float
    ) -> Mapping[str, Json]:
        """Ask the saved model, then fit once more into another folder: `models.refit.fit_again`.

        Args:
            spec: What to fit, without a search.
            snapshot: The rows.
            fit: The first fit.
            out: Folder to write; made if absent.
            time_limit_s: The second fit may take no longer.

        Raises:
            BadInput, MeasurementError, IntegrityError: As `fit`.
        """
        _check_parts(snapshot)
        out.mkdir(parents=True, exist_ok=True)
        files = {**_files(snapshot, "train", "validation"), "fitted": str(fit.folder.resolve())}
        request = {"spec": to_json(spec), **files, "out": str(out.resolve())}
        told: Any = self._run("lockgate.models.refit:fit_again", request, spec, time_limit_s)
        return told  # type: ignore[no-any-return]  # as above

    def _run(self, target: str, request: Mapping[str, Json], spec: ReleaseSpec, time_limit_s: float) -> Json:
        return run_isolated(
            target,
            request,
            time_limit_s=time_limit_s,
            memory_limit_bytes=spec.training.memory_limit_bytes,
            project=self._project,
            threads=spec.training.threads,
        )


def _files(snapshot: Snapshot, *parts: str) -> dict[str, str]:
    return {part: str(snapshot.folder / f"{part}.parquet") for part in parts}


def read_fit(folder: Path) -> Fit:
    """Return the fit that a folder holds.

    Raises:
        ConfigError: It holds none.
    """
    whole = fit_file(folder)
    return Fit(folder=folder, family=str(whole["family"]), facts=whole["facts"])


def fit_file(folder: Path) -> Mapping[str, Any]:
    """Return what `fit.json` of a fit's folder says.

    Raises:
        ConfigError: There is none.
    """
    path = folder / "fit.json"
    if not path.is_file():
        raise ConfigError(f"{folder} holds no fit; run train_model again")
    whole: dict[str, Any] = json.loads(path.read_text())
    return whole


def check_training(spec: ReleaseSpec, project: Path) -> None:
    """Refuse a training section that cannot be fitted, or whose model would not convert faithfully.

    The user's estimator is built, unfitted, in a process of its own; that costs about two seconds.

    Raises:
        ConfigError: Says which part, why, and the alternative.
        BadInput: The user's function cannot be imported, or raised.
    """
    trainer_of(spec).check(spec)
    refuse_weights(spec)
    if spec.training.search is not None:
        _check_search(spec)
    if spec.training.estimator is not None:
        run_isolated(
            "lockgate.models.own_estimator:check_estimator",
            {
                "target": spec.training.estimator,
                "seed": spec.training.seed,
                "parameters": to_json(spec.training.parameters),
                "kind": spec.task.kind.value,
            },
            time_limit_s=_CHECK_TIME_S,
            memory_limit_bytes=_CHECK_MEMORY_BYTES,
            project=project,
        )


def _check_search(spec: ReleaseSpec) -> None:
    """Try each end or choice of the search's space as a parameter, so that a bad one is told before the search."""
    from dataclasses import replace

    assert spec.training.search is not None  # noqa: S101 - the caller looked; this tells the type checker
    for name, choices in spec.training.search.space.items():
        if not choices:
            raise ConfigError(f"training.search.space.{name} is empty; give [low, high] or a list of choices")
        for choice in choices:
            training = replace(spec.training, parameters={**spec.training.parameters, name: choice})
            trainer_of(spec).check(replace(spec, training=training))


def _check_parts(snapshot: Snapshot) -> None:
    """Hold the two files against the snapshot's index: the process reads them by itself."""
    from lockgate.adapters.durable_files import sha256_of

    index = json.loads((snapshot.folder / "snapshot.json").read_bytes())
    for part in ("train", "validation"):
        path = snapshot.folder / f"{part}.parquet"
        if not path.is_file() or sha256_of(path) != index["parts"][part]:
            raise IntegrityError(f"{path} is not what was frozen; freeze the table again", part=part)
