"""A classifier that tries to tell the newest rows from the champion's training rows, and what it goes by.

Bounded: at most `SAMPLE` rows of each side, drawn with the release's seed. Folds keep a day together, so that what is
learnt of a day's weather does not help on its other rows.

Shape of what is measured: `{"n", "reference_n", "blocks", "reference_blocks", "auc": {"estimate", "low", "high", "se"},
"by": [{"feature", "drop"}], "seed"}`, or `{"not_measured": reason}`. `drop` is how much AUC is lost when the feature's
values are shuffled among the rows of a fold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.joint_shift import MIN_BLOCKS, placed, told_apart
from lockgate.core.spec import ReleaseSpec

if TYPE_CHECKING:
    import pandas as pd

SAMPLE = 10_000
"""Rows of each side: ours, because a shift of AUC 0.53 is seen with so many, and the fits take about a second."""
FOLDS = 5
MOST_FEATURES = 8
SHUFFLED = 1_000
"""Rows of a fold on which features are shuffled: enough to rank them, a quarter of the time."""
MOST_VALUES = 50
"""Values of a string column that are kept apart, as in `core.drift`; the classifier itself takes up to 255."""


def drawn(rows: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return the places of at most `most` of `rows` rows, in order, the same for one seed."""
    if rows <= most:
        return np.arange(rows)
    chosen = np.random.default_rng(seed).choice(rows, size=most, replace=False, shuffle=False)
    return np.asarray(np.sort(chosen), dtype=np.int64)


def measure_domain(spec: ReleaseSpec, reference: pd.DataFrame, now: pd.DataFrame, *, seed: int) -> dict[str, Json]:
    """Measure how well rows of now can be told from rows of the reference.

    Args:
        spec: Names the features and the time.
        reference: Sample of the champion's training rows: features and time.
        now: Sample of the rows now; the same columns.
        seed: Deals the folds and shuffles.
    """
    import pandas as pd

    is_now = np.repeat([False, True], [len(reference), len(now)])
    both = pd.concat([reference, now], ignore_index=True)
    day = both[spec.data.time].to_numpy(dtype="datetime64[D]").astype(np.int64)
    where = placed(day, is_now)
    told: dict[str, Json] = {
        "n": len(now),
        "reference_n": len(reference),
        "blocks": where.of_now,
        "reference_blocks": where.of_reference,
        "seed": seed,
    }
    if not where.enough:
        few = f"{where.of_now} days now and {where.of_reference} of the reference; {MIN_BLOCKS} of each are needed"
        return {**told, "not_measured": few}
    matrix = matrix_of(both, spec)
    score, drops = out_of_fold(matrix, is_now, where.block, categorical_of(spec), seed)
    names = spec.data.features
    order = sorted(range(len(names)), key=lambda i: -drops[i])[:MOST_FEATURES]
    return {
        **told,
        "auc": told_apart(is_now, score, where).to_json(),
        "by": [{"feature": names[i], "drop": rounded(drops[i], 4)} for i in order if drops[i] > 0],
    }


def categorical_of(spec: ReleaseSpec) -> NDArray[np.bool_]:
    """Return which columns of `matrix_of` hold categories."""
    return np.repeat([False, True], [len(spec.data.numeric), len(spec.data.categorical)])


def matrix_of(frame: pd.DataFrame, spec: ReleaseSpec) -> NDArray[np.float64]:
    """Return features as numbers: strings by the rank of how common they are, the rare ones together, NaN missing."""
    matrix = np.empty((len(frame), len(spec.data.features)), dtype=np.float64)
    for place, name in enumerate(spec.data.features):
        if name in spec.data.numeric:
            numbers = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            matrix[:, place] = np.where(np.isinf(numbers), np.nan, numbers)
        else:
            common = {value: rank for rank, value in enumerate(frame[name].value_counts().index[:MOST_VALUES])}
            codes = frame[name].map(common).astype("float64")
            matrix[:, place] = codes.where(codes.notna() | frame[name].isna(), MOST_VALUES).to_numpy()
    return matrix


def out_of_fold(  # noqa: PLR0913 - rows, what they are, and how they are dealt
    matrix: NDArray[np.float64],
    is_now: NDArray[np.bool_],
    block: NDArray[np.int64],
    categorical: NDArray[np.bool_],
    seed: int,
    *,
    alone: bool = False,
) -> tuple[NDArray[np.float64], list[float]]:
    """Return each row's score by the fit that did not see its day, and the AUC each feature is worth.

    Args:
        matrix: From `matrix_of`, shape (n, features).
        is_now: Whether the row is of now, shape (n,).
        block: The row's day, shape (n,).
        categorical: From `categorical_of`, shape (features,).
        seed: Deals the folds and shuffles.
        alone: Let the classifier add up what each feature tells by itself, and see no two of them together.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # type: ignore[import-untyped]  # no stubs
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no stubs

    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    score = np.zeros(len(matrix))
    lost = np.zeros(matrix.shape[1])
    with threadpool_limits(1):  # threads that wait by spinning cost more than so few rows gain, on a busy machine
        for train, test in folds.split(matrix, is_now, groups=block):
            fitted = _fitted(matrix[train], is_now[train], categorical, seed, alone=alone)
            score[test] = fitted.predict_proba(matrix[test])[:, 1]
            some = test[drawn(len(test), SHUFFLED, seed)]
            lost += np.array(_drops(fitted, matrix[some], is_now[some], score[some], seed)) * len(test) / len(matrix)
    return score, lost.tolist()


def _fitted(
    matrix: NDArray[np.float64],
    is_now: NDArray[np.bool_],
    categorical: NDArray[np.bool_],
    seed: int,
    *,
    alone: bool,
) -> Any:  # noqa: ANN401 - scikit-learn is untyped
    from sklearn.ensemble import HistGradientBoostingClassifier  # type: ignore[import-untyped]  # no stubs

    model = HistGradientBoostingClassifier(
        max_iter=50,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        learning_rate=0.15,
        categorical_features=categorical,
        interaction_cst="no_interactions" if alone else None,
        early_stopping=False,
        random_state=seed,
    )
    return model.fit(matrix, is_now)


def _drops(
    fitted: Any,  # noqa: ANN401 - scikit-learn is untyped
    matrix: NDArray[np.float64],
    is_now: NDArray[np.bool_],
    score: NDArray[np.float64],
    seed: int,
) -> list[float]:
    """Return how much AUC is lost when each column in turn is shuffled (Breiman 2001, permutation importance)."""
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]  # no stubs

    if is_now.all() or not is_now.any():
        return [0.0] * matrix.shape[1]
    draw, whole = np.random.default_rng(seed), roc_auc_score(is_now, score)
    drops = []
    for place in range(matrix.shape[1]):
        shuffled = matrix.copy()
        shuffled[:, place] = draw.permutation(shuffled[:, place])
        drops.append(float(whole - roc_auc_score(is_now, fitted.predict_proba(shuffled)[:, 1])))
    return drops
