"""`lockgate selftest`: can the gates fail? Known-bad candidates are pushed through the real line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model
from lockgate.cli.surface import Surface
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.selftest.fault import Size
    from lockgate.selftest.pushing import Trial
    from lockgate.selftest.report import Report
    from lockgate.selftest.world import Plan

Faults = Annotated[
    str, typer.Option("--faults", "-f", metavar="NAMES", help="Only these, separated by commas. Left out: all.")
]
Sizes = Annotated[str, typer.Option("--sizes", metavar="SIZES", help="Of full, half and quarter, separated by commas.")]
Alike = Annotated[
    int,
    typer.Option(
        "--alike", min=0, max=10_000, metavar="N", help="Also push N good candidates (another seed, same data)."
    ),
]
Write = Annotated[Path | None, typer.Option("--write", metavar="FILE", help="Write the result as a page too.")]
Listed = Annotated[bool, typer.Option("--list", help="Say what the faults are, and run nothing.")]

_ESCAPED = 1


def selftest(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    surface: Surface,
    model: Model = None,
    faults: Faults = "",
    sizes: Sizes = "full",
    alike: Alike = 0,
    write: Write = None,
    listed: Listed = False,
) -> int:
    """Prove that the gates can fail: push known-bad candidates through the real line, and see each of them stopped.

    Without --model, a small made-up model is taken. With it, the model's own spec, suite and data: what its
    data.sample writes, or else what was landed here. Everything happens in a temporary folder; nothing of this
    installation is changed. Exit code 1 when a fault at full size was not stopped by a gate that it names.

    Example: lockgate selftest --faults innocent_leak,swapped_columns
    """
    from lockgate.selftest.library import faults_named
    from lockgate.selftest.running import Asked, Witness, run

    chosen = faults_named(_split(faults))
    if listed:
        columns = ("fault", "must be stopped by", "what is wrong", "full size")
        lines = [(f.name, f.by[0].gate, f.story, f"{f.amount:g} {f.unit}") for f in chosen]
        surface.table("Faults", columns, lines)
        surface.result({"faults": [dict(zip(columns, line, strict=True)) for line in lines]})
        return 0
    asked = Asked(faults=chosen, sizes=_sizes(sizes), alike=alike)
    report = run(_planner(model), asked, Witness(say=surface.say, seen=partial(_say, surface)))
    _tell(surface, report, write)
    return 0 if report.passed else _ESCAPED


def _planner(model: str | None) -> partial[Plan]:
    """Return what makes the plan in a folder."""
    from lockgate.bootstrap import Services
    from lockgate.cli.options import choose_model
    from lockgate.config import load_settings
    from lockgate.selftest.source import plan_of, toy_plan

    settings = load_settings()
    if model is None:
        return partial(toy_plan, settings)
    services = Services(settings)
    return partial(plan_of, services, services.spec(choose_model(services, model)))


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _sizes(names: str) -> tuple[Size, ...]:
    from lockgate.selftest.fault import Size

    allowed = [each.value for each in Size]
    given = _split(names)
    for name in given:
        if name not in allowed:
            raise BadInput(f"--sizes: there is no size {name!r}; sizes: {', '.join(allowed)}")
    if not given:
        raise BadInput(f"--sizes: give at least one of {', '.join(allowed)}")
    return tuple(size for size in Size if size.value in given)


def _say(surface: Surface, trial: Trial) -> None:
    """Say how one fault ended."""
    from lockgate.selftest.pushing import How

    stop = trial.stop
    where = "no gate stopped it" if stop is None else f"{stop.gate or stop.stage.value} ({stop.check}): {stop.reason}"
    words = f"{trial.fault} at {trial.size.value}: {trial.how.value}, {trial.seconds:.1f} s, {where}"
    surface.say(words, "" if trial.how is How.CAUGHT else "red")


def _tell(surface: Surface, report: Report, write: Path | None) -> None:
    import platform
    from datetime import UTC, datetime

    from lockgate.selftest.report import COLUMNS, page, table

    surface.table("Selftest", COLUMNS, table(report))
    for gate, stop in report.stopped_by.items():
        surface.say(f"the clean candidate was stopped by gate {gate}: {stop.reason}; faults caught there show nothing")
    counted = f"{len(report.caught)} faults were caught by their gates, {len(report.escaped)} were not"
    surface.text(f"{counted}; {len(report.not_applicable)} do not apply to {report.spec.name}; {report.seconds:.0f} s")
    if write is not None:
        day = datetime.now(tz=UTC).date()
        write.write_text(page(report, day, f"{platform.machine()}, Python {platform.python_version()}"))
    surface.result(report.as_json())
