"""Running one stage: measure, record, judge, and say it in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lockgate.adapters.durable_files import room_for
from lockgate.core.approval_overrides import standing
from lockgate.core.gates.registry import GATES, gates_of
from lockgate.core.ids import Stage
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.core.verdict import GateReport, Verdict, fold
from lockgate.errors import MeasurementError
from lockgate.line.model_line import Line, Measured
from lockgate.line.stages import RUNNERS
from lockgate.line.words import check_rows, stage_page, stage_sentence
from lockgate.stages.recording import judge_and_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A stage that was judged.

    Attributes:
        stage: Which.
        so_far: The progress, ended if a gate stopped it.
        reports: Its gates' reports.
        sentence: What happened, in one sentence.
        page: The same for a reader, in markdown.
        rows: Every check, for a searchable table.
        links: Pages by name.
    """

    stage: Stage
    so_far: Progress
    reports: tuple[GateReport, ...]
    sentence: str
    page: str
    rows: tuple[Mapping[str, Any], ...]
    links: Mapping[str, str]


def run(line: Line, stage: Stage, so_far: Progress) -> Done:
    """Run one stage for a release.

    Raises:
        MeasurementError: A gate could not measure, and none said FAIL, which no measurement could undo. It is on record
            as ERROR; raised, because a result that is kept would be read back by a Retry instead of measured again.
        TransientError: Something that the stage needs does not answer, or the disk is full; nothing is on record.
    """
    with room_for(f"what {stage.value} writes", line.services.settings.home):
        measured = RUNNERS[stage](line, so_far)
    reports = _judged(line, stage, measured)
    worst = fold(report.verdict for report in reports)
    if worst is Verdict.ERROR:
        broken = next(report for report in reports if report.verdict is worst)
        raise MeasurementError(f"gate {broken.gate} could not measure: {broken.reason}", gate=broken.gate)
    after = replace(measured.so_far, stage=stage)
    if gates_of(stage):
        after = after.judged(reports, _overridden(line, so_far))
    return Done(
        stage=stage,
        so_far=after,
        reports=reports,
        sentence=stage_sentence(stage, after, reports),
        page=stage_page(stage, after, reports, measured.words),
        rows=check_rows(reports),
        links=measured.links,
    )


def _overridden(line: Line, so_far: Progress) -> Collection[str]:
    """Return the gates whose FAIL two people let pass for this release."""
    rows = line.ledger.rows(line.model, events=(Event.RELEASE_OPENED, Event.OVERRIDDEN))
    return standing(rows, so_far.release)


def _judged(line: Line, stage: Stage, measured: Measured) -> tuple[GateReport, ...]:
    if not gates_of(stage):
        return ()
    so_far = measured.so_far
    return judge_and_record(
        line.ledger,
        line.services.clock,
        model=line.model,
        release=so_far.release,
        stage=stage,
        gates=GATES,
        thresholds=line.spec.gates,
        measurements=measured.measurements,
        subjects=subjects_of(so_far),
        actor=stage.value,
    )


def subjects_of(so_far: Progress) -> dict[str, str]:
    """Return the digests of what has been measured so far, by role."""
    named = {role: so_far.refs[role] for role in ("data", "bundle", "champion") if so_far.refs.get(role)}
    return {"spec": so_far.spec, "code": so_far.code, **named}
