"""What the `slices` gate measures: the excess loss of every declared slice, and what a search over all features found.

Measurements (`measure_slices`):

    basis         "champion", "expected" or "overall": what a slice is compared with (`core/slices.py`); null: unscored
    declared      names of the declared slices' columns, `a & b` for a pair
    n, blocks     rows and blocks looked at
    overall_loss  mean loss of the reference (with a champion) or of the challenger
    slices        [{slice: "column=value" or "a=x & b=y", n, blocks, loss, excess: {estimate, low, high, se, unit},
                    min_rows: the slice's own minimum or null}]
    unlisted      {slices, rows, largest}: slices that were only counted, because there are too many
    searched      the section of `stages/slice_search.py`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slice_codes import MISSING, coded_numbers, coded_ranges, coded_values, crossed
from lockgate.core.slice_scan import Coded
from lockgate.core.slices import SliceExcess, slice_excess
from lockgate.core.spec import ReleaseSpec, SliceColumn, SliceSection
from lockgate.errors import MeasurementError
from lockgate.stages.sampling import Comparison, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

MOST_SLICES = 300
"""Ours: measurements stay under 100 kB; of declared columns with more slices the smallest are counted, not listed."""


def row_loss(task: TaskKind, y: Floats | Ints, score: Floats) -> Floats:
    """Return the loss of each row: squared error for values, log loss for classes."""
    if task is TaskKind.REGRESSION:
        return np.asarray((score - y) ** 2)
    return metrics.log_loss_rows(y.astype(np.int64), score)


def loss_unit(spec: ReleaseSpec) -> str:
    """Return the unit of `row_loss`."""
    if spec.task.kind is not TaskKind.REGRESSION:
        return "nat"
    return "1" if spec.task.unit == "1" else f"{spec.task.unit}²"


def measure_slices(
    spec: ReleaseSpec,
    sample: Sample,
    comparison: Comparison | None,
    *,
    searched: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Measure every declared slice against the champion where there is one, else against what it should cost.

    Args:
        spec: The release's spec.
        sample: The rows, used when there is no champion.
        comparison: The rows both answered, and the champion's answers.
        searched: What `slice_search_section` returned; None: the search is made here.

    Raises:
        MeasurementError: A declared column is missing, or has ranges and is no number.
    """
    from lockgate.stages.slice_search import search_slices  # it codes its columns as this module does

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
        found, left = _section(spec, section, rows, loss, reference, basis)
        listed += found
        unlisted["slices"] += len(left)
        unlisted["rows"] += sum(left)
        unlisted["largest"] = max([unlisted["largest"], *left])
    return {
        "basis": basis,
        "declared": [_name(section) for section in spec.slices],
        "n": len(loss),
        "blocks": rows.blocks,
        "overall_loss": rounded(float(overall.mean())) if len(overall) else None,
        "slices": listed,
        "unlisted": unlisted,
        "searched": search_slices(spec, sample, comparison) if searched is None else dict(searched),
    }


def _section(  # noqa: PLR0913, PLR0917 - the rows in all the forms they are judged in
    spec: ReleaseSpec, section: SliceSection, rows: Sample, loss: Floats, reference: Floats, basis: str
) -> tuple[list[Json], list[int]]:
    """Return the slices of one section, largest first, and the sizes of those that are only counted."""
    coded, left = declared_slices(rows.frame, section, MOST_SLICES // len(spec.slices))
    excess = slice_excess(
        loss,
        reference,
        coded.codes,
        len(coded.labels),
        block=rows.block,
        blocks=rows.blocks,
        against_rest=basis != "champion",
    )
    unit = loss_unit(spec)
    pairs = zip(coded.labels, excess, strict=True)
    return [_listed(f"{section.column}={label}", each, unit, section.min_rows) for label, each in pairs], left


def declared_slices(frame: pd.DataFrame, section: SliceSection, most: int) -> tuple[Coded, list[int]]:
    """Return the slices of one section, and the sizes of those beyond `most`, the smallest.

    A slice that no row is in is kept only where it was named: a value of `values`, a range of `edges`.

    Raises:
        MeasurementError: A column is missing, or has ranges and is no number.
    """
    coded, named = _coded(frame, section), _names_its_slices(section)
    if section.across is not None:
        coded, named = crossed(coded, _coded(frame, section.across)), named and _names_its_slices(section.across)
    sizes = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.labels))
    there = [k for k, label in enumerate(coded.labels) if sizes[k] or (named and MISSING not in label)]
    if not named:
        there = sorted(there, key=lambda k: -sizes[k])
    kept, left = there[:most], [int(sizes[k]) for k in there[most:]]
    return coded_values(coded.name, coded.codes, coded.labels, kept), left


def _names_its_slices(section: SliceColumn) -> bool:
    return section.edges is not None or section.values is not None  # noqa: PD011 - a field of the spec, not of a frame


def _coded(frame: pd.DataFrame, section: SliceColumn) -> Coded:
    only = section.values  # noqa: PD011 - a field of the spec, not of a frame
    if section.edges is not None:
        return coded_ranges(section.column, _numbers(frame, section.column), section.edges)
    if section.bins is not None:
        return coded_numbers(section.column, _numbers(frame, section.column), section.bins)
    codes, labels = text_codes(_column(frame, section.column))
    if only is None:
        return coded_values(section.column, codes, labels, range(len(labels)))
    known = [*labels, *(value for value in only if value not in labels)]
    return coded_values(section.column, codes, known, [known.index(value) for value in only])


def text_codes(column: pd.Series) -> tuple[Ints, list[str]]:
    """Return the code of each row's value, shape [n], and the values as text, the most frequent first."""
    import pandas as pd

    codes, found = pd.factorize(column, use_na_sentinel=True)
    text = np.array([str(value) for value in found] + [MISSING], dtype=object)
    labels, merged = np.unique(text, return_inverse=True)  # two values may have one text
    codes = merged[np.where(codes < 0, len(found), codes)].astype(np.int64)
    sizes = np.bincount(codes, minlength=len(labels))
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], [str(labels[k]) for k in order if sizes[k]]


def _numbers(frame: pd.DataFrame, column: str) -> Floats:
    try:
        return np.asarray(_column(frame, column).to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as wrong:
        raise MeasurementError(f"slices cuts {column!r} into ranges, and it holds no numbers: {wrong}") from wrong


def _column(frame: pd.DataFrame, column: str) -> Any:  # noqa: ANN401 - pandas is not typed here
    if column not in frame.columns:
        raise MeasurementError(f"slices names {column!r}, which is not in the rows; mend the spec's slices")
    return frame[column]


def _name(section: SliceSection) -> str:
    return section.column if section.across is None else f"{section.column} & {section.across.column}"


def _listed(name: str, found: SliceExcess, unit: str, min_rows: int | None) -> Json:
    return {
        "slice": name,
        "n": found.rows,
        "blocks": found.blocks,
        "loss": rounded(found.loss),
        "excess": {**found.excess.to_json(), "unit": unit},
        "min_rows": min_rows,
    }
