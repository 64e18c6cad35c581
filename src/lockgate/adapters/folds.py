"""Fits the folds of a release in a process of its own, within the spec's time and memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lockgate.adapters.durable_files import sha256_of
from lockgate.adapters.isolated import run_isolated
from lockgate.core.ids import Json, to_json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import IntegrityError, MeasurementError
from lockgate.ports import Snapshot

_PARTS = ("train", "validation")


def fit_folds_isolated(
    project: Path, spec: ReleaseSpec, snapshot: Snapshot, parameters: Mapping[str, Json]
) -> Mapping[str, Json]:
    """Fit every fold that `evaluation.folds_time_s` allows; the holdout is never read.

    Args:
        project: The checkout: the user's estimator is imported from there.
        spec: What to fit, and how many folds.
        snapshot: The rows; train and validation are divided.
        parameters: The parameters of the model that ships.

    Raises:
        BadInput: The user's function, the parameters or the rows are refused.
        MeasurementError: A limit was hit, or the process died.
        IntegrityError: The rows are not what was frozen.
    """
    index = json.loads((snapshot.folder / "snapshot.json").read_bytes())
    paths = {part: snapshot.folder / f"{part}.parquet" for part in _PARTS}
    for part, path in paths.items():
        if not path.is_file() or sha256_of(path) != index["parts"][part]:
            raise IntegrityError(f"{path} is not what was frozen; freeze the table again", part=part)
    found = run_isolated(
        "lockgate.models.fold_process:fit_folds",
        {"spec": to_json(spec), "parts": [str(each) for each in paths.values()], "parameters": to_json(parameters)},
        # the process itself stops between folds; this ends one fit that hangs
        time_limit_s=spec.evaluation.folds_time_s + spec.training.time_limit_s,
        memory_limit_bytes=spec.training.memory_limit_bytes,
        project=project,
    )
    if not isinstance(found, dict):
        raise MeasurementError("the folds' process answered something else than folds")
    return found
