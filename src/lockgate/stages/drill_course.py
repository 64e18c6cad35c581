"""The middle of a drill: a rollout of the faulty copy by the controller that real rollouts have, timed by a stopwatch.

    planted     the server acknowledged the faulty copy
    detected    a look with harm is on record
    decided     the intent to go back is on record, the server is asked
    switched    it acknowledged the champion alone
    restored    live answers, on connections of their own, carry the champion's digest

The challenger can never be promoted: the machine's way to promotion ends in a refusal, as the copy has no blessing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from lockgate.core.drill_plan import drill_course
from lockgate.core.drills import Times
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import Look, RolloutVerdict, State, blindness
from lockgate.core.rollout import machine, record
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.routing import Routed, Routing
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.errors import LedgerConflict, LockgateError, NotBlessed, NotRunning, RolloutAborted, TransientError
from lockgate.ports import Readback, TrafficRouter
from lockgate.stages.drill_ground import ACTOR, Ended, Ground, Rehearsed
from lockgate.stages.rolling_out import Controller
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane, champion_alone

logger = logging.getLogger(__name__)

_BACK = 5  # tries to go back after something broke; the lease ends the fault all the same
_BACK_WAIT_S = 0.5
_MAY_PASS = (RolloutAborted, TransientError, NotRunning)
TallyOf = Callable[[Course, RolloutSection, bytes | None], Tally]


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Passes everything on to the router and the readback, and keeps when it happened; a `TrafficRouter`.

    Attributes:
        router: Production's.
        ask: Asks for live answers.
        seconds: Monotonic.
        looks: The looks so far, which grow.
        planted: When the faulty copy was acknowledged.
    """

    router: TrafficRouter
    ask: Callable[[], Readback]
    seconds: Callable[[], float]
    name: str = field(init=False)
    looks: Sequence[Look] = ()
    planted: float | None = None
    _seen: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.router.name

    def route(self, model: ModelName, routing: Routing) -> Routed:
        """See `TrafficRouter.route`."""
        if routing.challenger is None:
            self._note("decided")
        routed = self.router.route(model, routing)
        if routing.challenger is None:
            self._note("switched")
        elif self.planted is None:
            self.planted = self.seconds()
        return routed

    def renew(self, model: ModelName, sequence: int) -> Routed:
        """See `TrafficRouter.renew`."""
        return self.router.renew(model, sequence)

    def routed(self, model: ModelName) -> Routed | None:
        """See `TrafficRouter.routed`."""
        return self.router.routed(model)

    def readback(self) -> Readback:
        """Ask for live answers."""
        return self.ask()

    def saw(self, _shown: Mapping[str, Json]) -> None:
        """Take in that there was a look or a move."""
        if self.looks and any(each.state is State.HARM for each in self.looks[-1].findings):
            self._note("detected")

    def restored(self) -> None:
        """Take in that live answers are the champion's."""
        self._note("restored")

    def times(self) -> Times:
        """Return what was noted, in seconds after the fault was in place."""
        noted = Times(**self._seen)
        if noted.switched is None or noted.detected is None:
            return noted
        return replace(noted, switch=round(noted.switched - noted.detected, 3))

    def _note(self, what: str) -> None:
        if self.planted is not None:
            self._seen.setdefault(what, round(self.seconds() - self.planted, 3))


class _Nowhere:
    """Keeps no tally: a drill that died is not carried on."""

    def load(self) -> tuple[str, bytes] | None:
        """Return nothing."""
        return None

    def save(self, cursor: str, kept: bytes) -> None:
        """Keep nothing."""

    def drop(self) -> None:
        """Forget nothing."""


def rehearse(ground: Ground, plan: Rehearsed, *, tally: TallyOf) -> Ended:
    """Plant the faulty copy, let the controller find it and take it away, and return how that went.

    Raises:
        TransientError: The ledger or the log do not answer; the lease ends the fault.
    """
    course = drill_course(plan.section)
    watch = Stopwatch(
        router=ground.router,
        ask=lambda: ground.target.readback(plan.model, plan.champion, plan.readback_requests),
        seconds=ground.seconds,
    )
    world = _world(ground, plan, watch, lambda kept: tally(course, plan.section, kept))
    begun = Rollout.at_start(plan.drill, plan.challenger, plan.champion, began=ground.clock.now().timestamp())
    told: dict[str, Json] = {"fault": plan.fault.value, "mode": plan.mode.value}
    payload = record.begun_payload(course, begun, salt=plan.drill, run=plan.run) | {"drill": told}
    controller = Controller.of(world, record.read_begun(world.append(Event.ROLLOUT_BEGUN, payload)))
    watch.looks = controller.observer.looks
    broken: str | None = None
    try:
        controller.take_over()
        controller.run(lambda _: False)
    except LockgateError as failed:
        logger.warning("drill %s: %s", plan.drill, failed.message)
        broken = failed.message
        _go_back(world, broken)
    return replace(_ended(controller, watch), broken=broken)


def _world(ground: Ground, plan: Rehearsed, watch: Stopwatch, tally: Callable[[bytes | None], Tally]) -> World:
    lane = Lane(
        ledger=ground.ledger,
        router=watch,
        model=plan.model,
        release=plan.drill,
        champion=plan.champion,
        challenger=plan.challenger,
        salt=plan.drill,
        lease_s=plan.section.lease_s,
        timeout_s=plan.section.drill.restored_within_s,
        actor=ACTOR,
        sleep=ground.sleep,
    )

    def proved() -> Readback:
        answers = watch.readback()
        if answers.answers and all(each == plan.champion for each in answers.answers):
            watch.restored()
        return answers

    return World(
        lane=lane,
        log=ground.log,
        keeper=_Nowhere(),
        clock=ground.clock,
        readback=proved,
        promote=_never,
        tally=tally,
        show=watch.saw,
    )


def _never() -> NoReturn:
    raise NotBlessed("a drill's faulty copy has no blessing and is never promoted")


def _go_back(world: World, broken: str) -> None:
    """Take the faulty copy away after something broke; if that does not work out either, its lease does."""
    for _ in range(_BACK):
        try:
            champion_alone(world.lane, world.readback)
            break
        except LedgerConflict as other:
            logger.warning("drill %s: %s", world.lane.salt, other.message)
            break  # the routing is somebody else's
        except _MAY_PASS as again:
            logger.warning("drill %s: %s", world.lane.salt, again.message)
            world.lane.sleep(_BACK_WAIT_S)
    ended = machine.End(verdict=RolloutVerdict.INCONCLUSIVE, reason=broken)
    world.append(Event.ROLLOUT_ENDED, record.ended_payload(ended))


def _ended(controller: Controller, watch: Stopwatch) -> Ended:
    rollout, looks, times = controller.rollout, controller.observer.looks, watch.times()
    sees = bool(looks) and blindness(looks[-1]) is None
    return Ended(
        times=times,
        verdict=rollout.verdict or RolloutVerdict.INCONCLUSIVE,
        reason=rollout.reason,
        measured=sees and times.restored is not None and rollout.verdict is RolloutVerdict.INCONCLUSIVE,
    )
