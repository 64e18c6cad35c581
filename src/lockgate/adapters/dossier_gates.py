"""The gate table of the dossier: one block a gate, worst checks first, the many alike folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lockgate.adapters.dossier_words import interval_text, metric_name, number_text, plural
from lockgate.core.verdict import Check, Direction, GateReport, Verdict

_MOST_ROWS = 10  # checks of one kind shown at once; the others fold away
_SIGNS = {Direction.AT_LEAST: "≥", Direction.AT_MOST: "≤", Direction.EQUAL: "="}
MARKS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✕",
    Verdict.INCONCLUSIVE: "?",
    Verdict.ERROR: "!",
    Verdict.NOT_APPLICABLE: "\N{EN DASH}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One line of the gate table."""

    name: str
    slice: str
    observed: str
    threshold: str
    estimate: str
    n: str
    verdict: str
    mark: str
    reason: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBlock:
    """One gate: its line, the check that came closest to its threshold, checks to read, folded ones, and its record.

    `row` and `row_hash` are the ledger's, of its verdict; empty where they are not known.
    """

    name: str
    title: str
    verdict: str
    mark: str
    reason: str
    closest: CheckRow | None
    shown: tuple[CheckRow, ...]
    folded: tuple[CheckRow, ...]
    evidence: str
    row: str
    row_hash: str


def gate_blocks(
    reports: Sequence[GateReport],
    required: Sequence[str],
    titles: Mapping[str, str],
    recorded: Mapping[str, tuple[int, str]],
) -> tuple[GateBlock, ...]:
    """Return a block for each report, and one for each required gate that did not report.

    Args:
        reports: In the order they are shown.
        required: Gates that must report.
        titles: A few words for people, by gate.
        recorded: Sequence and hash of the ledger's row that holds each gate's verdict.
    """
    there = {each.gate for each in reports}
    missing = tuple(_missing(name, titles) for name in required if name not in there)
    return tuple(_gate(each, titles, recorded.get(each.gate)) for each in reports) + missing


def _gate(report: GateReport, titles: Mapping[str, str], row: tuple[int, str] | None) -> GateBlock:
    rows = [_check(each) for each in sorted(report.checks, key=_interest)]
    shown = [row for row in rows if row.verdict != Verdict.PASS or row.slice == "all"]
    kept = shown[:_MOST_ROWS] if len(shown) > _MOST_ROWS else shown + [r for r in rows if r not in shown][:3]
    return GateBlock(
        name=report.gate,
        title=titles.get(report.gate, report.gate),
        verdict=report.verdict,
        mark=MARKS[report.verdict],
        reason=_sentence(report),
        closest=_closest(report),
        shown=tuple(row for row in rows if row in kept),
        folded=tuple(row for row in rows if row not in kept),
        evidence=report.evidence or "none",
        row="" if row is None else str(row[0]),
        row_hash="" if row is None else row[1],
    )


def _sentence(report: GateReport) -> str:
    if report.verdict is not Verdict.PASS:
        return report.reason
    required = [each for each in report.checks if each.required]
    if required and all(each.verdict is Verdict.NOT_APPLICABLE for each in required):
        return required[0].reason
    concerns = sum(each.verdict is not Verdict.PASS for each in report.checks if not each.required)
    passed = f"{plural(len(required), 'required check')} passed"
    return f"{passed}; {plural(concerns, 'advisory note')}" if concerns else passed


def _closest(report: GateReport) -> CheckRow | None:
    """Return the required check to show beside the gate: a statistic before a count, the tightest first."""
    required = [each for each in report.checks if each.required and each.threshold is not None]
    worst = [each for each in required if each.verdict is report.verdict]
    # a count that is at its only good value (0 wrong of 0 allowed) says nothing about how close it was
    ranked = sorted(worst, key=lambda each: (each.interval is None, _at_its_only_value(each), _slack(each), each.name))
    return _check(ranked[0]) if ranked else None


def _at_its_only_value(check: Check) -> bool:
    return check.direction is Direction.EQUAL or not check.threshold


def _slack(check: Check) -> float:
    """Return how far a check is from its threshold, relative to the larger of the two; 0 where it was not measured."""
    if check.observed is None or check.threshold is None:
        return 0.0
    return abs(check.observed - check.threshold) / max(abs(check.observed), abs(check.threshold), 1e-12)


def _missing(name: str, titles: Mapping[str, str]) -> GateBlock:
    return GateBlock(
        name=name,
        title=titles.get(name, name),
        verdict=Verdict.INCONCLUSIVE,
        mark=MARKS[Verdict.INCONCLUSIVE],
        reason="did not report; a gate that did not run is not a pass",
        closest=None,
        shown=(),
        folded=(),
        evidence="none",
        row="",
        row_hash="",
    )


def _interest(check: Check) -> tuple[int, int, str, str]:
    order = (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE, Verdict.PASS)
    return (0 if check.required else 1, order.index(check.verdict), check.name, check.slice)


def _check(check: Check) -> CheckRow:
    threshold = "" if check.threshold is None else f"{_SIGNS[check.direction]} {number_text(check.threshold)}"
    estimate = ""
    if check.interval is not None:
        estimate = f"{number_text(check.estimate)} {interval_text(*check.interval)}"
    unit = "" if check.unit in ("1", "fraction") else f" {check.unit}"
    return CheckRow(
        name=metric_name(check.name),
        slice=check.slice,
        observed="not measured" if check.observed is None else f"{number_text(check.observed)}{unit}",
        threshold=threshold,
        estimate=estimate,
        n="" if check.n is None else f"{check.n:,}",
        verdict=check.verdict,
        mark=MARKS[check.verdict],
        reason="" if check.verdict is Verdict.PASS else check.reason,
        required=check.required,
    )
