"""Measure for the drift gate: the newest batch and the training rows against what the champion was fitted on.

From the champion's reference profile, of all rows: PSI, total variation, Cramer's V, p and q values, noise floor. From
a seeded sample of its training rows, where they are still there: Wasserstein distance and the classifier of
`stages/domain.py`. Where they are gone the profile's sizes still bind, and `reference` says why there is no more.

Shape: `{"champion", "rows", "features": {name: {...core.drift, "wasserstein_sd", "sample_n"}}, "not_compared",
"domain": {...}, "training": {"rows", "features", "not_compared", "domain"}, "reference": {"rows", "sample"} or
{"gone": reason}}`; `{"champion": None, "rows"}` where there never was one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.drift import drift
from lockgate.core.ids import Digest, Json
from lockgate.core.shift import wasserstein_sd
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import LockgateError
from lockgate.ports import DatasetStore, Snapshot
from lockgate.stages.domain import SAMPLE, drawn, measure_domain
from lockgate.stages.feature_columns import feature_columns

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the champion was fitted on.

    Attributes:
        champion: The bundle that serves; None only when the ledger shows that there never was one.
        profile: Its `reference_profile.json`; None when it cannot be read.
        snapshot: The rows it was trained on; None when they are gone.
        gone: Why the rows are gone.
    """

    champion: Digest | None
    profile: Mapping[str, Json] | None = None
    snapshot: Snapshot | None = None
    gone: str = "the champion's training rows were not asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRows:
    """A sample of the champion's training rows.

    Attributes:
        sample: Features, time and label of at most `domain.SAMPLE` rows; None when the rows are gone.
        rows: How many there are in all.
        gone: Why the rows are gone.
    """

    sample: pd.DataFrame | None
    rows: int = 0
    gone: str = ""

    def told(self) -> dict[str, Json]:
        """Return what was read, for the record."""
        return {"gone": self.gone} if self.sample is None else {"rows": self.rows, "sample": len(self.sample)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How far one set of rows is from the reference.

    Attributes:
        told: Its measurements.
        sample: The rows that a classifier may compare.
    """

    told: dict[str, Json]
    sample: pd.DataFrame


def reference_rows(store: DatasetStore, spec: ReleaseSpec, reference: Reference) -> ReferenceRows:
    """Read a sample of the champion's training rows; what cannot be read is told, never raised."""
    if reference.snapshot is None:
        return ReferenceRows(sample=None, gone=reference.gone)
    columns = [*spec.data.features, spec.data.time, spec.data.label]
    try:
        rows = store.part(reference.snapshot, "train", columns)
    except (LockgateError, OSError) as why:
        return ReferenceRows(sample=None, gone=str(getattr(why, "message", why)))
    return ReferenceRows(sample=sampled(spec, rows), rows=len(rows))


def sampled(spec: ReleaseSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return at most `domain.SAMPLE` rows, drawn with the spec's seed: features, time and label."""
    columns = [*spec.data.features, spec.data.time, spec.data.label]
    return rows[columns].iloc[drawn(len(rows), SAMPLE, spec.training.seed)].copy()


def moved(spec: ReleaseSpec, rows: pd.DataFrame, reference: Reference) -> Moved:
    """Compare every row with the champion's profile, and keep a sample for `compared`."""
    found = {} if reference.profile is None else drift(reference.profile, feature_columns(rows, spec))
    missed: list[Json] = [name for name in spec.data.features if name not in found]
    return Moved(told={"rows": len(rows), "features": found, "not_compared": missed}, sample=sampled(spec, rows))


def compared(spec: ReleaseSpec, now: Moved, rows: ReferenceRows) -> dict[str, Json]:
    """Return the measurements of one set of rows, with what a sample of the reference adds."""
    if rows.sample is None:
        return {**now.told, "domain": {"not_measured": rows.gone}}
    features = now.told["features"]
    found = dict(features) if isinstance(features, Mapping) else {}
    then, later = feature_columns(rows.sample, spec), feature_columns(now.sample, spec)
    for name in spec.data.numeric:
        facts = found.get(name)
        if isinstance(facts, Mapping):
            distance = wasserstein_sd(np.asarray(then[name]), np.asarray(later[name]))
            found[name] = {**facts, "wasserstein_sd": distance, "sample_n": len(now.sample)}
    domain = measure_domain(spec, rows.sample, now.sample, seed=spec.training.seed)
    return {**now.told, "features": found, "domain": domain}


def measure_drift(
    spec: ReleaseSpec, batch: pd.DataFrame, champion: Digest | None, profile: Mapping[str, Json] | None
) -> dict[str, Json]:
    """Measure how far one frame is from the profile alone: no training rows, no sample of the reference."""
    reference = Reference(champion=champion, profile=profile)
    if champion is None:
        return joined(reference, None, None, ReferenceRows(sample=None))
    rows = ReferenceRows(sample=None, gone=reference.gone)
    return joined(reference, compared(spec, moved(spec, batch, reference), rows), None, rows)


def joined(
    reference: Reference, batch: Mapping[str, Json] | None, training: Mapping[str, Json] | None, rows: ReferenceRows
) -> dict[str, Json]:
    """Join the measurements of batch and training rows into the gate's."""
    if reference.champion is None:
        return {"champion": None}
    return {"champion": reference.champion, **(batch or {}), "training": training, "reference": rows.told()}


def label_shift(spec: ReleaseSpec, train: pd.Series, rows: ReferenceRows) -> dict[str, Json]:
    """Measure how far the label's law is from that of the champion's training rows.

    Returns:
        `shift` (total variation of the class shares; for values the Wasserstein distance in reference standard
        deviations), `n` (rows of the reference behind it), or `unknown`: why the champion's rows are gone.
    """
    if rows.sample is None:
        return {"unknown": rows.gone}
    then = rows.sample[spec.data.label].dropna()
    if spec.task.kind is TaskKind.REGRESSION:
        values = train.to_numpy(dtype=np.float64, na_value=np.nan)
        some = values[drawn(len(values), SAMPLE, spec.training.seed)]
        return {"shift": wasserstein_sd(then.to_numpy(dtype=np.float64), some), "n": len(then)}
    was = then.astype("str").value_counts(normalize=True)
    now = train.astype("str").value_counts(normalize=True)
    apart = sum(abs(float(now.get(name, 0.0)) - float(was.get(name, 0.0))) for name in {*was.index, *now.index})
    return {"shift": apart / 2, "n": len(then)}
