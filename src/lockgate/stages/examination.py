"""What offline evaluation looks at: the rows, everybody's answers to them, and whoever can be asked again.

One reading of the holdout serves every gate of the stage: each `measure_*` of this stage takes the same `Examination`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.sampling import Comparison, Sample, Scores, compare_with, take_sample

if TYPE_CHECKING:
    import pandas as pd

Ask: TypeAlias = "Callable[[pd.DataFrame], Floats]"
"""Answers rows of the features: probability of the second class [n], value [n], or probabilities [n, classes]."""
Part: TypeAlias = "Callable[[str, Sequence[str] | None], pd.DataFrame]"
"""Reads a part of the release's frozen rows (train, validation, holdout, batch), some columns of it or all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutUses:
    """How often rows of this holdout were judged on before: what is looked at often stops being unseen.

    Attributes:
        same: Earlier releases judged on exactly these rows.
        overlapping: Earlier releases whose holdout shares days with this one, those of `same` included.
    """

    same: int
    overlapping: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributions:
    """What each feature adds to each answer.

    Attributes:
        columns: The features, in order.
        added: To the answer before the link, shape [n, features, outputs]; one output but for multiclass.
    """

    columns: tuple[str, ...]
    added: Floats


Explain: TypeAlias = "Callable[[pd.DataFrame], Contributions | None]"
"""Says what each feature adds to the answers to rows; None when the family of the model cannot say."""


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
        holdout_uses: How often the holdout was judged on before; None when nobody counted.
        explain: Says what each feature adds to the challenger's answers; None: nobody can.
        explain_champion: The same of the champion's.
    """

    spec: ReleaseSpec
    sample: Sample
    comparison: Comparison | None
    scores: Scores
    ask: Ask
    ask_champion: Ask | None
    part: Part
    unlabelled: int = 0
    holdout_uses: HoldoutUses | None = None
    explain: Explain | None = None
    explain_champion: Explain | None = None


def examination_of(  # noqa: PLR0913 - the rows, the answers and whoever can be asked again; most are keywords
    spec: ReleaseSpec,
    holdout: pd.DataFrame,
    scores: Scores,
    *,
    ask: Ask,
    ask_champion: Ask | None,
    part: Part,
    unlabelled: int = 0,
    holdout_uses: HoldoutUses | None = None,
    explain: Explain | None = None,
    explain_champion: Explain | None = None,
) -> Examination:
    """Return what the gates measure on, from the rows of a holdout and everybody's answers to them.

    Args:
        spec: The release's spec.
        holdout: Every row of the holdout: features, label, time, key, block and slice columns.
        scores: Answers on every row of it.
        ask: See `Examination`.
        ask_champion: See `Examination`.
        part: See `Examination`.
        unlabelled: Rows of the holdout's window that have no label and were left out of `holdout` before.
        holdout_uses: See `Examination`.
        explain: See `Examination`.
        explain_champion: See `Examination`.

    Raises:
        MeasurementError: Answers and rows do not fit, a column is missing, or keys cannot be compared.
    """
    sample = take_sample(spec, holdout, scores.challenger)
    return Examination(
        spec=spec,
        sample=sample,
        comparison=compare_with(spec, sample, scores.champion),
        scores=scores,
        ask=ask,
        ask_champion=ask_champion,
        part=part,
        unlabelled=unlabelled,
        holdout_uses=holdout_uses,
        explain=explain,
        explain_champion=explain_champion,
    )
