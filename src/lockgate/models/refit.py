"""A fit asked for again: what a second isolated process runs, to see whether the same training gives the same model.

The saved model is loaded and asked the validation rows anew; then, if that is wanted, the same is fitted into another
folder. What the first process answered lies beside its model, so that nothing is compared with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Json, digest_bytes
from lockgate.core.records import read_record
from lockgate.core.reproduction import answer_difference
from lockgate.core.spec import ReleaseSpec
from lockgate.models import trainer_of
from lockgate.models.fit_process import ANSWERS, fit, rows_of
from lockgate.models.native import answers_of, load_native
from lockgate.models.trainer import Trainer


def ask_again(spec: Mapping[str, Json], validation: str, fitted: str) -> Json:
    """Load a saved model and compare its answers with those of the process that fitted it.

    Args:
        spec: The release spec in its JSON form.
        validation: Parquet file of the validation rows.
        fitted: Folder of the fit.

    Returns:
        `core.reproduction.answer_difference` of the two.
    """
    read = read_record(ReleaseSpec, spec)
    native = load_native(Path(fitted) / "model.skops", trainer_of(read).trusted)
    answers = answers_of(native, rows_of(Path(validation), read).features, read.task.kind)
    return answer_difference(_told(Path(fitted)), answers)


def fit_again(spec: Mapping[str, Json], train: str, validation: str, fitted: str, out: str) -> Json:
    """Ask the saved model, then fit into another folder and compare the two models.

    Args:
        spec: The release spec in its JSON form, its search replaced by the parameters that were chosen.
        train: Parquet file of the training rows.
        validation: Parquet file of the validation rows.
        fitted: Folder of the first fit.
        out: Folder of the second; made if absent.

    Returns:
        `reloaded`: as `ask_again`. `refit`: `core.reproduction.answer_difference` of the two models, and `graphs`
        (sha256 of each graph) and `same_graph`.
    """
    reloaded = ask_again(spec, validation, fitted)
    fit(spec, train, validation, out)
    read = read_record(ReleaseSpec, spec)
    trainer = trainer_of(read)
    graphs: list[Json] = [_graph(trainer, read, Path(folder)) for folder in (fitted, out)]
    difference = answer_difference(_told(Path(fitted)), _told(Path(out)))
    refit = {**difference, "graphs": graphs, "same_graph": graphs[0] == graphs[1]}
    return {"reloaded": reloaded, "refit": refit}


def _told(folder: Path) -> NDArray[Any]:
    answers: NDArray[Any] = np.load(folder / ANSWERS, allow_pickle=False)
    return answers


def _graph(trainer: Trainer, spec: ReleaseSpec, folder: Path) -> str:
    """Return the digest of the graph that a fit becomes: the saved estimator's bytes hold addresses of memory."""
    native = load_native(folder / "model.skops", trainer.trusted)
    return digest_bytes(trainer.to_onnx(native, spec, trainer.form(native, spec)))
