"""What the `fairness` gate measures: rates by group of every column in the spec's `sensitive`, and how far they differ.

Measurements (`measure_fairness`); with no column declared only the first line is there:

    declared       the columns of `sensitive`
    task, classes, risk, confidence, n, blocks
    rmse           regression: root mean squared error of all rows; null otherwise
    basis, overall_loss
                   what a group's loss is compared with, as in `slices`
    columns        one entry a declared column:
      column
      groups       [{group: "column=value", n, blocks, share,
                     rates: {name: {estimate, low, high, se, n, blocks, unit}},
                     excess: {estimate, low, high, se, unit}, excess_n, excess_blocks}]       largest first
      unlisted     {groups, rows, largest}: groups that were only counted, because there are too many
      gaps         {name: {judged: [group, ...], overall, n, unit, lowest, highest, detectable,
                           difference: {estimate, low, high, se, unit}, ratio: {estimate, low, high} or null,
                           to_overall: {difference, ratio}}}           null but for `judged` below two groups
    intersections  the same for two columns at once ("a & b", the first six pairs), without excess and with the rates
                   that are judged: advice

The rates are those of `core/group_rates.py`. Sums by group and block are taken once, so all rows are used: no sample
is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.fairness import Groups, Rate, gap, group_estimate, group_sums, measure_groups, to_overall
from lockgate.core.gates import fairness as fairness_gate
from lockgate.core.gates.fairness_checks import is_comparable
from lockgate.core.group_rates import RowRate, binary_rates, class_rates, value_rates
from lockgate.core.ids import Json
from lockgate.core.intervals import rounded
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slice_codes import coded_numbers, coded_values, crossed
from lockgate.core.slice_scan import Coded
from lockgate.core.slices import slice_excess
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import MeasurementError
from lockgate.stages.deciding import decided_for
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Comparison, Sample
from lockgate.stages.slicing import loss_unit, row_loss, text_codes

MOST_GROUPS = 20
"""Ours: of one column the largest groups are listed, the rest counted."""
ALL_GROUPS, ALL_CROSSED, MOST_PAIRS = 40, 24, 6
"""Ours: listed groups of all columns, of all pairs of columns, and pairs; so measurements stay under 100 kB."""
RANGES = 5
"""Ours: a number with more than twenty values (an age) is cut into fifths of the rows."""
MOST_CLASSES = 12
"""Ours: recall is told for the first so many classes; more would not be read."""


def measure_fairness(examination: Examination) -> dict[str, Json]:
    """Measure every group of every sensitive column; see the module for the shape.

    Raises:
        MeasurementError: A declared column is missing.
    """
    spec, sample = examination.spec, examination.sample
    declared: list[Json] = list(spec.sensitive)
    if not declared:
        return {"declared": []}
    asked = spec.gates.get("fairness", fairness_gate.Thresholds())
    rates = _rates(spec, sample, examination.scores.threshold)
    coded = {name: _groups(sample, name) for name in spec.sensitive}
    unscored = examination.scores.champion is not None and examination.comparison is None
    compared = _Compared.of(spec, sample, examination.comparison, unscored=unscored)
    return {
        "declared": declared,
        "task": spec.task.kind,
        "classes": list(spec.task.classes[:MOST_CLASSES]),
        "risk": spec.model.risk,
        "confidence": asked.confidence,
        "n": len(sample.y),
        "blocks": sample.blocks,
        "rmse": _rmse(spec, sample),
        "basis": compared.basis,
        "overall_loss": compared.overall,
        "columns": [
            _column(each, sample, rates, asked, compared=compared, columns=len(coded)) for each in coded.values()
        ],
        "intersections": _crossed(spec, coded, sample, rates, asked),
    }


def _rates(spec: ReleaseSpec, sample: Sample, threshold: float | None) -> dict[str, RowRate]:
    """Return every rate of the task."""
    loss = row_loss(spec.task.kind, sample.y, sample.score)
    rates = {"loss": RowRate(value=loss, counts=np.ones(len(loss)), is_share=False, unit=loss_unit(spec))}
    if spec.task.kind is TaskKind.REGRESSION:
        return rates | value_rates(sample.y.astype(np.float64), sample.score, spec.task.unit)
    y, decided = sample.y.astype(np.int64), decided_for(spec, sample.score, threshold)
    if spec.task.kind is TaskKind.BINARY:
        return rates | binary_rates(y, decided, sample.score)
    return rates | class_rates(y, decided, spec.task.classes[:MOST_CLASSES])


def _groups(sample: Sample, name: str) -> Coded:
    """Return the groups of one column, the largest first; numbers of many values in ranges."""
    if name not in sample.frame.columns:
        raise MeasurementError(f"sensitive names {name!r}, which is not in the rows; mend the spec or land the column")
    column = sample.frame[name]
    codes, labels = text_codes(column)
    if len(labels) > MOST_GROUPS and column.dtype.kind in "iuf":
        return coded_numbers(name, column.to_numpy(dtype=np.float64, na_value=np.nan), RANGES)
    return coded_values(name, codes, labels, range(len(labels)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What the loss of a group is held against; `rows` says which rows of the sample were compared."""

    basis: str | None
    overall: float | None
    rows: Sample
    inside: Ints
    loss: Floats
    reference: Floats
    unit: str

    @classmethod
    def of(cls, spec: ReleaseSpec, sample: Sample, comparison: Comparison | None, *, unscored: bool) -> _Compared:
        """Take the champion's loss on the same rows, or what rows should cost where there never was a champion."""
        rows = sample if comparison is None else comparison.sample
        loss = row_loss(spec.task.kind, rows.y, rows.score)
        if comparison is not None:
            basis, reference = "champion", row_loss(spec.task.kind, rows.y, comparison.champion)
        elif spec.task.kind is TaskKind.REGRESSION:
            basis, reference = "overall", np.full(len(loss), loss.mean() if len(loss) else np.nan)
        else:
            basis, reference = "expected", metrics.expected_log_loss_rows(rows.score)
        overall = reference if comparison is not None else loss
        return cls(
            # a champion that could not be scored must not turn into "there is none"
            basis=None if unscored else basis,
            overall=rounded(float(overall.mean())) if len(overall) else None,
            rows=rows,
            inside=np.searchsorted(sample.kept, rows.kept),
            loss=loss,
            reference=reference,
            unit=loss_unit(spec),
        )

    def excess(self, coded: Coded) -> list[dict[str, Json]]:
        """Return the excess loss of every group."""
        found = slice_excess(
            self.loss,
            self.reference,
            coded.codes[self.inside],
            len(coded.labels),
            block=self.rows.block,
            blocks=self.rows.blocks,
            against_rest=self.basis != "champion",
        )
        return [
            {
                "excess": {**each.excess.to_json(), "unit": self.unit},
                "excess_n": each.rows,
                "excess_blocks": each.blocks,
            }
            for each in found
        ]


