"""The expectations gate: does the data meet the model's own suite?

Judges what the validator measured. Strict, because the library fails open: an expectation that raised blocks whatever
its severity, one that was not evaluated blocks, and a suite without a row count says nothing about an empty frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.gates.measured import count, number, value_at
from lockgate.core.ids import Json, Stage
from lockgate.core.verdict import Check, Direction, GateReport, compare, report

FRAMES = ("batch", "train")
"""The frames that must have been looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What may be unmet.

    Attributes:
        failed_warnings: Most unmet expectations of severity warning, in each frame, before the check is shown as
            failed; it is advisory. Unmet critical ones, and any that raised, always block.
    """

    failed_warnings: Annotated[int, Ge(0)] = 0


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge `DataValidator.validate`'s measurements; what is not there is an ERROR check."""
    seen = evidence.measurements
    checks = [
        compare(
            "row_count_expectations",
            number(seen, "row_count_expectations"),
            1,
            Direction.AT_LEAST,
            unit="expectations",
            reason="without a critical expect_table_row_count_to_be_between an empty frame passes; add one",
        )
    ]
    for frame in FRAMES:
        checks += _frame_checks(seen, frame, thresholds)
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _frame_checks(seen: Mapping[str, Json], frame: str, thresholds: Thresholds) -> list[Check]:
    results = _results(seen, frame)
    expected = number(seen, "expected")
    critical = None if results is None else [r for r in results if _unmet(r) and r.get("severity") != "warning"]
    warned = None if results is None else [r for r in results if _unmet(r) and r.get("severity") == "warning"]
    raised = None if results is None else [r for r in results if r.get("raised") is not False]
    n = count(seen, f"frames.{frame}.rows")

    return [
        compare(
            "evaluated",
            None if results is None or expected is None or expected < 1 else len(results),
            expected or 0.0,
            Direction.EQUAL,
            unit="expectations",
            slice=f"frame={frame}",
            reason="not every expectation of the suite was evaluated; the rest is not known to hold",
        ),
        _counted("raised", raised, frame, n=n, limit=0, reason="expectations broke and did not answer; mend the suite"),
        _counted("failed_critical", critical, frame, n=n, limit=0, reason="critical expectations are not met"),
        _counted("failed_warning", warned, frame, n=n, limit=thresholds.failed_warnings, reason="warnings are not met"),
    ]


def _counted(  # noqa: PLR0913 - what was counted and how to say it; the last three are keywords
    name: str, found: Sequence[Mapping[str, Json]] | None, frame: str, *, n: int | None, limit: int, reason: str
) -> Check:
    return compare(
        name,
        None if found is None else len(found),
        limit,
        Direction.AT_MOST,
        unit="expectations",
        slice=f"frame={frame}",
        n=n,
        required=name != "failed_warning",
        reason=f"{reason}: {_told(found)}" if found else reason,
    )


def _unmet(result: Mapping[str, Json]) -> bool:
    return result.get("success") is not True


def _results(seen: Mapping[str, Json], frame: str) -> list[Mapping[str, Json]] | None:
    found = value_at(seen, f"frames.{frame}.results")
    if not isinstance(found, Sequence) or isinstance(found, str):
        return None
    results = [each for each in found if isinstance(each, Mapping)]
    return results if len(results) == len(found) else None


def _told(results: Sequence[Mapping[str, Json]], most: int = 5) -> str:
    told = [
        f"{r.get('type')}({r['column']}) saw {r.get('observed')}"
        if r.get("column")
        else f"{r.get('type')} saw {r.get('observed')}"
        for r in results[:most]
    ]
    more = f" and {len(results) - most} more" if len(results) > most else ""
    return ", ".join(told) + more


GATE = Gate(
    name="expectations",
    stage=Stage.VALIDATE_DATA,
    thresholds=Thresholds,
    judge=judge,
    title="The data meets its expectation suite",
)
