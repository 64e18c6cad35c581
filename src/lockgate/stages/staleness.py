"""Section `staleness`: how past champions would do on the present holdout, by the age of what they were fitted on.

    metrics     names of those shown: the loss of the task, its rank or fit metric, and the one that binds
    present     the challenger on the same holdout: a point of age 0 days and no gain
    points      [{bundle, release, age_days, n, blocks, metrics: {name: estimate}, gain: {name: estimate}}],
                newest first; `gain` is the challenger's over it on the same rows, positive is better
    failures    [{bundle, release, reason}]: champions that could not be scored
    left_out    older champions beyond `evaluation.past_champions`

An estimate is {estimate, low, high, se}, with `unit` and `higher_is_better` in `metrics`. Rows that a champion was
fitted on are left out of its own point, so points differ a little in rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.block_statistics import Metric, gain
from lockgate.core.contract import TaskKind
from lockgate.core.gates.champion import Thresholds
from lockgate.core.ids import Digest, Json
from lockgate.core.intervals import block_interval, metric_interval, rounded
from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss_name
from lockgate.errors import LockgateError, MeasurementError
from lockgate.stages.deciding import metrics_of
from lockgate.stages.examination import Ask, Examination
from lockgate.stages.sampling import ChampionScores, Comparison, compare_with

if TYPE_CHECKING:
    import pandas as pd

_FITS = {TaskKind.BINARY: "auc", TaskKind.MULTICLASS: "macro_auc", TaskKind.REGRESSION: "r2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A past champion that can be asked.

    Attributes:
        ask: Answers rows.
        threshold: Its own decision threshold.
        known_keys: Key columns of the rows it was fitted on.
        age_days: Days from the newest label it was fitted or judged with to the present release's.
    """

    ask: Ask
    threshold: float | None
    known_keys: pd.DataFrame
    age_days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PastChampion:
    """A bundle that once served.

    Attributes:
        bundle: Its digest.
        release: The release that made it; "" when the ledger does not say.
        open: Loads it; raises a `LockgateError` that says why it cannot.
    """

    bundle: Digest
    release: str
    open: Callable[[], Opened]


def staleness_section(examination: Examination, past: Sequence[PastChampion]) -> dict[str, Json]:
    """Return the section `staleness`.

    Args:
        examination: The present holdout and the challenger's answers.
        past: Champions, newest first; at most `evaluation.past_champions` of them are scored, one at a time.
    """
    spec, sample = examination.spec, examination.sample
    most = spec.evaluation.past_champions
    names = _shown(spec)
    own = metrics_of(spec, sample, sample.score, examination.scores.threshold)
    confidence = spec.gates.get("champion", Thresholds()).confidence
    points: list[Json] = []
    failures: list[Json] = []
    for each in past[:most]:
        try:
            points.append(_point(examination, each, names, confidence))
        except LockgateError as why:
            failures.append({"bundle": each.bundle, "release": each.release, "reason": why.message})
    return {
        "metrics": {
            name: {"unit": own[name].unit, "higher_is_better": own[name].higher_is_better}
            for name in names
            if name in own
        },
        "present": {
            "age_days": 0.0,
            "n": len(sample.y),
            "blocks": sample.blocks,
            "metrics": {name: _interval(own[name], sample.blocks, confidence) for name in names if name in own},
        },
        "points": points,
        "failures": failures,
        "left_out": max(0, len(past) - most),
    }


def _shown(spec: ReleaseSpec) -> tuple[str, ...]:
    binding = spec.gates.get("champion", Thresholds()).metric
    names = (loss_name(spec.task.kind), _FITS[spec.task.kind], *([binding] if binding else []))
    return tuple(dict.fromkeys(names))


def _point(examination: Examination, past: PastChampion, names: Sequence[str], confidence: float) -> Json:
    opened = past.open()
    compared = _compared(examination, past.bundle, opened)
    sample, spec = compared.sample, examination.spec
    if not len(sample.y):
        raise MeasurementError("it was fitted on every row of this holdout, or answered none of them")
    ours = metrics_of(spec, sample, sample.score, examination.scores.threshold)
    theirs = metrics_of(spec, sample, compared.champion, compared.threshold)
    return {
        "bundle": past.bundle,
        "release": past.release,
        "age_days": rounded(opened.age_days),
        "n": len(sample.y),
        "blocks": sample.blocks,
        "metrics": {name: _interval(theirs[name], sample.blocks, confidence) for name in names if name in theirs},
        "gain": {
            name: block_interval(gain(ours[name], theirs[name]), sample.blocks, confidence=confidence).to_json()
            for name in names
            if name in theirs
        },
    }


def _compared(examination: Examination, bundle: Digest, opened: Opened) -> Comparison:
    """Return the rows that both answered and the champion did not know."""
    sample = examination.sample
    answers = np.asarray(opened.ask(sample.frame), dtype=np.float64)
    whole: Floats = np.full((sample.asked, *answers.shape[1:]), np.nan)  # rows without a label are not asked about
    whole[sample.kept] = answers
    scored = ChampionScores(bundle=bundle, scores=whole, known_keys=opened.known_keys, threshold=opened.threshold)
    compared = compare_with(examination.spec, sample, scored)
    if compared is None:
        raise MeasurementError("the rows it was fitted on are not known")
    return compared


def _interval(metric: Metric, blocks: int, confidence: float) -> Json:
    return metric_interval(metric, blocks, confidence=confidence).to_json()
