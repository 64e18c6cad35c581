"""The ledger's rows of a rollout: what is written, and the state that follows from reading it.

    ROLLOUT_BEGUN   course, challenger, champion, salt, run, began, allocation
    ROLLOUT_LOOK    number, now, step, counted, look, effect, plan, decision, next_share; it moves the machine too
    ROLLOUT_MOVED   event, state
    ROLLOUT_ASKED   what, by, reason: a person's wish, answered by the next ROLLOUT_MOVED whose event is `person_asked`
    ROLLOUT_ENDED   verdict, reason

A release may be rolled out again after it ended inconclusive: each ROLLOUT_BEGUN starts anew, and the last one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from lockgate.core.ids import Digest, Json, ReleaseId, as_float, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.alpha import Allocation
from lockgate.core.online.guardrails import Look, RolloutVerdict
from lockgate.core.online.means import Effect
from lockgate.core.records import read_record
from lockgate.core.rollout.look_record import (
    JudgedLook,
    LookRow,
    label_count_of,
    look_event,
    look_payload,
    p_after,
    read_evidence_of,
    read_look,
)
from lockgate.core.rollout.machine import (
    End,
    PersonAsked,
    Phase,
    Rollout,
    RolloutEvent,
    advance,
    event_json,
    read_event,
)
from lockgate.core.rollout.proxy import LabelCount
from lockgate.core.rollout.steps import Course, in_order
from lockgate.errors import IntegrityError

MOVES = (Event.ROLLOUT_BEGUN, Event.ROLLOUT_LOOK, Event.ROLLOUT_MOVED, Event.ROLLOUT_ENDED)
"""Rows that only who carries a rollout writes: `RolloutRecord.last` is the last of them."""
PROCESS_GONE: Final = "its process is gone and nobody took it over"
"""The reason with which a rollout is ended that nobody carries any more."""
__all__ = [
    "MOVES",
    "PROCESS_GONE",
    "Asked",
    "JudgedLook",
    "LookRow",
    "RolloutRecord",
    "begun_payload",
    "ended_payload",
    "look_event",
    "look_payload",
    "moved_payload",
    "p_after",
    "read_begun",
    "read_evidence_of",
    "read_look",
    "read_rollout",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A person's wish.

    Attributes:
        seq: Its row.
        at: When it was asked.
        what: pause, resume, abort or promote.
        by: Who.
        reason: Why.
    """

    seq: int
    at: datetime
    what: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """What the ledger holds of one rollout.

    Attributes:
        begun: The row it began with.
        course: What was declared.
        salt: Keys who gets which arm.
        run: What carries it.
        rollout: The machine's state.
        looked: Its looks, oldest first.
        p_before: The p-value of the arrivals at the last look.
        wishes: What people asked and is not answered yet, oldest first.
        heard: Row of the last wish that was answered; of the beginning while there is none.
        sequence: The routing that was verified last; None: none was.
        last: The last row that moved it: beginning, look, move or end. Who carries it on writes after this one alone.
        labels: How many had come at the last look, where the plan tests a proxy.
        ended_at: When its end was put on record.
        ended: Whether its end is on record. `Resumed` brings a state that ended without it to `End` again.
    """

    begun: int
    course: Course
    salt: str
    run: str
    rollout: Rollout
    looked: tuple[LookRow, ...] = ()
    p_before: float = 1.0
    wishes: tuple[Asked, ...] = ()
    heard: int
    sequence: int | None = None
    last: int = 0
    labels: LabelCount | None = None
    ended_at: datetime | None = None
    ended: bool = False

    @property
    def looks(self) -> tuple[Look, ...]:
        """What was decided on, oldest first."""
        return tuple(each.look for each in self.looked)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What the plan was told at each of its looks that was due, oldest first."""
        return tuple(each.effect for each in self.looked if each.effect is not None)


def begun_payload(course: Course, rollout: Rollout, *, salt: str, run: str = "") -> dict[str, Json]:
    """Return the payload of ROLLOUT_BEGUN."""
    allocation = Allocation(alpha=math.fsum(course.guardrails.values()), shares=course.guardrails)
    return {
        "course": to_json(course),
        "challenger": rollout.challenger,
        "champion": rollout.champion,
        "began": rollout.began,
        "salt": salt,
        "run": run,
        "allocation": list(allocation.lines()),
    }


def moved_payload(event: RolloutEvent, rollout: Rollout) -> dict[str, Json]:
    """Return the payload of ROLLOUT_MOVED: what happened, and the state after it."""
    return {"event": event_json(event), "state": to_json(rollout)}


def ended_payload(end: End) -> dict[str, Json]:
    """Return the payload of ROLLOUT_ENDED."""
    return {"verdict": end.verdict.value, "reason": end.reason}


def read_rollout(
    rows: Iterable[LedgerRow], release: ReleaseId, found: RolloutRecord | None = None
) -> RolloutRecord | None:
    """Fold rows of one model, in order, into the last rollout of a release or drill; None where there is none.

    Args:
        rows: All of them, or those that came since.
        release: Whose.
        found: What the rows before them came to.

    Raises:
        IntegrityError: A row is not what it should hold; says which.
    """
    for row in rows:
        if row.release != release:
            continue
        if row.event is Event.ROLLOUT_BEGUN:
            found = read_begun(row)
        elif found is not None and row.event in _FOLDS:
            try:
                found = _FOLDS[row.event](found, row)
            except (KeyError, TypeError, ValueError) as wrong:
                raise IntegrityError(f"row {row.seq} is no {row.event.value} row ({wrong!r})") from wrong
    return found


def read_begun(row: LedgerRow) -> RolloutRecord:
    """Return the rollout that a ROLLOUT_BEGUN row begins.

    Raises:
        IntegrityError: It is none.
    """
    course = read_record(Course, row.payload.get("course"))
    course = replace(course, guardrails=in_order(course.guardrails))
    try:
        rollout = Rollout.at_start(
            ReleaseId(str(row.release)),
            Digest(str(row.payload["challenger"])),
            Digest(str(row.payload["champion"])),
            began=as_float(row.payload["began"]),
        )
        salt, run = str(row.payload["salt"]), str(row.payload.get("run") or "")
    except (KeyError, TypeError) as wrong:
        raise IntegrityError(f"row {row.seq} is no rollout_begun row ({wrong!r})") from wrong
    return RolloutRecord(begun=row.seq, course=course, salt=salt, run=run, rollout=rollout, heard=row.seq, last=row.seq)


def _look_folded(found: RolloutRecord, row: LedgerRow) -> RolloutRecord:
    look = read_look(row)
    state, _ = advance(found.course, found.rollout, look_event(found.course, look))
    p_before = p_after(read_evidence_of(row), found.p_before)
    found = replace(found, looked=(*found.looked, look), rollout=state, p_before=p_before, last=row.seq)
    return found if found.course.truth is None else replace(found, labels=label_count_of(row))


def _moved_folded(found: RolloutRecord, row: LedgerRow) -> RolloutRecord:
    event, state = read_event(row.payload["event"]), read_record(Rollout, row.payload["state"])
    found = replace(found, rollout=state, last=row.seq)
    if isinstance(event, PersonAsked) and found.wishes:
        return replace(found, heard=found.wishes[0].seq, wishes=found.wishes[1:])
    return found


def _asked_folded(found: RolloutRecord, row: LedgerRow) -> RolloutRecord:
    what, by, reason = (str(row.payload.get(key) or "") for key in ("what", "by", "reason"))
    wish = Asked(seq=row.seq, at=row.at, what=what, by=by, reason=reason)
    return replace(found, wishes=(*found.wishes, wish))


def _routed_folded(found: RolloutRecord, row: LedgerRow) -> RolloutRecord:
    return replace(found, sequence=int(str(row.payload["sequence"])))


def _ended_folded(found: RolloutRecord, row: LedgerRow) -> RolloutRecord:
    """Take the end from its row: one that was refused or given up ends where the machine had not come to it."""
    verdict, reason = RolloutVerdict(str(row.payload["verdict"])), str(row.payload.get("reason") or "")
    if found.rollout.phase is not Phase.ENDED:
        state = replace(found.rollout, phase=Phase.ENDED, share=0.0, shadow=0.0, verdict=verdict, reason=reason)
        found = replace(found, rollout=replace(state, next="the champion serves"))
    return replace(found, ended=True, ended_at=row.at, last=row.seq)


_FOLDS = {
    Event.ROLLOUT_LOOK: _look_folded,
    Event.ROLLOUT_MOVED: _moved_folded,
    Event.ROLLOUT_ASKED: _asked_folded,
    Event.ROUTING_VERIFIED: _routed_folded,
    Event.ROLLOUT_ENDED: _ended_folded,
}
