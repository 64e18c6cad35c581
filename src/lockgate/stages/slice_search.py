"""Slices that nobody declared: one- and two-way groups of rows over all features, found on one half, told by the other.

Section `slice_search` (also `slices.searched` among the gate's measurements):

    searched      whether a search was made; when it was not, `reason` says why and nothing else is there
    basis         "champion": excess over the champion's loss on the same rows
                  "alike": over the mean loss of rows that were answered alike (one of twenty ranges of the answer)
    unit, overall_loss, least_excess, fdr
    n             rows by half: {search, confirm}
    blocks        blocks by half
    columns, paired, candidates, too_small
                  columns searched alone and in pairs; slices looked at, and slices too small to be
    not_confirmable
                  candidates kept by the one half that have too few rows in the other to be measured there
    findings      [{slice: "a=x" or "a=x & b=y", columns, n, blocks, excess: {estimate, low, high, se, unit},
                    beyond_parents, beside: the same or null,       all of the half that did not choose it
                    searched: {n, excess},                          of the half that did: optimistic
                    q_value, confirmed}]                            of "worse at all", at the false discovery rate

`beyond_parents` says by how much a pair is worse than its two columns together explain, `beside` how bad those of its
rows are that no finding before it holds; both must be shown for a finding to be confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.gates import slices as slices_gate
from lockgate.core.ids import Json
from lockgate.core.intervals import Estimate, rounded
from lockgate.core.metrics import Floats
from lockgate.core.slice_codes import MISSING, bins_for, coded_numbers, coded_values
from lockgate.core.slice_scan import Coded, Plan, Rows
from lockgate.core.slice_search import Finding, alike, finding_p_value, is_measured, search
from lockgate.core.slices import adjusted
from lockgate.core.spec import ReleaseSpec
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Comparison, Sample
from lockgate.stages.slicing import loss_unit, row_loss, text_codes

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 20
"""Ours: of a text column the most frequent values are searched; the twenty-first of equal ones holds under 5 %."""

LEAST_FRACTION = 0.01
"""Ours: an excess below one per cent of the overall loss is nobody's concern, however sure."""


def slice_search_section(examination: Examination) -> dict[str, Json]:
    """Search the features for groups of rows that are served worse than they should be."""
    if examination.scores.champion is not None and examination.comparison is None:
        return {"searched": False, "reason": "there is a champion that could not be scored"}
    return search_slices(examination.spec, examination.sample, examination.comparison)


def search_slices(spec: ReleaseSpec, sample: Sample, comparison: Comparison | None) -> dict[str, Json]:
    """Search one half of the blocks and confirm on the other; see the module for the shape."""
    asked = spec.gates.get("slices", slices_gate.Thresholds())
    rows = sample if comparison is None else comparison.sample
    halves = (rows.blocks + 1) // 2, rows.blocks // 2
    plan = Plan()
    if asked.searched is slices_gate.Binding.OFF:
        return {"searched": False, "reason": "gates.slices.searched is off"}
    if halves[1] < plan.min_blocks:
        return {
            "searched": False,
            "reason": f"{rows.blocks} blocks cannot be halved; {2 * plan.min_blocks} are needed to search and confirm",
        }
    loss = row_loss(spec.task.kind, rows.y, rows.score)
    overall = loss
    if comparison is not None:
        overall = reference = row_loss(spec.task.kind, rows.y, comparison.champion)
    else:
        reference = alike(loss, _how_hard(spec.task.kind, rows.score))
    plan = Plan(least=LEAST_FRACTION * float(overall.mean()))
    within = Rows(difference=loss - reference, block=rows.block, blocks=rows.blocks, against_rest=comparison is None)
    columns = _coded(spec, rows.frame, bins_for(len(loss) // 2, plan.min_rows))
    found = search(columns, within, plan)
    measured = [each for each in found.findings if is_measured(each)]
    return {
        "searched": True,
        "basis": "alike" if comparison is None else "champion",
        "unit": loss_unit(spec),
        "overall_loss": rounded(float(overall.mean())),
        "least_excess": rounded(plan.least),
        "fdr": asked.fdr,
        "n": {name: int(each) for name, each in zip(("search", "confirm"), _sizes(rows), strict=True)},
        "blocks": {"search": halves[0], "confirm": halves[1]},
        "columns": len(columns),
        "paired": found.paired,
        "candidates": found.candidates,
        "too_small": found.too_small,
        "not_confirmable": len(found.findings) - len(measured),
        "findings": _findings(measured, columns, loss_unit(spec), asked.fdr),
    }


def _how_hard(task: TaskKind, score: Floats) -> Floats:
    """Return the one number by which rows are answered alike: the answer; of many classes, how undecided it is."""
    return metrics.expected_log_loss_rows(score) if task is TaskKind.MULTICLASS else score


def _sizes(rows: Sample) -> tuple[int, int]:
    odd = int((rows.block % 2).sum())
    return len(rows.block) - odd, odd


def _coded(spec: ReleaseSpec, frame: pd.DataFrame, bins: int) -> list[Coded]:
    """Return every feature that is there as slices: numbers in ranges, text by its most frequent values."""
    numeric = [name for name in spec.data.numeric if name in frame.columns]
    coded = [coded_numbers(name, frame[name].to_numpy(dtype=np.float64, na_value=np.nan), bins) for name in numeric]
    for name in (name for name in spec.data.categorical if name in frame.columns):
        codes, labels = text_codes(frame[name])
        kept = sorted({*range(len(labels))[:MOST_VALUES], *(k for k, each in enumerate(labels) if each == MISSING)})
        coded.append(coded_values(name, codes, labels, kept))
    return coded


def _findings(found: Sequence[Finding], columns: list[Coded], unit: str, fdr: float) -> list[Json]:
    q_values = adjusted([finding_p_value(each) for each in found])
    pairs = zip(found, q_values, strict=True)
    return [_listed(each, columns, unit, rounded(q), confirmed=q <= fdr) for each, q in pairs]


def _listed(finding: Finding, columns: list[Coded], unit: str, q_value: float, *, confirmed: bool) -> Json:
    places = zip(finding.candidate.columns, finding.candidate.codes, strict=True)
    again = finding.confirmed
    return {
        "slice": " & ".join(f"{columns[k].name}={columns[k].labels[code]}" for k, code in places),
        "columns": [columns[k].name for k in finding.candidate.columns],
        "n": again.rows,
        "blocks": again.blocks,
        "excess": _estimate(again.excess, unit),
        "beyond_parents": _estimate(again.beyond_parents, unit),
        "beside": _estimate(again.beside, unit),
        "searched": {"n": finding.searched.rows, "excess": _estimate(finding.searched.excess, unit)},
        "q_value": q_value,
        "confirmed": confirmed,
    }


def _estimate(found: Estimate | None, unit: str) -> Json:
    return None if found is None else {**found.to_json(), "unit": unit}
