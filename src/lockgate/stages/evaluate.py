"""Stage `evaluate_model`: what the three gates of offline evaluation measure, and the document that ships with it.

Who scores is not this module's matter: it takes the answers of the challenger, of the naive and the simple model and of
the champion on the same rows. Rows without a label, and rows that the champion was fitted on, leave and are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np

from lockgate.core import block_statistics as blockwise
from lockgate.core import curves, metrics
from lockgate.core.block_statistics import Costs, Metric
from lockgate.core.contract import TaskKind
from lockgate.core.gates import champion as champion_gate
from lockgate.core.gates import quality as quality_gate
from lockgate.core.ids import Json, to_json
from lockgate.core.intervals import block_interval, detectable, rounded
from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.sampling import Comparison, Sample, Scores, compare_with, shaped, take_sample
from lockgate.stages.slicing import measure_slices

if TYPE_CHECKING:
    import pandas as pd

DOCUMENT_VERSION = 1


def measure_evaluation(
    spec: ReleaseSpec, holdout: pd.DataFrame, scores: Scores, *, unlabelled: int = 0
) -> Mapping[str, Mapping[str, Json]]:
    """Measure for the gates `quality`, `champion` and `slices`.

    Args:
        spec: The release's spec.
        holdout: Every row of the holdout: features, label, time, key, block and slice columns.
        scores: Answers on every row of it.
        unlabelled: Rows of the holdout's window that have no label and were left out of `holdout` before.

    Returns:
        Measurements by gate name, rounded to ten significant digits; no row and no key of the data is in them.

    Raises:
        MeasurementError: Answers and rows do not fit, a column is missing, or keys cannot be compared.
    """
    sample = take_sample(spec, holdout, scores.challenger)
    comparison = compare_with(spec, sample, scores.champion)
    unscored = scores.champion is not None and comparison is None
    measured: dict[str, dict[str, Json]] = {
        "quality": _quality(spec, sample, scores, unlabelled),
        "champion": _champion(spec, scores, comparison),
        # a champion that could not be scored must not turn into "there is none": no slices, hence ERROR
        "slices": {"basis": None} if unscored else measure_slices(spec, sample, comparison),
    }
    return cast("Mapping[str, Mapping[str, Json]]", to_json(measured))


def evaluation_document(
    spec: ReleaseSpec, holdout: pd.DataFrame, scores: Scores, measured: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    """Return what the bundle carries as `evaluation.json`: the measurements, and the curves a dossier draws.

    Under 100 kB; holds no row and no key of the data.

    Raises:
        MeasurementError: As `measure_evaluation`.
    """
    sample = take_sample(spec, holdout, scores.challenger)
    comparison = compare_with(spec, sample, scores.champion)
    shown = sample if comparison is None else comparison.sample
    drawn = {"challenger": _curves(spec, shown, shown.score, scores.threshold)}
    if comparison is not None:
        drawn["champion"] = _curves(spec, shown, comparison.champion, comparison.threshold)
    document = {
        "schema_version": DOCUMENT_VERSION,
        "model": spec.name,
        "task": spec.task.kind,
        "block": spec.split.block,
        "gates": measured,
        "curves": {"n": len(shown.y), **drawn},
    }
    return cast("dict[str, Json]", to_json(document))


def _task_metrics(spec: ReleaseSpec, sample: Sample, score: Floats, threshold: float | None) -> Mapping[str, Metric]:
    costs = Costs(
        threshold=threshold if threshold is not None else spec.task.threshold,
        false_positive=spec.costs.false_positive,
        false_negative=spec.costs.false_negative,
    )
    return blockwise.task_metrics(
        spec.task.kind, sample.y, score, block=sample.block, blocks=sample.blocks, costs=costs, unit=spec.task.unit
    )


def _quality(spec: ReleaseSpec, sample: Sample, scores: Scores, unlabelled: int) -> dict[str, Json]:
    asked = spec.gates.get("quality", quality_gate.Thresholds())
    own = _task_metrics(spec, sample, sample.score, scores.threshold)
    loss = blockwise.loss_name(spec.task.kind)
    skill: dict[str, Json] = {}
    for name, answers in (("naive", scores.naive), ("simple", scores.simple)):
        if answers is None:
            skill[name] = None
            continue
        other = shaped(spec, answers, sample.asked, f"{name} model")[sample.kept]
        saved = blockwise.skill(own[loss].statistic, _task_metrics(spec, sample, other, None)[loss].statistic)
        skill[name] = block_interval(saved, sample.blocks, confidence=asked.confidence, highest=1.0).to_json()
    return {
        "task": spec.task.kind,
        "n": len(sample.y),
        "blocks": sample.blocks,
        "asked": sample.asked + unlabelled,
        "unlabelled": sample.unlabelled + unlabelled,
        "invalid_answers": sample.invalid,
        "rarest_class_rows": _rarest(spec, sample),
        "threshold": scores.threshold if scores.threshold is not None else spec.task.threshold,
        "confidence": asked.confidence,
        "loss": loss,
        "metrics": {name: _measured(metric, sample.blocks, asked.confidence) for name, metric in own.items()},
        "skill": skill,
    }


def _measured(metric: Metric, blocks: int, confidence: float) -> dict[str, Json]:
    found = block_interval(
        metric.statistic, blocks, confidence=confidence, lowest=metric.lowest, highest=metric.highest
    )
    return {**found.to_json(), "unit": metric.unit, "higher_is_better": metric.higher_is_better}


def _rarest(spec: ReleaseSpec, sample: Sample) -> int | None:
    if spec.task.kind is TaskKind.REGRESSION:
        return None
    return int(np.bincount(sample.y.astype(np.int64), minlength=len(spec.task.classes)).min())


def _champion(spec: ReleaseSpec, scores: Scores, comparison: Comparison | None) -> dict[str, Json]:
    if scores.champion is None:
        return {"champion": None}
    if comparison is None:
        why = scores.champion.unscored_because or "its answers, or the rows it was fitted on, are not there"
        return {"champion": scores.champion.bundle, "scored": False, "unscored_because": why}
    asked = spec.gates.get("champion", champion_gate.Thresholds())
    sample = comparison.sample
    ours = _task_metrics(spec, sample, sample.score, scores.threshold)
    theirs = _task_metrics(spec, sample, comparison.champion, comparison.threshold)
    return {
        "champion": scores.champion.bundle,
        "scored": True,
        "n": len(sample.y),
        "blocks": sample.blocks,
        "known_rows": comparison.known,
        "invalid_champion_answers": comparison.invalid,
        "confidence": asked.confidence,
        "binding_metric": blockwise.loss_name(spec.task.kind),
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


def _curves(spec: ReleaseSpec, sample: Sample, score: Floats, threshold: float | None) -> dict[str, Json]:
    if not len(sample.y):
        return {}
    if spec.task.kind is TaskKind.REGRESSION:
        return {"residuals": curves.residuals(sample.y.astype(np.float64), score)}
    y = sample.y.astype(np.int64)
    asked = threshold if threshold is not None else spec.task.threshold
    decided = metrics.decisions(score, asked)
    drawn: dict[str, Json] = {"confusion": curves.confusion(y, decided, spec.task.classes)}
    if spec.task.kind is TaskKind.BINARY:
        drawn["roc"] = {spec.task.classes[1]: curves.roc_points(y, score)}
        drawn["reliability"] = curves.reliability(y, score, sample.block, sample.blocks)
        drawn["scores"] = curves.histogram(score, 0.0, 1.0)
        return drawn
    drawn["roc"] = {
        name: curves.roc_points((y == k).astype(np.int64), score[:, k]) for k, name in enumerate(spec.task.classes)
    }
    right = (decided == y).astype(np.int64)
    drawn["reliability"] = curves.reliability(right, score.max(axis=1), sample.block, sample.blocks)
    return drawn
