"""The monitor's look at a replayed month: its own flow, by its own deployment, where the project has one."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.estimates import items, number
from lockgate.core.ledger import Event
from lockgate.core.replay_plan import Alarm
from lockgate.line.model_line import Line

_FLOW = "monitor-model"
_HARM = "HARM"
_WITHIN_S = 900.0  # ours: fifty times what a look takes alone on two cores


def watch_once(line: Line) -> tuple[Alarm, ...] | None:
    """Run the monitor once and return the harm it found; None where the project watches nothing.

    Raises:
        TransientError: It did not end in time.
    """
    runs, deployment = line.services.runs, f"{_FLOW}/{line.model}"
    if deployment not in runs.deployments():
        return None
    seen = line.ledger.last_seq(line.model)
    run = runs.start_run(deployment, {"model": line.model})
    runs.wait(run, lambda state: state.ended, within_s=_WITHIN_S)
    looked = [row for row in line.ledger.rows(line.model, events=(Event.MONITORED,)) if row.seq > seen]
    if not looked:
        return None
    found = [each for each in items(looked[-1].payload.get("findings")) if isinstance(each, Mapping)]
    return tuple(
        Alarm(
            name=str(each.get("name")),
            reason=str(each.get("reason") or ""),
            observed=number(each.get("observed")),
            threshold=number(each.get("threshold")),
        )
        for each in found
        if str(each.get("state")).upper() == _HARM
    )
