"""Stage 2: hold the frozen rows against the suite, and look for leaks, drift, duplicates and too little data.

One reading of each part serves all gates. What is measured is numbers about columns; no row leaves this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.drift import drift
from lockgate.core.ids import Digest, Json
from lockgate.core.leakage import label_codes, leakage_scores
from lockgate.core.spec import ReleaseSpec, SplitMethod
from lockgate.ports import DatasetStore, DataValidator, Snapshot

if TYPE_CHECKING:
    import pandas as pd

_PAIRS = (("train", "validation"), ("train", "holdout"), ("validation", "holdout"))


def measure_validation(  # noqa: PLR0913 - the ports, and what is compared
    store: DatasetStore,
    validator: DataValidator,
    spec: ReleaseSpec,
    snapshot: Snapshot,
    *,
    champion: Digest | None,
    reference_profile: Mapping[str, Json] | None,
    docs: Path,
) -> Mapping[str, Mapping[str, Json]]:
    """Measure for the gates expectations, batch, leakage and drift.

    Args:
        champion: The bundle that serves; None only when the ledger shows that there never was one.
        reference_profile: `reference_profile.json` of the champion. None with a champion: the drift gate will say
            that it could not measure.
        docs: Folder for the pages of the suite's results.

    Returns:
        Each gate's measurements, by its name.
    """
    train, batch = store.part(snapshot, "train"), store.part(snapshot, "batch")
    narrow = [*spec.data.key, spec.data.time]
    parts = {
        "train": train[narrow],
        "validation": store.part(snapshot, "validation", narrow),
        "holdout": store.part(snapshot, "holdout", narrow),
    }
    return {
        "expectations": validator.validate(spec, {"batch": batch, "train": train}, docs),
        "batch": measure_batch(spec, snapshot, train, batch, parts),
        "leakage": measure_leakage(spec, train, parts),
        "drift": measure_drift(spec, batch, champion, reference_profile),
    }


def measure_batch(
    spec: ReleaseSpec,
    snapshot: Snapshot,
    train: pd.DataFrame,
    batch: pd.DataFrame,
    parts: Mapping[str, pd.DataFrame],
) -> dict[str, Json]:
    """Measure volume, freshness, duplicates and labels."""
    newest = batch[spec.data.time].max() if len(batch) else None
    lag_s = None if newest is None else (newest - snapshot.as_of).total_seconds()
    rows = sum(len(part) for part in parts.values())
    return {
        "rows": len(batch),
        "train_rows": len(train),
        "split_rows": rows,
        "duplicate_share": _repeated(spec, parts) / rows if rows else None,
        "as_of": snapshot.as_of.isoformat(),
        "batch_age_s": None if lag_s is None else max(-lag_s, 0.0),
        "label_lag_s": None if lag_s is None else max(lag_s, 0.0),
        "unlabelled_share": float(batch[spec.data.label].isna().mean()) if len(batch) else None,
        "label": _label(spec, train),
    }


def measure_leakage(spec: ReleaseSpec, train: pd.DataFrame, parts: Mapping[str, pd.DataFrame]) -> dict[str, Json]:
    """Measure how much each feature knows alone, and how far apart the parts are."""
    label = train[spec.data.label]
    regression = spec.task.kind is TaskKind.REGRESSION
    target = label.to_numpy(dtype=np.float64) if regression else label_codes(label.tolist(), spec.task.classes)
    keys = {name: _keys(spec, part) for name, part in parts.items()}
    ends = {name: (part[spec.data.time].min(), part[spec.data.time].max()) for name, part in parts.items()}
    return {
        "kind": spec.task.kind.value,
        "method": spec.split.method.value,
        "train_rows": len(train),
        "expected": list(spec.data.features),
        "features": leakage_scores(feature_columns(train, spec), target, spec.task.kind, spec.task.classes),
        "forbidden_features": sorted(set(spec.data.features) & {*spec.data.forbidden, spec.data.label}),
        "shared_keys": {f"{a}_{b}": len(keys[a] & keys[b]) for a, b in _PAIRS},
        "gap_s": None
        if spec.split.method is not SplitMethod.TIME
        else {f"{a}_{b}": (ends[b][0] - ends[a][1]).total_seconds() for a, b in (_PAIRS[0], _PAIRS[2])},
    }


def measure_drift(
    spec: ReleaseSpec, batch: pd.DataFrame, champion: Digest | None, profile: Mapping[str, Json] | None
) -> dict[str, Json]:
    """Measure how far the newest batch is from what the champion was fitted on."""
    if champion is None:
        return {"champion": None, "rows": len(batch)}
    found = {} if profile is None else drift(profile, feature_columns(batch, spec))
    return {
        "champion": champion,
        "rows": len(batch),
        "features": found,
        "not_compared": [name for name in spec.data.features if name not in found],
    }


def feature_columns(frame: pd.DataFrame, spec: ReleaseSpec) -> dict[str, NDArray[Any]]:
    """Return the features as arrays: float64 with NaN for numbers, objects with NaN or None for strings.

    The form that `core.drift` and `core.leakage` take; what the champion's profile was made from must be in it too.
    """
    numbers = {name: frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in spec.data.numeric}
    strings = {name: frame[name].to_numpy(dtype=object) for name in spec.data.categorical}
    return {**numbers, **strings}


def _label(spec: ReleaseSpec, train: pd.DataFrame) -> dict[str, Json]:
    label = train[spec.data.label]
    if spec.task.kind is TaskKind.REGRESSION:
        return {
            "kind": spec.task.kind.value,
            "distinct": int(label.nunique()),
            "mean": float(label.mean()) if len(label) else None,
            "sd": float(label.std(ddof=0)) if len(label) else None,
        }
    counts = label.value_counts()
    shares = {name: int(counts.get(name, 0)) / len(label) if len(label) else 0.0 for name in spec.task.classes}
    rarest = min(shares, key=lambda name: shares[name])
    return {"kind": spec.task.kind.value, "shares": shares, "rarest": rarest, "rarest_share": shares[rarest]}


def _keys(spec: ReleaseSpec, part: pd.DataFrame) -> set[tuple[object, ...]]:
    return set(part[list(spec.data.key)].itertuples(index=False, name=None))


def _repeated(spec: ReleaseSpec, parts: Mapping[str, pd.DataFrame]) -> int:
    """Count the rows whose key stands more than once in all parts together."""
    distinct: set[tuple[object, ...]] = set()
    for part in parts.values():
        distinct |= _keys(spec, part)
    return sum(len(part) for part in parts.values()) - len(distinct)
