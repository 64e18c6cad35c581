"""What the `champion` gate measures: challenger against champion on the rows that neither was fitted on."""

from __future__ import annotations

import numpy as np

from lockgate.core import block_statistics as blockwise
from lockgate.core.block_statistics import Metric
from lockgate.core.gates.champion import Thresholds
from lockgate.core.ids import Json
from lockgate.core.intervals import block_interval, detectable, rounded
from lockgate.core.task_metrics import loss_name
from lockgate.stages.deciding import metrics_of
from lockgate.stages.examination import Examination


def measure_champion(examination: Examination) -> dict[str, Json]:
    """Measure for the gate `champion`."""
    spec, scores, comparison = examination.spec, examination.scores, examination.comparison
    if scores.champion is None:
        return {"champion": None}
    if comparison is None:
        why = scores.champion.unscored_because or "its answers, or the rows it was fitted on, are not there"
        return {"champion": scores.champion.bundle, "scored": False, "unscored_because": why}
    asked = spec.gates.get("champion", Thresholds())
    sample = comparison.sample
    ours = metrics_of(spec, sample, sample.score, scores.threshold)
    theirs = metrics_of(spec, sample, comparison.champion, comparison.threshold)
    return {
        "champion": scores.champion.bundle,
        "scored": True,
        "n": len(sample.y),
        "blocks": sample.blocks,
        "known_rows": comparison.known,
        "invalid_champion_answers": comparison.invalid,
        "confidence": asked.confidence,
        "binding_metric": loss_name(spec.task.kind),
        "metrics": {name: _gain(ours[name], theirs[name], sample.blocks, asked.confidence) for name in ours},
    }


def _gain(ours: Metric, theirs: Metric, blocks: int, confidence: float) -> dict[str, Json]:
    whole = np.ones((1, blocks))
    gain = block_interval(blockwise.gain(ours, theirs), blocks, confidence=confidence)
    return {
        "challenger": rounded(float(ours.statistic(whole)[0])),
        "champion": rounded(float(theirs.statistic(whole)[0])),
        "gain": gain.to_json(),
        "detectable": rounded(detectable(gain.se, blocks, confidence=confidence)),
        "unit": ours.unit,
        "higher_is_better": ours.higher_is_better,
    }
