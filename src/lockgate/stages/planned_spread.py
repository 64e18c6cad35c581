"""How much the plan's metric varies between entities, and how labels come: from recent traffic, before a rollout."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.online.means import FEWEST
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation
from lockgate.core.rollout.proxy import as_tested
from lockgate.core.rollout.routing import CHAMPION
from lockgate.core.rollout.steps import rate_sd
from lockgate.core.rollout.tally_losses import loss_of
from lockgate.core.spec_sections.rollout import Metric, RolloutSection, RolloutStrategy
from lockgate.stages.planned_looks import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """What the logs hold of recent traffic.

    Attributes:
        live: Live requests of the stretch that is planned on, oldest first.
        labels: Labels of any time.
        kpis: Numbers of the business of any time.
    """

    live: tuple[Observation, ...] = ()
    labels: tuple[LabelSeen, ...] = ()
    kpis: tuple[KpiSeen, ...] = ()


def spread_of(
    section: RolloutSection, logged: Logged, task: TaskKind, classes: Sequence[str], first_failures: float
) -> Spread:
    """Return what is known of the plan's metric.

    Args:
        section: The spec's `rollout`.
        logged: Recent traffic.
        task: What is predicted.
        classes: By index.
        first_failures: Share of entities whose first request the champion failed.
    """
    plan = as_tested(section.plan)
    metric = plan.metric
    if metric is None:
        metric = Metric.DISAGREEMENT if section.strategy is RolloutStrategy.SHADOW else Metric.ERRORS
    if metric is Metric.LOSS:
        return labels_of(logged, task, classes)
    if metric is Metric.KPI:
        names = [each.name for each in section.guardrails.kpi]
        found = _sd(_first_by_entity((each.entity, each.value) for each in logged.kpis if [each.name] == names[:1]))
        return Spread(sd=found, source="recent values of the business number" if found else "")
    if metric is Metric.DISAGREEMENT or not logged.live:
        return Spread(sd=None, source="")
    return Spread(sd=rate_sd(first_failures, plan.margin), source="recent failures and the margin")


def labels_of(logged: Logged, task: TaskKind, classes: Sequence[str]) -> Spread:
    """Return coverage and delay of labels, and the standard deviation of the champion's loss.

    Where fewer than `FEWEST` labels have come, that of classes is what it would be if the champion's probabilities were
    right; of a regression nothing is known.
    """
    ours = {each.prediction_id: each for each in logged.live if each.arm == CHAMPION and each.scores}
    told = [each for each in logged.labels if each.prediction_id in ours]
    losses = _first_by_entity(
        (ours[each.prediction_id].entity, loss_of(task, classes, ours[each.prediction_id].scores, each.row, each.label))
        for each in told
    )
    delays = [each.received - ours[each.prediction_id].time for each in told]
    delay_s = float(np.median(delays)) if delays else 0.0
    late_s = float(np.quantile(delays, 0.9)) if delays else 0.0
    until = max((each.time for each in logged.live), default=0.0) - late_s
    due = {name for name, each in ours.items() if each.time <= until}
    labelled = {each.prediction_id for each in told} & due
    coverage = len(labelled) / len(due) if due else float(bool(told))
    if len(losses) >= FEWEST:
        return Spread(sd=_sd(losses), source="losses of recent labels", coverage=coverage, delay_s=delay_s)
    expected = _expected_sd(ours.values(), task, classes)
    source = "recent scores, as if they were right; too few labels" if expected is not None else ""
    return Spread(sd=expected, source=source, coverage=coverage, delay_s=delay_s)


def _expected_sd(answers: Iterable[Observation], task: TaskKind, classes: Sequence[str]) -> float | None:
    """Return the standard deviation of the Brier score if the first row's probabilities were right."""
    if task is TaskKind.REGRESSION:
        return None
    means, squares = [], []
    for each in answers:
        told = each.scores[: len(classes)] if task is TaskKind.MULTICLASS else (1.0 - each.scores[0], each.scores[0])
        losses = [loss_of(task, classes, each.scores, 0, name) for name in classes]
        if len(told) == len(losses) and all(math.isfinite(loss) for loss in losses):
            means.append(sum(p * loss for p, loss in zip(told, losses, strict=True)))
            squares.append(sum(p * loss**2 for p, loss in zip(told, losses, strict=True)))
    if len(means) < FEWEST:
        return None
    variance = float(np.mean(squares)) - float(np.mean(means)) ** 2
    return math.sqrt(variance) if variance > 0 else None


def _first_by_entity(values: Iterable[tuple[str | None, float]]) -> list[float]:
    """Return one finite value an entity, its first; who names none is one each time."""
    known: set[str] = set()
    found = []
    for entity, value in values:
        if math.isfinite(value) and (entity is None or entity not in known):
            found.append(value)
            if entity is not None:
                known.add(entity)
    return found


def _sd(values: Sequence[float]) -> float | None:
    found = float(np.std(values, ddof=1)) if len(values) >= FEWEST else 0.0
    return found if found > 0 else None
