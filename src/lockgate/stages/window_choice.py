"""Windows of the past held against each other: rows that all have answered, paired, with intervals over blocks.

metrics     names of those shown: the loss of the task, and its rank or fit metric
windows     [{name, metrics: {name: estimate}, gain: {by_block, by_period}, periods, says, detectable}], the spec's
            own first and without a gain
periods     [{since, until, rows, windows: {name: {metrics: {name: value}, trained_on, effective_rows}}}]
recommendation    {says, window, lines, why}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.block_statistics import Metric, gain
from lockgate.core.ids import Json
from lockgate.core.intervals import Estimate, block_interval, detectable, metric_interval, rounded
from lockgate.core.learning.backtest import Candidate, Compared, confidence_of, recommendation
from lockgate.core.metrics import Floats, Ints
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss_name, task_metrics
from lockgate.errors import BadInput
from lockgate.stages.deciding import costs_of, metrics_of
from lockgate.stages.sampling import Sample, is_valid, shaped, take_sample

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("auc", "macro_auc", "r2")
_NOTHING = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), se=float("nan"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a fit on one window answered to a period's rows.

    Attributes:
        answers: As the task's, one a row of the period.
        fitted_on: What it learnt from; equal for two windows that were one.
        trained_on: Rows it was fitted on.
        effective_rows: As many rows of equal weight would say as much.
        seconds: What the fit took.
    """

    answers: Floats
    fitted_on: str
    trained_on: int
    effective_rows: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodAnswers:
    """One period that every window has answered.

    Attributes:
        since: Its first day.
        until: The day after its last.
        frame: Its labelled rows: label, and the column of the block.
        windows: By candidate.
    """

    since: str
    until: str
    frame: pd.DataFrame
    windows: Mapping[Candidate, Answered]


def window_report(spec: ReleaseSpec, tried: Sequence[Candidate], past: Sequence[PeriodAnswers]) -> dict[str, Json]:
    """Return what the module describes.

    Args:
        spec: The model's.
        tried: The windows, the spec's own first.
        past: Periods, oldest first; each answered by every window.

    Raises:
        BadInput: No period was answered.
        MeasurementError: Answers do not fit the rows, or a label is none of the classes.
    """
    if not past:
        raise BadInput("no period was answered by every window, so there is nothing to compare")
    pooled = _Pooled(spec, tried, past)
    present, others = tried[0], tried[1:]
    confidence = confidence_of(len(others))
    compared = [pooled.compare(present, other, confidence) for other in others]
    listed: list[Json] = [{"name": present.name, "metrics": pooled.metrics(present, confidence)}]
    listed += [
        {
            "name": each.candidate.name,
            "metrics": pooled.metrics(each.candidate, confidence),
            "gain": {"by_block": each.by_block.to_json(), "by_period": each.by_period.to_json()},
            "periods": each.periods,
            "says": each.says.value,
            "detectable": rounded(detectable(each.by_period.se, each.periods, confidence=confidence)),
        }
        for each in compared
    ]
    return {
        "metrics": {name: {"unit": unit, "higher_is_better": up} for name, (unit, up) in pooled.shown.items()},
        "confidence": rounded(confidence),
        "rows": len(pooled.sample.y),
        "blocks": pooled.sample.blocks,
        "windows": listed,
        "periods": pooled.by_period(),
        "recommendation": recommendation(present, compared),
    }


class _Pooled:
    """All periods' rows together, those left out that a window gave no valid answer to."""

    def __init__(self, spec: ReleaseSpec, tried: Sequence[Candidate], past: Sequence[PeriodAnswers]) -> None:
        import pandas as pd

        self._spec, self._past, self._tried = spec, past, tried
        frame = pd.concat([each.frame for each in past], ignore_index=True)
        period = np.repeat(np.arange(len(past)), [len(each.frame) for each in past])
        answers = {
            window: np.concatenate([_shaped(spec, each, window) for each in past]).astype(np.float64)
            for window in tried
        }
        valid = np.logical_and.reduce([is_valid(spec.task.kind, each) for each in answers.values()])
        self.sample = take_sample(spec, frame[valid].reset_index(drop=True), answers[tried[0]][valid])
        kept = np.flatnonzero(valid)[self.sample.kept]
        self._answers = {window: each[kept] for window, each in answers.items()}
        self._period: Ints = period[kept]
        ours = metrics_of(spec, self.sample, self.sample.score, None)
        names = [name for name in (loss_name(spec.task.kind), *SHOWN) if name in ours]
        self.shown = {name: (ours[name].unit, ours[name].higher_is_better) for name in names}

    def metrics(self, window: Candidate, confidence: float) -> dict[str, Json]:
        """Return a window's metrics over all periods, with intervals over blocks."""
        found = metrics_of(self._spec, self.sample, self._answers[window], None)
        blocks = self.sample.blocks
        return {name: metric_interval(found[name], blocks, confidence=confidence).to_json() for name in self.shown}

    def compare(self, present: Candidate, other: Candidate, confidence: float) -> Compared:
        """Hold a window against the spec's own, on the periods in which the two are not one."""
        differs = [each.windows[present].fitted_on != each.windows[other].fitted_on for each in self._past]
        rows = np.flatnonzero(np.array(differs)[self._period])
        by_block = self._gain(present, other, rows, self.sample.block, confidence)
        by_period = self._gain(present, other, rows, self._period, confidence)
        return Compared(candidate=other, by_block=by_block, by_period=by_period, periods=sum(differs))

    def _gain(self, present: Candidate, other: Candidate, rows: Ints, block: Ints, confidence: float) -> Estimate:
        if not len(rows):
            return _NOTHING
        names, code = np.unique(block[rows], return_inverse=True)
        sides = [self._loss(self._answers[each][rows], rows, code, len(names)) for each in (other, present)]
        return block_interval(gain(*sides), len(names), confidence=confidence)

    def _loss(self, answers: Floats, rows: Ints, block: Ints, blocks: int) -> Metric:
        task = self._spec.task
        found = task_metrics(
            task.kind,
            self.sample.y[rows],
            answers,
            block=block,
            blocks=blocks,
            costs=costs_of(self._spec, None),
            unit=task.unit,
        )
        return found[loss_name(task.kind)]

    def by_period(self) -> list[Json]:
        """Return each period's figures."""
        blocks, ones = len(self._past), np.eye(len(self._past))
        by_month = Sample(
            frame=self.sample.frame, y=self.sample.y, score=self.sample.score, block=self._period, blocks=blocks,
            kept=self.sample.kept, asked=self.sample.asked, unlabelled=0, invalid=0,
        )  # fmt: skip
        found = {window: metrics_of(self._spec, by_month, self._answers[window], None) for window in self._tried}
        values = {
            window: {name: metrics[name].statistic(ones) for name in self.shown} for window, metrics in found.items()
        }
        counted = np.bincount(self._period, minlength=blocks)
        return [
            {
                "since": each.since,
                "until": each.until,
                "rows": int(counted[at]),
                "windows": {
                    window.name: {
                        "metrics": {name: rounded(float(value[at])) for name, value in values[window].items()},
                        "trained_on": each.windows[window].trained_on,
                        "effective_rows": rounded(each.windows[window].effective_rows, 6),
                    }
                    for window in self._tried
                },
            }
            for at, each in enumerate(self._past)
        ]


def _shaped(spec: ReleaseSpec, period: PeriodAnswers, window: Candidate) -> Floats:
    return shaped(spec, period.windows[window].answers, len(period.frame), window.name)
