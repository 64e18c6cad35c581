"""Measure for the leakage gate: what each feature knows alone, when values are missing, and whether the parts overlap.

Added to what each feature knows (`features`): `null_patterns` by feature (`filled`: how surely a value that is there
means one class; `label_gap`, regression; `unlabelled` and `newest`: how much more often it is missing where the label
is, and in the newest tenth of the batch), `twins` by pair of parts (share of the later part's rows with a twin in
train, the natural share, and by how much the lower bound of the one is beyond the upper bound of the other),
`shared_groups`, `shared_entities`, and `times`: for each other column of times, the share of rows where it is later
than the row's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.columns import missing_values
from lockgate.core.contract import TaskKind
from lockgate.core.duplicates import Hashes, shared_values, twin_shares
from lockgate.core.ids import Json
from lockgate.core.leakage import label_codes, leakage_scores, wilson_lower
from lockgate.core.null_patterns import filled_purity, label_gap, null_gap, ranks
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.stages.feature_columns import coded_series, feature_columns
from lockgate.stages.part_facts import PartFacts, facts_of

if TYPE_CHECKING:
    import pandas as pd

PAIRS = (("train", "validation"), ("train", "holdout"), ("validation", "holdout"))
_NEWEST = 0.1
"""Share of the batch that counts as its newest rows: three days of a month."""


def measure_leakage(
    spec: ReleaseSpec, train: pd.DataFrame, parts: Mapping[str, pd.DataFrame], batch: pd.DataFrame | None = None
) -> dict[str, Json]:
    """Measure leakage from frames; see the three functions it is made of.

    Args:
        train: The training rows.
        parts: `train`, `validation` and `holdout`, with the columns of `part_facts.columns_of`.
        batch: The newest batch; None: training rows stand for it, and nothing is told of rows without a label.
    """
    facts = {name: facts_of(spec, part) for name, part in parts.items()}
    patterns = batch_patterns(spec, train if batch is None else batch)
    return joined(train_leaks(spec, train), patterns, part_leaks(spec, facts))


def joined(
    train: Mapping[str, Json], patterns: Mapping[str, Mapping[str, Json]], parts: Mapping[str, Json]
) -> dict[str, Json]:
    """Join the measurements of training rows, batch and parts into the gate's."""
    nulls = train.get("null_patterns")
    by_feature = nulls if isinstance(nulls, Mapping) else {}
    merged: dict[str, Json] = {
        name: {**facts, **patterns.get(name, {})} for name, facts in by_feature.items() if isinstance(facts, Mapping)
    }
    return {**train, **parts, "null_patterns": merged}


def train_leaks(spec: ReleaseSpec, train: pd.DataFrame) -> dict[str, Json]:
    """Measure how much each feature knows alone, and what its missing values tell of the label."""
    target = target_of(spec, train)
    columns = feature_columns(train, spec)
    forbidden = set(spec.data.features) & {*spec.data.forbidden, spec.data.label}
    return {
        "kind": spec.task.kind.value,
        "method": spec.split.method.value,
        "train_rows": len(train),
        "expected": list(spec.data.features),
        "features": leakage_scores(columns, target, spec.task.kind, spec.task.classes),
        "null_patterns": _label_patterns(spec, train, target),
        "forbidden_features": sorted(forbidden),
        "times": _later_times(spec, train),
    }


