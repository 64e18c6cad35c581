"""One fit from files to files: what the isolated process runs (`adapters/trainer.py` starts it).

Writes `model.skops` (the fitted estimator, no pickle), `answers.npy` (its answers to the validation rows, as the
process that fitted it gave them) and then `fit.json` (the facts), so a folder with `fit.json` is a whole fit, and the
same fit asked for again is answered from it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import platform
import resource
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, Json, digest_of, to_json
from lockgate.core.records import read_record
from lockgate.core.spec import ReleaseSpec, Scalar, Window
from lockgate.errors import BadInput, ConfigError
from lockgate.models import refuse_weights, trainer_of
from lockgate.models.checkpoint import Checkpoint, nowhere
from lockgate.models.frames import Rows, columns_read, labelled_rows
from lockgate.models.gap import overfit_gap
from lockgate.models.losses import NAMES, cheapest_threshold, constant_loss, loss_of
from lockgate.models.native import answers_of, save_native
from lockgate.models.search import Found, edges, search
from lockgate.models.trainer import Fitted, Trainer

ANSWERS = "answers.npy"
_STATE = ("search", "checkpoint")
_TRIALS_KEPT = 200  # ours: about 40 kB of evidence; a search of more keeps its best, and says how many it made
_HISTORY_POINTS = 200  # ours: a curve for people; the whole of it stays in fit.json


def fit(spec: Mapping[str, Json], train: str, validation: str, out: str) -> Json:
    """Fit what the spec says and write it; return the `training` gate's measurements.

    Args:
        spec: The release spec in its JSON form.
        train: Parquet file of the training rows; rows without a label are left out.
        validation: Parquet file of the validation rows.
        out: Folder to write; made if absent.

    Raises:
        BadInput: The rows or the parameters are refused.
    """
    read = read_record(ReleaseSpec, spec)
    folder = Path(out)
    key = fit_key(read, Path(train), Path(validation))
    done = folder / "fit.json"
    if done.is_file():
        kept: dict[str, Json] = json.loads(done.read_text())
        if kept["key"] == key and (folder / ANSWERS).is_file():
            return kept["facts"]
    trainer = trainer_of(read)
    trainer.check(read)
    refuse_weights(read)
    parts = {"train": rows_of(Path(train), read), "validation": rows_of(Path(validation), read)}
    _refuse_rows(parts, read)
    made = _fit(trainer, parts, read, folder, key)
    save_native(made.native, folder / "model.skops")
    np.save(folder / ANSWERS, made.answers, allow_pickle=False)
    whole = {"schema_version": 1, "key": key, "facts": made.facts, "history": made.history, **_columns(read)}
    partial = done.with_suffix(".partial")
    partial.write_text(json.dumps(to_json(whole), indent=1))
    partial.replace(done)
    for state in _STATE:
        shutil.rmtree(folder / state, ignore_errors=True)
    return made.facts


def fit_key(spec: ReleaseSpec, train: Path, validation: Path) -> Digest:
    """Return the digest of everything a fit depends on: data, parameters, task, the user's module, versions."""
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (train, validation)]
    depends: dict[str, object] = {
        "task": spec.task,
        "data": spec.data,
        "training": spec.training,
        "costs": spec.costs,
    }
    if spec.retraining.window is Window.WEIGHTED:
        depends["half_life_days"] = spec.retraining.half_life_days
    return digest_of({**depends, "parts": parts, "code": _users_code(spec), "versions": _versions()})


