"""`lockgate demo --fault`: a broken copy of the champion in production, seen and taken away while you watch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate.cli.live_traffic import ROLLOUT_RPS, LiveTraffic, summary_words
from lockgate.cli.surface import Surface
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput, NotRunning, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

FAULT = "errors"
_WITHIN_S = 240.0  # ours: a run's process starts in about 10 s, a drill takes at most 60
_LOOK_S = 0.2
_LOOK_AT_RUN_S = 3.0  # and as long is waited after its end: the last row may come a moment later
_SILENT_S = 5.0


def show_drill(
    surface: Surface, services: Services, model: ModelName, traffic: LiveTraffic, headline: Callable[[str], None]
) -> int:
    """Plant a fault into production at the spec's low weight, show what happens, and return the exit code.

    Raises:
        BadInput: There is no champion yet, or the spec keeps faults out of production.
        TransientError: The drill did not end in time.
    """
    from lockgate.cli.drill_command import DEPLOYMENT, EXIT
    from lockgate.core.drills import DrillVerdict

    if services.ledger.state(model).champion is None:
        raise BadInput(f"{model} has no champion yet, so there is nothing to go back to; first run: lockgate demo")
    section = services.spec(model).rollout.drill
    if not section.production:
        raise BadInput(f"the spec of {model} keeps faults out of production; allow them: rollout.drill.production")
    headline(f"A fault in production: {100 * section.weight:.3g} % of clients get a copy of the champion that fails")
    surface.say(f"  the champion must be restored within {section.restored_within_s:g} s")
    surface.say(f"  simulated clients ask production, {ROLLOUT_RPS:g} requests a second")
    seen = services.ledger.last_seq(model)
    traffic.ask(ROLLOUT_RPS)
    parameters: dict[str, Json] = {"model": model, "fault": FAULT, "production": True}
    run = services.runs.start_run(DEPLOYMENT, parameters)
    surface.say(f"  the drill: {services.settings.url('prefect')}/runs/flow-run/{run}")
    row = follow_drill(surface, services, model, run, after=seen, within_s=_WITHIN_S)
    problem, told = traffic.problem, traffic.end()
    surface.say(f"  what simulated clients saw: {problem or summary_words(told)}", "yellow" if problem else "green")
    verdict = DrillVerdict(str(row.payload["verdict"]))
    surface.text(f"{row.release} {verdict.value}: {row.payload.get('reason')}")
    if verdict is not DrillVerdict.PASSED:
        surface.text(f"next: {row.payload.get('next')}")
    surface.result({"model": model, "run": run, "clients": dict(told), **row.payload})
    return EXIT[verdict]


def follow_drill(  # noqa: PLR0913 - whom, and from where on
    surface: Surface,
    services: Services,
    model: ModelName,
    run: str,
    *,
    after: int,
    within_s: float,
    look_at_run_s: float = _LOOK_AT_RUN_S,
) -> LedgerRow:
    """Show a drill's rows as they come, and return the row of its result.

    Args:
        surface: Where it is shown.
        services: Ledger and runs.
        model: Whose.
        run: The flow run that carries it out.
        after: Rows up to this one are old.
        within_s: How long to follow.
        look_at_run_s: How often to ask whether the run has ended.

    Raises:
        TransientError: Its run ended without a result, or it took too long.
    """
    from lockgate.cli.rollout_lines import rollout_lines
    from lockgate.core.drills import is_drill

    began = said = looked = time.monotonic()
    left: float | None = None
    while (now := time.monotonic()) - began < within_s and (left is None or now < left):
        fresh = services.ledger.rows(model) if services.ledger.last_seq(model) > after else ()
        for row in fresh:
            if row.seq <= after or not is_drill(row.release):
                continue
            for text, style in rollout_lines(row):
                surface.say(f"[{now - began:6.1f} s] {text}", style)
                said = now
            if row.event is Event.DRILL:
                return row
        after = max([after, *(row.seq for row in fresh)])
        if now - said > _SILENT_S:
            surface.say(f"[{now - began:6.1f} s]   waiting for the drill's own process, which counts traffic first")
            said = now
        if left is None and now - looked > look_at_run_s:
            looked = now
            left = now + look_at_run_s if _is_over(services, run) else None
        time.sleep(_LOOK_S)
    how = "ended without a result" if left is not None else f"goes on after {within_s:.0f} s"
    raise TransientError(f"the drill of {model} {how}; see run {run} in the Prefect UI", run=run)


def _is_over(services: Services, run: str) -> bool:
    try:
        state = services.runs.state(run)
    except (NotRunning, TransientError):
        return False
    return state is not None and state.ended
