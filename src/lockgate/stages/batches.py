"""Measure for the batch gate: how much landed and how fresh it is, what stands twice, and how the label is spread.

Shape, beside the plain numbers: `history` (`batches` before this one, at most `MOST_BATCHES`, their `median_rows`, and
`ratio` of this one to it), `champion`, `champion_rows` and `rows_ratio` (rows fitted on, now to then), `copied_share`
(rows alike in everything but their key), `label_shift` (see `drifting.label_shift`; None without a champion).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.duplicates import repeated_rows
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Snapshot
from lockgate.stages.drifting import Reference
from lockgate.stages.part_facts import PartFacts

if TYPE_CHECKING:
    import pandas as pd

MOST_BATCHES = 12
"""Earlier batches that volume is held against: a year of months."""


def measure_newest(spec: ReleaseSpec, snapshot: Snapshot, batch: pd.DataFrame) -> dict[str, Json]:
    """Measure volume, freshness and labels of the newest batch."""
    newest = batch[spec.data.time].max() if len(batch) else None
    lag_s = None if newest is None else (newest - snapshot.as_of).total_seconds()
    return {
        "rows": len(batch),
        "as_of": snapshot.as_of.isoformat(),
        "batch_age_s": None if lag_s is None else max(-lag_s, 0.0),
        "label_lag_s": None if lag_s is None else max(lag_s, 0.0),
        "unlabelled_share": float(batch[spec.data.label].isna().mean()) if len(batch) else None,
    }


def measure_history(rows: int, history: Sequence[int]) -> dict[str, Json]:
    """Hold a batch's rows against those of the batches before it, newest last."""
    recent = list(history)[-MOST_BATCHES:]
    median = float(np.median(recent)) if recent else None
    return {"batches": len(recent), "median_rows": median, "ratio": rows / median if median else None}


def measure_parts(parts: Mapping[str, PartFacts], reference: Reference) -> dict[str, Json]:
    """Measure rows that stand twice, and how many are fitted on against the champion."""
    rows = sum(part.rows for part in parts.values())
    fitted = parts["train"].rows + parts["validation"].rows
    then = None if reference.profile is None else reference.profile.get("rows")
    known = then if isinstance(then, int) and then > 0 else None
    return {
        "train_rows": parts["train"].rows,
        "split_rows": rows,
        "duplicate_share": repeated_rows([part.keys for part in parts.values()]) / rows if rows else None,
        "copied_share": repeated_rows([part.copies for part in parts.values()]) / rows if rows else None,
        "champion": reference.champion,
        "champion_rows": known,
        "rows_ratio": None if known is None else fitted / known,
    }


def measure_label(spec: ReleaseSpec, label: pd.Series) -> dict[str, Json]:
    """Measure how the label of the training rows is spread."""
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
