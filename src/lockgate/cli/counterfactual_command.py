"""`lockgate counterfactuals`: what past decisions to retrain, and not to, turned out to give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import typer

from lockgate.cli.options import MOST_ROWS, Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.core.estimates import items, read_estimate, within
from lockgate.core.ids import Json

Last = Annotated[
    int, typer.Option("--last", min=1, max=MOST_ROWS, metavar="N", help="Look back on the newest N of each kind.")
]

_SHORT = 12


def counterfactuals(surface: Surface, name: Name = None, model: Model = None, last: Last = 20) -> None:
    """Look back on decisions: had we not retrained, and what it cost that we did not; from the rows that landed since.

    For each release that took over, the bundle before is asked the same rows. For each time the policy said no, the
    champion of then is held against its own holdout. What cannot be measured is told with the reason.

    Example: lockgate counterfactuals flight-delays
    """
    from lockgate.bootstrap import services
    from lockgate.line.counterfactuals import look_back
    from lockgate.line.model_line import Line

    found = services()
    chosen = choose_model(found, either(name, model))
    report = look_back(Line(services=found, spec=found.spec(chosen)), most=last)
    show(surface, report)
    surface.result(report)


def show(surface: Surface, report: Mapping[str, Json]) -> None:
    """Show what looking back found: take-overs, times in which the policy said no, and where it is on record."""
    surface.table(
        f"Had we not retrained {report['model']}",
        ("release", "took over", "from", "rows", "gained by it", "in ranks", "the decision was", "says"),
        [_line(each, "bundle", "gain") for each in items(report["took_over"])],
    )
    surface.table(
        f"What it cost {report['model']} to keep its champion",
        ("row", "said no", "champion", "rows", "lost against its holdout", "in ranks", "the decision was", "says"),
        [_line(each, "champion", "worse") for each in items(report["held_back"])],
    )
    surface.text(str(report["summary"]))
    if report["row"] is not None:
        surface.text(f"on record: row {report['row']} of lockgate history {report['model']}")


def _line(each: Json, whose: str, what: str) -> tuple[object, ...]:
    first = within(each, "release") or within(each, "seq")
    digest = str(within(each, "before" if whose == "bundle" else whose) or "none")[:_SHORT]
    times = within(each, "times")
    at = str(within(each, "at"))[:16]
    said = f"{at} ({times} times)" if isinstance(times, int) and times > 1 else at
    figures = [*_figures(each, what), "", ""][:2]
    return (first, said, digest, _rows(each), *figures, within(each, "verdict"), within(each, "reason"))


def _rows(each: Json) -> str:
    """Return how many rows were judged, and how many were left out because they were answered with no number."""
    told = within(each, "unanswered")  # a report of an older form has none
    left_out = next((count for name in ("either", "since") if (count := within(told, name)) is not None), 0)
    return f"{within(each, 'n')}" + (f" ({left_out} unanswered)" if left_out else "")


def _figures(each: Json, what: str) -> Iterator[str]:
    metrics = within(each, "metrics")
    for name in metrics if isinstance(metrics, Mapping) else ():
        found = read_estimate(within(within(metrics, name), what))
        yield f"{name} {found['estimate']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}]" if found else ""
