"""What is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from lockgate.core.spec_sections.units import Bytes, Positive, Scalar, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSection:
    """An optional hyperparameter search on validation.

    Attributes:
        space: Parameter name to [low, high] (numbers) or a list of choices (three or more, or strings). A range that
            spans a tenfold or more is searched on a logarithmic scale.
        trials: At most this many.
        time_budget_s: No trial is begun after this; the one that runs then is ended by its early stopping.
    """

    space: Mapping[str, tuple[Scalar, ...]]
    trials: Positive = 20
    time_budget_s: Seconds = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSection:
    """What is fitted.

    Attributes:
        family: A name in `lockgate.models.TRAINERS`; "estimator" takes `estimator`.
        estimator: `package.module:function` (seed, parameters) -> unfitted scikit-learn estimator over a frame of
            the features.
        parameters: Passed to the family.
        early_stopping_rounds: For boosted trees; null: fit all rounds.
        search: Optional search.
        seed: Seeds everything that draws.
        time_limit_s: A fit that takes longer is ended, and the stage fails.
        memory_limit_bytes: The fit's process may not hold more.
        threads: Threads that numeric libraries may take in a fit; null: one a core. 1 where the order in which threads
            end changes the model; gate `reproducibility` says when.
    """

    family: str = "xgboost"
    estimator: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    early_stopping_rounds: Positive | None = 20
    search: SearchSection | None = None
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 7
    time_limit_s: Seconds = 900.0
    memory_limit_bytes: Bytes = 8 * 1024**3
    threads: Annotated[int, Gt(0), Le(1_024)] | None = None
