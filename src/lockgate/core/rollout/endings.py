"""The ways out of a rollout's steps: promotion, the way back, the end; and those that other challengers decide.

Each is (state, what happened) -> (state, commands), as in `machine`, which says from where they may be taken.
"""

from __future__ import annotations

from dataclasses import replace

from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.state import Chosen, Command, End, Outdone, Phase, Promote, Return, Rollout
from lockgate.core.rollout.steps import Course

Next = tuple[Rollout, tuple[Command, ...]]
_LEFT = frozenset({Phase.PROMOTING, Phase.RETURNING, Phase.ENDED})


def promoting(rollout: Rollout, reason: str) -> Next:
    """Return the state of a challenger that is to take all traffic."""
    following = "the challenger takes all traffic, verified from live answers"
    verdict = RolloutVerdict.PROMOTE
    return replace(rollout, phase=Phase.PROMOTING, verdict=verdict, reason=reason, next=following), (Promote(),)


def returning(rollout: Rollout, verdict: RolloutVerdict, reason: str) -> Next:
    """Return the state of a challenger that is to be taken out."""
    following = "the champion alone serves, verified from live answers"
    rollout = replace(rollout, phase=Phase.RETURNING, verdict=verdict, reason=reason, next=following)
    return replace(rollout, share=0.0, shadow=0.0), (Return(reason=reason),)


def ending(rollout: Rollout, verdict: RolloutVerdict, reason: str) -> Next:
    """Return the state of a rollout that is over."""
    following = "the challenger is the champion" if verdict is RolloutVerdict.PROMOTE else "the champion serves"
    ended = replace(rollout, phase=Phase.ENDED, share=0.0, shadow=0.0, verdict=verdict, reason=reason, next=following)
    return ended, (End(verdict=verdict, reason=reason),)


def passing(rollout: Rollout, reason: str) -> Next:
    """Return the state of a challenger that would be promoted if no other were beside it: it serves on, and waits."""
    waits = "it waits for the challengers beside it; of those that pass, the one with the best estimate is promoted"
    return replace(rollout, passed=True, reason=reason, next=waits), ()


def chosen(_course: Course, rollout: Rollout, event: Chosen) -> Next:
    """Promote the challenger that was chosen; one whose last look did not pass it stays as it is."""
    if rollout.phase is not Phase.BAKING or not rollout.passed:
        return rollout, ()
    return promoting(rollout, event.reason)


def outdone(course: Course, rollout: Rollout, event: Outdone) -> Next:
    """Take a challenger out for another one that stood beside it; what is decided already stays decided."""
    if rollout.phase in _LEFT or not course.beside:
        return rollout, ()
    return returning(rollout, RolloutVerdict.INCONCLUSIVE, event.reason)
