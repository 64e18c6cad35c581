"""What a person reads on a stage's page: verdict first, then every number beside its threshold, then what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from lockgate.core.verdict import Check, Direction, GateReport, Verdict

MARKS = {
    Verdict.PASS: "✓ pass",
    Verdict.FAIL: "✗ fail",
    Verdict.INCONCLUSIVE: "? inconclusive",
    Verdict.ERROR: "! could not measure",
    Verdict.NOT_APPLICABLE: "- not applicable",
}
_SIGNS = {Direction.AT_LEAST: "≥", Direction.AT_MOST: "≤", Direction.EQUAL: "="}


def stage_sentence(stage: Stage, so_far: Progress, reports: Iterable[GateReport]) -> str:
    """Return what the stage came to, in one sentence."""
    if so_far.ended:
        return f"{so_far.ended}: {so_far.reason}"
    passed = ", ".join(report.gate for report in reports)
    return f"passed {passed}" if passed else f"{stage.value} done"


def stage_page(stage: Stage, so_far: Progress, reports: tuple[GateReport, ...], words: str) -> str:
    """Return the page of one stage, in markdown."""
    lines = [f"# {so_far.release}: {stage.value}", "", f"**{stage_sentence(stage, so_far, reports)}**", ""]
    for report in reports:
        lines += [f"## Gate `{report.gate}`: {MARKS[report.verdict]}", "", *_table(report.checks), ""]
    if words:
        lines += [words, ""]
    if so_far.ended:
        lines += [f"Next: `lockgate explain {so_far.release}`", ""]
    return "\n".join(lines)


def check_rows(reports: Iterable[GateReport]) -> tuple[Mapping[str, Any], ...]:
    """Return every check as a flat row."""
    return tuple(
        {
            "gate": report.gate,
            "check": check.name,
            "slice": check.slice,
            "observed": number(check.observed),
            "threshold": f"{_SIGNS[check.direction]} {number(check.threshold)}",
            "unit": check.unit,
            "n": "" if check.n is None else check.n,
            "interval": interval(check),
            "required": "required" if check.required else "advisory",
            "verdict": MARKS[check.verdict],
            "reason": check.reason,
        }
        for report in reports
        for check in report.checks
    )


def _table(checks: Iterable[Check]) -> list[str]:
    header = ["| check | observed | threshold | interval | n | verdict | why |", "|---|---|---|---|---|---|---|"]
    rows = [
        f"| {check.name}{_where(check)} | {number(check.observed)} | "
        f"{_SIGNS[check.direction]} {number(check.threshold)} | "
        f"{interval(check)} | {'' if check.n is None else check.n} | "
        f"{MARKS[check.verdict]}{'' if check.required else ' (advisory)'} | {_cell(check.reason)} |"
        for check in checks
    ]
    return header + rows


def _where(check: Check) -> str:
    return "" if check.slice == "all" else f" ({_cell(check.slice)})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def number(value: float | None) -> str:
    """Return a number for people: four significant digits, whole numbers whole."""
    if value is None:
        return "-"
    whole = math.isfinite(value) and value == round(value) and abs(value) < 1e6
    return f"{value:.0f}" if whole else f"{value:.4g}"


def interval(check: Check) -> str:
    """Return a check's interval, or nothing."""
    return "" if check.interval is None else f"{number(check.interval[0])} to {number(check.interval[1])}"
