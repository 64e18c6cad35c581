"""Measures parity: the estimator's and the graph's answers to the same rows, group by group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.parity_rows import boundary_rows, missing_rows, unseen_rows
from lockgate.core.contract import ModelContract
from lockgate.core.ids import Json
from lockgate.core.parity import compare_answers, typical_size

_SINGLE_ROWS = 200


class Answers(Protocol):
    """Anything that answers rows."""

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return [n] or [n, classes]."""
        ...


def measure_parity(  # noqa: PLR0913 - two models, the rows, and what is known of them; all but two are keywords
    native: Answers,
    graph: Answers,
    *,
    holdout: pd.DataFrame,
    contract: ModelContract,
    splits: Mapping[str, NDArray[np.float32]],
    seed: int,
) -> dict[str, Json]:
    """Return the `parity` gate's measurements.

    Args:
        native: The fitted estimator.
        graph: What ships.
        holdout: Every row of the holdout; only features are looked at.
        contract: Task, threshold and columns.
        splits: From `Trainer.split_points`.
        seed: Draws the rows that are changed.
    """
    form = contract.graph
    features = holdout[[*form.numeric_columns, *form.categorical]].reset_index(drop=True)
    rows = {
        "holdout": features,
        "boundaries": boundary_rows(features, form, splits, seed),
        "missing": missing_rows(features, form, seed),
        "unseen": unseen_rows(features, form, seed),
    }
    answers = {group: (native.score(frame), graph.score(frame)) for group, frame in rows.items() if len(frame)}
    size = typical_size(contract.task, answers["holdout"][0]) if "holdout" in answers else 1.0
    groups: dict[str, Json] = {
        group: compare_answers(contract.task, ours, theirs, threshold=contract.threshold, size=size)
        for group, (ours, theirs) in answers.items()
    }
    if len(features):
        groups["single_row"] = _single_rows(graph, features, answers["holdout"][1], contract, size)
    return {
        "task": contract.task.value,
        "threshold": contract.threshold,
        "size": size,
        "columns": {"numeric": len(form.numeric_columns), "categorical": len(form.categorical)},
        "groups": groups,
    }


def _single_rows(
    graph: Answers, features: pd.DataFrame, batch: NDArray[Any], contract: ModelContract, size: float
) -> dict[str, Json]:
    """Compare the graph with itself: the same rows one by one and in a batch."""
    at = np.unique(np.linspace(0, len(features) - 1, min(_SINGLE_ROWS, len(features))).astype(int))
    single = np.concatenate([graph.score(features.iloc[[row]]) for row in at])
    return compare_answers(contract.task, batch[at], single, threshold=contract.threshold, size=size)