def _users_code(spec: ReleaseSpec) -> str | None:
    """Return the sha256 of the module that builds the user's estimator, so that an edited one is fitted again."""
    if spec.training.estimator is None:
        return None
    found = importlib.util.find_spec(spec.training.estimator.partition(":")[0])
    source = None if found is None or found.origin is None else Path(found.origin)
    return hashlib.sha256(source.read_bytes()).hexdigest() if source and source.is_file() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A fit before it is written: its facts, the estimator, its losses by round, its answers to validation."""

    facts: dict[str, Json]
    native: Any
    history: Mapping[str, list[float]]
    answers: NDArray[Any]


def _fit(trainer: Trainer, parts: Mapping[str, Rows], spec: ReleaseSpec, folder: Path, key: Digest) -> _Made:
    began = time.monotonic()
    searched = Checkpoint(folder=folder / "search", key=key, what="the search")
    found = _search(trainer, parts, spec, searched)
    parameters = dict(spec.training.parameters) | dict(found.parameters if found else {})
    checkpoint = Checkpoint(folder=folder / "checkpoint", key=digest_of([key, parameters]))
    fitted = trainer.fit(parts["train"], parts["validation"], spec, parameters, checkpoint)
    fitted_s = time.monotonic() - began
    answers = {name: answers_of(fitted.native, rows.features, spec.task.kind) for name, rows in parts.items()}
    facts: dict[str, Json] = {
        "task": spec.task.kind.value,
        "family": trainer.name,
        "rows": {name: len(rows) for name, rows in parts.items()},
        **_weighing(parts["train"], spec),
        "parameters": to_json(parameters),
        "loss": _losses(parts, answers, spec),
        "overfit_gap": overfit_gap(parts, answers, spec),
        "rounds": _rounds(fitted),
        "converged": fitted.converged,
        "finite": bool(all(np.isfinite(each).all() for each in (*answers.values(), *fitted.history.values()))),
        "history": {name: _thinned(losses) for name, losses in fitted.history.items()},
        "threshold": _threshold(parts["validation"], answers["validation"], spec),
        "search": _recorded(found, trainer, spec),
        "seconds": fitted_s,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "versions": _versions(),
        "threads": _threads(),
        "notes": [*fitted.notes, *searched.notes, *checkpoint.notes],
    }
    return _Made(facts=facts, native=fitted.native, history=fitted.history, answers=answers["validation"])


def _weighing(train: Rows, spec: ReleaseSpec) -> dict[str, Json]:
    """Return how rows were weighed, where they were: the half-life, and how many equal rows say as much (Kish)."""
    if train.weight is None:
        return {}
    effective = float(train.weight.sum() ** 2 / (train.weight**2).sum())
    return {"weighted": {"half_life_days": spec.retraining.half_life_days, "effective_rows": effective}}


def rows_of(path: Path, spec: ReleaseSpec) -> Rows:
    """Read the labelled rows of a part.

    Raises:
        BadInput: A column is absent or of the wrong type, or a label is none of the classes.
    """
    return labelled_rows(pd.read_parquet(path, columns=columns_read(spec)), spec)


def _refuse_rows(parts: Mapping[str, Rows], spec: ReleaseSpec) -> None:
    for name, rows in parts.items():
        if not len(rows):
            raise BadInput(f"the {name} part has no labelled row; land more data, or change split in the spec")
    if spec.task.kind is not TaskKind.REGRESSION:
        absent = set(range(len(spec.task.classes))) - set(np.unique(parts["train"].label).tolist())
        if absent:
            raise BadInput(f"class {spec.task.classes[min(absent)]!r} has no training row; land more data, or drop it")


def _search(trainer: Trainer, parts: Mapping[str, Rows], spec: ReleaseSpec, checkpoint: Checkpoint) -> Found | None:
    if spec.training.search is None:
        return None

    def loss(parameters: Mapping[str, Any]) -> float:
        tried = dict(spec.training.parameters) | dict(parameters)
        fitted = trainer.fit(parts["train"], parts["validation"], spec, tried, nowhere())
        answers = answers_of(fitted.native, parts["validation"].features, spec.task.kind)
        return loss_of(spec.task.kind, answers, parts["validation"].label)

    return search(spec.training.search, spec.training.seed, loss, checkpoint)


def _losses(parts: Mapping[str, Rows], answers: Mapping[str, Any], spec: ReleaseSpec) -> dict[str, Json]:
    kind, classes = spec.task.kind, len(spec.task.classes)
    train, validation = parts["train"].label, parts["validation"].label
    return {
        "name": NAMES[kind],
        "unit": spec.task.unit if kind is TaskKind.REGRESSION else "nat",
        **{name: loss_of(kind, answers[name], rows.label) for name, rows in parts.items()},
        "validation_of_train_constant": constant_loss(kind, train, validation, classes),
        "train_of_own_constant": constant_loss(kind, train, train, classes),
        "validation_of_own_constant": constant_loss(kind, validation, validation, classes),
    }


def _threshold(rows: Rows, answers: Any, spec: ReleaseSpec) -> Json:  # noqa: ANN401 - an array
    if spec.task.kind is not TaskKind.BINARY:
        return None
    if spec.task.threshold is not None:
        return {"value": spec.task.threshold, "how": "given by the spec"}
    costs = {"false_positive": spec.costs.false_positive, "false_negative": spec.costs.false_negative}
    value, cost = cheapest_threshold(answers, rows.label, **costs)
    return {"value": value, "how": "least cost on validation", "cost_per_row": cost}


def _rounds(fitted: Fitted) -> Json:
    if fitted.best_round is None:
        return None
    return {"best": fitted.best_round, "fitted": len(fitted.history["validation"])}


def _recorded(found: Found | None, trainer: Trainer, spec: ReleaseSpec) -> Json:
    """Return a search's outcome for the record: every trial by its number, of very many the best."""
    if found is None or spec.training.search is None:
        return None

    def allowed(name: str, value: Scalar) -> bool:
        training = replace(spec.training, parameters={**spec.training.parameters, name: value})
        try:
            trainer.check(replace(spec, training=training))
        except ConfigError:
            return False
        return True

    numbered = [{"number": at, **trial} for at, trial in enumerate(found.trials)]
    ranked = sorted(numbered, key=lambda trial: math.inf if trial["loss"] is None else float(str(trial["loss"])))
    return to_json(
        {
            "parameters": found.parameters,
            "seconds": found.seconds,
            "budget_s": spec.training.search.time_budget_s,
            "made": len(found.trials),
            "failed": sum(trial["loss"] is None for trial in found.trials),
            "edges": edges(spec.training.search, found.parameters, allowed),
            "trials": sorted(ranked[:_TRIALS_KEPT], key=lambda trial: int(str(trial["number"]))),
        }
    )


def _thinned(losses: list[float]) -> list[float]:
    step = max(1, len(losses) // _HISTORY_POINTS)
    return losses[::step]


def _threads() -> int:
    """Return how many threads the numeric libraries of this process may take."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]  # no stubs published

    return max((int(each["num_threads"]) for each in threadpool_info()), default=1)


def _columns(spec: ReleaseSpec) -> dict[str, Json]:
    return {
        "family": spec.training.family,
        "kind": spec.task.kind.value,
        "numeric": list(spec.data.numeric),
        "categorical": list(spec.data.categorical),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    libraries = ("scikit-learn", "xgboost", "numpy", "pandas", "skops")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}
