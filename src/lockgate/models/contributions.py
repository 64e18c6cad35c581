"""What each feature adds to a fitted estimator's answers, for the families that can say so exactly and soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lockgate.core.contract import TaskKind

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def contributions_of(
    native: Any,  # noqa: ANN401 - any estimator
    features: pd.DataFrame,
    kind: TaskKind,
) -> NDArray[np.float64] | None:
    """Return what each feature adds to each answer before the link (log odds, or the value).

    Args:
        native: Fitted by one of our families, or a user's own.
        features: From `frames.native_frame`.
        kind: What is predicted.

    Returns:
        float64 [n, features, outputs], one output but for multiclass, in the order of the frame's columns; None for a
        family that cannot say. With the model's mean margin they add up to a row's margin.
    """
    trees = getattr(native, "named_steps", {}).get("trees")
    if trees is None or not hasattr(trees, "get_booster"):
        return None
    from lockgate.models.tree_shapley import shapley_values

    matrix = np.asarray(native[:-1].transform(features), dtype=np.float32)
    if matrix.shape[1] != features.shape[1]:
        return None  # columns were split or joined before the trees; there is no feature to give a value to
    outputs = int(trees.n_classes_) if kind is TaskKind.MULTICLASS else 1
    return shapley_values(trees.get_booster(), matrix, outputs)
