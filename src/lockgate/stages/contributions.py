"""Section `contributions`: what each feature does to answers, what changed against the champion, what earns nothing.

    "method": "shapley_trees" (exact Shapley values before the link, by cover) or "permutation" (mean absolute change of
              the answer when the feature takes another row's value); the champion is always measured by the same
    "unit": "log odds", the value's unit, "margin" or "answer"
    "sample": {"rows", "of", "seed"}, "n", "blocks", "confidence"
    "champion": whether there is one in the comparison
    "features": [{"feature", "share", "mean_absolute": estimate, "champion_share": fraction | null,
                  "change": fraction | null, "worth": estimate, "earns_nothing": bool, "null_fraction",
                  "distinct"}]   by share, largest first
              share          of the sum of all features' mean absolute contribution
              change         share minus the champion's share
              worth          loss added by shuffling the feature, as a share of the loss (permutation importance)
              earns_nothing  the interval of `worth` includes 0 or lies below it
              null_fraction, distinct   what keeping it costs: a column to deliver, watch and impute, so many values
    "shift": half the sum of |change|: 0 the same use of features, 1 none in common; null without a champion
    "earn_nothing": {"features": [...], "together": estimate | null}   `worth` of shuffling all of them at once; where
              it is above 0 they stand in for each other and cannot all go
    "slices": [{"slice", "n", "features": [{"feature", "share", "times_overall"}]}]   the five that differ most

`estimate` is `{"estimate", "low", "high", "se"}`, by block. The section is advisory; it holds no row of the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import CONFIDENCE, rounded
from lockgate.core.metrics import Floats
from lockgate.core.robustness import ratio_interval
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import MeasurementError
from lockgate.stages.binning import texts
from lockgate.stages.drawn import Drawn, answered, draw
from lockgate.stages.examination import Ask, Examination, Explain
from lockgate.stages.perturbing import column
from lockgate.stages.slicing import row_loss

SLICE_ROWS = 200
"""Ours, as the slices gate: fewer sampled rows than this say nothing about a slice."""
MOST_SLICES = 30
"""Ours: what a page can show; the largest are."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shuffled:
    """Every feature shuffled in turn: how far the answers moved, and what it cost.

    Attributes:
        moved: Absolute change of the answer, summed over classes, shape [n, features].
        added: Loss after minus before, shape [n, features]; NaN where the model had no answer.
    """

    moved: Floats
    added: Floats


def contributions_section(examination: Examination) -> dict[str, Json]:
    """Return the section; see the module's words.

    Raises:
        MeasurementError: A feature is missing, or the model has no answer to a shuffled column.
    """
    spec, drawn = examination.spec, draw(examination)
    names = spec.data.features
    loss = row_loss(spec.task.kind, drawn.y, drawn.score)
    shuffled = _shuffled(examination, examination.ask, drawn, drawn.score)
    method, ours, theirs = _contributions(examination, drawn, shuffled)
    shares, champion = _shares(ours), None if theirs is None else _shares(theirs)
    worth = [ratio_interval(shuffled.added[:, at], loss, drawn.blocks) for at in range(len(names))]
    # where blocks are too few for an interval, the bound is NaN and nothing is said against a feature
    idle = [name for name, each in zip(names, worth, strict=True) if each.low <= 0.0]
    listed: list[dict[str, Json]] = []
    for at in np.argsort(-shares, kind="stable"):
        name = names[at]
        values = column(drawn.frame, name)
        listed.append(
            {
                "feature": name,
                "share": rounded(float(shares[at]), 6),
                "mean_absolute": ratio_interval(ours[:, at], np.ones(len(ours)), drawn.blocks).to_json(),
                "champion_share": None if champion is None else rounded(float(champion[at]), 6),
                "change": None if champion is None else rounded(float(shares[at] - champion[at]), 6),
                "worth": worth[at].to_json(),
                "earns_nothing": name in idle,
                "null_fraction": rounded(float(values.isna().mean()), 6),
                "distinct": int(values.nunique()),
            }
        )
    return {
        "method": method,
        "unit": _unit(spec, method),
        "sample": drawn.to_json(),
        "n": len(drawn.y),
        "blocks": drawn.blocks.count,
        "confidence": CONFIDENCE,
        "champion": champion is not None,
        "features": listed,
        "shift": None if champion is None else rounded(float(np.abs(shares - champion).sum() / 2), 6),
        "earn_nothing": {"features": idle, "together": _together(examination, drawn, loss, idle)},
        "slices": list(_slices(spec, drawn, ours, shares)),
    }