def target_of(spec: ReleaseSpec, frame: pd.DataFrame) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return the label as class index (-1 for a class the spec does not name) or value, shape (n,)."""
    label = frame[spec.data.label]
    if spec.task.kind is TaskKind.REGRESSION:
        return np.asarray(label.to_numpy(dtype=np.float64, na_value=np.nan))
    words = coded_series(label)
    of_value = np.append(label_codes(words.values, spec.task.classes), -1)
    return np.asarray(of_value[words.codes], dtype=np.int64)


def batch_patterns(spec: ReleaseSpec, batch: pd.DataFrame) -> dict[str, dict[str, Json]]:
    """Measure, by feature, how missing values go with a missing label and with being new.

    Args:
        batch: Rows in the order of time, with features and label.
    """
    unlabelled = batch[spec.data.label].isna().to_numpy(dtype=bool)
    newest = np.arange(len(batch)) >= len(batch) * (1 - _NEWEST)
    told: dict[str, dict[str, Json]] = {}
    for name, values in feature_columns(batch, spec).items():
        missing = missing_values(values)
        told[name] = {"unlabelled": null_gap(missing, unlabelled), "newest": null_gap(missing, newest)}
    return told


def part_leaks(spec: ReleaseSpec, parts: Mapping[str, PartFacts]) -> dict[str, Json]:
    """Measure how far apart the parts are: keys, twins, groups, entities and order."""
    by_time = spec.split.method is SplitMethod.TIME
    pairs = {f"{a}_{b}": (parts[a], parts[b]) for a, b in PAIRS}
    gaps = {name: _gap_s(*pairs[name]) for name in ("train_validation", "validation_holdout")}
    twins = {name: _twins(*pairs[name], by_time=by_time) for name in ("train_validation", "train_holdout")}
    return {
        "shared_keys": {name: shared_values(a.keys, b.keys) for name, (a, b) in pairs.items()},
        "shared_groups": {name: _shared(a.groups, b.groups) for name, (a, b) in pairs.items()},
        "shared_entities": {name: _shared(a.entities, b.entities) for name, (a, b) in pairs.items()},
        "twins": twins,
        "gap_s": gaps if by_time else None,
    }


def _label_patterns(
    spec: ReleaseSpec, train: pd.DataFrame, target: NDArray[np.int64] | NDArray[np.float64]
) -> dict[str, Json]:
    regression = spec.task.kind is TaskKind.REGRESSION
    order = ranks(target.astype(np.float64)) if regression else np.empty(0)
    told: dict[str, Json] = {}
    for name, values in feature_columns(train, spec).items():
        missing = missing_values(values)
        if regression:
            told[name] = {"label_gap": label_gap(missing, order)}
            continue
        filled = filled_purity(missing, target.astype(np.int64), len(spec.task.classes))
        code = filled["class"]
        told[name] = {"filled": {**filled, "class": spec.task.classes[code] if isinstance(code, int) else None}}
    return told


def _later_times(spec: ReleaseSpec, frame: pd.DataFrame) -> dict[str, Json]:
    """Return, for every other column of times, how many rows have it and in what share it is later than the row's."""
    told: dict[str, Json] = {}
    for name in frame.columns:
        if name == spec.data.time or frame[name].dtype.kind != "M":
            continue
        known = frame[name].notna()
        at = frame[name] if getattr(frame[name].dtype, "tz", None) is not None else frame[name].dt.tz_localize("UTC")
        later = int((at[known] > frame[spec.data.time][known]).sum())
        told[str(name)] = {"n": int(known.sum()), "later_share": later / int(known.sum()) if known.any() else 0.0}
    return told


def _gap_s(earlier: PartFacts, later: PartFacts) -> float | None:
    if earlier.last is None or later.first is None:
        return None
    return float((later.first - earlier.last).total_seconds())


def _shared(one: Hashes | None, other: Hashes | None) -> int | None:
    return None if one is None or other is None else shared_values(one, other)


def _twins(train: PartFacts, later: PartFacts, *, by_time: bool) -> dict[str, Json]:
    found = twin_shares(train.twins, later.twins, in_time=by_time)
    excess = None
    if found.share is not None and found.natural is not None:
        natural = 1.0 - wilson_lower(found.held - round(found.natural * found.held), found.held)
        excess = max(0.0, round(wilson_lower(round(found.share * later.rows), later.rows) - natural, 9))
    return {"share": found.share, "natural": found.natural, "excess": excess, "n": later.rows}
