"""What the `quality` gate measures: every metric of the task, and the skill over two models that know less.

task, n, blocks, asked, unlabelled, invalid_answers, rarest_class_rows, threshold, confidence, loss
metrics    {name: {estimate, low, high, se, unit, higher_is_better}}
skill      {"naive": estimate, "simple": estimate or null}    share of the other's loss that the challenger saves
simple     {family, rows, rows_there, converged}, {unfitted_because}, or {} where none was asked
holdout_uses    {same, overlapping}: earlier releases judged on the same rows, or on some of the same days; or null

Only the challenger's own metrics carry all of the task; of the naive and the simple model the loss alone is measured.
"""

from __future__ import annotations

import numpy as np

from lockgate.core.block_statistics import Metric, Statistic, skill
from lockgate.core.contract import TaskKind
from lockgate.core.gates.quality import Thresholds
from lockgate.core.ids import Json
from lockgate.core.intervals import block_interval, metric_interval
from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss, loss_name
from lockgate.stages.deciding import metrics_of
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Sample, is_valid, shaped


def measure_quality(examination: Examination) -> dict[str, Json]:
    """Measure for the gate `quality`."""
    spec, sample, scores = examination.spec, examination.sample, examination.scores
    unlabelled, uses = examination.unlabelled, examination.holdout_uses
    confidence = spec.gates.get("quality", Thresholds()).confidence
    own = metrics_of(spec, sample, sample.score, scores.threshold)
    name_of_loss = loss_name(spec.task.kind)
    others = {"naive": scores.naive, "simple": scores.simple}
    return {
        "task": spec.task.kind,
        "n": len(sample.y),
        "blocks": sample.blocks,
        "asked": sample.asked + unlabelled,
        "unlabelled": sample.unlabelled + unlabelled,
        "invalid_answers": sample.invalid,
        "rarest_class_rows": _rarest(spec, sample),
        "threshold": scores.threshold if scores.threshold is not None else spec.task.threshold,
        "confidence": confidence,
        "loss": name_of_loss,
        "metrics": {name: _measured(metric, sample.blocks, confidence) for name, metric in own.items()},
        "skill": {
            name: _skill(spec, sample, own[name_of_loss].statistic, answers, confidence=confidence)
            for name, answers in others.items()
        },
        "simple": dict(scores.simple_facts),
        "holdout_uses": None if uses is None else {"same": uses.same, "overlapping": uses.overlapping},
    }


def _skill(spec: ReleaseSpec, sample: Sample, own: Statistic, answers: Floats | None, *, confidence: float) -> Json:
    """Return the share of the other's loss that is saved; null where there is no other, or it answers no numbers."""
    if answers is None:
        return None
    other = shaped(spec, answers, sample.asked, "naive or simple model")[sample.kept]
    if not is_valid(spec.task.kind, other).all():
        return None
    reference = loss(spec.task.kind, sample.y, other, block=sample.block, blocks=sample.blocks)
    saved = skill(own, reference)
    return block_interval(saved, sample.blocks, confidence=confidence, highest=1.0).to_json()


def _measured(metric: Metric, blocks: int, confidence: float) -> dict[str, Json]:
    found = metric_interval(metric, blocks, confidence=confidence)
    return {**found.to_json(), "unit": metric.unit, "higher_is_better": metric.higher_is_better}


def _rarest(spec: ReleaseSpec, sample: Sample) -> int | None:
    if spec.task.kind is TaskKind.REGRESSION:
        return None
    return int(np.bincount(sample.y.astype(np.int64), minlength=len(spec.task.classes)).min())
