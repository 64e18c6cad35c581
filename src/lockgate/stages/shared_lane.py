"""Several challengers on one server: each has its own view of the routing and of the log, as if it were alone.

    controller of challenger-1 ── ArmRouter ─┐
    controller of challenger-2 ── ArmRouter ─┼─ SharedLane ── one routing, one lease ── router
    controller of challenger-3 ── ArmRouter ─┘

What is routed follows from the arms alone: each has its share from the first routing to the last. Where one was taken
out, or could not be put in place, the champion's bundle answers under that arm's name. So nobody becomes a user of the
arm `champion` who met a third challenger before, and shares, with them every propensity, do not change while the others
go on. When no challenger is left, the champion alone is routed.

Changes are put in the order of the ledger: the sequence is the intent's row of whichever arm asked, see `routing`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from lockgate.core.ids import Digest, ModelName, ReleaseId
from lockgate.core.rollout.observations import Seen
from lockgate.core.rollout.routing import Routed, RoutedArm, Routing
from lockgate.core.rollout.several import as_pair
from lockgate.errors import BadInput, IntegrityError, NotRunning, TransientError
from lockgate.ports import Readback, TrafficLog, TrafficRouter

_ASKS = 20  # ours: with half of all answers by others, five of one's own are there after two


@dataclass(slots=True, kw_only=True)
class SharedArm:
    """One challenger.

    Attributes:
        release: Whose it is.
        name: What the server calls it.
        bundle: What answers.
        share: Its share of entities.
        wanted: Whether its bundle is to answer; else the champion's does.
        placed: Whether it was ever routed by this process.
        in_force: Whether it is routed, its lease not over, as far as is known here.
        sequence: The routing that it asked for last.
    """

    release: ReleaseId
    name: str
    bundle: Digest
    share: float
    wanted: bool
    placed: bool = False
    in_force: bool = False
    sequence: int = 0


class SharedLane:
    """The one routing of several challengers."""

    def __init__(self, router: TrafficRouter, model: ModelName, champion: Digest, arms: Sequence[SharedArm]) -> None:
        """Take the arms; nothing is routed yet.

        Args:
            router: What routes.
            model: Whose traffic.
            champion: Who serves.
            arms: The challengers, in the order of their names.
        """
        self.router, self.model, self.champion, self.arms = router, model, champion, tuple(arms)
        self.sequence = max(each.sequence for each in self.arms)

    def take_stock(self) -> None:
        """Find out which arms are in force, before anything is routed: one whose lease is over is placed anew."""
        try:
            seen = self.router.routed(self.model)
        except (TransientError, NotRunning):
            return
        if seen is not None and seen.sequence == self.sequence and seen.lease_left_s > 0:
            for arm in self.arms:
                arm.in_force = arm.placed = arm.wanted and self._weight(seen, arm) > 0

    def leave_out(self, release: ReleaseId) -> None:
        """Let the champion's bundle answer in one challenger's place from the next routing on."""
        self._arm(release).wanted = False

    def view(self, release: ReleaseId) -> ArmRouter:
        """Return the routing as one challenger sees it."""
        return ArmRouter(self, self._arm(release))

    def log(self, log: TrafficLog, release: ReleaseId) -> PairLog:
        """Return a log as one challenger sees it."""
        return PairLog(log, self._arm(release), len(self.arms))

    def answers(self, ask: Callable[[], Readback], release: ReleaseId) -> Readback:
        """Return live answers to one challenger's question who answers in its place: those of the others left out.

        Args:
            ask: Asks for some live answers.
            release: Whose challenger was taken out.
        """
        others = {each.bundle for each in self.arms if each.wanted and each.release != release}
        found, kept = ask(), list[Digest]()
        enough = len(found.answers)
        for _ in range(_ASKS):
            kept += [each for each in found.answers if each not in others]
            if len(kept) >= enough:
                break
            found = ask()
        return replace(found, answers=tuple(kept))

    def put(self, routing: Routing) -> Routed:
        """Put the routing of all arms in place, with the sequence, salt and lease of the one that asks for it.

        A bundle that the server refuses keeps no other from being placed: those that were never routed wait.
        """
        try:
            return self._put(routing, ())
        except (IntegrityError, BadInput):
            waiting = [
                each.name for each in self.arms if each.wanted and not each.placed and each.bundle != routing.challenger
            ]
            if not waiting:
                raise
            return self._put(routing, waiting)

    def _put(self, routing: Routing, waiting: Collection[str]) -> Routed:
        wanted = [each for each in self.arms if each.wanted and each.name not in waiting]
        arms = tuple(
            RoutedArm(name=each.name, bundle=each.bundle if each in wanted else self.champion, weight=each.share)
            for each in self.arms
        )
        merged = replace(routing, challenger=None, weight=0.0, shadow=0.0, arms=arms if wanted else ())
        seen = self.router.route(self.model, merged)
        self.sequence = routing.sequence
        for arm in wanted:
            arm.placed = True
        return seen

    def seen_by(self, arm: SharedArm, seen: Routed) -> Routed:
        """Return what is routed as one challenger sees it."""
        return replace(seen, weight=self._weight(seen, arm), shadow=0.0)

    def _weight(self, seen: Routed, arm: SharedArm) -> float:
        return next((each.weight for each in seen.arms if (each.name, each.bundle) == (arm.name, arm.bundle)), 0.0)

    def _arm(self, release: ReleaseId) -> SharedArm:
        return next(each for each in self.arms if each.release == release)


class ArmRouter:
    """The routing as one of several challengers sees it; implements `TrafficRouter`."""

    def __init__(self, lane: SharedLane, arm: SharedArm) -> None:
        """Take the lane and whose view it is."""
        self.name = lane.router.name
        self._lane, self._arm = lane, arm

    def route(self, model: ModelName, routing: Routing) -> Routed:
        """See `TrafficRouter.route`; without a challenger this one is taken out, and the others go on."""
        del model
        self._arm.wanted = routing.challenger is not None
        seen = self._lane.seen_by(self._arm, self._lane.put(routing))
        self._arm.sequence, self._arm.in_force = routing.sequence, self._arm.wanted
        return seen

    def renew(self, model: ModelName, sequence: int) -> Routed:
        """See `TrafficRouter.renew`; the lease is that of all, by whichever of them it was put in place last."""
        del sequence
        return self._lane.seen_by(self._arm, self._lane.router.renew(model, self._lane.sequence))

    def routed(self, model: ModelName) -> Routed | None:
        """See `TrafficRouter.routed`; None where it is not in force, or its lease was over when it was taken over."""
        seen = self._lane.router.routed(model)
        if seen is None or not self._arm.in_force:
            return None
        mine = self._lane.seen_by(self._arm, seen)
        return replace(mine, sequence=self._arm.sequence) if seen.sequence == self._lane.sequence else mine


class PairLog:
    """A log as one of several challengers sees it: its own requests and the champion's; implements `TrafficLog`."""

    def __init__(self, log: TrafficLog, arm: SharedArm, many: int) -> None:
        """Take the log, whose view it is, and how many challengers there are."""
        self._log, self._arm, self._many = log, arm, many

    def end(self, model: ModelName) -> str:
        """See `TrafficLog.end`."""
        return self._log.end(model)

    def read(self, model: ModelName, cursor: str) -> Seen:
        """See `TrafficLog.read`."""
        seen = self._log.read(model, cursor)
        pairs = (
            as_pair(each, arm=self._arm.name, share=self._arm.share, many=self._many) for each in seen.observations
        )
        return replace(seen, observations=tuple(each for each in pairs if each is not None))
