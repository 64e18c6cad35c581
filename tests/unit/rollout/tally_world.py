"""Observations by hand, and tallies of small courses."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from lockgate.core.contract import TaskKind
from lockgate.core.online.findings import Evidence
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Counted, Tally
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    KpiGuardrail,
    LatencyGuardrail,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
    StepSection,
)

BEGAN = 1_000_000.0
EVERYTHING = GuardrailsSection(
    score=ScoreGuardrail(tolerated=0.05),
    quality=QualityGuardrail(),
    kpi=(KpiGuardrail(name="bookings", file="bookings.jsonl"),),
)
_ids = itertools.count()


def request(arm: str = "champion", share: float = 0.2, **told: Any) -> Observation:
    """A live request of an arm while the challenger has a share."""
    given: dict[str, Any] = {
        "time": BEGAN,
        "prediction_id": f"p{next(_ids)}",
        "arm": arm,
        "propensity": share if arm == "challenger" else 1.0 - share,
        "latency_us": 1000,
    }
    if not told.get("failed"):
        given |= {"scores": (0.5,), "labels": ("no",)}
    return Observation(**{**given, **told})


def copied(prediction_id: str, live: dict[str, Any] | None = None, **told: Any) -> tuple[Observation, Observation]:
    """The live request of the champion and its copy."""
    both = {"prediction_id": prediction_id, "share": 0.0}
    copy = request("challenger", **{**both, "propensity": 1.0, "shadow": True, **told})
    return request("champion", **{**both, **(live or {})}), copy


def seen(
    *observations: Observation, labels: Iterable[LabelSeen] = (), kpis: Iterable[KpiSeen] = (), lost: int = 0
) -> Seen:
    return Seen(observations=observations, labels=tuple(labels), kpis=tuple(kpis), cursor="", lost=lost)


def label(of: Observation, said: str, *, row: int = 0, received: float = BEGAN + 1) -> LabelSeen:
    return LabelSeen(prediction_id=of.prediction_id, row=row, label=said, received=received)


def section_of(
    strategy: RolloutStrategy = RolloutStrategy.CANARY,
    guardrails: GuardrailsSection | None = None,
    metric: Metric | None = None,
    steps: tuple[StepSection, ...] = (),
    **plan: Any,
) -> RolloutSection:
    return RolloutSection(
        strategy=strategy,
        steps=steps,
        guardrails=guardrails or GuardrailsSection(latency=LatencyGuardrail(block_s=10.0)),
        plan=PlanSection(metric=metric, **plan),
    )


def tally_of(
    section: RolloutSection | None = None,
    task: TaskKind = TaskKind.BINARY,
    classes: tuple[str, ...] = ("no", "yes"),
    **more: Any,
) -> Tally:
    section = section or section_of()
    return Tally(course_of(section, sd=0.3), section, task, classes, **more)


def evidence(counted: Counted, name: str) -> Evidence:
    return next(each for each in counted.evidence if each.guardrail == name)


def failures(counted: Counted, name: str = "errors") -> list[tuple[float, int, int]]:
    """First failures by share: challenger's, champion's."""
    counts = evidence(counted, name).failures
    assert counts is not None
    return [(round(each.share, 6), each.challenger, each.champion) for each in counts.steps]


def arrivals(counted: Counted) -> list[tuple[float, int, int]]:
    counts = evidence(counted, "arrivals").arrivals
    assert counts is not None
    return [(each.shares[0], each.entities[0], each.entities[-1]) for each in counts.steps]
