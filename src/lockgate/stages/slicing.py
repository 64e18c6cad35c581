"""What the `slices` gate measures: the excess loss of every declared slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slices import SliceExcess, slice_excess
from lockgate.core.spec import ReleaseSpec, SliceSection
from lockgate.errors import MeasurementError
from lockgate.stages.sampling import Comparison, Sample

if TYPE_CHECKING:
    import pandas as pd

MOST_SLICES = 300
"""Ours: measurements stay under 100 kB; of a column with more values the smallest are counted, not listed."""
MISSING = "(missing)"


def row_loss(task: TaskKind, y: Floats | Ints, score: Floats) -> Floats:
    """Return the loss of each row: squared error for values, log loss for classes."""
    if task is TaskKind.REGRESSION:
        return np.asarray((score - y) ** 2)
    return metrics.log_loss_rows(y.astype(np.int64), score)


def measure_slices(spec: ReleaseSpec, sample: Sample, comparison: Comparison | None) -> dict[str, Json]:
    """Measure every declared slice against the champion where there is one, else against what it should cost.

    Args:
        spec: The release's spec.
        sample: The rows, used when there is no champion.
        comparison: The rows both answered, and the champion's answers.

    Raises:
        MeasurementError: A declared column is missing.
    """
    task = spec.task.kind
    rows = sample if comparison is None else comparison.sample
    loss = row_loss(task, rows.y, rows.score)
    if comparison is not None:
        basis, reference = "champion", row_loss(task, rows.y, comparison.champion)
    elif task is TaskKind.REGRESSION:
        basis, reference = "overall", np.full(len(loss), loss.mean() if len(loss) else np.nan)
    else:
        basis, reference = "expected", metrics.expected_log_loss_rows(rows.score)
    overall = reference if basis == "champion" else loss
    listed: list[Json] = []
    unlisted = {"slices": 0, "rows": 0, "largest": 0}
    for section in spec.slices:
        found, left = _column(section, rows, loss, reference, against_rest=basis != "champion")
        listed += [_listed(section.column, value, each, _unit(spec)) for value, each in found]
        unlisted["slices"] += len(left)
        unlisted["rows"] += sum(left)
        unlisted["largest"] = max([unlisted["largest"], *left])
    return {
        "basis": basis,
        "declared": [section.column for section in spec.slices],
        "n": len(loss),
        "blocks": rows.blocks,
        "overall_loss": rounded(float(overall.mean())) if len(overall) else None,
        "slices": listed,
        "unlisted": unlisted,
    }


def _column(
    section: SliceSection, rows: Sample, loss: Floats, reference: Floats, *, against_rest: bool
) -> tuple[list[tuple[str, SliceExcess]], list[int]]:
    """Return the slices of one column, largest first, and the sizes of those that are only counted."""
    text = slice_values(rows.frame, section.column)
    found, sizes = np.unique(text, return_counts=True)
    kept = [str(found[k]) for k in np.argsort(-sizes, kind="stable")]
    only = section.values  # noqa: PD011 - a field of the spec, not of a frame
    if only is not None:
        kept = list(only)
    listed, dropped = kept[:MOST_SLICES], set(kept[MOST_SLICES:])
    place = {value: k for k, value in enumerate(listed)}
    member = np.array([place.get(str(value), -1) for value in text], dtype=np.int64)
    excess = slice_excess(
        loss, reference, member, len(listed), block=rows.block, blocks=rows.blocks, against_rest=against_rest
    )
    left = [int(size) for value, size in zip(found, sizes, strict=True) if value in dropped]
    return list(zip(listed, excess, strict=True)), left


def slice_values(frame: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return the slice each row belongs to, as text, shape [n].

    Raises:
        MeasurementError: There is no such column.
    """
    if column not in frame.columns:
        raise MeasurementError(f"slices names {column!r}, which is not in the rows; mend the spec's slices")
    values = frame[column]
    text = values.astype(str).to_numpy(dtype=object, copy=True)
    text[values.isna().to_numpy(dtype=bool)] = MISSING
    return np.asarray(text)


def _listed(column: str, value: str, found: SliceExcess, unit: str) -> Json:
    return {
        "slice": f"{column}={value}",
        "n": found.rows,
        "blocks": found.blocks,
        "loss": rounded(found.loss),
        "excess": {**found.excess.to_json(), "unit": unit},
    }


def _unit(spec: ReleaseSpec) -> str:
    if spec.task.kind is not TaskKind.REGRESSION:
        return "nat"
    return "1" if spec.task.unit == "1" else f"{spec.task.unit}²"