def _unit(spec: ReleaseSpec, method: str) -> str:
    if method == "permutation":
        return "answer"
    if spec.task.kind is not TaskKind.REGRESSION:
        return "log odds"
    objective = str(spec.training.parameters.get("objective", "reg:squarederror"))
    return spec.task.unit if objective in ("reg:squarederror", "reg:absoluteerror") else "margin"


def _contributions(examination: Examination, drawn: Drawn, shuffled: _Shuffled) -> tuple[str, Floats, Floats | None]:
    """Return the method, and the absolute contributions [n, features] of challenger and champion by it."""
    ours = _exact(examination.explain, examination.spec, drawn)
    if examination.comparison is None or examination.ask_champion is None or drawn.champion is None:
        return ("permutation", shuffled.moved, None) if ours is None else ("shapley_trees", ours, None)
    theirs = _exact(examination.explain_champion, examination.spec, drawn)
    if ours is not None and theirs is not None:
        return "shapley_trees", ours, theirs
    return "permutation", shuffled.moved, _shuffled(examination, examination.ask_champion, drawn, drawn.champion).moved


def _exact(explain: Explain | None, spec: ReleaseSpec, drawn: Drawn) -> Floats | None:
    """Return absolute Shapley values [n, features of the spec]; None where the family has none."""
    found = None if explain is None else explain(drawn.frame)
    if found is None:
        return None
    whole = np.abs(found.added).sum(axis=2)
    place = {name: at for at, name in enumerate(found.columns)}
    if any(name not in place for name in spec.data.features):
        # the champion never saw a feature: what it adds there is nothing
        whole = np.column_stack([whole, np.zeros(len(whole))])
    return np.asarray(whole[:, [place.get(name, -1) for name in spec.data.features]])


def _shuffled(examination: Examination, ask: Ask, drawn: Drawn, before: Floats) -> _Shuffled:
    """Shuffle every feature in turn, each with the same seed for whoever is asked."""
    spec, task = examination.spec, examination.spec.task.kind
    loss = row_loss(task, drawn.y, before)
    moved, added = (np.zeros((len(drawn.y), len(spec.data.features))) for _ in range(2))
    for at, name in enumerate(spec.data.features):
        after = _ask_shuffled(examination, ask, drawn, (name,))
        apart = np.abs(after - before)
        moved[:, at] = apart.sum(axis=1) if apart.ndim == 2 else apart
        added[:, at] = row_loss(task, drawn.y, after) - loss
    return _Shuffled(moved=moved, added=added)


def _ask_shuffled(examination: Examination, ask: Ask, drawn: Drawn, names: Sequence[str]) -> Floats:
    """Ask with some columns taken from other rows, together from the same ones."""
    order = np.random.default_rng([drawn.seed, 4]).permutation(len(drawn.y))
    changed = {name: column(drawn.frame, name).iloc[order].reset_index(drop=True) for name in names}
    after = answered(examination, ask, drawn.frame.assign(**changed))
    if after is None:
        raise MeasurementError(f"the model has no answer to rows with another row's {', '.join(names)}")
    return after


def _together(examination: Examination, drawn: Drawn, loss: Floats, idle: Sequence[str]) -> Json:
    if not idle:
        return None
    after = row_loss(examination.spec.task.kind, drawn.y, _ask_shuffled(examination, examination.ask, drawn, idle))
    return ratio_interval(after - loss, loss, drawn.blocks).to_json()


def _shares(contributions: Floats) -> Floats:
    """Return each feature's share of all mean absolute contributions; zeros where nothing contributes."""
    mean = contributions.mean(axis=0) if len(contributions) else np.zeros(contributions.shape[1])
    return np.asarray(mean / mean.sum() if mean.sum() > 0 else np.zeros(len(mean)))


def _slices(spec: ReleaseSpec, drawn: Drawn, contributions: Floats, overall: Floats) -> Iterator[dict[str, Json]]:
    """Yield the largest declared slices with the features whose share there differs most from all rows'."""
    found = []
    for section in spec.slices:
        text = texts(drawn.frame, section.column)
        for value in np.unique(text) if section.values is None else section.values:
            inside = text == value
            if inside.sum() >= SLICE_ROWS:
                found.append((f"{section.column}={value}", inside))
    for name, inside in sorted(found, key=lambda each: -int(each[1].sum()))[:MOST_SLICES]:
        shares = _shares(contributions[inside])
        most = np.argsort(-np.abs(shares - overall), kind="stable")[:_SHOWN]
        listed: list[Json] = [
            {
                "feature": spec.data.features[at],
                "share": rounded(float(shares[at]), 6),
                "times_overall": rounded(float(shares[at] / overall[at]), 6) if overall[at] > 0 else None,
            }
            for at in most
        ]
        yield {"slice": name, "n": int(inside.sum()), "features": listed}
