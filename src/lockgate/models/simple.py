"""The simple model: a linear one over the same features and training rows, for the challenger to be compared with.

A challenger that does not beat it adds cost and risk for nothing. It is fitted beside the challenger, never shipped and
never searched: medians for missing numbers, scaled, a one-hot column a string seen, L2 at the library's default.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.models.pipelines import LinearRegressor, LogisticClassifier

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 20_000
"""Ours: the coefficients of some hundred columns hardly move beyond it, and the fit stays at a few CPU seconds."""
MOST_ITERATIONS = 100
"""The library's own default; a fit that stops there is used and says so: it is a yardstick, not a product."""
_ANSWERED_AT_ONCE = 50_000  # ours: bounds the one-hot matrix, which is dense


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleModel:
    """A fitted yardstick.

    Attributes:
        native: The fitted pipeline.
        spec: Names features and classes.
        classes: Class indices the columns of its probabilities stand for; empty for regression.
        facts: `family`, `rows` it was fitted on, `rows_there`, `converged`.
    """

    native: Any
    spec: ReleaseSpec
    classes: tuple[int, ...]
    facts: Mapping[str, Json]

    def score(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Answer rows: probability of the second class [n], value [n], or probabilities [n, classes].

        Raises:
            BadInput: A feature is absent, or no number.
        """
        pieces = [
            self._piece(frame.iloc[at : at + _ANSWERED_AT_ONCE]) for at in range(0, len(frame), _ANSWERED_AT_ONCE)
        ]
        wide = self.spec.task.kind is TaskKind.MULTICLASS
        return np.concatenate(pieces) if pieces else np.empty((0, len(self.spec.task.classes)) if wide else (0,))

    def _piece(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        from lockgate.models.frames import native_frame

        features = native_frame(frame, self.spec.data.numeric, self.spec.data.categorical)
        if self.spec.task.kind is TaskKind.REGRESSION:
            return np.asarray(self.native.predict(features), dtype=np.float64).reshape(len(features))
        whole = np.zeros((len(features), len(self.spec.task.classes)))  # a class without a training row has chance 0
        whole[:, list(self.classes)] = self.native.predict_proba(features)
        return whole[:, 1] if self.spec.task.kind is TaskKind.BINARY else whole


def fit_simple(train: pd.DataFrame, spec: ReleaseSpec, *, most_rows: int = MOST_ROWS) -> SimpleModel:
    """Fit on the training part, or on a seeded sample of it.

    Args:
        train: Features and label of the training rows; rows without a label are left out.
        spec: The release's spec; `training.seed` draws the sample.
        most_rows: More rows than this are sampled, without replacement.

    Raises:
        BadInput: There is no labelled row, a column is absent, or fewer than two classes are there.
    """
    from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]  # no stubs published

    from lockgate.models.frames import labelled_rows

    there = train[train[spec.data.label].notna()]
    if len(there) > most_rows:
        drawn = np.random.default_rng(spec.training.seed).choice(len(there), most_rows, replace=False)
        used = there.iloc[np.sort(drawn)]
    else:
        used = there
    rows = labelled_rows(used, spec)
    values = spec.task.kind is TaskKind.REGRESSION
    family = LinearRegressor() if values else LogisticClassifier()
    native = family.build(spec, {} if values else {"max_iter": MOST_ITERATIONS})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            native.fit(rows.features, rows.label)
        except ValueError as error:
            raise BadInput(f"the simple model cannot be fitted: {error}") from error
    return SimpleModel(
        native=native,
        spec=spec,
        classes=() if values else tuple(int(each) for each in native.classes_),
        facts={
            "family": family.name,
            "rows": len(rows),
            "rows_there": len(there),
            "converged": not any(issubclass(each.category, ConvergenceWarning) for each in said),
        },
    )
