"""Stage `evaluate_model`: every gate of offline evaluation, and the document that ships with the bundle.

Who scores is not this module's matter: an `Examination` holds the rows and everybody's answers to them. Each gate and
each section is measured by a module of its own, whose first lines say what it writes. `evaluation.json` is

    schema_version, model, task, block
    gates       by gate: its measurements
    curves      n, challenger, champion: what a page draws (`core/curves.py`)
    sections    by name: what is shown beside the gates and binds nothing; {"unmeasured_because": why} where it broke
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias, cast

import numpy as np

from lockgate.core import curves
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json, to_json
from lockgate.core.metrics import Floats
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import MeasurementError
from lockgate.stages.deciding import decided_for
from lockgate.stages.examination import Examination
from lockgate.stages.sampling import Sample

DOCUMENT_VERSION = 2

Measure: TypeAlias = Callable[[Examination], Mapping[str, Json]]


def measures() -> Mapping[str, Measure]:
    """Return what measures for each gate of the stage, by gate; the libraries behind them are loaded here."""
    from lockgate.stages.champion import measure_champion
    from lockgate.stages.fairness import measure_fairness
    from lockgate.stages.quality import measure_quality
    from lockgate.stages.robustness import measure_robustness

    return {
        "quality": measure_quality,
        "champion": measure_champion,
        "slices": _slices,
        "fairness": measure_fairness,
        "robustness": measure_robustness,
    }


def sections() -> Mapping[str, Measure]:
    """Return what measures each section that needs the examination alone, by the section's name."""
    from lockgate.stages.comparisons import tests_section
    from lockgate.stages.contributions import contributions_section
    from lockgate.stages.error_analysis import errors_section
    from lockgate.stages.slice_search import slice_search_section

    return {
        "tests": tests_section,
        "contributions": contributions_section,
        "errors": errors_section,
        "slice_search": slice_search_section,
    }


def _slices(examination: Examination) -> Mapping[str, Json]:
    from lockgate.stages.slicing import measure_slices

    champion = examination.scores.champion
    if champion is not None and examination.comparison is None:
        # a champion that could not be scored must not turn into "there is none": no slices, hence ERROR
        return {"basis": None}
    return measure_slices(examination.spec, examination.sample, examination.comparison)


def measure_evaluation(examination: Examination) -> Mapping[str, Mapping[str, Json]]:
    """Measure for every gate of the stage.

    Returns:
        Measurements by gate name, rounded to ten significant digits; no row and no key of the data is in them.

    Raises:
        MeasurementError: A column is missing, or an answer does not fit.
    """
    measured = {name: measure(examination) for name, measure in measures().items()}
    return cast("Mapping[str, Mapping[str, Json]]", to_json(measured))


def evaluation_document(
    examination: Examination,
    measured: Mapping[str, Mapping[str, Json]],
    extra: Mapping[str, Mapping[str, Json]] | None = None,
) -> dict[str, Json]:
    """Return what the bundle carries as `evaluation.json`: the measurements, the curves and sections a dossier draws.

    Under 300 kB; holds no row and no key of the data.

    Args:
        examination: What the gates measured on.
        measured: What they measured.
        extra: Sections that need more than the examination (`folds`, `staleness`), by name.

    Raises:
        MeasurementError: As `measure_evaluation`.
    """
    spec, comparison = examination.spec, examination.comparison
    shown = examination.sample if comparison is None else comparison.sample
    drawn = {"challenger": _curves(spec, shown, shown.score, examination.scores.threshold)}
    if comparison is not None:
        drawn["champion"] = _curves(spec, shown, comparison.champion, comparison.threshold)
    document = {
        "schema_version": DOCUMENT_VERSION,
        "model": spec.name,
        "task": spec.task.kind,
        "block": spec.split.block,
        "gates": measured,
        "curves": {"n": len(shown.y), **drawn},
        "sections": {**_sections(examination, measured), **(extra or {})},
    }
    return cast("dict[str, Json]", to_json(document))


def _sections(examination: Examination, measured: Mapping[str, Mapping[str, Json]]) -> dict[str, Mapping[str, Json]]:
    """Measure every section; one that breaks says so in its place, because it binds nothing."""
    found: dict[str, Mapping[str, Json]] = {}
    searched = measured.get("slices", {}).get("searched")
    if isinstance(searched, Mapping):
        found["slice_search"] = searched  # the gate has made the search already
    for name, section in sections().items():
        if name in found:
            continue
        try:
            found[name] = section(examination)
        except MeasurementError as why:
            found[name] = {"unmeasured_because": why.message}
    return found


def _curves(spec: ReleaseSpec, sample: Sample, score: Floats, threshold: float | None) -> dict[str, Json]:
    if not len(sample.y):
        return {}
    if spec.task.kind is TaskKind.REGRESSION:
        return {"residuals": curves.residuals(sample.y.astype(np.float64), score)}
    y = sample.y.astype(np.int64)
    decided = decided_for(spec, score, threshold)
    drawn: dict[str, Json] = {"confusion": curves.confusion(y, decided, spec.task.classes)}
    if spec.task.kind is TaskKind.BINARY:
        drawn["roc"] = {spec.task.classes[1]: curves.roc_points(y, score)}
        drawn["reliability"] = curves.reliability(y, score, sample.block, sample.blocks)
        drawn["scores"] = curves.histogram(score, 0.0, 1.0)
        return drawn
    drawn["roc"] = {
        name: curves.roc_points((y == k).astype(np.int64), score[:, k]) for k, name in enumerate(spec.task.classes)
    }
    right = (decided == y).astype(np.int64)
    drawn["reliability"] = curves.reliability(right, score.max(axis=1), sample.block, sample.blocks)
    return drawn
