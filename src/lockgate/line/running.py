"""Running one stage: measure, record, judge, and say it in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lockgate.bootstrap import Services, services
from lockgate.core.gates.registry import GATES, gates_of
from lockgate.core.ids import Digest, Json, ModelName, Stage
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import MeasurementError
from lockgate.line.words import check_rows, stage_page, stage_sentence
from lockgate.ports import Ledger
from lockgate.stages.recording import judge_and_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One model's line: its spec and the parts that carry it.

    Attributes:
        services: Every port.
        spec: The model's spec.
    """

    services: Services
    spec: ReleaseSpec

    @property
    def ledger(self) -> Ledger:
        """The record."""
        return self.services.ledger

    @property
    def model(self) -> ModelName:
        """The model's name."""
        return self.spec.name

    def folder(self, so_far: Progress) -> Path:
        """Return the release's working folder, made if absent."""
        folder = self.services.settings.release(so_far.release)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def line_of(model: str) -> Line:
    """Return the line of a model in this process.

    Raises:
        ConfigError: The model has no spec, or it is wrong.
    """
    found = services()
    return Line(services=found, spec=found.spec(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a stage measured and made.

    Attributes:
        so_far: The progress, with the references the stage made.
        measurements: By gate name; empty for a stage without gates.
        words: Markdown for the stage's page, below its gates.
        links: Pages by name.
    """

    so_far: Progress
    measurements: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    words: str = ""
    links: Mapping[str, str] = field(default_factory=dict)


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


Runner = Callable[[Line, Progress], Measured]


def run(line: Line, stage: Stage, so_far: Progress) -> Done:
    """Run one stage for a release.

    Raises:
        MeasurementError: A gate could not measure. It is on record as ERROR; raised, because a result that is kept
            would be read back by a Retry instead of measured again.
    """
    from lockgate.line.stages import RUNNERS

    measured = RUNNERS[stage](line, so_far)
    reports = _judged(line, stage, measured)
    for report in reports:
        if report.verdict is Verdict.ERROR:
            raise MeasurementError(f"gate {report.gate} could not measure: {report.reason}", gate=report.gate)
    after = replace(measured.so_far, stage=stage)
    if gates_of(stage):
        after = after.judged(reports)
    return Done(
        stage=stage,
        so_far=after,
        reports=reports,
        sentence=stage_sentence(stage, after, reports),
        page=stage_page(stage, after, reports, measured.words),
        rows=check_rows(reports),
        links=measured.links,
    )


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


def champion_of(so_far: Progress) -> Digest | None:
    """Return the champion the release is compared with, fixed when it was opened; None when there never was one."""
    named = so_far.refs.get("champion")
    return Digest(named) if named else None


def release_of_bundle(line: Line, bundle: Digest) -> str | None:
    """Return the release that made a bundle, from the ledger."""
    for row in reversed(line.ledger.rows(line.model, events=(Event.BUNDLE,))):
        if row.payload["bundle"] == bundle:
            return row.release
    return None
