"""What happens next in a rollout, whatever happened before: (state, event) -> (state, commands).

                    Began                Placed                    bake over, or resumed
      BEGUN ─────────────────> PLACING ─────────> BAKING ──────────────────────────┐
        │                       │  ^  ^             │  ^                           │
        │                       │  │  └─ Resumed ───┤  │ resume                    │
        │                       │  │                │  │        next step a pause, │
        │                       │  │                v  │        or a person's      │
        │                       │  └─────────────── PAUSED <───────────────────────┤
        │ no steps              │                    │                             │ another weight: PLACING
        │                       │ Unplaced           │ promote, by a person        │ last step: PROMOTE
        │                       v                    v                             v
        │   ROLL_BACK, INCONCLUSIVE, abort       PROMOTING <───────────────────────┘
        │   from any of the four ──> RETURNING <─ failed ─┤ ^
        │                               │ Returned        │ └──────────── BEGUN without steps
        └───────────────────────────────┤                 │ Promoted
                                        v                 v
      LostRouting from anywhere ────> ENDED <─────────────┘      final: whatever comes, nothing happens

Beside other challengers (`Course.beside`) a look that would promote leaves it BAKING, `passed`; `Chosen` then promotes
it, and `Outdone` ends it as inconclusive (`core.rollout.several` says which).

Total and pure: any event in any phase gives a state, never an exception; what does not belong to a phase changes
nothing. Time is the events' own. The live share grows only by a `Place`, and the next one only after its `Placed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from lockgate.core.online.guardrails import Decision, Look, RolloutVerdict, State, blindness
from lockgate.core.rollout.bakes import bake_is_over, step_of, steps_done, time_is_up, waits
from lockgate.core.rollout.endings import chosen, ending, outdone, passing, promoting, returning
from lockgate.core.rollout.state import (
    Began,
    Chosen,
    Command,
    End,
    Looked,
    LostRouting,
    Outdone,
    PersonAsked,
    Phase,
    Place,
    Placed,
    Promote,
    Promoted,
    PromotionFailed,
    Resumed,
    Return,
    Returned,
    Rollout,
    RolloutEvent,
    Unplaced,
    Wish,
    event_json,
    read_event,
)
from lockgate.core.rollout.steps import Course, StepKind
from lockgate.core.rollout.tally_counted import evidence_names

__all__ = [
    "Began",
    "Chosen",
    "Command",
    "End",
    "Looked",
    "LostRouting",
    "Outdone",
    "PersonAsked",
    "Phase",
    "Place",
    "Placed",
    "Promote",
    "Promoted",
    "PromotionFailed",
    "Resumed",
    "Return",
    "Returned",
    "Rollout",
    "RolloutEvent",
    "Unplaced",
    "Wish",
    "advance",
    "event_json",
    "looked",
    "read_event",
    "steps_done",
    "time_is_up",
]

_Next = tuple[Rollout, tuple[Command, ...]]
_BEFORE_PROMOTING: Final = frozenset({Phase.BEGUN, Phase.PLACING, Phase.BAKING, Phase.PAUSED})
_STEPPING: Final = frozenset({Phase.BAKING, Phase.PAUSED})
_HELD: Final = "held until somebody resumes it"


def looked(course: Course, look: Look, decision: Decision, *, now: float, next_share: float | None = None) -> Looked:
    """Return the event of a look.

    Args:
        course: The course; all its guardrails must have been measured (`evidence_names`).
        look: What was decided on.
        decision: What all looks so far say.
        now: When it was taken, seconds since the epoch.
        next_share: For a bandit: the challenger's share in the next period.
    """
    blind = blindness(look, evidence_names(course)) is not None
    clear = not blind and all(each.state is State.CLEAR for each in look.findings)
    return Looked(now=now, decision=decision, next_share=next_share, blind=blind, clear=clear)


def advance(course: Course, rollout: Rollout, event: RolloutEvent) -> tuple[Rollout, tuple[Command, ...]]:
    """Return the state after an event and what is to be done, in order.

    Args:
        course: The course of the rollout.
        rollout: The state before.
        event: What happened.

    Returns:
        Defined for any event in any phase; never raises. `ENDED` stays as it is; `Resumed` says `End` once more, for a
        process that died before it had recorded it.
    """
    if rollout.phase is Phase.ENDED:
        verdict = rollout.verdict or RolloutVerdict.INCONCLUSIVE
        return rollout, ((End(verdict=verdict, reason=rollout.reason),) if isinstance(event, Resumed) else ())
    return _ON[type(event)](course, rollout, event)


def _began(course: Course, rollout: Rollout, event: Began) -> _Next:
    if rollout.phase is not Phase.BEGUN:
        return rollout, ()
    rollout = replace(rollout, began=event.now, step_began=event.now)
    if not course.steps:
        return promoting(rollout, "it has no steps: the switch alone")
    return _enter(course, rollout, 0, next_share=None)


def _placed(course: Course, rollout: Rollout, event: Placed) -> _Next:
    if rollout.phase is not Phase.PLACING:
        return rollout, ()
    rollout = replace(rollout, step_began=event.now)
    if rollout.held_by is not None or waits(course, rollout):
        return _pause(course, rollout), ()
    step = step_of(course, rollout)
    told = f"held for {step.bake_s:g} s and looked at" if step else "looked at"
    return replace(rollout, phase=Phase.BAKING, reason=f"{_place(rollout)} is in force", next=told), ()


def _unplaced(_course: Course, rollout: Rollout, event: Unplaced) -> _Next:
    if rollout.phase is not Phase.PLACING:
        return rollout, ()
    reason = f"{_place(rollout)} could not be put in place: {event.reason}"
    return returning(rollout, RolloutVerdict.INCONCLUSIVE, reason)


def _looked(course: Course, rollout: Rollout, event: Looked) -> _Next:
    if rollout.phase not in _BEFORE_PROMOTING:
        return rollout, ()
    said = event.decision
    rollout = replace(rollout, looks=rollout.looks + 1, clear=event.clear and not event.blind, passed=False)
    if said.verdict in (RolloutVerdict.ROLL_BACK, RolloutVerdict.INCONCLUSIVE):
        return returning(rollout, said.verdict, said.reason)
    if rollout.phase is not Phase.BAKING:
        return rollout, ()
    if said.verdict is RolloutVerdict.PROMOTE and rollout.clear and steps_done(course, rollout, event.now):
        return (passing if course.beside else promoting)(rollout, said.reason)
    if not event.blind and rollout.step < len(course.steps) - 1 and bake_is_over(course, rollout, event.now):
        return _enter(course, rollout, rollout.step + 1, next_share=event.next_share)
    return replace(rollout, reason=said.reason, next=said.next), ()


def _asked(course: Course, rollout: Rollout, event: PersonAsked) -> _Next:
    if rollout.phase not in _BEFORE_PROMOTING:
        return rollout, ()
    by = f"{event.by}: {event.reason}" if event.reason else event.by
    if event.what == Wish.ABORT:
        return returning(rollout, RolloutVerdict.ROLL_BACK, f"aborted by {by}")
    if event.what == Wish.PAUSE:
        held = replace(rollout, held_by=event.by, passed=False, reason=f"paused by {by}", next=_HELD)
        return (replace(held, phase=Phase.PAUSED) if rollout.phase is Phase.BAKING else held), ()
    if event.what == Wish.PROMOTE:
        return _promote_by_hand(rollout, event.by, by)
    if event.what == Wish.RESUME:
        return _resume(course, rollout, by)
    return rollout, ()


def _promote_by_hand(rollout: Rollout, who: str, by: str) -> _Next:
    if rollout.phase in _STEPPING and rollout.clear:
        return promoting(rollout, f"promoted by {by}; every guardrail was clear at the last look")
    refused = f"{who} asked to promote, refused: the last look did not have every guardrail clear"
    return replace(rollout, reason=refused, next="the rollout goes on as planned; ask again after a look"), ()


def _resume(course: Course, rollout: Rollout, by: str) -> _Next:
    """End a person's pause and a step that waits; the next look that can measure goes on from there."""
    rollout = replace(rollout, held_by=None, released=waits(course, rollout) or rollout.released)
    rollout = replace(rollout, reason=f"resumed by {by}", next="the rollout goes on as planned")
    return (replace(rollout, phase=Phase.BAKING) if rollout.phase is Phase.PAUSED else rollout), ()


