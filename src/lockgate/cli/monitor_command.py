"""`lockgate monitor`: look at what serves, now; the scheduled run does the same."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import to_json
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.core.monitoring.findings import Finding
    from lockgate.core.monitoring.judging import MonitorReport

_CLEAR = "ok"
_STYLES = {"harm": "bold red", "broken": "yellow", "no_data": "yellow", "noise": "", _CLEAR: "green"}

Since = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The first day to judge, like 2026-11-01; as long as the log reaches by default."
    ),
]
Everything = Annotated[bool, typer.Option("--all", "-a", help="Also what is clear.")]


def monitor(
    surface: Surface, name: Name = None, *, model: Model = None, since: Since = None, everything: Everything = False
) -> int:
    """Judge what serves by its log and labels: harm is told, and may start a release; noise is only shown.

    Exit codes: 0 all clear or nothing but noise, 3 harm, 6 cannot say, 7 something is not running.

    Example: lockgate monitor flight-delays --since 2026-11-01
    """
    from lockgate.bootstrap import Services
    from lockgate.line.model_line import Line
    from lockgate.line.monitoring import monitor as look
    from lockgate.stages.monitoring import EXIT

    first = _date(since)
    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    report = look(Line(services=services, spec=services.spec(chosen)), first)
    show(surface, report, everything=everything)
    return EXIT[report.state]


def show(surface: Surface, report: MonitorReport, *, everything: bool = False) -> None:
    """Show a report: the worst first, and with `everything` also what is clear."""
    surface.text(report.sentence, _STYLES[report.state.value])
    told = [each for each in report.findings if everything or each.state.value != _CLEAR]
    columns = ("state", "what", "observed", "held to", "rank", "says", "next")
    surface.table(f"findings of {report.model}", columns, [_line(each) for each in told])
    content = to_json(report)
    surface.result(content if isinstance(content, dict) else {})


def _line(finding: Finding) -> tuple[object, ...]:
    numbers = ["" if each is None else f"{each:.4g}" for each in (finding.observed, finding.threshold)]
    return (finding.state.value, finding.name, *numbers, f"{finding.harm:.3f}", finding.reason, finding.next)


def _date(given: str | None) -> date | None:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise BadInput(f"--since {given!r} is no date; write it like 2026-11-01") from None
