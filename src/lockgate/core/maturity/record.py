"""What the ML Test Score is computed from: one release's verdicts, measurements, evaluation, chain and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from lockgate.core.estimates import items, within
from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.verdict import Verdict

UNKNOWN_SPEC = "what its spec declared is not known, for the model's spec is another one today"
"""Said where a test needs the spec of a release and only its digest is on record."""


class Area(StrEnum):
    """The four areas of seven tests each."""

    DATA = "data"
    MODEL = "model"
    INFRASTRUCTURE = "infrastructure"
    MONITORING = "monitoring"


class Answer(Enum):
    """What a test counts."""

    NO = 0.0
    HALF = 0.5
    YES = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one of the 28 tests.

    Attributes:
        id: D1 to D7, M1 to M7, I1 to I7, O1 to O7.
        area: Which area it counts in.
        title: The test, in the rubric's words.
        answer: yes, half or no.
        why: What the answer rests on, or what is missing for more; one sentence.
        evidence: The records that say so; empty only for no.
    """

    id: str
    area: Area
    title: str
    answer: Answer
    why: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One release's record.

    Attributes:
        release: Which.
        rows: The model's chain up to and with this release's newest verdict.
        verdicts: The newest VERDICT row of each gate of the release.
        measured: The newest measurements of each gate of the release.
        evaluation: Its `evaluation.json`; empty where there is none.
        provenance: Facts of the program that made its bundle: `commit`, `dirty`.
        spec: The JSON of its spec; empty where it is not known any more.
        files: Names of dated files of results in the project, e.g. `docs/results/2026-11-21-crashes.md`.
    """

    release: ReleaseId
    rows: tuple[LedgerRow, ...]
    verdicts: Mapping[str, LedgerRow]
    measured: Mapping[str, Mapping[str, Json]]
    evaluation: Mapping[str, Json] = field(default_factory=dict)
    provenance: Mapping[str, Json] = field(default_factory=dict)
    spec: Mapping[str, Json] = field(default_factory=dict)
    files: Sequence[str] = ()

    def verdict(self, gate: str) -> Verdict | None:
        """Return a gate's verdict; None where it did not report, or a required check of it was not applicable."""
        row = self.verdicts.get(gate)
        said = None if row is None else row.payload.get("verdict")
        return Verdict(said) if said in tuple(Verdict) else None

    def passed(self, gate: str) -> bool:
        """Tell whether a gate passed by measuring: one whose required checks all did not apply has shown nothing."""
        required = [each for each in self.checks(gate) if within(each, "required") is True]
        applied = [each for each in required if within(each, "verdict") != Verdict.NOT_APPLICABLE]
        return self.verdict(gate) is Verdict.PASS and bool(applied)

    def checks(self, gate: str) -> tuple[Json, ...]:
        """Return a gate's checks, as recorded."""
        row = self.verdicts.get(gate)
        found = None if row is None else row.payload.get("checks")
        return tuple(items(found))

    def check_passed(self, gate: str, name: str) -> bool:
        """Tell whether a gate made at least one check of that name, and each of them passed."""
        found = [within(each, "verdict") for each in self.checks(gate) if within(each, "name") == name]
        return bool(found) and all(each == Verdict.PASS for each in found)

    def of_gate(self, gate: str) -> str:
        """Name a gate's verdict as evidence."""
        row = self.verdicts.get(gate)
        return f"gate {gate}" if row is None else f"gate {gate}, row {row.seq}"

    def section(self, name: str) -> Json:
        """Return a section of the evaluation; None where it is not there or holds nothing."""
        found = within(self.evaluation.get("sections"), name)
        return found or None

    def dated(self, word: str) -> tuple[str, ...]:
        """Return the result files whose name holds a word."""
        return tuple(name for name in self.files if word in name)


def read_record_of(  # noqa: PLR0913 - a record has this many sources; all but two are keywords
    rows: Sequence[LedgerRow],
    release: ReleaseId,
    *,
    evaluation: Json = None,
    provenance: Json = None,
    spec: Json = None,
    files: Sequence[str] = (),
) -> Record:
    """Collect one release's record from its model's chain and what else is known of it; nothing here raises.

    Args:
        rows: One model's rows, in order. Those after the release's newest verdict are left out, so that the same
            release gives the same record later.
        release: Which.
        evaluation: Its `evaluation.json`.
        provenance: Facts of the program: `commit`, `dirty`.
        spec: The JSON of its spec.
        files: Names of dated files of results.
    """
    mine = [row for row in rows if row.release == release and row.event in (Event.VERDICT, Event.EVIDENCE)]
    last = max((row.seq for row in mine), default=0)
    verdicts = {str(row.payload.get("gate")): row for row in mine if row.event is Event.VERDICT}
    measured = {str(row.payload.get("gate")): row.payload.get("measurements") for row in mine if _is_evidence(row)}
    return Record(
        release=release,
        rows=tuple(row for row in rows if row.seq <= last),
        verdicts=verdicts,
        measured={gate: each for gate, each in measured.items() if isinstance(each, Mapping)},
        evaluation=_object(evaluation),
        provenance=_object(provenance),
        spec=_object(spec),
        files=tuple(files),
    )


def _is_evidence(row: LedgerRow) -> bool:
    return row.event is Event.EVIDENCE


def _object(given: Json) -> Mapping[str, Json]:
    return given if isinstance(given, Mapping) else {}