def _lost(_course: Course, rollout: Rollout, event: LostRouting) -> _Next:
    verdict = rollout.verdict if rollout.phase is Phase.RETURNING else None
    reason = f"the routing is somebody else's now: {event.reason}"
    ended, commands = ending(rollout, verdict or RolloutVerdict.INCONCLUSIVE, reason)
    return replace(ended, next="what the other has put in place serves"), commands


def _resumed(course: Course, rollout: Rollout, _event: Resumed) -> _Next:
    """Say again what is to be done. While nobody renewed it the lease ended, so a step is placed and baked anew."""
    if rollout.phase is Phase.BEGUN:
        return _began(course, rollout, Began(now=rollout.began))
    if rollout.phase is Phase.PROMOTING:
        return rollout, (Promote(),)
    if rollout.phase is Phase.RETURNING:
        return rollout, (Return(reason=rollout.reason),)
    again = "its lease ended, or another process took over; what was in force is put in place again"
    again_next = f"{_place(rollout)} is verified"
    rollout = replace(rollout, phase=Phase.PLACING, clear=False, passed=False, reason=again, next=again_next)
    return rollout, (Place(weight=rollout.share, shadow=rollout.shadow),)


def _promoted(_course: Course, rollout: Rollout, _event: Promoted) -> _Next:
    if rollout.phase is not Phase.PROMOTING:
        return rollout, ()
    return ending(rollout, RolloutVerdict.PROMOTE, rollout.reason)


