"""What a person reads on a stage's page: verdict first, then every number beside its threshold, then what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from lockgate.core.verdict import Check, Direction, GateReport, Verdict

MARKS = {
    Verdict.PASS: "✓ pass",
    Verdict.FAIL: "✗ fail",
    Verdict.INCONCLUSIVE: "? inconclusive",
    Verdict.ERROR: "! could not measure",
    Verdict.NOT_APPLICABLE: "not applicable",
}
_SIGNS = {Direction.AT_LEAST: "≥", Direction.AT_MOST: "≤", Direction.EQUAL: "="}
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SECONDS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_FAR = 0.9  # ours: ten times away from a threshold is not close to it
_NO_UNIT = ("1", "fraction")
_WITHOUT_GATES = {Stage.REGISTER: "blessed: every required gate passed for one bundle; listed in the registry"}


def stage_sentence(stage: Stage, so_far: Progress, reports: Iterable[GateReport]) -> str:
    """Return what the stage came to, in one sentence."""
    if so_far.ended:
        return f"{so_far.ended}: {so_far.reason}"
    passed = ", ".join(report.gate for report in reports)
    return f"passed {passed}" if passed else _WITHOUT_GATES.get(stage, f"{stage.value} done")


def stage_page(stage: Stage, so_far: Progress, reports: tuple[GateReport, ...], words: str) -> str:
    """Return the page of one stage, in markdown."""
    lines = [f"# {so_far.release}: {stage.value}", "", f"**{stage_sentence(stage, so_far, reports)}**", ""]
    if so_far.ended:
        lines += [f"Next: `lockgate explain {so_far.release}`", ""]
    for report in reports:
        lines += [f"## Gate `{report.gate}`: {MARKS[report.verdict]}", "", *_table(report.checks), ""]
        lines += [*_notes(report.checks), ""]
    if words:
        lines += [words, ""]
    return "\n".join(lines)


def check_rows(reports: Iterable[GateReport]) -> tuple[Mapping[str, Any], ...]:
    """Return every check as a flat row; the verdict stands early, because a narrow window cuts the last columns."""
    return tuple(
        {
            "gate": report.gate,
            "check": check.name,
            "slice": check.slice,
            "verdict": MARKS[check.verdict],
            "observed": quantity(check.observed, check.unit),
            "threshold": _threshold(check),
            "interval": interval(check),
            "n": "" if check.n is None else check.n,
            "required": "required" if check.required else "advisory",
            "reason": check.reason,
        }
        for report in reports
        for check in report.checks
    )


def gate_line(report: GateReport) -> str:
    """Return one gate in one line: its verdict, and for a pass the check that came closest to its threshold.

    A statistic with an interval speaks before a plain number. A check exactly at its threshold (no row wrong of none
    allowed) says nothing about how close it was, and one far from it was not close.
    """
    line = f"{MARKS[report.verdict].split(' ', maxsplit=1)[0]} **{report.gate}**"
    required = [check for check in report.checks if check.required]
    measured = [check for check in required if check.verdict is not Verdict.NOT_APPLICABLE]
    if report.verdict is not Verdict.PASS or not measured:
        return f"{line}: {_cell(report.reason)}"
    made = "1 check" if len(required) == 1 else f"{len(required)} checks"
    near = [(check.interval is None, slack, check) for check in measured if 0 < (slack := _slack(check)) < _FAR]
    if not near:
        return f"{line}: {made}"
    check = min(near, key=lambda each: each[:2])[2]
    closest = f"{check.name}{_where(check)} {quantity(check.observed, check.unit)} ({_threshold(check)})"
    return f"{line}: {made}; closest {closest}"


def concerns(reports: Iterable[GateReport]) -> tuple[str, ...]:
    """Return what did not pass and blocks nothing, a line each: the approver weighs it.

    Several slices with one thing to say share a line.
    """
    alike: dict[tuple[str, str], list[Check]] = {}
    for report in reports:
        for check in report.checks:
            if not check.required and check.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE):
                alike.setdefault((report.gate, check.name), []).append(check)
    return tuple(_concern(gate, name, checks) for (gate, name), checks in alike.items())


def _concern(gate: str, name: str, checks: Sequence[Check]) -> str:
    if len(checks) == 1:
        return f"**{gate}**: {name}{_where(checks[0])}: {_cell(checks[0].reason)}"
    return f"**{gate}**: {name} in {len(checks)}: {_cell(', '.join(check.slice for check in checks))}"


def _slack(check: Check) -> float:
    """Return how far a check is from its threshold, relative to the larger of the two; 0 where that says nothing."""
    if check.observed is None or not check.threshold or check.direction is Direction.EQUAL:
        return 0.0
    return abs(check.observed - check.threshold) / max(abs(check.observed), abs(check.threshold))


def _table(checks: Iterable[Check]) -> list[str]:
    header = ["| check | observed | threshold | interval | n | verdict |", "|---|---|---|---|---|---|"]
    rows = [
        f"| {check.name}{_where(check)} | {quantity(check.observed, check.unit)} | {_threshold(check)} | "
        f"{interval(check)} | {'' if check.n is None else check.n} | "
        f"{MARKS[check.verdict]}{'' if check.required else ' (advisory)'} |"
        for check in checks
    ]
    return header + rows


def _notes(checks: Iterable[Check]) -> list[str]:
    """Return why, for every check that did not pass; below the table, because its cells do not wrap."""
    told = [check for check in checks if check.verdict is not Verdict.PASS]
    return [f"- {MARKS[check.verdict]}, {check.name}{_where(check)}: {_cell(check.reason)}" for check in told]


def _where(check: Check) -> str:
    return "" if check.slice == "all" else f" ({_cell(check.slice)})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _threshold(check: Check) -> str:
    return "" if check.threshold is None else f"{_SIGNS[check.direction]} {quantity(check.threshold, check.unit)}"


def quantity(value: float | None, unit: str) -> str:
    """Return a number with its unit, for people.

    >>> quantity(92_540_000.0, "B"), quantity(3_888_000.0, "s"), quantity(0.25, "fraction"), quantity(None, "ms")
    ('92.54 MB', '45 d', '0.25', 'none')
    """
    if value is None:
        return "none"
    scales = {"B": _BYTES, "s": _SECONDS}.get(unit, ())
    for size, name in scales:
        if math.isfinite(value) and abs(value) >= size:
            return f"{number(value / size)} {name}"
    return number(value) if unit in _NO_UNIT else f"{number(value)} {unit}"


def number(value: float | None) -> str:
    """Return a number for people: four significant digits, whole numbers whole.

    >>> number(-0.0), number(26268.0), number(0.123456), number(None)
    ('0', '26268', '0.1235', 'none')
    """
    if value is None:
        return "none"
    whole = math.isfinite(value) and value == round(value) and abs(value) < 1e6
    return str(round(value)) if whole else f"{value:.4g}"


def interval(check: Check) -> str:
    """Return a check's interval, or nothing."""
    return "" if check.interval is None else f"{number(check.interval[0])} to {number(check.interval[1])}"
