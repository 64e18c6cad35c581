"""How answers become decisions, and decisions become prices: one rule for everything that evaluation measures."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.block_statistics import Metric
from lockgate.core.metrics import Floats, Ints
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import Costs, decided, task_metrics
from lockgate.stages.sampling import Sample


def costs_of(spec: ReleaseSpec, threshold: float | None) -> Costs:
    """Return how decisions are made and priced.

    Args:
        spec: The release's spec.
        threshold: A fit's own decision threshold; None: the spec's.
    """
    return Costs(
        threshold=threshold if threshold is not None else spec.task.threshold,
        false_positive=spec.costs.false_positive,
        false_negative=spec.costs.false_negative,
        matrix=spec.costs.by_index(spec.task.classes),
    )


def decided_for(spec: ReleaseSpec, score: Floats, threshold: float | None) -> Ints:
    """Return the class index each row is decided for, shape [n]; classes only."""
    return decided(score, costs_of(spec, threshold))


def metrics_of(spec: ReleaseSpec, sample: Sample, score: Floats, threshold: float | None) -> Mapping[str, Metric]:
    """Return every metric of the spec's task over one set of answers to a sample's rows."""
    return task_metrics(
        spec.task.kind,
        sample.y,
        score,
        block=sample.block,
        blocks=sample.blocks,
        costs=costs_of(spec, threshold),
        unit=spec.task.unit,
    )