def _promotion_failed(_course: Course, rollout: Rollout, event: PromotionFailed) -> _Next:
    if rollout.phase is not Phase.PROMOTING:
        return rollout, ()
    return returning(rollout, RolloutVerdict.ROLL_BACK, f"the switch was not verified: {event.reason}")


def _returned(_course: Course, rollout: Rollout, _event: Returned) -> _Next:
    if rollout.phase is not Phase.RETURNING:
        return rollout, ()
    return ending(rollout, rollout.verdict or RolloutVerdict.INCONCLUSIVE, rollout.reason)


_ON: Final[MappingProxyType[type[RolloutEvent], Callable[[Course, Rollout, Any], _Next]]] = MappingProxyType(
    {
        Began: _began,
        Placed: _placed,
        Unplaced: _unplaced,
        Looked: _looked,
        PersonAsked: _asked,
        LostRouting: _lost,
        Resumed: _resumed,
        Promoted: _promoted,
        PromotionFailed: _promotion_failed,
        Returned: _returned,
        Chosen: chosen,
        Outdone: outdone,
    }
)


def _enter(course: Course, rollout: Rollout, index: int, *, next_share: float | None) -> _Next:
    step = course.steps[index]
    before, rollout = step_of(course, rollout), replace(rollout, step=index, released=False)
    if step.kind is StepKind.PAUSE:
        return _pause(course, rollout), ()
    share, shadow = step.share, 0.0
    if step.kind is StepKind.SHADOW:
        share, shadow = 0.0, step.share
    elif step.kind is StepKind.ADAPT and index > 0 and before is not None and before.kind is step.kind:
        share = rollout.share
        if next_share is not None and math.isfinite(next_share):
            share = min(max(next_share, 0.0), 1.0 - course.floor)  # below the floor only where a guardrail shrinks it
    rollout = replace(rollout, phase=Phase.PLACING, share=share, shadow=shadow)
    told = f"step {index + 1} of {len(course.steps)} begins: {_place(rollout)}"
    return replace(rollout, reason=told, next="it is put in place and verified"), (Place(weight=share, shadow=shadow),)


def _place(rollout: Rollout) -> str:
    return f"{rollout.shadow:.3g} of requests copied" if rollout.shadow > 0 else f"{rollout.share:.3g} of entities"


def _pause(course: Course, rollout: Rollout) -> Rollout:
    step = step_of(course, rollout)
    why = f"paused by {rollout.held_by}" if rollout.held_by is not None else f"waits: {step.reason if step else ''}"
    return replace(rollout, phase=Phase.PAUSED, reason=why, next=_HELD)
