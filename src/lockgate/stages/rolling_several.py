"""Several rollouts beside one champion, carried by one process: each by its own controller, in turn, one promoted.

    take stock ── every controller takes over ──> ┌ each open one has its turn: lease, wishes, log, look
                                                  │ all that are open have passed?  ── the others of them end,
                                                  └                                    the best is promoted

Each rollout has its own rows, looks, guardrails and plan, and is recomputed by itself. A challenger that does harm, or
that can be shown no longer, is taken out alone. Killed anywhere, run again: who is chosen follows from what is on
record. The others end before the one is promoted, so that at no time two are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lockgate.core.ids import ReleaseId
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.machine import Chosen, Outdone, Phase
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.several import Choice, Contender, choose
from lockgate.errors import RolloutAborted
from lockgate.stages.rolling_out import TURN_S, Controller
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import champion_alone
from lockgate.stages.shared_lane import SharedArm, SharedLane

logger = logging.getLogger(__name__)

_STAYS = frozenset({Phase.BEGUN, Phase.PLACING, Phase.BAKING, Phase.PAUSED, Phase.PROMOTING})


@dataclass(slots=True, kw_only=True)
class Several:
    """The rollouts that are under way beside one champion.

    Attributes:
        lane: Their one routing.
        controllers: Those that have not ended, by release.
    """

    lane: SharedLane
    controllers: dict[ReleaseId, Controller] = field(default_factory=dict)

    def join(self, world: World, found: RolloutRecord) -> None:
        """Let one more rollout be carried.

        Args:
            world: What it acts on, as if it were alone.
            found: What the ledger holds of it.

        Raises:
            IntegrityError: What was counted of it is gone or damaged.
        """
        release = found.rollout.release
        own = self.seen_by(world, release)
        self.controllers[release] = Controller.of(own, found)

    def seen_by(self, world: World, release: ReleaseId) -> World:
        """Return a world as one of several challengers sees it."""
        return replace(
            world,
            lane=replace(world.lane, router=self.lane.view(release)),
            log=self.lane.log(world.log, release),
            readback=lambda: self.lane.answers(world.readback, release),
            promote=lambda: self._promote(release, world.promote),
        )

    def run(self) -> None:
        """Take all of them over, and carry them on until every one has ended.

        Raises:
            LedgerConflict: Another process carries one of them on.
            TransientError: The ledger does not answer, or the champion could not be read back yet; run again.
        """
        for controller in sorted(self.controllers.values(), key=_undecided):
            controller.take_over()
        while waiting := self._open():
            for controller in waiting:
                controller.turn()
            self._settle()
            one = waiting[0]
            one.world.lane.sleep(min(TURN_S, one.observer.course.look_s))

    def _open(self) -> list[Controller]:
        return [each for each in self.controllers.values() if each.rollout.phase is not Phase.ENDED]

    def _settle(self) -> None:
        """Once every challenger that is left has passed: end the others, promote the best."""
        choice = choose([contender_of(each) for each in self.controllers.values()])
        if choice is None:
            return
        winner, metric = choice.winner.release, self._metric(choice)
        for each in choice.outdone:
            told = f"it passed too, {metric} worse by {each.effect:.3g}; {winner} did by {choice.winner.effect:.3g}"
            self._outdo(self.controllers[each.release], winner, f"{told}, and is the one to be promoted")
        reason = (
            "the only one left that passed" if not choice.outdone else f"{metric} worse by {choice.winner.effect:.3g}"
        )
        of = "" if not choice.outdone else f", the best of {len(choice.outdone) + 1} that passed"
        self.controllers[winner].advance(Chosen(now=self._now(), reason=f"{reason}{of}"))

    def _metric(self, choice: Choice) -> str:
        metric = self.controllers[choice.winner.release].observer.course.metric
        return (
            "it is" if metric is None else f"{metric.value} are" if metric.value == "errors" else f"{metric.value} is"
        )

    def _promote(self, release: ReleaseId, promote: Callable[[], object]) -> object:
        """Promote one challenger, once every other has ended, also where a person asked for it.

        Raises:
            RolloutAborted: Another one is being promoted, or was.
        """
        others = [each for name, each in self.controllers.items() if name != release]
        taken = next((each.rollout for each in others if each.rollout.verdict is RolloutVerdict.PROMOTE), None)
        if taken is not None:
            raise RolloutAborted(f"{taken.release} beside it is promoted; there is one champion", release=release)
        for each in others:
            self._outdo(each, release, f"{release} beside it is promoted")
        return promote()

    def _outdo(self, controller: Controller, winner: ReleaseId, reason: str) -> None:
        if controller.rollout.phase is not Phase.ENDED:
            controller.advance(Outdone(now=self._now(), by=winner, reason=reason))

    def _now(self) -> float:
        return next(iter(self.controllers.values())).world.clock.now().timestamp()


def contender_of(controller: Controller) -> Contender:
    """Return a rollout as far as choosing goes; one that passed has not while what it did since then is unread."""
    rollout, effects = controller.rollout, controller.observer.effects
    return Contender(
        release=rollout.release,
        is_open=rollout.phase is not Phase.ENDED,
        passed=rollout.phase is Phase.BAKING and rollout.passed and controller.caught_up,
        effect=effects[-1].value if effects else math.nan,
    )


def shared_arm(found: RolloutRecord) -> SharedArm:
    """Return the arm of a rollout on record, as the shared routing has it."""
    rollout = found.rollout
    return SharedArm(
        release=rollout.release,
        name=found.course.arm,
        bundle=rollout.challenger,
        share=found.course.steps[0].share,
        wanted=not found.ended and rollout.phase in _STAYS,
        sequence=found.sequence or 0,
    )


def take_out(world: World) -> None:
    """Take one challenger out whose rollout cannot be carried on; `world` is as it sees it.

    Raises:
        LedgerConflict: Another controller changed the traffic.
        RolloutAborted: Live answers are of neither the champion nor the others.
        TransientError: The server does not answer.
    """
    champion_alone(world.lane, world.readback)


def _undecided(controller: Controller) -> int:
    """Order what is decided first: who is on the way back has ended before another is promoted, which ends the rest."""
    first = (Phase.ENDED, Phase.RETURNING, Phase.PROMOTING)
    phase = controller.rollout.phase
    return first.index(phase) if phase in first else len(first)
