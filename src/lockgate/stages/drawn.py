"""The rows that are asked again: a declared, seeded sample of the holdout, the same for everybody who asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.ids import Json
from lockgate.core.metrics import Floats, Ints
from lockgate.core.robustness import Blocks
from lockgate.stages.examination import Ask, Examination
from lockgate.stages.sampling import Sample, shaped

if TYPE_CHECKING:
    import pandas as pd

ROWS = 5000
"""Ours: a share of 1 % is known to within 0.3 points (independent rows), and a hundred questions cost a few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Sampled rows; where there is a champion, of those that it may be judged on.

    Attributes:
        frame: The rows, all their columns, numbered from 0.
        y: Class index or value, shape [n].
        score: The challenger's answers, float64.
        champion: The champion's; None when there is none that answers.
        naive: The answers of base rate or mean.
        blocks: Which block each row is of.
        of: How many rows they were drawn from.
        seed: What they were drawn with.
    """

    frame: pd.DataFrame
    y: Floats | Ints
    score: Floats
    champion: Floats | None
    naive: Floats
    blocks: Blocks
    of: int
    seed: int

    def to_json(self) -> dict[str, Json]:
        """Return how the sample came about."""
        return {"rows": len(self.y), "of": self.of, "seed": self.seed}


def judged_rows(examination: Examination) -> Sample:
    """Return the rows that the challenger is judged on: those the champion was not fitted on, where there is one."""
    return examination.sample if examination.comparison is None else examination.comparison.sample


def draw(examination: Examination, rows: int = ROWS) -> Drawn:
    """Draw rows without replacement, each as likely as any other, in the order of the holdout.

    Raises:
        MeasurementError: The naive answers do not fit the holdout.
    """
    spec, sample = examination.spec, judged_rows(examination)
    seed = spec.training.seed
    n = len(sample.y)
    picked = np.arange(n)
    if n > rows:
        picked = np.sort(np.random.default_rng([seed, 0]).choice(n, size=rows, replace=False))
    comparison = examination.comparison
    naive = shaped(spec, examination.scores.naive, sample.asked, "naive model")[sample.kept[picked]]
    return Drawn(
        frame=sample.frame.iloc[picked].reset_index(drop=True),
        y=sample.y[picked],
        score=sample.score[picked],
        champion=None if comparison is None else comparison.champion[picked],
        naive=naive,
        blocks=Blocks(of=sample.block[picked], count=sample.blocks),
        of=n,
        seed=seed,
    )


def answered(examination: Examination, ask: Ask, frame: pd.DataFrame) -> Floats | None:
    """Ask; None when there is no answer in the task's shape to be had, whatever the reason.

    A model may raise anything about rows it was not written for. Here that is a measurement: it has no answer.
    """
    try:
        return shaped(examination.spec, ask(frame), len(frame), "model")
    except MemoryError:  # says nothing about the model
        raise
    except Exception:  # noqa: BLE001 - see above; the count of rows without an answer is what is judged
        return None
