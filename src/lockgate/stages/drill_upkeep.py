"""What goes on beside drills: one that died is written down and cleared away, one that is due is said to be.

A drill has died when it began, has no result, and wrote no row for a minute: a living one looks twice a second. Its
lease has ended long before, so the champion answers alone already; here that is put on record and proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from lockgate.core.alerting.watchdog import Noticed
from lockgate.core.drills import (
    ALERT,
    ALERT_EVERY,
    DrillResult,
    DrillVerdict,
    Fault,
    Mode,
    Times,
    drill_due,
    unfinished,
)
from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.core.spec_sections.watching import AlertsSection
from lockgate.errors import LedgerConflict, LockgateError
from lockgate.ports import Clock, DeployTarget, Ledger, Outbox, TrafficRouter
from lockgate.stages.alerting import alert_rows, raise_alerts
from lockgate.stages.drilling import DEAD_AFTER, READBACK
from lockgate.stages.routing import Lane, champion_alone

ACTOR = "reaper"
_DRILLED = "a drill of the rollback passed, or none is due"
_ROUTES = (Event.ROUTING_INTENDED, Event.ROUTING_VERIFIED)


def clear_dead_drills(  # noqa: PLR0913 - one server through two ports
    ledger: Ledger,
    router: TrafficRouter,
    target: DeployTarget,
    model: ModelName,
    *,
    clock: Clock,
    remove: Callable[[Digest], bool],
) -> tuple[str, ...]:
    """Write dead drills down as failed, take away what they left; return what was done, a sentence each.

    Args:
        ledger: The record.
        router: Production's routing.
        target: The same server, read back.
        model: Whose drills.
        clock: Says which are dead.
        remove: Removes a faulty copy from the bundle store.

    Raises:
        TransientError: The ledger did not answer.
    """
    rows = ledger.rows(model)
    did = []
    for drill in unfinished(rows):
        own = [row for row in rows if row.release == drill]
        if clock.now() - own[-1].at < DEAD_AFTER:
            continue
        told = _cleared(ledger, router, target, own)
        copy = _named(own, "challenger")
        if copy is not None:
            remove(Digest(copy))
        ended = {"verdict": RolloutVerdict.INCONCLUSIVE.value, "reason": "its process ended in the middle"}
        ledger.append(model, Event.ROLLOUT_ENDED, ended, release=drill, actor=ACTOR)
        ledger.append(model, Event.DRILL, _died(drill, own, told, model).payload(), release=drill, actor=ACTOR)
        did.append(f"{drill}: it died in the middle; {told}")
    return tuple(did)


def _cleared(ledger: Ledger, router: TrafficRouter, target: DeployTarget, own: Sequence[LedgerRow]) -> str:
    """Put the champion alone in place of what the drill left, and say how that went."""
    routed = [row for row in own if row.event in _ROUTES]
    champion, challenger = _named(own, "champion"), _named(own, "challenger")
    if not routed or champion is None or challenger is None:
        return "nothing was planted"
    if routed[-1].event is Event.ROUTING_VERIFIED and routed[-1].payload.get("answers"):
        return "the champion had been restored"
    bundle = Digest(champion)
    lane = Lane(
        ledger=ledger,
        router=router,
        model=own[0].model,
        release=ReleaseId(str(own[0].release)),
        champion=bundle,
        challenger=Digest(challenger),
        salt=str(own[0].release),
        lease_s=10.0,  # of nothing: the champion alone is leased to nobody
        timeout_s=5.0,  # ours: a sweep looks again in half a minute
        actor=ACTOR,
    )
    try:
        champion_alone(lane, lambda: target.readback(lane.model, bundle, READBACK))
    except LedgerConflict:
        return "the routing is somebody else's since"
    except LockgateError as silent:
        return f"its lease ended the fault, and {router.name} could not be read back: {silent.message}"
    return "the champion alone was put in place, read back from live answers"


def _named(own: Sequence[LedgerRow], part: str) -> str | None:
    return next((str(row.payload[part]) for row in own if row.payload.get(part)), None)


def _died(drill: ReleaseId, own: Sequence[LedgerRow], told: str, model: ModelName) -> DrillResult:
    said = next((each for row in own if isinstance(each := row.payload.get("drill"), Mapping)), {})
    return DrillResult(
        drill=drill,
        mode=Mode(str(said.get("mode", Mode.SHADOW))),
        fault=Fault(str(said.get("fault", Fault.ERRORS))),
        verdict=DrillVerdict.FAILED,
        passed=False,
        times_s=Times(),
        lost=0,
        asked=0,
        requests_per_s=0.0,
        reason=f"died in the middle: its process ended without going back; {told}",
        next=f"find out what ended it, then: lockgate drill {model}",
        run=str(own[0].payload.get("run") or ""),
    )


def tell_of_drills(  # noqa: PLR0913, PLR0917 - the record, the way out, and whose drills
    ledger: Ledger, outbox: Outbox, model: ModelName, section: RolloutSection, now: datetime, owner: str
) -> tuple[str, ...]:
    """Raise an alert when a model's drill is missing, failed or stale, once a day at most; close it when it is not.

    Returns:
        What is due and was told just now, a sentence.
    """
    reason = drill_due(ledger.rows(model), section, now)
    command = f"lockgate drill {model}"
    told = Noticed(model=model, name=ALERT, state="harm" if reason else "ok", reason=reason or _DRILLED, next=command)
    every = AlertsSection(repeat_s=ALERT_EVERY.total_seconds())
    before = len(alert_rows(ledger, model))
    raise_alerts(ledger, outbox, model, every, (told,), now, owner)
    return (f"{model}: {reason}",) if reason and len(alert_rows(ledger, model)) > before else ()
