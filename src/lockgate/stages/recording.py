"""Judging and recording: evidence goes to the ledger before it is judged, the verdict after.

    measurements ── EVIDENCE row ── judge ── VERDICT row ── (every gate of stages 1 to 7) ── BLESSING row

A stage that is retried appends again; of a gate's verdicts in one release the newest counts, but a FAIL stands. Judged
is the evidence as it can be read back, so that an auditor who judges it again holds the same value.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lockgate.core.approval_overrides import lets_pass, standing
from lockgate.core.blessing import Blessing, OverriddenBlessing, Subjects, bless
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, Stage, digest_of, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.records import read_record
from lockgate.core.verdict import GateReport, Verdict, could_not_measure
from lockgate.errors import IntegrityError, LedgerConflict, MeasurementError, NotBlessed, TransientError
from lockgate.ports import Clock, Ledger

T = TypeVar("T", Evidence, Blessing)

_RACES = 20  # ours: batches land and alerts fire beside a release, but not twenty between two statements
_SUBJECTS = ("spec", "data", "bundle", "champion", "code")
_NEEDS_BUNDLE = frozenset({Stage.INFRA, Stage.STRESS, Stage.STAGING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Where one release's evidence and verdicts go.

    Attributes:
        ledger: The record.
        clock: Dates the evidence.
        model: The model.
        release: The release under judgement.
        actor: Who or what measures, e.g. the task's name.
        thresholds: Each gate's thresholds by gate name (`spec.gates`); a gate not named keeps its defaults.
        measured_on: Host and platform.
    """

    ledger: Ledger
    clock: Clock
    model: ModelName
    release: ReleaseId
    actor: str
    thresholds: Mapping[str, Any]
    measured_on: str

    def judge(self, gate: Gate, measurements: Mapping[str, Json], subjects: Mapping[str, str]) -> GateReport:
        """Record what was measured, judge it, record the verdict."""
        evidence = Evidence(
            gate=gate.name,
            stage=gate.stage,
            release=self.release,
            measured_at=self.clock.now(),
            measured_on=self.measured_on,
            subjects=subjects,
            measurements=measurements,
        )
        row = self._append(Event.EVIDENCE, _object(evidence))
        thresholds = self._thresholds(gate)
        return self._verdict(gate.judge(read_evidence(row), thresholds), thresholds)

    def fail_to_measure(self, gate: Gate, reason: str) -> GateReport:
        """Record that a gate's measurement broke: ERROR, without evidence."""
        return self._verdict(could_not_measure(gate.name, gate.stage, reason), self._thresholds(gate))

    def _thresholds(self, gate: Gate) -> object:
        return self.thresholds[gate.name] if gate.name in self.thresholds else gate.thresholds()

    def _verdict(self, report: GateReport, thresholds: object) -> GateReport:
        self._append(Event.VERDICT, {**_object(report), "thresholds": to_json(thresholds)})
        return report

    def _append(self, event: Event, payload: Mapping[str, Json]) -> LedgerRow:
        return self.ledger.append(self.model, event, payload, release=self.release, actor=self.actor)


def judge_and_record(  # noqa: PLR0913 - a judgement has this many facts; all but two are keywords
    ledger: Ledger,
    clock: Clock,
    *,
    model: ModelName,
    release: ReleaseId,
    stage: Stage,
    gates: Sequence[Gate],
    thresholds: Mapping[str, Any],
    measurements: Mapping[str, Mapping[str, Json]],
    subjects: Mapping[str, str],
    actor: str = "lockgate",
) -> tuple[GateReport, ...]:
    """Record and judge what one stage measured, for every gate of that stage.

    Args:
        ledger: The record.
        clock: Dates the evidence.
        model: The model.
        release: The release under judgement.
        stage: The stage that measured.
        gates: The one list of gates; those of other stages are passed over.
        thresholds: `spec.gates`.
        measurements: By gate name. A gate of this stage that is not named reports ERROR: it was not measured.
        subjects: Digests of what was measured, by role: spec, data, bundle, champion, code.
        actor: Who or what measured.

    Returns:
        One report a gate of the stage, in the order of `gates`.

    Raises:
        MeasurementError: Measurements name a gate that is none of this stage.
    """
    of_stage = [gate for gate in gates if gate.stage is stage]
    unknown = sorted(set(measurements) - {gate.name for gate in of_stage})
    if unknown:
        allowed = ", ".join(gate.name for gate in of_stage) or "none"
        raise MeasurementError(f"{stage} measured for {unknown[0]!r}, which is no gate of it; its gates: {allowed}")
    recorder = Recorder(
        ledger=ledger,
        clock=clock,
        model=model,
        release=release,
        actor=actor,
        thresholds=thresholds,
        measured_on=f"{platform.node()} {platform.platform()}",
    )
    return tuple(
        recorder.judge(gate, measurements[gate.name], subjects)
        if gate.name in measurements
        else recorder.fail_to_measure(gate, f"{stage} gave no measurements for gate {gate.name}; retry the stage")
        for gate in of_stage
    )


def reports_of(ledger: Ledger, model: ModelName, release: ReleaseId) -> tuple[GateReport, ...]:
    """Return the newest report of each gate of a release, in the order the gates first reported."""
    return newest_reports(ledger.rows(model, release=release, events=(Event.VERDICT,)))


def newest_reports(rows: Iterable[LedgerRow]) -> tuple[GateReport, ...]:
    """Return the newest report of each gate among the verdict rows of one release."""
    newest = {report.gate: report for report in map(read_report, _of(rows, Event.VERDICT))}
    return tuple(newest.values())


