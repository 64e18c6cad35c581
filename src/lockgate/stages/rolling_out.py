"""The controller of a rollout: it renews the lease, reads the logs, looks, and does what the machine says.

    begin ── BEGUN row ──> ┌ renew the lease                       every turn, a second or less
                           │ hear what people ask (ROLLOUT_ASKED)
                           │ read the logs into the tally
                           │ look: judge, decide, LOOK row          every `look_s`, at once where harm shows
                           └ advance the machine, MOVED row, carry out its commands

Killed anywhere, run again: `read_rollout` returns what the ledger holds, the tally's file where the logs were read to.
Between the two the lease ends and the champion answers alone. Harm cannot wait for a full look: every turn glances.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import Finding
from lockgate.core.rollout import machine, record
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.state import Wish
from lockgate.core.rollout.tally import Counted, Tally
from lockgate.errors import (
    ApprovalVoid,
    IntegrityError,
    LedgerConflict,
    LockgateError,
    NotBlessed,
    NotRunning,
    RolloutAborted,
    TransientError,
)
from lockgate.stages.looking import Observer, added, is_due
from lockgate.stages.reading_log import Reading, read_on, waits
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import champion_alone, place

logger = logging.getLogger(__name__)

TURN_S = 1.0  # ours: harm is seen at most this long after it is in the log, and a lease of 10 s is renewed ten times
_GOES_ON = (Phase.BAKING, Phase.PAUSED)
_DECIDED = (Phase.PROMOTING, Phase.RETURNING, Phase.ENDED)
_REFUSED = (RolloutAborted, ApprovalVoid, NotBlessed, IntegrityError)


@dataclass(slots=True, kw_only=True)
class Controller:
    """One rollout under way.

    Attributes:
        world: What it acts on.
        rollout: Where it stands.
        observer: What was looked at.
        tally: What was counted.
        cursor: Where the logs were read to.
        heard: The last wish that was heard, by its row.
        sequence: The routing that was verified last.
        recorded: Whether the end is on record already.
        written: The last row that moved the rollout, by its record or written here; see `_write`.
        caught_up: Whether this process has read the log to its end at the last turn: what the last look said holds.
    """

    world: World
    rollout: Rollout
    observer: Observer
    tally: Tally
    cursor: str
    heard: int = 0
    sequence: int = 0
    recorded: bool = False
    written: int = 0
    caught_up: bool = False
    _seen: int = 0
    _renewed_at: float = 0.0
    _looked: float = 0.0
    _since: Counted | None = field(default=None)

    @classmethod
    def of(cls, world: World, found: RolloutRecord) -> Controller:
        """Return the controller of a rollout on record, with what was counted of it so far.

        Raises:
            IntegrityError: What was counted is gone or damaged: harm that was in it would go unseen.
        """
        if not found.looks:
            world.keeper.drop()  # kept before its first look, it is of a rollout of this release that ended
        kept = world.keeper.load()
        if kept is None and len(found.looks) > 1 and found.rollout.phase not in _DECIDED:  # saved after each look
            raise IntegrityError(f"what was counted of the rollout of {world.lane.release} is gone; start it again")
        return cls(
            world=world,
            rollout=found.rollout,
            observer=Observer(
                course=found.course, looks=list(found.looks), effects=list(found.effects), p_before=found.p_before
            ),
            tally=world.tally(None if kept is None else kept[1]),
            cursor=world.log.end(world.lane.model) if kept is None else kept[0],
            heard=found.heard,
            sequence=found.sequence or 0,
            recorded=found.ended,
            written=found.last,
        )

    def take_over(self) -> None:
        """Begin, or go on where another process stopped; a routing whose lease still lasts is not put in place anew."""
        now = self._now()
        self._looked = self._renewed_at = now
        if self.recorded:
            self.world.keeper.drop()
        elif self.rollout.phase is Phase.BEGUN:
            self.advance(machine.Began(now=now))
        elif self.rollout.phase not in _GOES_ON or not self._is_in_force():
            self.advance(machine.Resumed(now=now))

    def _is_in_force(self) -> bool:
        try:
            seen = self.world.lane.router.routed(self.world.lane.model)
        except (TransientError, NotRunning):
            return False
        return seen is not None and seen.sequence == self.sequence and seen.lease_left_s > 0

    def run(self, until: Callable[[Rollout], bool]) -> Rollout:
        """Carry the rollout on until a condition holds, or it has ended.

        Raises:
            TransientError: The ledger does not answer, or the champion could not be read back yet; run again.
        """
        while self.rollout.phase is not Phase.ENDED and not until(self.rollout):
            self.turn()
            if self.rollout.phase in _GOES_ON:
                self.world.lane.sleep(min(TURN_S, self.observer.course.look_s))
        return self.rollout

    def turn(self) -> None:
        """Do what is due now, once."""
        if self.rollout.phase in _GOES_ON and self._renewed():
            self.hear()
        if self.rollout.phase in _GOES_ON:
            self._look_if_due()

    def advance(self, event: machine.RolloutEvent) -> None:
        """Let the machine move, put the move on record, and carry out what follows from it."""
        self.rollout, commands = machine.advance(self.observer.course, self.rollout, event)
        self._write(Event.ROLLOUT_MOVED, record.moved_payload(event, self.rollout))
        self._show({})
        for command in commands:
            self._carry_out(command)

    def _write(self, event: Event, payload: dict[str, Json]) -> None:
        """Append a row that moves the rollout, if no other process has moved it since.

        Raises:
            LedgerConflict: One has: it carries the rollout on, and this process neither writes nor routes any more.
        """
        lane = self.world.lane
        while True:
            last = lane.ledger.last_seq(lane.model)
            if last != self._seen and self.world.rows(*record.MOVES, after=self.written):
                raise LedgerConflict(f"another process carries the rollout of {lane.release} on; this one stands down")
            try:
                self.written = self._seen = self.world.append(event, payload, expect_seq=last).seq
            except LedgerConflict:
                continue
            return

    def _now(self) -> float:
        return self.world.clock.now().timestamp()

    # -- the turn ------------------------------------------------------------------------------------------------------

    def _renewed(self) -> bool:
        """Renew the lease; a server that does not answer lets it end by itself, and looks then find nothing.

        What comes back after it had ended is placed and baked anew: meanwhile the step was not in force.
        """
        now = self._now()
        try:
            self.world.lane.router.renew(self.world.lane.model, self.sequence)
        except (LedgerConflict, IntegrityError) as other:
            self.advance(machine.LostRouting(now=self._now(), reason=other.message))
            return False
        except (TransientError, NotRunning) as silent:
            logger.warning("the lease of %s could not be renewed: %s", self.world.lane.salt, silent.message)
        else:
            lapsed, self._renewed_at = now - self._renewed_at >= self.world.lane.lease_s, now
            if lapsed:
                self.advance(machine.Resumed(now=now))
        return True

    def hear(self) -> None:
        """Answer what people have asked and nobody has answered, oldest first."""
        for row in self.world.rows(Event.ROLLOUT_ASKED, after=self.heard):
            what = str(row.payload.get("what"))
            if what == Wish.PROMOTE and self.rollout.phase in _GOES_ON and not self.caught_up:
                self._look_if_due(or_blind=True)  # the look that said "clear" knew nothing of what is not read yet
            if self.rollout.phase not in _DECIDED:
                self.heard = row.seq
                by, reason = str(row.payload.get("by") or ""), str(row.payload.get("reason") or "")
                self.advance(machine.PersonAsked(now=self._now(), what=what, by=by, reason=reason))

    def _look_if_due(self, *, or_blind: bool = False) -> None:
        """Look where it is due; harm is seen in whatever was read, all else waits until the log was caught up with.

        Args:
            or_blind: Look at once, too, where the log is not read to its end: such a look clears nothing.
        """
        self.cursor, reading = read_on(self.world, self.tally, self.cursor)
        now = self._now()
        self.caught_up = reading is Reading.WHOLE
        counted = replace(self.tally.counted(now), behind=not self.caught_up)
        self._since = added(self._since, counted)
        harm = self.observer.glance(self._since)
        if (
            harm is not None
            or (or_blind and not self.caught_up)
            or (
                not waits(self.observer.course, self.rollout, reading, now)
                and is_due(now - self._looked, self._since, self.rollout, self.observer.course.look_s)
            )
        ):
            self._look(now, self._since, harm)

    def _look(self, now: float, counted: Counted, harm: Finding | None) -> None:
        course, rollout = self.observer.course, self.rollout
        if harm is not None:
            logger.warning("%s: %s", harm.guardrail, harm.reason)
        judged = self.observer.look(
            counted,
            share=rollout.exposure,
            steps_done=machine.steps_done(course, rollout, now),
            time_is_up=machine.time_is_up(course, rollout, now),
        )
        self._looked, self._since = now, None
        self._write(Event.ROLLOUT_LOOK, record.look_payload(rollout, judged, now))
        self.world.keeper.save(self.cursor, self.tally.to_bytes())
        event = machine.looked(course, judged.look, judged.decision, now=now, next_share=judged.next_share)
        self.rollout, commands = machine.advance(course, rollout, event)  # the look's own row moves the state
        self._show(judged.counted.shown)
        for command in commands:
            self._carry_out(command)

    # -- commands ------------------------------------------------------------------------------------------------------

    def _carry_out(self, command: machine.Command) -> None:
        match command:
            case machine.Place():
                self._place(command)
            case machine.Promote():
                self._promote()
            case machine.Return():
                self._return()
            case machine.End():
                self._write(Event.ROLLOUT_ENDED, record.ended_payload(command))
                self.recorded = True
                self.world.keeper.drop()

    def _place(self, wanted: machine.Place) -> None:
        try:
            row = place(self.world.lane, weight=wanted.weight, shadow=wanted.shadow)
        except LedgerConflict as other:
            self.advance(machine.LostRouting(now=self._now(), reason=other.message))
        except (RolloutAborted, TransientError, NotRunning) as refused:
            self.advance(machine.Unplaced(now=self._now(), reason=refused.message))
        else:
            self.sequence = int(str(row.payload["sequence"]))
            self._looked = self._renewed_at = self._now()
            self.advance(machine.Placed(now=self._now()))

    def _promote(self) -> None:
        try:
            self.world.promote()
        except _REFUSED as refused:
            self.advance(machine.PromotionFailed(now=self._now(), reason=refused.message))
        except LedgerConflict as other:
            self.advance(machine.LostRouting(now=self._now(), reason=other.message))
        else:
            self.advance(machine.Promoted(now=self._now()))

    def _return(self) -> None:
        """Let the champion answer alone, proved from live answers; what fails here is asked for again by a rerun."""
        try:
            champion_alone(self.world.lane, self.world.readback)
        except LedgerConflict as other:
            self.advance(machine.LostRouting(now=self._now(), reason=other.message))
        else:
            self.advance(machine.Returned(now=self._now()))

    def _show(self, shown: Mapping[str, Json]) -> None:
        try:
            self.world.show(shown)
        except LockgateError as broken:
            logger.warning("the page of the rollout could not be written: %s", broken.message)