def _column(  # noqa: PLR0913 - the rows, their rates, and what is asked of them
    coded: Coded,
    sample: Sample,
    rates: Mapping[str, RowRate],
    asked: fairness_gate.Thresholds,
    *,
    compared: _Compared,
    columns: int,
) -> Json:
    listed, unlisted = _largest(coded, min(MOST_GROUPS, max(5, ALL_GROUPS // columns)))
    groups, gaps = _measured(listed, sample, rates, asked)
    pairs = zip(groups, compared.excess(listed), strict=True)
    return {
        "column": coded.name,
        "groups": [{**group, **excess} for group, excess in pairs],
        "unlisted": unlisted,
        "gaps": gaps,
    }


def _crossed(
    spec: ReleaseSpec,
    coded: Mapping[str, Coded],
    sample: Sample,
    rates: Mapping[str, RowRate],
    asked: fairness_gate.Thresholds,
) -> list[Json]:
    told = {name: each for name, each in rates.items() if name in _JUDGED[spec.task.kind] or name.startswith("recall:")}
    found: list[Json] = []
    pairs = list(combinations(spec.sensitive, 2))[:MOST_PAIRS]
    for one, other in pairs:
        listed, unlisted = _largest(crossed(coded[one], coded[other]), ALL_CROSSED // len(pairs))
        groups, gaps = _measured(listed, sample, told, asked)
        name = f"{one} & {other}"
        found.append({"column": name, "groups": list(groups), "unlisted": unlisted, "gaps": gaps})
    return found


_JUDGED: Mapping[TaskKind, Sequence[str]] = {
    TaskKind.BINARY: ("selection_rate", "true_positive_rate", "false_positive_rate"),
    TaskKind.MULTICLASS: (),
    TaskKind.REGRESSION: ("mean_error",),
}


def _largest(coded: Coded, most: int) -> tuple[Coded, Json]:
    """Return the largest groups, empty ones left out, and how many were only counted."""
    sizes = np.bincount(coded.codes[coded.codes >= 0], minlength=len(coded.labels))
    order = [int(k) for k in np.argsort(-sizes, kind="stable") if sizes[k]]
    left = [int(sizes[k]) for k in order[most:]]
    listed = coded_values(coded.name, coded.codes, coded.labels, order[:most])
    return listed, {"groups": len(left), "rows": sum(left), "largest": max(left, default=0)}


def _measured(
    coded: Coded, sample: Sample, rates: Mapping[str, RowRate], asked: fairness_gate.Thresholds
) -> tuple[list[dict[str, Json]], Json]:
    """Return every group with its rates, and how far the groups are apart in each rate."""
    size = len(coded.labels)
    rows = group_sums(np.ones(len(sample.y)), coded.codes, size, sample.block, sample.blocks)
    by_rate = {name: each.by_group(coded, sample.block, sample.blocks) for name, each in rates.items()}
    found = {name: measure_groups(rate) for name, rate in by_rate.items()}
    groups: list[dict[str, Json]] = [
        {
            "group": f"{coded.name}={coded.labels[k]}",
            "n": int(rows[k].sum()),
            "blocks": int((rows[k] > 0).sum()),
            "share": rounded(float(rows[k].sum() / max(len(sample.y), 1)), 4),
            "rates": {name: _estimated(by_rate[name], found[name], k, asked.confidence) for name in rates},
        }
        for k in range(size)
    ]
    return groups, {name: _gap(name, rates[name], found[name], groups, asked) for name in rates}


def _estimated(rate: Rate, found: Groups, group: int, confidence: float) -> Json:
    return {
        **group_estimate(rate, group, found, confidence).to_json(),
        "n": int(found.n[group]),
        "blocks": int(found.blocks[group]),
        "unit": rate.unit,
    }


def _gap(
    name: str,
    judged: RowRate,
    found: Groups,
    groups: Sequence[Mapping[str, Json]],
    asked: fairness_gate.Thresholds,
) -> Json:
    kept = [k for k, each in enumerate(groups) if is_comparable(each, name, asked.limits)]
    told = [groups[k]["group"] for k in kept]
    if len(kept) < 2:
        return {"judged": told, "difference": None, "ratio": None}
    apart = gap(found, kept, asked.confidence)
    overall = judged.overall()
    difference, ratio = to_overall(found, overall, kept)
    return {
        "judged": told,
        "overall": rounded(overall),
        "n": int(found.n[kept].sum()),
        "unit": judged.unit,
        "lowest": told[int(found.value[kept].argmin())],
        "highest": told[int(found.value[kept].argmax())],
        "detectable": rounded(apart.detectable),
        "difference": {**apart.difference.to_json(), "unit": judged.unit},
        "ratio": _ratio(apart.ratio.value, apart.ratio.low, apart.ratio.high) if judged.has_ratio else None,
        "to_overall": {"difference": rounded(difference), "ratio": rounded(ratio) if judged.has_ratio else None},
    }


def _ratio(value: float, low: float, high: float) -> Json:
    return {"estimate": rounded(value), "low": rounded(low), "high": rounded(high)}


def _rmse(spec: ReleaseSpec, sample: Sample) -> float | None:
    if spec.task.kind is not TaskKind.REGRESSION or not len(sample.y):
        return None
    return rounded(float(np.sqrt(((sample.score - sample.y) ** 2).mean())))