def bless_release(
    ledger: Ledger,
    model: ModelName,
    subjects: Subjects,
    required: Sequence[str],
    *,
    actor: str = "lockgate",
) -> Blessing:
    """Bless a release whose required gates, those of stages 1 to 7, all passed for these subjects; record it once.

    The newest verdicts are read and the row is appended as one compare-and-set: a verdict that comes between is seen.

    Raises:
        NotBlessed: A required gate did not pass (or be overridden), failed before, or measured other subjects.
        TransientError: Other writers kept coming first.
    """
    for _ in range(_RACES):
        seen = ledger.last_seq(model)
        rows = ledger.rows(model, release=subjects.release, events=(Event.EVIDENCE, Event.VERDICT, Event.BLESSING))
        overridden = standing(ledger.rows(model, events=(Event.RELEASE_OPENED, Event.OVERRIDDEN)), subjects.release)
        excused = lets_pass(map(read_report, _of(rows, Event.VERDICT)), required, overridden)
        blessing = bless(subjects, newest_reports(rows), required, excused)
        refuse_other_subjects(rows, subjects, required)
        refuse_failed_before(rows, set(required) - set(excused))
        if any(digest_of(row.payload) == blessing.digest for row in rows if row.event is Event.BLESSING):
            return blessing
        try:
            ledger.append(
                model, Event.BLESSING, _object(blessing), release=subjects.release, actor=actor, expect_seq=seen
            )
        except LedgerConflict:
            continue
        return blessing
    raise TransientError(f"{subjects.release}: {_RACES} times another row came before the blessing; retry")


def refuse_other_subjects(rows: Iterable[LedgerRow], subjects: Subjects, required: Iterable[str]) -> None:
    """Check that what each required gate measured is what would ship.

    Raises:
        NotBlessed: The evidence behind a required gate names another digest, or no bundle where one was tested.
    """
    rows = tuple(rows)
    evidence = {each.digest: each for each in map(read_evidence, _of(rows, Event.EVIDENCE))}
    wanted = set(required)
    for report in newest_reports(rows):
        if report.gate in wanted and report.evidence is not None:
            if report.evidence not in evidence:
                raise NotBlessed(f"gate {report.gate} judged evidence that is not on record", gate=report.gate)
            _refuse_mismatch(evidence[report.evidence], subjects)


def refuse_failed_before(rows: Iterable[LedgerRow], required: Iterable[str]) -> None:
    """Check that no required gate of a release ever said FAIL: what failed is not measured again until it passes.

    Raises:
        NotBlessed: One did; a run that died between the verdict and the end of its release was taken up again.
    """
    wanted = set(required)
    for report in map(read_report, _of(rows, Event.VERDICT)):
        if report.gate in wanted and report.verdict is Verdict.FAIL:
            said = f"gate {report.gate} said FAIL before it said PASS ({report.reason}); no measurement undoes that"
            raise NotBlessed(f"{said}: start a new release", gate=report.gate)


def _refuse_mismatch(evidence: Evidence, subjects: Subjects) -> None:
    ship = _object(subjects)
    for role in _SUBJECTS:
        measured, shipped = evidence.subjects.get(role), ship[role]
        if role == "bundle" and measured is None and evidence.stage in _NEEDS_BUNDLE:
            raise NotBlessed(f"gate {evidence.gate} does not say which bundle it tested", gate=evidence.gate)
        if measured and measured != shipped:
            raise NotBlessed(
                f"gate {evidence.gate} measured {role} {measured[:12]}, but {str(shipped)[:12]} would ship; "
                "start a new release",
                gate=evidence.gate,
                role=role,
            )


def blessing_of(ledger: Ledger, model: ModelName, release: ReleaseId) -> Blessing:
    """Return the newest blessing of a release.

    Raises:
        NotBlessed: It has none.
    """
    rows = ledger.rows(model, release=release, events=(Event.BLESSING,))
    if not rows:
        raise NotBlessed(f"{release} is not blessed; run: lockgate explain {release}", release=release)
    return read_blessing(rows[-1])


def read_evidence(row: LedgerRow) -> Evidence:
    """Return the evidence of an EVIDENCE row; the digest of its payload is its own.

    Raises:
        IntegrityError: The row holds none, or something beside it.
    """
    return _checked(read_record(Evidence, row.payload), row)


def read_blessing(row: LedgerRow) -> Blessing:
    """Return the blessing of a BLESSING row; the digest of its payload is its own.

    Raises:
        IntegrityError: The row holds none, or something beside it.
    """
    kind: type[Blessing] = OverriddenBlessing if "overrides" in row.payload else Blessing
    return _checked(read_record(kind, row.payload), row)


def read_report(row: LedgerRow) -> GateReport:
    """Return the report of a VERDICT row.

    Raises:
        IntegrityError: The row holds none.
    """
    return read_record(GateReport, row.payload)


def spec_on_record(opened: LedgerRow) -> tuple[Digest, Json]:
    """Return the digest of the spec a release was opened with, and its content; null where the row holds none.

    Raises:
        IntegrityError: The content is not the one its digest names.
    """
    digest, content = Digest(str(opened.payload.get("spec"))), opened.payload.get("resolved_spec")
    if content is not None and digest_of(content) != digest:
        raise IntegrityError(f"row {opened.seq}: the spec on record is not the one its digest names", seq=opened.seq)
    return digest, content


def _checked(value: T, row: LedgerRow) -> T:
    if digest_of(value) != digest_of(row.payload):
        raise IntegrityError(f"{row.model} row {row.seq} holds more than one {row.event}", seq=row.seq)
    return value


def _of(rows: Iterable[LedgerRow], event: Event) -> Iterable[LedgerRow]:
    return (row for row in rows if row.event is event)


def _object(value: object) -> dict[str, Json]:
    found = to_json(value)
    if not isinstance(found, dict):
        raise TypeError(f"{type(value).__name__} has no JSON object form")
    return found
