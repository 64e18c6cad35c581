"""The page of one look: what it came to, the loss by day, and every finding, worst first."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.estimates import items, number, within
from lockgate.core.monitoring.findings import Finding, State
from lockgate.core.monitoring.judging import MonitorReport

_SHOWN = 40


def monitor_page(report: MonitorReport) -> str:
    """Return the page, in markdown."""
    since = f"{report.days.get('n', 0)} days of it ({report.days.get('first')} to {report.days.get('last')})"
    champion = f"Champion `{(report.digest or 'none')[:12]}`, {report.at:%Y-%m-%d %H:%M} UTC, {since}."
    lines = [f"# {report.sentence}", "", champion]
    drawn = _picture(report)
    if drawn is not None:
        lines += ["", f"![loss by day]({drawn})"]
    lines += ["", "| state | what | observed | held to | rank | says | next |", "|---|---|---|---|---|---|---|"]
    told = [each for each in report.findings if each.state is not State.OK]
    lines += [_row(each) for each in told[:_SHOWN]]
    clear = [each.name for each in report.findings if each.state is State.OK]
    lines += ["", f"Clear: {', '.join(clear) or 'nothing'}."]
    if len(told) > _SHOWN:
        lines.append(f"{len(told) - _SHOWN} more of lower rank: `lockgate monitor {report.model} --json`.")
    return "\n".join(lines)


def _row(finding: Finding) -> str:
    shown = [_number(finding.observed), _number(finding.threshold)]
    words = [finding.reason.replace("|", "/"), finding.next.replace("|", "/")]
    cells = [finding.state.value, f"`{finding.name}`", *shown, f"{finding.harm:.3f}", *words]
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _picture(report: MonitorReport) -> str | None:
    from lockgate.adapters.monitor_plots import loss_picture

    found = next((each for each in report.findings if each.name == "quality.loss"), None)
    if found is None:
        return None
    days = [_day(each) for each in items(found.evidence.get("last")) if isinstance(each, Mapping)]
    return loss_picture(days, number(found.evidence.get("level")) or 1.0)


def _day(told: Mapping[str, object]) -> dict[str, float]:
    return {name: number(within(dict(told), name)) or 0.0 for name in ("loss", "allowed", "evidence")}  # type: ignore[arg-type]  # JSON by construction
