"""What the gate `robustness` measures: the model asked again about rows that were changed on purpose.

Measurements (no row and no value of the data but column names and what the spec declares):

    task, n, blocks, confidence, moved_by           "sample": {"rows", "of", "seed"}
    "loss", "naive_loss", "champion_loss"           mean loss of the sampled rows as they are; champion's may be null
    "commonest_fraction"                            share of rows with the commonest answer
    "perturbations": [{"kind", "column", "expected", "n", "invalid",
                       "loss_ratio": estimate | null,      mean loss / the naive answer's mean loss
                       "beyond_champion": estimate | null, extra loss above the champion's, of the naive loss
                       "change": {"p99", "largest", "moved": estimate} | null,
                       "flips": estimate | null}]          share of decisions that change; classes only
    "extremes": {"n", "invalid", "worst": column | null, "asked": bounds a column, "largest_change"}
    "order": {"n", "columns": largest change | null, "rows": largest change | null}
    "expectations": [{"kind", "column", "asked", "n", "violations": estimate, "largest", "tolerance", "rows_fraction"}]

where `estimate` is `{"estimate", "low", "high", "se"}`, `kind` is one of `stages.perturbing.Kind` and changes are in
probability, or in standard deviations of the label for values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.gates.robustness import Thresholds
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.metrics import Floats
from lockgate.core.robustness import (
    answer_change,
    commonest_fraction,
    extra_loss,
    ratio_interval,
    share,
    told_change,
)
from lockgate.stages.deciding import decided_for
from lockgate.stages.drawn import Drawn, answered, draw, judged_rows
from lockgate.stages.examination import Examination
from lockgate.stages.expectations import measure_expectations
from lockgate.stages.perturbing import Perturbed, extremes, perturbed
from lockgate.stages.sampling import is_valid
from lockgate.stages.slicing import row_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    """What every perturbation is held against."""

    examination: Examination
    drawn: Drawn
    asked: Thresholds
    spread: float
    loss: Floats
    naive: Floats
    champion: Floats | None


def measure_robustness(examination: Examination) -> dict[str, Json]:
    """Ask the challenger about changed rows, and the champion about those changes that are bound to happen.

    Raises:
        MeasurementError: A feature is missing, or answers do not fit the rows.
    """
    setting = _setting(examination)
    drawn, spec = setting.drawn, examination.spec
    nullable = [name for name in spec.data.features if bool(judged_rows(examination).frame[name].isna().any())]
    seed = drawn.seed
    return {
        "task": spec.task.kind.value,
        "n": len(drawn.y),
        "blocks": drawn.blocks.count,
        "sample": drawn.to_json(),
        "confidence": setting.asked.confidence,
        "moved_by": setting.asked.moved_by,
        "loss": _mean(setting.loss),
        "naive_loss": _mean(setting.naive),
        "champion_loss": None if setting.champion is None else _mean(setting.champion),
        "champion": examination.scores.champion is not None,
        "commonest_fraction": rounded(commonest_fraction(drawn.score)),
        "perturbations": [_held(setting, each) for each in perturbed(spec, drawn.frame, nullable, seed)],
        "extremes": _extremes(setting),
        "order": _order(setting),
        "expectations": list(measure_expectations(examination, setting.asked.confidence)),
    }


def _setting(examination: Examination) -> _Setting:
    task, drawn = examination.spec.task.kind, draw(examination)
    spread = float(np.std(drawn.y)) if task is TaskKind.REGRESSION and len(drawn.y) else 1.0
    return _Setting(
        examination=examination,
        drawn=drawn,
        asked=examination.spec.gates.get("robustness", Thresholds()),
        spread=spread if spread > 0 else float("nan"),
        loss=row_loss(task, drawn.y, drawn.score),
        naive=row_loss(task, drawn.y, drawn.naive),
        champion=None if drawn.champion is None else row_loss(task, drawn.y, drawn.champion),
    )


def _mean(values: Floats) -> float | None:
    return rounded(float(values.mean())) if len(values) else None


def _held(setting: _Setting, each: Perturbed) -> dict[str, Json]:
    """Ask about one change and hold the answers against those before it."""
    examination, drawn, task = setting.examination, setting.drawn, setting.examination.spec.task.kind
    told: dict[str, Json] = {
        "kind": each.kind.value,
        "column": each.column,
        "expected": each.expected,
        "n": len(drawn.y),
        "invalid": len(drawn.y),
        "loss_ratio": None,
        "beyond_champion": None,
        "change": None,
        "flips": None,
    }
    after = answered(examination, examination.ask, each.frame)
    if after is None or not len(drawn.y):
        return told
    told["invalid"] = int((~is_valid(task, after)).sum())
    if told["invalid"]:
        return told
    asked = setting.asked
    change = answer_change(task, drawn.score, after, setting.spread)
    told["change"] = told_change(change, asked.moved_by, drawn.blocks, asked.confidence)
    told["flips"] = _flips(setting, after)
    loss = row_loss(task, drawn.y, after)
    ratio = ratio_interval(loss, setting.naive, drawn.blocks, asked.confidence, lowest=0.0)
    told["loss_ratio"] = ratio.to_json()
    if each.expected:
        told["beyond_champion"] = _beyond(setting, each, loss)
    return told


def _flips(setting: _Setting, after: Floats) -> Json:
    spec, drawn = setting.examination.spec, setting.drawn
    if spec.task.kind is TaskKind.REGRESSION:
        return None
    threshold = setting.examination.scores.threshold
    before, decided = (decided_for(spec, each, threshold) for each in (drawn.score, after))
    return share(before != decided, drawn.blocks, setting.asked.confidence).to_json()


def _beyond(setting: _Setting, each: Perturbed, loss: Floats) -> Json:
    """Return the extra loss above the champion's own; None where the champion has no answer to hold it against."""
    examination, drawn = setting.examination, setting.drawn
    if setting.champion is None or examination.ask_champion is None:
        return None
    theirs = answered(examination, examination.ask_champion, each.frame)
    task = examination.spec.task.kind
    if theirs is None or not is_valid(task, theirs).all():
        return None
    after = row_loss(task, drawn.y, theirs)
    losses = (setting.loss, loss, setting.champion, after, setting.naive)
    return extra_loss(*losses, blocks=drawn.blocks, confidence=setting.asked.confidence).to_json()


