"""A run that a person cancelled in the orchestrator takes its rollout back: the champion alone, on record as aborted.

Who cancels a release, or its rollout, expects that users stop meeting the challenger. Two ways lead there, and either
is enough:

    the run's cancellation hook   asks at once: whoever carries the rollout on hears it within a turn
    the reaper                    finds the cancelled run, or a wish that nobody has heard, and carries it out itself
"""

from __future__ import annotations

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.state import Wish
from lockgate.line.carrying import DECIDED
from lockgate.line.giving_up import record_of
from lockgate.line.model_line import Line, line_of
from lockgate.line.rollout import ask_for_sweep
from lockgate.ports import RunState
from lockgate.stages.releasing import release_of_run

BY_HAND = ("Cancelled", "Cancelling")  # what Prefect calls it; Lockgate's own ends have names of their own


def take_back_cancelled(model: str, run: str, release: str = "") -> bool:
    """Ask that the rollout of a cancelled run is taken back, and for a sweep that sees to it; tells whether it was.

    Args:
        model: The model.
        run: The run that was cancelled: a release's, or its rollout's.
        release: The release; empty: the one that the run carries.
    """
    line = line_of(model)
    name = ReleaseId(release) if release else release_of_run(line.ledger, line.spec, run)
    found = None if name is None else record_of(line, name)
    beside = () if found is None else found.course.beside  # one run carries all of them
    asked = [
        ask_to_abort(line, each, by="Prefect", reason=f"run {run} was cancelled")
        for each in (found, *(record_of(line, other) for other in beside))
        if each is not None
    ]
    if not any(asked):
        return False
    ask_for_sweep(line)
    return True


def ask_to_abort(line: Line, found: RolloutRecord, *, by: str, reason: str) -> bool:
    """Put on record that a rollout shall be taken back; False where it is decided, or was asked for already."""
    if found.ended or found.rollout.phase in DECIDED or any(each.what == Wish.ABORT for each in found.wishes):
        return False
    asked: dict[str, Json] = {"what": Wish.ABORT.value, "by": by, "reason": reason}
    line.ledger.append(line.model, Event.ROLLOUT_ASKED, asked, release=found.rollout.release, actor=by)
    return True


def cancelled_of(line: Line, release: ReleaseId, run: str = "") -> str | None:
    """Say which run a person has cancelled, a release's or its rollout's (`run`); None where nobody has.

    Raises:
        TransientError: The orchestrator does not answer.
    """
    opened = line.ledger.rows(line.model, release=release, events=(Event.RELEASE_OPENED,))
    for each in (run, *(str(row.payload.get("run") or "") for row in opened)):
        if each and _is_by_hand(line.services.runs.state(each)):
            return f"run {each} was cancelled"
    return None


def _is_by_hand(state: RunState | None) -> bool:
    return state is not None and state.type in ("CANCELLED", "CANCELLING") and state.name in BY_HAND
