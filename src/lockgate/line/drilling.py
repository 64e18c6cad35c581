"""A drill of a model's rollback, composed from ports; and what is done of drills between them."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from lockgate.core.drills import DrillResult, Fault, Mode
from lockgate.errors import BadInput
from lockgate.line.counting import tally_of, traffic_log
from lockgate.line.lifecycle import current_run
from lockgate.line.model_line import Line
from lockgate.stages.drill_ground import Ground
from lockgate.stages.drilling import drill

if TYPE_CHECKING:
    from lockgate.adapters.server_target import ServerTarget
    from lockgate.adapters.traffic_log import FileTrafficLog

PRODUCTION = "production"
DEPLOYMENT = "drill-rollback/drill"


def run_drill(line: Line, fault: str, *, production: bool) -> DrillResult:
    """Rehearse the rollback of a model in production, put the result on record and return it.

    Raises:
        BadInput: There is no such fault, no guardrail watches for it, or the spec keeps it out of production.
        TransientError: Ledger or log do not answer.
    """
    kinds = [each.value for each in Fault]
    if fault not in kinds:
        raise BadInput(f"there is no fault {fault!r} to drill; faults: {', '.join(kinds)}", fault=fault)
    for each in clear_drills(line):
        line.services.notifier.notify(f"{line.model}: drill of the rollback", each)
    mode = Mode.PRODUCTION if production else Mode.SHADOW
    with closing(line.services.target(PRODUCTION)) as target, closing(traffic_log(line)) as log:
        return drill(_ground(line, target, log), Fault(fault), mode, run=current_run())


def clear_drills(line: Line) -> list[str]:
    """Write drills that died down as failed and clear away what they left; returns what was done."""
    from lockgate.adapters.faulty_bundle import FaultyBundles
    from lockgate.stages.drill_upkeep import clear_dead_drills

    services = line.services
    remove = FaultyBundles(services.settings).remove
    with closing(services.target(PRODUCTION)) as target:
        return list(clear_dead_drills(line.ledger, target, target, line.model, clock=services.clock, remove=remove))


def watch_drills(line: Line) -> list[str]:
    """Clear away dead drills and tell of those that are due; returns what was done, a sentence each."""
    from lockgate.stages.drill_upkeep import tell_of_drills

    services = line.services
    now = services.clock.now()
    cleared = clear_drills(line)
    owner = line.spec.monitoring.alerts.owner or line.spec.model.owner
    return cleared + list(tell_of_drills(line.ledger, services.outbox, line.model, line.spec.rollout, now, owner))


def _ground(line: Line, target: ServerTarget, log: FileTrafficLog) -> Ground:
    from lockgate.adapters.drill_prober import DrillProber
    from lockgate.adapters.faulty_bundle import FaultyBundles
    from lockgate.stages.drill_course import rehearse

    services = line.services
    return Ground(
        ledger=line.ledger,
        router=target,
        target=target,
        log=log,
        copies=FaultyBundles(services.settings),
        probing=partial(DrillProber, services.settings.url(PRODUCTION)),
        clock=services.clock,
        rehearse=partial(rehearse, tally=partial(tally_of, line)),
        model=line.model,
        section=line.spec.rollout,
    )


def drill_page(model: str, result: DrillResult) -> str:
    """Return a drill as Markdown, for its run's page."""
    times = result.times_s
    rows = (
        ("seen by a guardrail", times.detected),
        ("way back begun", times.decided),
        ("server acknowledged the champion alone", times.switched),
        ("live answers are the champion's", times.restored),
        ("the switch itself", times.switch),
    )
    told = (
        f"Fault `{result.fault.value}` in {result.mode.value}, {model}, {result.requests_per_s:g} requests a second; "
        f"{result.asked} requests of the drill's own, {result.lost} lost."
    )
    lines = [
        f"# {result.drill}: {result.verdict.value}",
        "",
        f"{result.reason}. Next: {result.next}.",
        "",
        told,
        "",
        "| | seconds after the fault |",
        "|---|---|",
        *(f"| {what} | {'not reached' if seconds is None else f'{seconds:.2f}'} |" for what, seconds in rows),
    ]
    return "\n".join(lines)
