"""What a rollout and a drill of a model count with: its logs, and a tally that knows its task and its costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lockgate.core.contract import TaskKind
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import ReleaseSpec, RolloutSection
from lockgate.line.model_line import Line

if TYPE_CHECKING:
    from lockgate.adapters.traffic_log import FileTrafficLog

KPI_FOLDER = "kpi"


def traffic_log(line: Line) -> FileTrafficLog:
    """Return the logs of production, with the slices and the business numbers that the spec names."""
    from lockgate.adapters.traffic_log import FileTrafficLog

    settings, spec = line.services.settings, line.spec
    return FileTrafficLog(
        settings.serving("production"),
        settings.home / KPI_FOLDER,
        slices=tuple(
            dict.fromkeys([each.column for each in spec.slices] + [c.column for c in spec.rollout.subpopulations])
        ),
        kpis={each.name: each.file for each in spec.rollout.guardrails.kpi},
    )


def tally_of(line: Line, course: Course, section: RolloutSection, kept: bytes | None) -> Tally:
    """Return a new tally of the model, or the one that was kept.

    Raises:
        IntegrityError: What was kept is of another course, or is none.
    """
    task, costs, due_s = line.spec.task, costs_of(line.spec), line.spec.data.label_delay_s
    if kept is not None:
        return Tally.from_bytes(kept, course, section, task.kind, task.classes, costs=costs, due_s=due_s)
    return Tally(course, section, task.kind, task.classes, costs=costs, due_s=due_s)


def costs_of(spec: ReleaseSpec) -> Mapping[str, Mapping[str, float]] | None:
    """Return what happened, to what was decided, to its cost; None for numbers, and where all is alike.

    >>> from lockgate.core.spec import DataSection, ModelSection, TaskSection
    >>> spec = ReleaseSpec(
    ...     model=ModelSection(name="toy"), task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
    ...     data=DataSection(suite="toy", label="y", time="t", key=("id",), numeric=("a",)),
    ... )
    >>> costs_of(spec)
    {'no': {'yes': 1.0}, 'yes': {'no': 1.0}}
    """
    if spec.task.kind is TaskKind.BINARY:
        no, yes = spec.task.classes
        return {no: {yes: spec.costs.false_positive}, yes: {no: spec.costs.false_negative}}
    return spec.costs.matrix if spec.task.kind is TaskKind.MULTICLASS else None
