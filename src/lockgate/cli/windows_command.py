"""`lockgate windows`: which of the past a model should learn from, by its own past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import LONGEST_DAYS, Model, Name, choose_model, either
from lockgate.cli.surface import Surface
from lockgate.core.estimates import items, number, read_estimate, within
from lockgate.core.ids import Json, to_json
from lockgate.core.learning.periods import Period
from lockgate.core.spec_sections.units import LONGEST_S

if TYPE_CHECKING:
    from lockgate.line.windows import Tell

INCONCLUSIVE = 6

Rolling = Annotated[
    list[int] | None,
    typer.Option(
        "--rolling", min=1, max=LONGEST_DAYS, metavar="DAYS", help="Try a rolling window; several times for several."
    ),
]
HalfLife = Annotated[
    list[int] | None,
    typer.Option(
        "--half-life",
        min=1,
        max=LONGEST_DAYS,
        metavar="DAYS",
        help="Try a weighted window: a row so much older weighs half.",
    ),
]
Every = Annotated[Period, typer.Option("--period", help="How often a release would have been made.")]
Time = Annotated[
    float,
    typer.Option(
        "--time", min=0, max=LONGEST_S, metavar="S", help="Begin no fit after so long; call it again to go on."
    ),
]


def windows(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    surface: Surface,
    name: Name = None,
    model: Model = None,
    rolling: Rolling = None,
    half_life: HalfLife = None,
    period: Every = Period.MONTH,
    time_s: Time = 1800.0,
) -> int:
    """Compare windows of the past (expanding, rolling, weighted) on the model's own past, month by month.

    For each month every window is fitted on what a release then would have had, and scored on that month's rows.
    What is found goes on record; the spec is left to you. What was fitted is kept: the next call goes on there.

    Exit codes: 0 the past speaks for a window, 6 inconclusive, or periods are left for the next call.

    Example: lockgate windows flight-delays --rolling 60 --rolling 120 --half-life 60
    """
    from lockgate.bootstrap import services
    from lockgate.line.model_line import Line
    from lockgate.line.windows import Asked, compare_windows, drawn_to

    found = services()
    chosen = choose_model(found, either(name, model))
    line = Line(services=found, spec=found.spec(chosen))
    asked = Asked(rolling=tuple(rolling or ()), half_lives=tuple(half_life or ()), period=period, time_s=time_s)
    with _progress(surface) as tell:
        report = compare_windows(line, asked, tell)
    drawn = drawn_to(line, report)
    show(surface, report, None if drawn is None else str(drawn))
    told = to_json({**report, "picture": None if drawn is None else str(drawn)})
    surface.result(told if isinstance(told, dict) else {})
    return 0 if speaks(report) else INCONCLUSIVE


def speaks(report: Mapping[str, Json]) -> bool:
    """Tell whether the past speaks for a window; while periods are left, those done may only be the ones that do."""
    return not items(report["left"]) and within(report["recommendation"], "says") != "inconclusive"


@contextmanager
def _progress(surface: Surface) -> Iterator[Tell]:
    """Show how far it is, on stderr; a line a fit where nobody can see it move, and nothing with --json."""
    if surface.as_json:
        yield lambda _done, _of, _what: None
        return
    if not surface.err.is_terminal:
        yield lambda done, of, what: surface.say(f"{done + 1} of {of}: {what}")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=surface.err, transient=True) as bar:
        task = bar.add_task("fitting", total=None)
        yield lambda done, of, what: bar.update(task, completed=done, total=of, description=what)


def show(surface: Surface, report: Mapping[str, Json], drawn: str | None = None) -> None:
    """Show a comparison: each window, each period, what was left out, and what to write into the spec."""
    shown = report["metrics"]
    names = list(shown) if isinstance(shown, Mapping) else []
    listed, own = items(report["windows"]), str(within(items(report["windows"])[0], "name"))
    surface.table(
        f"Windows of {report['model']}: {report['rows']} rows of {len(items(report['periods']))} periods",
        ("window", *names, f"gain in {names[0]} over {own}", "by period", "periods", "says", "could have shown"),
        [_line(each, names) for each in listed],
    )
    tried = [str(within(each, "name")) for each in listed]
    surface.table(
        f"{names[0]} by period; lower is better",
        ("period from", "rows", *tried),
        [
            (within(each, "since"), within(each, "rows"), *(_of_period(each, window, names[0]) for window in tried))
            for each in items(report["periods"])
        ],
    )
    for said in _told(report):
        surface.text(said)
    told = report["recommendation"]
    surface.text(f"{within(told, 'says')}: {within(told, 'why')}", "bold")
    if within(told, "says") == "change" and speaks(report):
        row = f"  # windows compared: ledger row {report['row']}"
        surface.text("write into the spec, then release:")
        surface.text("\n".join([f"retraining:{row}", *(f"  {each}" for each in items(within(told, "lines")))]))
    if drawn is not None:
        surface.text(f"picture: {drawn}")


def _told(report: Mapping[str, Json]) -> Iterator[str]:
    """Yield what was not compared, and why."""
    if report["not_tried"]:
        yield f"not tried: {report['not_tried']}"
    for each in items(report["failures"]):
        yield f"left out: {within(each, 'since')}, {within(each, 'window')}: {within(each, 'reason')}"
    left = items(report["left"])
    if left:
        yield (
            f"no time was left for {len(left)} periods ({', '.join(map(str, left))}), so nothing is on record yet; "
            f"call it again to go on: lockgate windows {report['model']}"
        )


def _line(each: Json, names: list[str]) -> tuple[object, ...]:
    metrics, gain = within(each, "metrics"), within(each, "gain")
    values = [_number(within(within(metrics, name), "estimate")) for name in names]
    if gain is None:
        return (within(each, "name"), *values, "", "", "", "in the spec", "")
    own = [_interval(within(gain, by)) for by in ("by_block", "by_period")]
    detectable = _number(within(each, "detectable"))
    return (within(each, "name"), *values, *own, within(each, "periods"), within(each, "says"), detectable)


def _interval(given: Json) -> str:
    found = read_estimate(given)
    if found is None:
        return "unknown"
    return f"{found['estimate']:+.4g} [{found['low']:+.4g}, {found['high']:+.4g}]"


def _number(given: Json) -> str:
    value = number(given)
    return "" if value is None else f"{value:.5g}"


def _of_period(period: Json, window: str, name: str) -> str:
    return _number(within(within(within(within(period, "windows"), window), "metrics"), name))
