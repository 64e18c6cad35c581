"""Measure for `core.monitoring.joint`: how far combinations of features tell logged rows from training rows.

Bounded: at most `monitoring.joint.rows` rows of each side, of at most `MOST_GROUPS` days together, so that every day
stays a block of its own. Numbers are compared as the float32 that a model sees: training has more digits.

Shape of what is measured: `{"n", "reference_n", "blocks", "reference_blocks", "seed", "auc", "alone", "excess", "by":
[{"feature", "drop"}]}` with estimates as `Estimate.to_json`; or `not_measured` in place of the last four. `drop` is how
much more AUC shuffling the feature takes from the classifier of all than from the one of each alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lockgate.core.block_statistics import auc
from lockgate.core.drift import as_seen
from lockgate.core.ids import Json
from lockgate.core.intervals import MOST_GROUPS, block_interval, rounded
from lockgate.core.joint_shift import MIN_BLOCKS, Placed, placed
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import DatasetStore, Snapshot
from lockgate.stages.domain import MOST_FEATURES, categorical_of, drawn, matrix_of, out_of_fold

if TYPE_CHECKING:
    import pandas as pd

MOST_DAYS = MOST_GROUPS // 2
"""Days of now that are looked at, the newest; the other half is left for the reference."""
LEAST_FEATURES = 2
LEAST_ROWS = 1_000
"""Rows of a side below which the finer classifier learns chance. Ours: 0.025 of excess was seen at 2,000 of one law."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledRows:
    """Rows of one side.

    Attributes:
        frame: Features, under their names; others may be there.
        day: Whole days since any day, growing with time, shape (n,).
    """

    frame: pd.DataFrame
    day: NDArray[np.int64]


def narrowed(spec: ReleaseSpec, without: Sequence[str]) -> ReleaseSpec:
    """Return the spec without some features."""
    numeric = tuple(name for name in spec.data.numeric if name not in without)
    categorical = tuple(name for name in spec.data.categorical if name not in without)
    return replace(spec, data=replace(spec.data, numeric=numeric, categorical=categorical))


def training_rows(store: DatasetStore, spec: ReleaseSpec, snapshot: Snapshot, *, days: int, seed: int) -> SampledRows:
    """Read rows of a champion's training part, the same for one seed; one column is in memory at a time.

    Args:
        store: Holds the snapshot.
        spec: Names features and time, and how many rows.
        snapshot: What the champion was fitted on.
        days: At most so many days, drawn.
        seed: Draws days and rows.

    Raises:
        BadInput: The snapshot has no such column.
        IntegrityError: Its rows are gone, or are not what was frozen.
    """
    import pandas as pd

    time = store.part(snapshot, "train", [spec.data.time])[spec.data.time]
    day = time.to_numpy(dtype="datetime64[D]").astype(np.int64)
    there = np.unique(day)
    places = np.flatnonzero(np.isin(day, there[drawn(len(there), days, seed)]))
    places = places[drawn(len(places), spec.monitoring.joint.rows, seed)]
    columns = {name: store.part(snapshot, "train", [name])[name].iloc[places] for name in spec.data.features}
    return SampledRows(frame=pd.DataFrame(columns).reset_index(drop=True), day=day[places])


def measure_joint(spec: ReleaseSpec, reference: SampledRows, now: SampledRows, *, seed: int) -> dict[str, Json]:
    """Measure how much better features together tell the two sides apart than each alone.

    Args:
        spec: Names the features that are compared.
        reference: Rows that the champion was fitted on.
        now: Rows that it was asked.
        seed: Deals the folds and shuffles.
    """
    is_now = np.repeat([False, True], [len(reference.day), len(now.day)])
    where = placed(np.concatenate([reference.day, now.day]), is_now)
    told: dict[str, Json] = {
        "n": len(now.day),
        "reference_n": len(reference.day),
        "blocks": where.of_now,
        "reference_blocks": where.of_reference,
        "seed": seed,
    }
    few = _too_few(spec, where, min(len(reference.day), len(now.day)))
    if few:
        return {**told, "not_measured": few}
    return {**told, **_compared(spec, _seen(spec, reference, now), is_now, where, seed)}


def _too_few(spec: ReleaseSpec, where: Placed, least: int) -> str:
    if len(spec.data.features) < LEAST_FEATURES:
        return f"{len(spec.data.features)} features can be compared; {LEAST_FEATURES} are needed"
    if not where.enough:
        days = f"{where.of_now} days now and {where.of_reference} of training"
        return f"{days}; {MIN_BLOCKS} of each are needed"
    return f"{least} rows of a side; {LEAST_ROWS} are needed" if least < LEAST_ROWS else ""


def _seen(spec: ReleaseSpec, reference: SampledRows, now: SampledRows) -> NDArray[np.float64]:
    """Return both sides as numbers, those of training at the precision of the log; shape (n, features)."""
    import pandas as pd

    names = list(spec.data.features)
    matrix = matrix_of(pd.concat([reference.frame[names], now.frame[names]], ignore_index=True), spec)
    seen = as_seen(matrix)
    return np.where(np.isinf(seen), np.nan, seen)


def _compared(
    spec: ReleaseSpec, matrix: NDArray[np.float64], is_now: NDArray[np.bool_], where: Placed, seed: int
) -> dict[str, Json]:
    categorical, target = categorical_of(spec), is_now.astype(np.int64)
    score, drops = out_of_fold(matrix, is_now, where.block, categorical, seed)
    score_alone, drops_alone = out_of_fold(matrix, is_now, where.block, categorical, seed, alone=True)
    of_all = auc(target, score, where.block, where.blocks)
    of_each = auc(target, score_alone, where.block, where.blocks)
    more = [ours - theirs for ours, theirs in zip(drops, drops_alone, strict=True)]
    order = sorted(range(len(more)), key=lambda at: -more[at])[:MOST_FEATURES]
    names = spec.data.features
    return {
        "auc": block_interval(of_all, where.blocks, lowest=0.0, highest=1.0).to_json(),
        "alone": block_interval(of_each, where.blocks, lowest=0.0, highest=1.0).to_json(),
        "excess": block_interval(lambda weights: of_all(weights) - of_each(weights), where.blocks).to_json(),
        "by": [{"feature": names[at], "drop": rounded(more[at], 4)} for at in order if more[at] > 0],
    }
