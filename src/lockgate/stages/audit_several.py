"""The auditor's view of several challengers beside one champion: was the one that was promoted the one to choose?

What each of them counted, and what follows from it, is seen to one by one (`followed_rollout`); here they are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from lockgate.core.ids import ReleaseId
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.several import Contender, arm_name, rank
from lockgate.core.rollout.state import Chosen, Outdone, Phase, RolloutEvent
from lockgate.stages.followed_rollout import Followed


def begun_apart(found: RolloutRecord, rollouts: Mapping[ReleaseId | None, Followed]) -> Iterator[str]:
    """Yield where a challenger was not begun beside those it names: errors are divided by how many there are.

    Args:
        found: What begins.
        rollouts: All rollouts on record so far, by release; one that has not begun yet, or has ended, says nothing.
    """
    course, together = found.course, {found.rollout.release, *found.course.beside}
    if course.beside and course.arm not in map(arm_name, range(1, len(together) + 1)):
        yield f"its arm is {course.arm}, which is none of {len(together)} challengers'"
    for release in course.beside:
        other = rollouts.get(release)
        if other is None or other.ended:
            continue
        if {release, *other.found.course.beside} != together:
            yield f"{release} is under way, and was not begun beside the same challengers"
        elif other.found.course.arm == course.arm:
            yield f"its arm is {course.arm}, as that of {release} beside it"


def chosen_wrongly(
    event: RolloutEvent, followed: Followed, rollouts: Mapping[ReleaseId | None, Followed]
) -> Iterator[str]:
    """Yield why a challenger could not be chosen, or outdone, by what is on record of those beside it.

    Args:
        event: What happened; anything but `Chosen` and `Outdone` is no choice.
        followed: The rollout that it happened to, before it did.
        rollouts: All rollouts on record so far, by release.
    """
    if isinstance(event, Chosen):
        yield from _wrongly_chosen(followed, rollouts)
    elif isinstance(event, Outdone):
        yield from _wrongly_outdone(event, followed, rollouts)


def _wrongly_chosen(followed: Followed, rollouts: Mapping[ReleaseId | None, Followed]) -> Iterator[str]:
    if not followed.state.passed:
        yield "it was chosen, and its last look had not passed it"
    for release in followed.found.course.beside:
        other = rollouts.get(release)
        if other is None or other.state.phase is not Phase.ENDED:
            yield f"it was chosen while {release} beside it was still under way"
        elif other.state.verdict is RolloutVerdict.PROMOTE:
            yield f"it was chosen after {release} beside it had been promoted"


def _wrongly_outdone(
    event: Outdone, followed: Followed, rollouts: Mapping[ReleaseId | None, Followed]
) -> Iterator[str]:
    winner = rollouts.get(ReleaseId(event.by))
    if winner is None or event.by not in followed.found.course.beside:
        yield f"it was outdone by {event.by}, which was not beside it"
    elif winner.state.phase is Phase.PROMOTING:
        return  # a person's wish, or what was chosen before: its own rows say
    elif not (winner.state.passed and followed.state.passed):
        yield f"it was outdone by {event.by} before both had passed"
    elif rank(_contender(winner)) > rank(_contender(followed)):
        yield f"it was outdone by {event.by}, whose estimate is worse"


def _contender(followed: Followed) -> Contender:
    effects = followed.observer.effects
    return Contender(
        release=followed.state.release,
        is_open=followed.state.phase is not Phase.ENDED,
        passed=followed.state.passed,
        effect=effects[-1].value if effects else math.nan,
    )
