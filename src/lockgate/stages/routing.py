"""One change of what a challenger gets: written down first, put to the server, verified from what it says it routes.

    ROUTING_INTENDED n ── router.route(n) ── the server's own account ── ROUTING_VERIFIED n

The champion never changes here; that is `stages/traffic.py`. The sequence is the intent's row in the ledger, which the
two kinds of change share, so a server that obeyed a later one refuses an earlier.

What is raised, and what holds then:

    LedgerConflict   another controller has changed the routing or the champion; what it wrote holds
    RolloutAborted   the server refused a bundle, or routes something else than was asked; the lease ends what it routes
    TransientError   the server does not answer; the lease ends what it routed, run again
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.core.traffic import read_traffic
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, NotRunning, RolloutAborted, TransientError
from lockgate.ports import Ledger, Readback, TrafficRouter

_TRAFFIC = (Event.TRAFFIC_INTENDED, Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED)
_WAIT_S = 0.1  # between two tries at a server that does not answer; ours: a supervised one is back in about 1 s
T = TypeVar("T")
_SHARE_STEP = 1e-4  # servers route in basis points


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Where one challenger is routed beside the champion.

    Attributes:
        ledger: Where changes are written.
        router: What routes.
        model: Whose traffic.
        release: Whose challenger; a drill has an id of its own.
        champion: Who serves; a lane is of one champion.
        challenger: Who is beside it.
        salt: Keys who gets which arm.
        lease_s: How long a weight lasts without renewal.
        timeout_s: A server that does not answer is asked again for this long.
        actor: Who or what asks.
        sleep: Waits so many seconds.
    """

    ledger: Ledger
    router: TrafficRouter
    model: ModelName
    release: ReleaseId
    champion: Digest
    challenger: Digest
    salt: str
    lease_s: float
    timeout_s: float = 60.0
    actor: str = "lockgate"
    sleep: Callable[[float], None] = time.sleep


def place(lane: Lane, *, weight: float, shadow: float) -> LedgerRow:
    """Give the challenger a share of entities, or of copies, and return the verified row.

    Raises:
        LedgerConflict: Another controller changed the traffic.
        RolloutAborted: The server refused it or routes something else.
        TransientError: The server does not answer.
    """
    row = _intend(lane, lane.challenger, weight, shadow)
    seen = _route(lane, row.seq, lane.challenger, weight, shadow)
    if abs(seen.weight - weight) > _SHARE_STEP or abs(seen.shadow - shadow) > _SHARE_STEP:
        raise RolloutAborted(
            f"{lane.router.name} routes {seen.weight:g} and copies {seen.shadow:g} to the challenger; asked for "
            f"{weight:g} and {shadow:g}",
            sequence=row.seq,
        )
    return _verify(lane, row, seen, {})


def champion_alone(lane: Lane, readback: Callable[[], Readback]) -> LedgerRow:
    """Take the challenger out, prove from live answers that the champion alone answers, and return the verified row.

    Args:
        lane: The lane.
        readback: Asks for live answers: `DeployTarget.readback` of the champion.

    Raises:
        LedgerConflict: Another controller changed the traffic.
        RolloutAborted: Live answers are not the champion's.
        TransientError: The server does not answer; the lease ends the challenger's share all the same.
    """
    row = _intend(lane, None, 0.0, 0.0)
    seen = _route(lane, row.seq, None, 0.0, 0.0)
    if seen.weight or seen.shadow:
        raise RolloutAborted(
            f"{lane.router.name} was told to let the champion answer alone and routes {seen.weight:g} and copies "
            f"{seen.shadow:g} to the challenger; look at `lockgate status`",
            sequence=row.seq,
        )
    answers = _patiently(lane, readback)
    others = sorted({each for each in answers.answers if each != lane.champion})
    if others or not answers.answers or answers.sequence != row.seq:
        raise RolloutAborted(
            f"{lane.router.name} was told to let the champion answer alone at sequence {row.seq}; it acknowledged "
            f"{answers.sequence}, and live answers carry {', '.join(others) or 'nothing'}; look at `lockgate status`",
            sequence=row.seq,
        )
    return _verify(lane, row, seen, {"answers": len(answers.answers)})


def is_champion(lane: Lane) -> bool:
    """Tell whether the lane's champion is still the verified one, and no change of it has begun."""
    traffic = read_traffic(lane.ledger.rows(lane.model, events=_TRAFFIC), lane.router.name)
    return traffic.champion == lane.champion and traffic.pending is None


def _intend(lane: Lane, challenger: Digest | None, weight: float, shadow: float) -> LedgerRow:
    payload: dict[str, Json] = {
        "environment": lane.router.name,
        "champion": lane.champion,
        "challenger": challenger,
        "weight": weight,
        "shadow": shadow,
        "salt": lane.salt,
        "lease_s": lane.lease_s,
    }
    while True:
        last = lane.ledger.last_seq(lane.model)
        if not is_champion(lane):
            raise LedgerConflict(f"the champion of {lane.model} in {lane.router.name} is not {lane.champion} any more")
        try:
            return lane.ledger.append(
                lane.model,
                Event.ROUTING_INTENDED,
                payload,
                release=lane.release,
                actor=lane.actor,
                expect_seq=last,
            )
        except LedgerConflict:
            continue


def _route(lane: Lane, sequence: int, challenger: Digest | None, weight: float, shadow: float) -> Routed:
    routing = Routing(
        sequence=sequence,
        champion=lane.champion,
        challenger=challenger,
        weight=weight,
        shadow=shadow,
        salt=lane.salt,
        lease_s=lane.lease_s,
    )
    try:
        seen = _patiently(lane, lambda: lane.router.route(lane.model, routing))
    except (IntegrityError, BadInput) as refused:
        raise RolloutAborted(
            f"{lane.router.name} refused the routing: {refused.message}", sequence=sequence
        ) from refused
    if seen.sequence != sequence or seen.champion != lane.champion:
        raise LedgerConflict(
            f"{lane.router.name} obeys sequence {seen.sequence}, not {sequence}", sequence=seen.sequence
        )
    return seen


def _patiently(lane: Lane, ask: Callable[[], T]) -> T:
    deadline = time.monotonic() + lane.timeout_s
    while True:
        try:
            return ask()
        except (TransientError, NotRunning):
            if time.monotonic() >= deadline:
                raise
            lane.sleep(_WAIT_S)


def _verify(lane: Lane, intent: LedgerRow, seen: Routed, more: Mapping[str, Json]) -> LedgerRow:
    payload: dict[str, Json] = {
        "environment": lane.router.name,
        "sequence": intent.seq,
        "champion": seen.champion,
        "weight": seen.weight,
        "shadow": seen.shadow,
        **({"arms": to_json(seen.arms)} if seen.arms else {}),
        **more,
    }
    return lane.ledger.append(lane.model, Event.ROUTING_VERIFIED, payload, release=lane.release, actor=lane.actor)
