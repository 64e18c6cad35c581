"""How a run ends: each outcome a state of its own name, so that a blocked release never looks like a crash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Completed

from lockgate.core.ledger import Outcome
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.progress import Progress
from lockgate.line.rolling import Standing

_NAMES = {
    Outcome.BLOCKED: "Blocked",
    Outcome.INCONCLUSIVE: "Inconclusive",
    Outcome.REJECTED: "Rejected",
    Outcome.EXPIRED: "Expired",
    Outcome.SUPERSEDED: "Superseded",
    Outcome.ROLLED_BACK: "RolledBack",
    Outcome.FAILED: "CouldNotMeasure",
}


def end_state(so_far: Progress) -> State:
    """Write the release's end to the ledger, once, and return the state its run ends in."""
    from lockgate.line import close, line_of

    if not so_far.release:
        return Completed(name="NothingNew", message=so_far.reason)
    outcome = so_far.ended or Outcome.FAILED
    message = close(line_of(so_far.model), so_far)
    if outcome is Outcome.PROMOTED:
        return Completed(name="Promoted", message=message)
    return Cancelled(name=_NAMES[outcome], message=message)


def rollout_state(standing: Standing) -> State:
    """Return the state a rollout's run ends in: Verified, RolledBack or Inconclusive."""
    message = f"{standing.sentence}. Next: lockgate rollout status --model {standing.model}"
    if standing.verdict == RolloutVerdict.ROLL_BACK.value:
        return Cancelled(name="RolledBack", message=message)
    if standing.verdict == RolloutVerdict.INCONCLUSIVE.value:
        return Cancelled(name="Inconclusive", message=message)
    return Completed(name="Verified", message=message)


def restored_state(done: Mapping[str, str]) -> State:
    """Return the state of a rollback's run."""
    return Completed(name="Verified", message=done["sentence"])


def note_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001 - Prefect's signature
    """Write a failed, crashed or cancelled run's release to the ledger as failed; its Retry resumes it."""
    from lockgate.line import note_failed_run

    model = str((flow_run.parameters or {}).get("model", ""))
    note_failed_run(model, str(flow_run.id), f"{state.name}: {state.message or 'no message'}")


def take_back_rollout(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:  # noqa: ARG001 - as above
    """Have the rollout of a run that somebody cancelled taken back; the reaper does the same where this never ran."""
    from lockgate.line import take_back_cancelled

    parameters = flow_run.parameters or {}
    take_back_cancelled(str(parameters.get("model", "")), str(flow_run.id), str(parameters.get("release", "")))