def _extremes(setting: _Setting) -> dict[str, Json]:
    """Ask about the ends of every column's range and far beyond, all in one question."""
    import pandas as pd

    examination, drawn = setting.examination, setting.drawn
    made = list(extremes(examination.spec, judged_rows(examination).frame, drawn.frame))
    rows = sum(len(frame) for _, frame in made)
    if not rows:
        return {"n": 0, "invalid": 0, "worst": None, "largest_change": None}
    after = answered(examination, examination.ask, pd.concat([frame for _, frame in made], ignore_index=True))
    if after is None:
        return {"n": rows, "invalid": rows, "worst": None, "largest_change": None}
    task = examination.spec.task.kind
    valid = is_valid(task, after)
    invalid: dict[str, int] = {}
    largest, at = 0.0, 0
    for name, frame in made:
        here = slice(at, at + len(frame))
        at += len(frame)
        invalid[name] = invalid.get(name, 0) + int((~valid[here]).sum())
        if valid[here].all():
            change = answer_change(task, drawn.score[: len(frame)], after[here], setting.spread)
            largest = max(largest, float(change.max()))
    worst = max(invalid, key=lambda name: invalid[name])
    return {
        "n": rows,
        "invalid": sum(invalid.values()),
        "worst": worst if invalid[worst] else None,
        "largest_change": rounded(largest),
    }


def _order(setting: _Setting) -> dict[str, Json]:
    """Ask with the columns, then with the rows, in the reverse order: neither may matter."""
    examination, drawn = setting.examination, setting.drawn
    frame, task = drawn.frame, examination.spec.task.kind
    columns = answered(examination, examination.ask, frame[frame.columns[::-1]])
    rows = answered(examination, examination.ask, frame.iloc[::-1].reset_index(drop=True))
    found = {"columns": columns, "rows": None if rows is None else rows[::-1]}
    return {"n": len(drawn.y), **{name: _largest(setting, task, after) for name, after in found.items()}}


def _largest(setting: _Setting, task: TaskKind, after: Floats | None) -> float | None:
    if after is None or not len(after):
        return None
    return rounded(float(answer_change(task, setting.drawn.score, after, setting.spread).max()))
