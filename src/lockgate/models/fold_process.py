"""Fits a spec again with one fold of blocks left out at a time: what the isolated process of `adapters/folds.py` runs.

Each fold is fitted by the same family and parameters as the model that ships. What is chosen inside a fit (rounds) is
chosen on blocks held back from the folds that are fitted on, never on the fold that is scored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.folds import fold_of_blocks
from lockgate.core.ids import Json
from lockgate.core.records import read_record
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.errors import BadInput
from lockgate.models import trainer_of
from lockgate.models.checkpoint import nowhere
from lockgate.models.frames import Rows, columns_read, labelled_rows
from lockgate.models.losses import constant_loss, loss_of
from lockgate.models.native import answers_of

_HELD_BACK = 0.15
"""Ours, as `split.validation_fraction`: the share of the fitted blocks on which rounds are chosen."""


def fit_folds(spec: Mapping[str, Json], parts: list[str], parameters: Mapping[str, Any]) -> Json:
    """Fit and score every fold that the time allows.

    Args:
        spec: The release spec in its JSON form; `evaluation` says how many folds, and for how long.
        parts: Parquet files whose rows are divided.
        parameters: The parameters of the model that ships.

    Returns:
        `{"folds": [...], "left_out": n, "random": bool}`; see `stages/folds.py`.

    Raises:
        BadInput: The rows or the parameters are refused, or there are fewer blocks than folds and one to spare.
    """
    read = read_record(ReleaseSpec, spec)
    asked, began = read.evaluation, time.monotonic()
    columns = columns_read(read)
    rows = labelled_rows(pd.concat([pd.read_parquet(each, columns=columns) for each in parts]), read)
    if rows.block is None:
        raise BadInput(f"a row has no {read.split.block}, so it is in no block; folds keep blocks whole")
    block = rows.block
    sizes = np.bincount(block)
    if len(sizes) <= asked.folds:
        raise BadInput(
            f"{asked.folds} folds need more than {asked.folds} blocks; train and validation have {len(sizes)}"
        )
    is_random = read.split.method is not SplitMethod.TIME
    fold = fold_of_blocks(sizes, asked.folds, seed=read.training.seed if is_random else None)[block]
    done: list[Json] = []
    longest = 0.0
    for left in range(asked.folds):
        at = time.monotonic()
        if at - began + longest > asked.folds_time_s:
            break
        done.append(_fold(rows, block, fold == left, read, parameters) | {"fold": left})
        longest = max(longest, time.monotonic() - at)
    return {"folds": done, "left_out": asked.folds - len(done), "random": is_random}


def _fold(
    rows: Rows, block: NDArray[np.int64], scored: NDArray[np.bool_], spec: ReleaseSpec, parameters: Mapping[str, Any]
) -> dict[str, Json]:
    """Fit on the rows that are not scored, and score the rest."""
    began = time.monotonic()
    held_back = _held_back(block, scored)
    train, chosen_on, test = (_take(rows, mask) for mask in (~scored & ~held_back, held_back, scored))
    fitted = trainer_of(spec).fit(train, chosen_on, spec, parameters, nowhere())
    answers = answers_of(fitted.native, test.features, spec.task.kind)
    kind, classes = spec.task.kind, len(spec.task.classes)
    return {
        "n_train": len(train),
        "n_chosen_on": len(chosen_on),
        "n": len(test),
        "blocks": len(np.unique(block[scored])),
        "loss": loss_of(kind, answers, test.label),
        "constant_loss": constant_loss(kind, train.label, test.label, classes),
        "best_round": fitted.best_round,
        "converged": fitted.converged,
        "seconds": time.monotonic() - began,
    }


def _held_back(block: NDArray[np.int64], scored: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the rows on which rounds are chosen: the newest of the fitted blocks, as validation is the newest."""
    left = np.unique(block[~scored])
    newest = left[-max(1, round(_HELD_BACK * len(left))) :]
    return ~scored & np.isin(block, newest)


def _take(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    weight = None if rows.weight is None else rows.weight[mask]
    return Rows(features=rows.features[mask].reset_index(drop=True), label=rows.label[mask], weight=weight)
