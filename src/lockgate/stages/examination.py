"""What offline evaluation looks at: the rows, everybody's answers to them, and whoever can be asked again.

One reading of the holdout serves every gate of the stage: each `measure_*` of this stage takes the same `Examination`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.sampling import Comparison, Sample, Scores

if TYPE_CHECKING:
    import pandas as pd

Ask: TypeAlias = "Callable[[pd.DataFrame], Floats]"
"""Answers rows of the features: probability of the second class [n], value [n], or probabilities [n, classes]."""
Part: TypeAlias = "Callable[[str, Sequence[str] | None], pd.DataFrame]"
"""Reads a part of the release's frozen rows (train, validation, holdout, batch), some columns of it or all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the gates of `evaluate_model` measure on.

    Attributes:
        spec: The release's spec.
        sample: The labelled, answered rows of the holdout.
        comparison: Those of them that the champion may be judged on, with its answers; None when there is no champion,
            or it could not be scored (`scores.champion` tells the two apart).
        scores: Answers on every row of the holdout.
        ask: The challenger's own estimator.
        ask_champion: The champion; None when there is none that answers.
        part: Reads the other parts.
        unlabelled: Rows of the holdout's window without a label, left out before.
    """

    spec: ReleaseSpec
    sample: Sample
    comparison: Comparison | None
    scores: Scores
    ask: Ask
    ask_champion: Ask | None
    part: Part
    unlabelled: int = 0
