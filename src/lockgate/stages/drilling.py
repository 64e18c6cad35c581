"""A rehearsed rollback: a faulty copy beside the champion, and the rollout's own machinery must take it away again.

    traffic flows? ── faulty copy signed and stored ── a rollout over one step, which can only end in going back
        ── times from the ledger's rows, requests lost ── DRILL row ── the copy is removed

A drill that could not measure is not passed. Killed in the middle, the lease ends and the champion answers alone; who
comes next (a drill, the reaper) writes the drill down as failed: `stages/drill_upkeep.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lockgate.core.drill_plan import drill_section, seen_after_s
from lockgate.core.drills import (
    DrillResult,
    DrillVerdict,
    Fault,
    FaultyCopy,
    Mode,
    Times,
    drill_id,
    is_drill,
    judge,
    unfinished,
)
from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.routing import CHAMPION
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.core.traffic import read_traffic
from lockgate.errors import TransientError
from lockgate.stages.drill_ground import ACTOR, Ground, Rehearsed

TRAFFIC_S = 3.0  # ours: how long traffic is counted before the fault; at one request a second it shows
DEAD_AFTER = timedelta(seconds=60)  # ours: a living drill writes a row twice a second
SILENT_AFTER = timedelta(minutes=10)  # ours: a living rollout looks at least every few seconds or minutes
READBACK = 16  # ours: fresh connections; of four workers each is missed less than once in a hundred drills
_READS = 200  # of the log at the end; beyond that a drill of seconds was not all that was logged
_TRAFFIC = (Event.TRAFFIC_INTENDED, Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """Traffic before the fault: how much, and where the log stood then."""

    requests_per_s: float
    cursor: str


def drill(ground: Ground, fault: Fault, mode: Mode, *, run: str) -> DrillResult:
    """Rehearse a rollback, write what came of it and return it.

    Args:
        ground: Production.
        fault: What is planted.
        mode: Where.
        run: The flow run, for the record.

    Raises:
        BadInput: No guardrail watches for this fault, or the spec keeps it out of production.
        TransientError: Ledger or log do not answer; nothing was planted, or what was is gone with its lease.
    """
    drill_section(ground.section, fault, mode, 1.0)  # what cannot be drilled is refused before anything is written
    rows = ground.ledger.rows(ground.model)
    champion = read_traffic(rows, ground.router.name).champion
    started = DrillResult(
        drill=drill_id(ground.model, rows),
        mode=mode,
        fault=fault,
        verdict=DrillVerdict.INCONCLUSIVE,
        passed=False,
        times_s=Times(),
        lost=0,
        asked=0,
        requests_per_s=0.0,
        reason="",
        next=f"drill again when it is over: lockgate drill {ground.model}",
        run=run,
    )
    if champion is None:  # nothing for the record of a model that may have none yet
        reason = f"{ground.model} has no champion in {ground.router.name}; there is nothing to roll back to yet"
        return replace(started, reason=reason, next=f"release it first: lockgate release --model {ground.model}")
    result = _drilled(ground, started, champion, rows)
    ground.ledger.append(ground.model, Event.DRILL, result.payload(), release=ReleaseId(result.drill), actor=ACTOR)
    return result


def _drilled(ground: Ground, started: DrillResult, champion: Digest, rows: Sequence[LedgerRow]) -> DrillResult:
    busy = occupied(ground, rows)
    if busy is not None:
        return replace(started, reason=busy)
    flow = _flow(ground)
    started = replace(started, requests_per_s=round(flow.requests_per_s, 2))
    section = drill_section(ground.section, started.fault, started.mode, flow.requests_per_s)
    expected_s = seen_after_s(section, started.fault, started.mode, flow.requests_per_s)
    within_s = ground.section.drill.restored_within_s
    if expected_s > within_s:
        return replace(started, reason=_too_thin(flow, expected_s, within_s), next=_more_traffic(ground))
    for left in ground.copies.left_behind(ground.model):
        ground.copies.remove(left)
    copy = ground.copies.make(champion, started.fault, drill=started.drill)
    busy = occupied(ground, ground.ledger.rows(ground.model))  # counting traffic and signing a copy took a while
    if busy is not None:
        ground.copies.remove(copy.digest)
        return replace(started, reason=busy)
    try:
        return _rehearsed(ground, started, flow, _plan(ground, started, section, champion, copy), copy)
    finally:
        ground.copies.remove(copy.digest)


def _plan(
    ground: Ground, started: DrillResult, section: RolloutSection, champion: Digest, copy: FaultyCopy
) -> Rehearsed:
    return Rehearsed(
        drill=ReleaseId(started.drill),
        model=ground.model,
        champion=champion,
        challenger=copy.digest,
        section=section,
        readback_requests=max(READBACK, ground.section.readback_requests),
        run=started.run,
        fault=started.fault,
        mode=started.mode,
    )


def _rehearsed(ground: Ground, started: DrillResult, flow: _Flow, plan: Rehearsed, copy: FaultyCopy) -> DrillResult:
    """Carry the drill out and judge what was measured."""
    allowed = (plan.champion, plan.challenger) if started.mode is Mode.PRODUCTION else (plan.champion,)
    with ground.probing(copy.contract, copy.probes, allowed) as prober:
        ended = ground.rehearse(ground, plan)
    failed = _champion_failed(ground, flow)
    result = replace(started, times_s=ended.times, asked=prober.asked, lost=prober.lost + failed)
    logged = f"the prediction log says that the champion failed on {failed}" if failed else None
    told = "".join(f"; {each}" for each in (*prober.problems[:1], logged, ended.broken) if each is not None)
    if ended.times.detected is None and not ended.measured:
        return replace(result, reason=f"it could not measure: {ended.reason}{told}")
    within_s = ground.section.drill.restored_within_s
    verdict, reason = judge(ended.times, lost=result.lost, asked=result.asked, within_s=within_s)
    passed = verdict is DrillVerdict.PASSED
    following = "nothing; the next one is due in time" if passed else _look_at(ground, started)
    return replace(result, verdict=verdict, passed=passed, reason=reason + told, next=following)


def _look_at(ground: Ground, started: DrillResult) -> str:
    return (
        f"a real rollout would have fared so: see lockgate history --model {ground.model} for the looks of "
        f"{started.drill}, and loosen nothing before the cause is known"
    )


# -- before the fault --------------------------------------------------------------------------------------------------


def occupied(ground: Ground, rows: Sequence[LedgerRow]) -> str | None:
    """Return why production is not free for a drill, in one sentence; None where it is."""
    if read_traffic(rows, ground.router.name).pending is not None:
        return f"the champion of {ground.model} is being changed; a drill would stand in its way"
    now = ground.clock.now()
    rollout, drill = rollout_under_way(rows, now), drill_under_way(rows, now)
    if rollout is not None:
        return f"the rollout of {rollout} is under way; a drill would stand in its way"
    return None if drill is None else f"{drill} is under way; one drill at a time"


def under_way(rows: Sequence[LedgerRow], now: datetime) -> str | None:
    """Return what has production's traffic beside the champion, in words; None where nothing has."""
    rollout = rollout_under_way(rows, now)
    return drill_under_way(rows, now) if rollout is None else f"the rollout of {rollout}"


