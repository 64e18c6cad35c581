"""`lockgate drill`: rehearse a rollback, and see how earlier rehearsals went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.roles import require_role
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.approval_people import Role
from lockgate.core.drills import DrillVerdict, Fault, results_of, seconds_of
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput, NotRunning, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

DEPLOYMENT = "drill-rollback/drill"
EXIT = {DrillVerdict.PASSED: 0, DrillVerdict.FAILED: 3, DrillVerdict.INCONCLUSIVE: 6}
_WITHIN_S = 240.0  # ours: a run's process starts in about 10 s, a drill takes at most 60
_STARTED_WITHIN_S = 60.0
_STYLES = {DrillVerdict.PASSED: "green", DrillVerdict.FAILED: "bold red", DrillVerdict.INCONCLUSIVE: "yellow"}

FaultOption = Annotated[
    Fault, typer.Option("--fault", help="What is planted: no answers, slow answers, or wrong ones on some rows.")
]
Production = Annotated[
    bool,
    typer.Option(
        "--production", help="Plant it into production, at rollout.drill.weight; the spec must allow it. Else a shadow."
    ),
]
History = Annotated[bool, typer.Option("--history", help="Show past drills and plant nothing.")]


def drill(  # noqa: PLR0913 - each is an option
    surface: Surface,
    name: Name = None,
    *,
    model: Model = None,
    fault: FaultOption = Fault.ERRORS,
    production: Production = False,
    history: History = False,
) -> int:
    """Rehearse the rollback: a faulty copy of the champion must be seen and taken away in seconds, nothing lost.

    It needs traffic. Exit codes: 0 passed, 3 failed, 6 inconclusive (it could not measure), 7 something is not running.

    Example: lockgate drill flight-delays --fault errors
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    if history:
        return show_history(surface, services, chosen)
    require_role(services, Role.OPERATOR, what=f"drill {chosen}", model=chosen)
    _require_champion(services, chosen)
    parameters: dict[str, Json] = {"model": chosen, "fault": fault.value, "production": production}
    run = services.runs.start_run(DEPLOYMENT, parameters)
    surface.say(f"started; watch it at {services.settings.url('prefect')}/runs/flow-run/{run}")
    return show_result(surface, chosen, await_result(services, chosen, run))


def show_result(surface: Surface, model: ModelName, row: LedgerRow) -> int:
    """Show how a drill ended, and return its exit code."""
    verdict = DrillVerdict(str(row.payload["verdict"]))
    surface.text(f"{row.payload['drill']} {verdict.value}: {row.payload['reason']}", _STYLES[verdict])
    if verdict is not DrillVerdict.PASSED:
        surface.text(f"next: {row.payload['next']}")
    surface.result({"model": model, "at": row.at.isoformat(), **row.payload})
    return EXIT[verdict]


def _require_champion(services: Services, model: ModelName) -> None:
    if services.ledger.state(model).champion is None:
        raise BadInput(f"{model} has no champion in production; there is nothing to roll back to. See: lockgate status")


def await_result(services: Services, model: ModelName, run: str) -> LedgerRow:
    """Wait for the end of a drill's run and return the drill's row.

    Raises:
        NotRunning: No worker takes the run up.
        TransientError: It goes on for too long.
        BadInput: The run ended without a result; says why.
    """
    try:
        services.runs.wait(run, lambda state: state.type not in ("SCHEDULED", "PENDING"), within_s=_STARTED_WITHIN_S)
    except TransientError as waits:
        raise NotRunning(f"no worker takes run {run} up: {waits.message}; see lockgate status", run=run) from waits
    services.runs.wait(run, lambda state: state.ended, within_s=_WITHIN_S)
    for row in reversed(services.ledger.rows(model, events=(Event.DRILL,))):
        if row.payload.get("run") == run:
            return row
    told = services.runs.run(run).get("state") or {}
    raise BadInput(f"nothing was drilled: {told.get('message') or told.get('name')}", run=run)


def show_history(surface: Surface, services: Services, model: ModelName) -> int:
    """Show past drills, oldest first."""
    rows = results_of(services.ledger.rows(model, events=(Event.DRILL,)))
    columns = ("drill", "verdict", "at", "fault", "where", "restored", "switch", "lost", "reason")
    surface.table(f"drills of {model}", columns, [_line(row) for row in rows])
    if not rows:
        surface.text(f"{model} was never drilled; drill while it has traffic: lockgate drill {model}")
    drills: list[Json] = [{"at": row.at.isoformat(), **row.payload} for row in rows]
    surface.result({"model": model, "drills": drills})
    return 0


def _line(row: LedgerRow) -> tuple[object, ...]:
    payload, times = row.payload, seconds_of(row)
    restored = "" if times.restored is None else f"{times.restored:.1f} s"
    switch = "" if times.switch is None else f"{1000 * times.switch:.0f} ms"
    return (
        payload.get("drill"),
        payload.get("verdict"),
        f"{row.at:%Y-%m-%d %H:%M}",
        payload.get("fault"),
        payload.get("mode"),
        restored,
        switch,
        payload.get("lost"),
        payload.get("reason"),
    )
