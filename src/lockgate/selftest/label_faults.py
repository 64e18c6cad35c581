"""Faults of labels and of what they have to do with the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.spec import ReleaseSpec
from lockgate.selftest import columns as take
from lockgate.selftest.entries import PARTS, Frozen, Parts
from lockgate.selftest.fault import By, Fault

if TYPE_CHECKING:
    import pandas as pd

_FITTED = ("train", "validation")


def _shuffled(rows: pd.DataFrame, spec: ReleaseSpec, share: float, part: str) -> pd.DataFrame:
    at = np.flatnonzero(take.chosen(len(rows), share, part))
    label = rows[spec.data.label].to_numpy(dtype=object).copy()
    label[at] = label[take.draw(part).permutation(at)]
    return rows.assign(**{spec.data.label: label}).astype({spec.data.label: rows[spec.data.label].dtype})


def _random_labels(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    return {part: _shuffled(parts[part], spec, share, part) for part in _FITTED}


def _changed_world(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    return {"holdout": _shuffled(parts["holdout"], spec, share, "holdout")}


def _flipped(rows: pd.DataFrame, spec: ReleaseSpec, mask: NDArray[np.bool_]) -> pd.DataFrame:
    """Give some rows the wrong label: the next class, or the value mirrored at the mean."""
    label = rows[spec.data.label]
    if take.is_regression(spec):
        wrong = 2 * float(label.astype(float).mean()) - label.astype(float)
    else:
        following = dict(zip(spec.task.classes, (*spec.task.classes[1:], spec.task.classes[0]), strict=True))
        wrong = label.map(following)
    return rows.assign(**{spec.data.label: label.mask(mask, wrong)})


def _in_one(column: str, parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    value = take.largest_value(parts["train"], column)
    found = {}
    for part in _FITTED:
        rows = parts[part]
        inside = (rows[column] == value).to_numpy() & take.chosen(len(rows), share, part)
        found[part] = _flipped(rows, spec, inside)
    return found


def _poisoned(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    return _in_one(spec.slices[0].column, parts, spec, share)


def _biased(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Flip labels of the smaller group only, and let the model see the group."""
    column = spec.sensitive[0]
    counts = parts["train"][column].value_counts()
    found = dict(parts)
    for part in _FITTED:
        rows = parts[part]
        inside = (rows[column] == counts.index[-1]).to_numpy() & take.chosen(len(rows), share, part)
        found[part] = _flipped(rows, spec, inside)
    return found


def _sees_group(spec: ReleaseSpec, share: float) -> ReleaseSpec:  # noqa: ARG001 - `ChangeSpec`
    column = spec.sensitive[0]
    return spec if column in spec.data.features else take.with_features(spec, categorical=(column,))


def _miscalibrated(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Sample one class away before fitting, or add a constant to the values: the order stays, the level does not."""
    found = {}
    for part in _FITTED:
        rows = parts[part]
        label = rows[spec.data.label]
        if take.is_regression(spec):
            values = label.astype(float)
            found[part] = rows.assign(
                **{spec.data.label: values + 2 * share * float(parts["train"][spec.data.label].std())}
            )
            continue
        gone = (label == spec.task.classes[0]).to_numpy() & take.chosen(len(rows), share, part)
        found[part] = rows[~gone].reset_index(drop=True)
    return found


def _defaulted(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Let rows to be answered have one default in columns that training had filled."""
    names = take.some(spec.data.numeric, share)
    defaults = {name: float(parts["train"][name].astype(float).median()) for name in names}
    return {part: parts[part].assign(**defaults) for part in PARTS if part not in _FITTED}


FAULTS = (
    Fault(
        name="random_labels",
        story="labels were joined to the wrong rows",
        by=(By("training", ("improvement_over_constant",)),),
        entry=Frozen(_random_labels),
        amount=1.0,
        unit="share of the fitted rows with another row's label",
    ),
    Fault(
        name="noisy_labels",
        story="half of the labels are of another row: still useful, and worse than the champion",
        by=(By("champion"),),
        entry=Frozen(_random_labels),
        amount=0.6,
        unit="share of the fitted rows with another row's label",
    ),
    Fault(
        name="world_changed",
        story="what the columns meant no longer holds: the newest outcomes have little to do with them",
        by=(By("quality"),),
        entry=Frozen(_changed_world),
        amount=1.0,
        unit="share of the holdout with another row's label",
    ),
    Fault(
        name="poisoned_slice",
        story="labels of one slice are wrong in the training rows",
        by=(By("slices"),),
        entry=Frozen(_poisoned),
        amount=1.0,
        unit="share of the slice's rows",
        needs=take.slices,
    ),
    Fault(
        name="group_bias",
        story="labels of one group are wrong in the training rows, and the model sees the group",
        by=(By("fairness"),),
        entry=Frozen(_biased, _sees_group),
        amount=1.0,
        unit="share of the group's rows",
        needs=take.groups,
    ),
    Fault(
        name="miscalibrated",
        story="one class was sampled away before the fit, so that the level of the answers is wrong",
        by=(By("quality"), By("champion"), By("batch", ("label_shift",))),
        entry=Frozen(_miscalibrated),
        amount=0.9,
        unit="share of the first class lost; for values, half deviations added",
    ),
    Fault(
        name="default_when_answered",
        story="numbers that training had are one default in the rows to be answered",
        by=(By("drift"), By("quality"), By("champion"), By("expectations")),
        entry=Frozen(_defaulted),
        amount=1.0,
        unit="share of the numeric columns",
        needs=take.numbers,
    ),
)