def drill_under_way(rows: Sequence[LedgerRow], now: datetime) -> ReleaseId | None:
    """Return the drill that lives: it began, has no result, and wrote a row a while ago."""
    return next((drill for drill in unfinished(rows) if now - _last(rows, drill).at < DEAD_AFTER), None)


def rollout_under_way(rows: Sequence[LedgerRow], now: datetime) -> ReleaseId | None:
    """Return the release whose rollout began and has not ended; drills are not counted.

    A rollout outlives its release's own run; one that fell silent after that is nobody's any more.
    """
    open_: dict[ReleaseId, None] = {}
    for row in rows:
        if row.release is None or is_drill(row.release):
            continue
        if row.event is Event.ROLLOUT_BEGUN:
            open_[row.release] = None
        elif row.event is Event.ROLLOUT_ENDED:
            open_.pop(row.release, None)
    over = {row.release for row in rows if row.event is Event.RELEASE_ENDED}
    return next((each for each in open_ if each not in over or now - _last(rows, each).at < SILENT_AFTER), None)


def _last(rows: Sequence[LedgerRow], release: ReleaseId) -> LedgerRow:
    return next(row for row in reversed(rows) if row.release == release)


def _flow(ground: Ground) -> _Flow:
    """Count the traffic of a few seconds.

    Raises:
        TransientError: The log cannot be read.
    """
    cursor = ground.log.end(ground.model)
    began = ground.seconds()
    ground.sleep(TRAFFIC_S)
    seen, cursor = _read_on(ground, cursor)
    waited_s = max(ground.seconds() - began, TRAFFIC_S)
    live = sum(1 for each in seen if not each.shadow)
    return _Flow(requests_per_s=live / waited_s, cursor=cursor)


def _read_on(ground: Ground, cursor: str) -> tuple[list[Observation], str]:
    found: list[Observation] = []
    for _ in range(_READS):
        seen = ground.log.read(ground.model, cursor)
        found += seen.observations
        cursor = seen.cursor
        if not seen.behind:
            break
    return found, cursor


def _too_thin(flow: _Flow, expected_s: float, within_s: float) -> str:
    if flow.requests_per_s == 0:
        return f"no traffic in {TRAFFIC_S:g} s; a drill without traffic proves nothing"
    return (
        f"at {flow.requests_per_s:.1f} requests a second the fault would be seen after about {expected_s:.0f} s, and "
        f"the champion must be restored within {within_s:g} s"
    )


def _more_traffic(ground: Ground) -> str:
    return f"drill when more is asked: lockgate drill {ground.model}"


# -- after it ----------------------------------------------------------------------------------------------------------


def _champion_failed(ground: Ground, flow: _Flow) -> int:
    """Count the live requests on which the champion failed since the fault was prepared, by the prediction log.

    A challenger's failed request is not lost: the champion answered it, which is what the fallback is for.
    """
    try:
        seen, _ = _read_on(ground, flow.cursor)
    except TransientError:
        return 0  # the prober's own count stands
    return sum(1 for each in seen if each.failed and not each.shadow and each.arm == CHAMPION)
