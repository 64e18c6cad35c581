"""The beginning and the end of a release's run."""

from __future__ import annotations

import os
import platform

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Outcome
from lockgate.core.progress import Progress
from lockgate.core.spec import ReleaseSpec
from lockgate.line.learning import ask_to_open
from lockgate.line.model_line import Line, line_of
from lockgate.stages import releasing
from lockgate.stages.intake import take_in

_NEXT_STEP = {
    Outcome.PROMOTED: "see it serve: lockgate status",
    Outcome.BLOCKED: "see why, and the one next step: lockgate explain {release}",
    Outcome.INCONCLUSIVE: "see what could not be told, and the one next step: lockgate explain {release}",
    Outcome.REJECTED: "change what the approver named, then: lockgate release --model {model}",
    Outcome.EXPIRED: "start anew: lockgate release --model {model}",
    Outcome.SUPERSEDED: "follow the newer release: lockgate history --model {model}",
    Outcome.ROLLED_BACK: "see what serves: lockgate status",
    Outcome.FAILED: "press Retry in the Prefect UI, or: lockgate explain {release}",
}


def begin(model: str, reason: str, started_by: str) -> Progress:
    """Take in what landed, then open the release of this run, or say why not, as the retraining policy has it.

    Raises:
        ConfigError: The spec's training cannot be carried out, or would not convert faithfully; nothing was taken in.
        TransientError: Another release of the model is running.
    """
    line = line_of(model)
    line.services.check(line.spec)
    take_in(line.ledger, line.services.store, line.spec)
    start = _start(line, reason, started_by)
    decision = ask_to_open(line, start)
    if decision is not None and not decision.train:
        return releasing.nothing_new(line.spec, start, f"{decision.why}. Next: {decision.next}")
    return releasing.open_release(line.ledger, line.services.runs, line.spec, start)


def enter(model: str, reason: str, started_by: str) -> Progress | None:
    """Check that the release this run carries, if any, may go on; returns how it ended when it may not."""
    line = line_of(model)
    return releasing.enter_release(line.ledger, line.spec, _start(line, reason, started_by))


def close(line: Line, so_far: Progress) -> str:
    """Write the release's end once, and return the sentence for its run's last state, with the next step."""
    outcome = so_far.ended or Outcome.FAILED
    releasing.end_release(line.ledger, line.spec, so_far.release, outcome, so_far.reason, gate=so_far.gate)
    step = _NEXT_STEP[outcome].format(release=so_far.release, model=so_far.model)
    return f"{so_far.release} {outcome.value.replace('_', ' ')}: {so_far.reason}. Next: {step}"


def note_failed_run(model: str, run: str, reason: str) -> ReleaseId | None:
    """End the release of a run that failed, crashed or was cancelled, if it had not ended; a Retry resumes it."""
    line = line_of(model)
    release = releasing.release_of_run(line.ledger, line.spec, run)
    if release is not None:
        releasing.end_release(line.ledger, line.spec, release, Outcome.FAILED, reason, actor="run hook")
    return release


def _start(line: Line, reason: str, started_by: str) -> releasing.Start:
    return releasing.Start(
        run=current_run(),
        reason=reason,
        started_by=started_by,
        code=line.services.code.digest,
        process=this_process(),
    )


def current_run() -> str:
    """Return the id of the flow run that this code runs in; a process outside of one gets an id of its own."""
    from prefect.runtime import flow_run

    return str(flow_run.id or f"process-{os.getpid()}")


def this_process() -> dict[str, Json]:
    """Return where this process lives, precisely enough that a later process of the same id is not taken for it."""
    import psutil

    process = psutil.Process()
    return {"host": platform.node(), "pid": process.pid, "started": process.create_time()}


def started_by(line: Line, spec: ReleaseSpec, release: ReleaseId) -> str:
    """Return who or what opened a release."""
    return str(releasing.opened_row(line.ledger, spec, release).payload["started_by"])
