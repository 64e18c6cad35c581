"""Two champions on the same landed rows, and one champion on its holdout and on the rows since: what a decision gave.

Figures are the task's loss and its rank or fit metric, with intervals over blocks as at release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.block_statistics import Metric, gain
from lockgate.core.ids import Json
from lockgate.core.intervals import Estimate, block_interval, metric_interval
from lockgate.core.learning.hindsight import Told, Verdict, unpaired, verdict_of
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss_name
from lockgate.stages.deciding import metrics_of
from lockgate.stages.examination import Ask
from lockgate.stages.sampling import is_valid, shaped, take_sample

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("auc", "macro_auc", "r2")
_OF_SIDES = ("now", "before", "either")
_OF_ROWS = ("since", "holdout")
LEAST_BLOCKS = 3
"""Fewer have no interval; see `core.intervals.block_interval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A bundle that is asked.

    Attributes:
        name: How it is called in sentences.
        ask: Answers rows.
        threshold: Its own decision threshold.
    """

    name: str
    ask: Ask
    threshold: float | None


def not_measured(reason: str, n: int = 0, blocks: int = 0) -> Told:
    """Return that a decision cannot be judged, and why."""
    return Told(verdict=Verdict.NOT_MEASURED, reason=reason, n=n, blocks=blocks)


def compare_sides(spec: ReleaseSpec, frame: pd.DataFrame, now: Side, before: Side) -> Told:
    """Return what having taken over gave, on rows that neither was fitted on.

    Args:
        spec: The model's.
        frame: Landed rows; those without a label are left out.
        now: What took over.
        before: What would have stayed.

    Raises:
        MeasurementError: Answers do not fit the rows, or a label is none of the classes.
    """
    rows = frame[frame[spec.data.label].notna()].reset_index(drop=True)
    if not len(rows):
        return not_measured("no labelled row landed in that time")
    ours, theirs = (
        shaped(spec, np.asarray(side.ask(rows), dtype=np.float64), len(rows), side.name) for side in (now, before)
    )
    answered = [is_valid(spec.task.kind, each) for each in (ours, theirs)]
    valid = answered[0] & answered[1]
    unanswered = {name: int((~each).sum()) for name, each in zip(_OF_SIDES, (*answered, valid), strict=True)}
    sample = take_sample(spec, rows[valid].reset_index(drop=True), ours[valid])
    if sample.blocks < LEAST_BLOCKS:
        return _too_few(spec, len(sample.y), sample.blocks, unanswered)
    sides = [
        metrics_of(spec, sample, answers, side.threshold)
        for side, answers in ((now, sample.score), (before, theirs[valid][sample.kept]))
    ]
    gains = {
        name: block_interval(gain(sides[0][name], sides[1][name]), sample.blocks) for name in _shown(spec, sides[0])
    }
    loss = gains[loss_name(spec.task.kind)]
    return Told(
        verdict=verdict_of(loss),
        reason=f"{now.name} gains {_said(loss)} a row in {loss_name(spec.task.kind)} over {before.name}"
        + _left_out(unanswered),
        n=len(sample.y),
        blocks=sample.blocks,
        metrics={
            name: {
                "now": metric_interval(sides[0][name], sample.blocks).to_json(),
                "before": metric_interval(sides[1][name], sample.blocks).to_json(),
                "gain": gained.to_json(),
            }
            for name, gained in gains.items()
        },
        unanswered=unanswered,
    )


def compare_with_holdout(spec: ReleaseSpec, since: pd.DataFrame, holdout: pd.DataFrame, champion: Side) -> Told:
    """Return what having kept a champion cost: its loss on the rows since, less that on its own holdout.

    The rows are others, and may be harder: what is found bounds what a release could have saved, and is not it.

    Args:
        spec: The model's.
        since: Rows that landed after the decision; those without a label are left out.
        holdout: The champion's own.
        champion: What was kept.

    Raises:
        MeasurementError: Answers do not fit the rows, or a label is none of the classes.
    """
    if not since[spec.data.label].notna().any():
        return not_measured("no labelled row landed since")
    found: list[tuple[Mapping[str, Metric], int, int]] = []
    unanswered: dict[str, int] = {}
    for name, frame in zip(_OF_ROWS, (since, holdout), strict=True):
        rows = frame[frame[spec.data.label].notna()].reset_index(drop=True)
        sample = take_sample(spec, rows, np.asarray(champion.ask(rows), dtype=np.float64))
        unanswered[name] = sample.invalid
        if sample.blocks < LEAST_BLOCKS:
            return _too_few(spec, len(sample.y), sample.blocks, unanswered)
        found.append((metrics_of(spec, sample, sample.score, champion.threshold), sample.blocks, len(sample.y)))
    told = {name: _worse(found, name) for name in _shown(spec, found[0][0])}
    worse = told[loss_name(spec.task.kind)][2]
    kept = Estimate(value=-worse.value, low=-worse.high, high=-worse.low, se=worse.se)
    return Told(
        verdict=verdict_of(kept),
        reason=f"{champion.name} loses {_said(worse)} a row more than on its holdout, in {loss_name(spec.task.kind)}"
        + _left_out(unanswered),
        n=found[0][2],
        blocks=found[0][1],
        metrics={
            name: {"since": now.to_json(), "holdout": then.to_json(), "worse": more.to_json()}
            for name, (now, then, more) in told.items()
        },
        unanswered=unanswered,
    )


def _worse(found: list[tuple[Mapping[str, Metric], int, int]], name: str) -> tuple[Estimate, Estimate, Estimate]:
    """Return a metric since, at release, and by how much it became worse."""
    now, then = (metric_interval(metrics[name], blocks) for metrics, blocks, _ in found)
    more = unpaired(now, then, min(blocks for _, blocks, _ in found))
    if found[0][0][name].higher_is_better:
        more = Estimate(value=-more.value, low=-more.high, high=-more.low, se=more.se)
    return now, then, more


def _shown(spec: ReleaseSpec, metrics: Mapping[str, Metric]) -> list[str]:
    return [name for name in (loss_name(spec.task.kind), *SHOWN) if name in metrics]


def _too_few(spec: ReleaseSpec, n: int, blocks: int, unanswered: Mapping[str, int]) -> Told:
    reason = f"{n} labelled rows in {blocks} blocks ({spec.split.block}); {LEAST_BLOCKS} blocks are needed"
    return replace(not_measured(reason + _left_out(unanswered), n, blocks), unanswered=unanswered)


def _left_out(unanswered: Mapping[str, int]) -> str:
    """Return what is added to a sentence where rows were answered with no number; empty where none was.

    >>> _left_out({"now": 3, "before": 1, "either": 4})
    '; rows left out because they were answered with no number: now 3, before 1, either 4'
    """
    if not any(unanswered.values()):
        return ""
    counts = ", ".join(f"{name} {count:,}" for name, count in unanswered.items())
    return f"; rows left out because they were answered with no number: {counts}"


def _said(found: Estimate) -> str:
    return f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"


def told_json(told: Told) -> dict[str, Json]:
    """Return what was measured as JSON."""
    return {
        "verdict": told.verdict.value,
        "reason": told.reason,
        "n": told.n,
        "blocks": told.blocks,
        "metrics": dict(told.metrics),
        "unanswered": dict(told.unanswered),
    }
