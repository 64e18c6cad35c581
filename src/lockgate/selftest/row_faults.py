"""Faults of the frozen rows: leaks, a broken split, rows and columns that do not belong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import Verdict
from lockgate.selftest import columns as take
from lockgate.selftest.entries import Asked, Frozen, Parts
from lockgate.selftest.fault import By, Fault

if TYPE_CHECKING:
    import pandas as pd

_AFTER = "known_after_the_event"
_INNOCENT = "area_factor"
_SETTLED = "settled_at_min"
_PAIR = ("meter_before", "meter_after")
_GAPS = 0.05
_CONTACT = "contact"
_PEOPLE = 40


# -- leaks -----------------------------------------------------------------------------------------------------------


def _with_label_in(name: str, parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Add a column that tells the label on a share of the rows, and is noise on the others."""
    found = {}
    for part, rows in parts.items():
        noise = take.draw(part).normal(size=len(rows))
        told = take.told_by_label(rows, spec) + 0.1 * noise
        found[part] = rows.assign(**{name: np.where(take.chosen(len(rows), share, part), told, noise)})
    return found


def _leak(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    return _with_label_in(_AFTER, parts, spec, share)


def _innocent_leak(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    return _with_label_in(_INNOCENT, parts, spec, share)


def _missing_leak(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Add a column that is missing for one class, on a share of its rows."""
    last = spec.task.classes[-1]
    found = {}
    for part, rows in parts.items():
        gone = (rows[spec.data.label] == last).to_numpy() & take.chosen(len(rows), share, part)
        found[part] = rows.assign(**{_SETTLED: np.where(gone, np.nan, take.draw(part).normal(size=len(rows)))})
    return found


def _feature(name: str, spec: ReleaseSpec, *, forbidden: bool = False) -> ReleaseSpec:
    spec = take.with_features(spec, numeric=(name,))
    return replace(spec, data=replace(spec.data, forbidden=(*spec.data.forbidden, name))) if forbidden else spec


# -- the split -------------------------------------------------------------------------------------------------------


def _shared(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:  # noqa: ARG001 - `ChangeParts`
    import pandas as pd

    seen = parts["holdout"][take.chosen(len(parts["holdout"]), share)]
    return {"train": pd.concat([parts["train"], seen], ignore_index=True)}


def _out_of_order(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:  # noqa: ARG001 - `ChangeParts`
    import pandas as pd

    moved = take.chosen(len(parts["holdout"]), share)
    train = pd.concat([parts["train"], parts["holdout"][moved]], ignore_index=True)
    return {"train": train, "holdout": parts["holdout"][~moved].reset_index(drop=True)}


def _repeated(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:  # noqa: ARG001 - `ChangeParts`
    import pandas as pd

    train = parts["train"]
    return {"train": pd.concat([train, train[take.chosen(len(train), share)]], ignore_index=True)}


def _little(parts: Parts, spec: ReleaseSpec, count: float) -> Parts:  # noqa: ARG001 - `ChangeParts`
    return {"train": parts["train"].tail(round(count)).reset_index(drop=True)}


def _without_class(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    name = take.rarest(parts["train"], spec)
    found = {}
    for part in ("train", "validation"):
        rows = parts[part]
        gone = (rows[spec.data.label] == name).to_numpy() & take.chosen(len(rows), share, part)
        found[part] = rows[~gone].reset_index(drop=True)
    return found


# -- what does not belong ------------------------------------------------------------------------------------------


def _hidden(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:
    """Add two columns of which neither tells anything, and whose difference tells the label; the second has gaps."""
    found = {}
    for part, rows in parts.items():
        noise = take.draw(part)
        common, small = noise.normal(size=len(rows)), noise.normal(size=len(rows))
        told = np.where(take.chosen(len(rows), share, part), take.told_by_label(rows, spec), small)
        second = np.where(noise.random(len(rows)) < _GAPS, np.nan, common + 0.05 * told + 0.02 * small)
        found[part] = rows.assign(**{_PAIR[0]: common, _PAIR[1]: second})
    return found


def _takes_pair(spec: ReleaseSpec, share: float) -> ReleaseSpec:  # noqa: ARG001 - `ChangeSpec`
    """Make both columns features of a linear model, which alone can take their difference."""
    family = "linear" if take.is_regression(spec) else "logistic"
    training = replace(spec.training, family=family, estimator=None, parameters={}, search=None)
    return replace(take.with_features(spec, numeric=_PAIR), training=training)


def _personal(parts: Parts, spec: ReleaseSpec, share: float) -> Parts:  # noqa: ARG001 - `ChangeParts`
    """Add a column of addresses of people to which nothing else belongs."""
    found = {}
    for part, rows in parts.items():
        people = take.draw(part).integers(0, _PEOPLE, len(rows))
        texts = np.where(people < share * _PEOPLE, "person", "desk").astype(object)
        named = [
            f"{kind}{who:02d}@example.org" if kind == "person" else "desk"
            for kind, who in zip(texts, people, strict=True)
        ]
        found[part] = rows.assign(**{_CONTACT: named})
    return found


def _with_contact(spec: ReleaseSpec, share: float) -> ReleaseSpec:  # noqa: ARG001 - `ChangeSpec`
    return take.with_features(spec, categorical=(_CONTACT,))


def _asked_otherwise(rows: pd.DataFrame, spec: ReleaseSpec, share: float) -> pd.DataFrame:
    """Let callers fill one number in another way than the table has it, for a share of the rows."""
    name = spec.data.numeric[0]
    values = rows[name].astype(float)
    other = values * 1.609344  # kilometres for miles
    return rows.assign(**{name: values.mask(take.chosen(len(rows), share), other)})


_LEAKAGE = By("leakage", ("single_feature_score", "class_auc"))

FAULTS = (
    Fault(
        name="label_leak",
        story="a column that the spec forbids, known only after the event, is a feature",
        by=(By("leakage", ("forbidden_features",)),),
        entry=Frozen(_leak, lambda spec, _: _feature(_AFTER, spec, forbidden=True)),
        amount=1.0,
        unit="share of the rows whose value tells the label",
    ),
    Fault(
        name="innocent_leak",
        story="a column known only after the event is a feature under an innocent name, and nothing forbids it",
        by=(_LEAKAGE,),
        entry=Frozen(_innocent_leak, lambda spec, _: _feature(_INNOCENT, spec)),
        amount=1.0,
        unit="share of the rows whose value tells the label",
    ),
    Fault(
        name="missing_means_label",
        story="a column that is filled only for one outcome is a feature",
        by=(By("leakage"),),
        entry=Frozen(_missing_leak, lambda spec, _: _feature(_SETTLED, spec)),
        amount=1.0,
        unit="share of the last class's rows where it is missing",
        needs=take.classes,
    ),
    Fault(
        name="rows_across_the_split",
        story="rows of the holdout stand in the training rows too",
        by=(By("leakage", ("shared_keys",)),),
        entry=Frozen(_shared),
        amount=0.2,
        unit="share of the holdout",
    ),
    Fault(
        name="time_order_broken",
        story="newer rows were trained on than the model is judged by",
        by=(By("leakage", ("time_order",)),),
        entry=Frozen(_out_of_order),
        amount=0.3,
        unit="share of the holdout moved to training",
        needs=take.by_time,
    ),
    Fault(
        name="rows_ingested_twice",
        story="rows stand twice in the table",
        by=(By("batch", ("duplicate_share",)),),
        entry=Frozen(_repeated),
        amount=0.2,
        unit="share of the training rows",
    ),
    Fault(
        name="too_little_data",
        story="there is too little to train on",
        by=(By("batch", ("train_rows",)),),
        entry=Frozen(_little),
        amount=100.0,
        unit="rows left to train on",
        verdicts=(Verdict.FAIL, Verdict.INCONCLUSIVE),
        grows=False,
    ),
    Fault(
        name="class_missing",
        story="one class is gone from the training rows",
        by=(By("batch", ("rarest_class_share",)),),
        entry=Frozen(_without_class),
        amount=1.0,
        unit="share of the rarest class's rows lost",
        needs=take.classes,
    ),
    Fault(
        name="train_serving_skew",
        story="callers fill a number in another unit than the table has it",
        by=(By("skew"),),
        entry=Asked(_asked_otherwise),
        amount=0.5,
        unit="share of the requests",
        needs=take.numbers,
    ),
    Fault(
        name="label_in_a_difference",
        story="two columns tell nothing each, their difference tells the label: a missing value turns answers over",
        by=(By("robustness"), By("leakage")),
        entry=Frozen(_hidden, _takes_pair),
        amount=1.0,
        unit="share of the rows whose difference tells the label",
    ),
    Fault(
        name="personal_data",
        story="a feature holds addresses of people, which the bundle would carry in its contract",
        by=(By("privacy"),),
        entry=Frozen(_personal, _with_contact),
        amount=1.0,
        unit="share of the values that are addresses",
    ),
)
