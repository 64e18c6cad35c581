"""What a policy cost: fits, time of the machine by stage, people's decisions, requests without an answer. Pure.

Time is read from the ledger's rows: what passed between two rows of a release was spent in the stage of the later one.
It is wall clock of the machine that replayed, so that only shares and sums within one replay are worth comparing; the
shortened windows are shorter in it too. What passed while a release was killed or its run entered again is left out, as
is what passed until a rollout whose process was gone was ended or taken over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from lockgate.core.estimates import within
from lockgate.core.ids import Json, ReleaseId, Stage
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.replay_comparison import changes
from lockgate.core.replay_plan import KILLED, PolicyDone
from lockgate.core.rollout.record import PROCESS_GONE

_STAGES: Final[Mapping[Event, Stage]] = {
    Event.BUNDLE: Stage.PACKAGE,
    Event.BLESSING: Stage.REGISTER,
    Event.REGISTERED: Stage.REGISTER,
    Event.STAGED: Stage.STAGING,
    Event.APPROVAL_ASKED: Stage.APPROVAL,
    Event.APPROVAL_GIVEN: Stage.APPROVAL,
    Event.APPROVAL_REFUSED: Stage.APPROVAL,
    Event.ROLLOUT_BEGUN: Stage.PROMOTE,
    Event.ROLLOUT_MOVED: Stage.PROMOTE,
    Event.ROLLOUT_LOOK: Stage.PROMOTE,
    Event.ROLLOUT_ENDED: Stage.PROMOTE,
    Event.ROUTING_INTENDED: Stage.PROMOTE,
    Event.ROUTING_VERIFIED: Stage.PROMOTE,
}
_TRAFFIC: Final = (Event.TRAFFIC_INTENDED, Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED)
_ROUTING: Final = (Event.ROUTING_INTENDED, Event.ROUTING_VERIFIED)
_LOST: Final = (KILLED, PROCESS_GONE)
_TAKEN_OVER: Final = "resumed"  # `core.rollout.state.KINDS`
_MEASURED: Final = (Event.EVIDENCE, Event.VERDICT)


def cost(policy: PolicyDone, rows: Sequence[LedgerRow], people_each: int) -> dict[str, Json]:
    """Return what one policy cost, as JSON.

    Args:
        policy: What was replayed.
        rows: The ledger's rows of its model, in order.
        people_each: How many people the spec, before it was shortened, asks to approve one release.
    """
    asked = sum(each.asked + each.beside_asked for each in policy.months)
    answered = sum(each.answered + each.beside_answered for each in policy.months)
    stages = stage_seconds(rows)
    approved = len({row.release for row in rows if row.event is Event.APPROVAL_GIVEN})
    released = {policy.first, *(each.newest for each in policy.months), *_fitted(rows), ""}
    aside = len({each.monthly for each in policy.months} - released)
    return {
        "fits": len(_fitted(rows)),
        "fits_aside": aside,
        "stages_s": {**stages},
        "total_s": round(sum(stages.values()), 1),
        "approvals": {"releases": approved, "people_each": people_each, "people": approved * people_each},
        "requests": {"asked": asked, "answered": answered, "lost": asked - answered},
        "takeovers": changes(policy),
    }


def _fitted(rows: Iterable[LedgerRow]) -> set[str]:
    """Return the releases whose training was measured."""
    measured = (row for row in rows if row.event is Event.EVIDENCE and row.release)
    return {str(row.release) for row in measured if within(row.payload, "stage") == Stage.TRAIN.value}


def stage_seconds(rows: Iterable[LedgerRow]) -> dict[str, float]:
    """Return seconds of wall clock by stage over all releases, in the stages' order; those that never ran left out."""
    spent: dict[Stage, float] = {}
    last: dict[ReleaseId, tuple[datetime, Stage]] = {}
    told = tuple(rows)
    lost = _lost(told)
    for row in told:
        if row.release is None:
            continue
        before = last.get(row.release)
        stage = _stage(row, Stage.INGEST if before is None else before[1])
        if before is not None and row.seq not in lost and not _was_away(row):
            spent[stage] = spent.get(stage, 0.0) + max(0.0, (row.at - before[0]).total_seconds())
        last[row.release] = row.at, stage
    return {stage.value: round(spent[stage], 1) for stage in Stage if stage in spent}


def _stage(row: LedgerRow, before: Stage) -> Stage:
    """Return the stage that a row ends or belongs to; one that belongs to none is of the stage before it."""
    if row.event in _MEASURED:
        return Stage(str(row.payload["stage"]))
    if row.event in _TRAFFIC:
        return Stage.STAGING if row.payload.get("environment") == "staging" else Stage.PROMOTE
    return _STAGES.get(row.event, before)


def _was_away(row: LedgerRow) -> bool:
    """Tell whether nobody worked on a release before this row.

    It was entered again, its rollout was taken over by another process, or it was put on record as failed.
    """
    failed = row.event is Event.RELEASE_ENDED and row.payload.get("outcome") == Outcome.FAILED
    taken_over = row.event is Event.ROLLOUT_MOVED and within(row.payload.get("event"), "kind") == _TAKEN_OVER
    return failed or taken_over or row.event is Event.RELEASE_RESUMED


def _lost(rows: Iterable[LedgerRow]) -> set[int]:
    """Return the rows by which rollouts were ended whose process was gone: the routing taken back, then the end."""
    since: dict[ReleaseId | None, list[int]] = {}
    lost: set[int] = set()
    for row in rows:
        if row.event in _ROUTING:
            since.setdefault(row.release, []).append(row.seq)
            continue
        if row.event is Event.ROLLOUT_ENDED and str(row.payload.get("reason")).startswith(_LOST):
            lost |= {*since.get(row.release, []), row.seq}
        since[row.release] = []
    return lost
