"""A rollout that may not, or cannot, be carried on: the champion alone, and its end on record as inconclusive."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.errors import ApprovalVoid, LedgerConflict, NotBlessed, TransientError
from lockgate.line.model_line import Line
from lockgate.line.rollout import check_unchanged
from lockgate.ports import Readback
from lockgate.stages.overriding import no_longer_overridden
from lockgate.stages.recording import blessing_of
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane, champion_alone

if TYPE_CHECKING:
    from lockgate.adapters.server_target import ServerTarget
    from lockgate.adapters.tally_file import TallyFile

ACTOR = "roll-out-model"


def record_of(line: Line, release: ReleaseId) -> RolloutRecord | None:
    """Return the last rollout of a release; None where there is none."""
    return read_rollout(line.ledger.rows(line.model, release=release), release)


def lane_of(line: Line, found: RolloutRecord, target: ServerTarget) -> Lane:
    """Return where a rollout's challenger is routed; who opened the target closes it."""
    return Lane(
        ledger=line.ledger,
        router=target,
        model=line.model,
        release=found.rollout.release,
        champion=found.rollout.champion,
        challenger=found.rollout.challenger,
        salt=found.salt,
        lease_s=found.course.lease_s,
        timeout_s=line.spec.rollout.timeout_s,
        actor=ACTOR,
        sleep=time.sleep,
    )


def keeper_of(line: Line, release: ReleaseId) -> TallyFile:
    """Return where a rollout's tally is kept."""
    from lockgate.adapters.tally_file import TallyFile

    return TallyFile(line.services.settings.release(release) / "rollout.tally")


def void_of(line: Line, release: ReleaseId) -> str | None:
    """Say why what was approved may not be rolled out any more; None while it may."""
    try:
        check_unchanged(line, release)
    except ApprovalVoid as changed:
        return changed.message
    return withdrawn_of(line, release)


def withdrawn_of(line: Line, release: ReleaseId) -> str | None:
    """Say which override that a release rests on was withdrawn, or that its blessing is gone; None where neither is."""
    try:
        return no_longer_overridden(line.ledger, line.model, blessing_of(line.ledger, line.model, release))
    except NotBlessed as unblessed:
        return unblessed.message


def give_up(line: Line, found: RolloutRecord, reason: str, world: World | None = None) -> None:
    """Let the champion answer alone, proved from live answers, and end the rollout as inconclusive.

    Args:
        line: The model's line.
        found: The rollout, as it is on record.
        reason: Why.
        world: Of one of several challengers, as it sees it: the others go on.

    Raises:
        RolloutAborted: Live answers are not the champion's.
        TransientError: The server does not answer, or another process moves the rollout; ask again.
    """
    release = found.rollout.release
    _require_still(line, found)
    try:
        with closing(line.services.target("production")) as target:
            champion_alone(*((world.lane, world.readback) if world is not None else _alone(line, found, target)))
    except LedgerConflict as other:
        reason = f"{reason}; the routing is somebody else's now: {other.message}"
    end: dict[str, Json] = {"verdict": RolloutVerdict.INCONCLUSIVE.value, "reason": reason}
    while True:
        seen = line.ledger.last_seq(line.model)
        _require_still(line, found)
        try:
            line.ledger.append(line.model, Event.ROLLOUT_ENDED, end, release=release, actor=ACTOR, expect_seq=seen)
        except LedgerConflict:
            continue
        break
    keeper_of(line, release).drop()


def _alone(line: Line, found: RolloutRecord, target: ServerTarget) -> tuple[Lane, Callable[[], Readback]]:
    champion, requests = found.rollout.champion, line.spec.rollout.readback_requests
    return lane_of(line, found, target), lambda: target.readback(line.model, champion, requests)


def _require_still(line: Line, found: RolloutRecord) -> None:
    now = record_of(line, found.rollout.release)
    if now is None or now.last != found.last:
        raise TransientError(f"another process moves the rollout of {found.rollout.release}; look again")
