"""Many findings, one decision: ROLL_BACK, then INCONCLUSIVE or CONTINUE, and PROMOTE only when nothing speaks against.

    a guardrail showed harm at any look                              roll back
    nothing measured, traffic dead, measurement broken for too long  inconclusive, the champion stays
    the plan ended without showing non-inferiority, or time is up    inconclusive, the champion stays
    non-inferiority shown, last step done, every guardrail clear     promote
    anything else                                                    continue

Absence of evidence never promotes: a guardrail without data is not clear, and a look that could not measure holds the
rollout where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from operator import attrgetter

LOST_LINES = 2
"""Ours: a server that is killed while it writes leaves half a line; two of them are an accident, not a hole."""
LOST_FRACTION = 0.001
"""Ours: were every lost request a failure of one arm, its rate would move by less than any margin in use, a percent."""
_STATE, _GUARDRAIL = attrgetter("state"), attrgetter("guardrail")  # a thousand looks are gone through at each


class RolloutVerdict(StrEnum):
    """What a rollout does next."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    CONTINUE = "continue"
    INCONCLUSIVE = "inconclusive"


class State(StrEnum):
    """What one guardrail says at one look.

    `CLEAR` is "measured, and no harm shown": what could have been shown by now stands in the finding's reason. `UNMET`
    is "no harm shown, and what a promotion asks for beside that is not there": a sub-population that is too small, days
    that are too few or too unlike.
    """

    HARM = "harm"
    BROKEN = "broken"
    NO_DATA = "no_data"
    UNMET = "unmet"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One guardrail at one look.

    Attributes:
        guardrail: Its name.
        state: What it says.
        observed: The number that was compared: a log e-value or a bound; NaN where there is none.
        threshold: What it was compared with; harm is at or above it.
        reason: One sentence for a person.
    """

    guardrail: str
    state: State
    observed: float
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything a decision needs of one moment.

    Attributes:
        share: The challenger's share now, in 0..1.
        challenger_requests: Requests it answered since the look before.
        champion_requests: Requests the champion answered since the look before.
        findings: One a guardrail; every declared guardrail must be here.
        non_inferior: What the plan says: PROMOTE, CONTINUE or INCONCLUSIVE (`plan_look.judge`); None where no look
            of the plan is due, or there is no plan.
        steps_done: Whether the last step's bake is over.
        time_is_up: Whether the declared maximum duration is.
        behind: Whether there was more in the log, or may have been, than was read.
        lost_requests: Requests since the beginning that are known to have been logged and cannot be read any more.
        read_requests: Requests of both arms since the beginning that were read.
    """

    share: float
    challenger_requests: int
    champion_requests: int
    findings: tuple[Finding, ...]
    non_inferior: RolloutVerdict | None = None
    steps_done: bool = False
    time_is_up: bool = False
    behind: bool = False
    lost_requests: int = 0
    read_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is decided.

    Attributes:
        verdict: The verdict.
        reason: One sentence: the finding that decided.
        next: One sentence: what happens or is to be done.
    """

    verdict: RolloutVerdict
    reason: str
    next: str


def decide(looks: Sequence[Look], *, declared: Collection[str] = (), patience: int = 3) -> Decision:
    """Return the decision after some looks.

    Args:
        looks: All of them, oldest first; harm at an earlier one stays harm.
        declared: The guardrails there must be; those of any look are taken as declared. A look without one is blind.
        patience: How many looks in a row may be blind before the rollout ends, at least 1. 3: ours, a scrape may fail
            twice.

    Returns:
        Defined for any looks; never raises.

    >>> decide([]).verdict
    <RolloutVerdict.INCONCLUSIVE: 'inconclusive'>
    >>> clear = Finding(guardrail="errors", state=State.CLEAR, observed=0.0, threshold=4.6, reason="no harm shown")
    >>> look = Look(share=0.5, challenger_requests=9, champion_requests=9, findings=(clear,), steps_done=True,
    ...     non_inferior=RolloutVerdict.PROMOTE)
    >>> decide([look]).verdict
    <RolloutVerdict.PROMOTE: 'promote'>
    """
    findings = [each for look in looks for each in look.findings]
    harmful = State.HARM in map(_STATE, findings)
    harm = next((each for each in findings if each.state is State.HARM), None) if harmful else None
    if harm is not None:
        return _ended(RolloutVerdict.ROLL_BACK, f"{harm.guardrail}: {harm.reason}", "all traffic goes to the champion")
    if not looks:
        return _ended(
            RolloutVerdict.INCONCLUSIVE, "nothing was measured", "the champion stays; start the rollout again"
        )
    last, names = looks[-1], {*declared, *map(_GUARDRAIL, findings)}
    blind = blindness(last, names)
    if blind is not None:
        in_a_row = sum(1 for _ in takewhile(lambda look: blindness(look, names) is not None, reversed(looks)))
        return _while_blind(blind, in_a_row, patience, time_is_up=last.time_is_up)
    shown = RolloutVerdict.PROMOTE in (look.non_inferior for look in looks)
    missing = next((each for each in last.findings if each.state is not State.CLEAR), None)
    if shown and last.steps_done and missing is None:
        reason = "not worse than the margin, every guardrail clear, every step done"
        return _ended(RolloutVerdict.PROMOTE, reason, "the challenger takes all traffic")
    if last.time_is_up or (last.non_inferior is RolloutVerdict.INCONCLUSIVE and not shown):
        return _ended(RolloutVerdict.INCONCLUSIVE, _lacking(last, missing, shown=shown), "the champion stays")
    return _ended(RolloutVerdict.CONTINUE, _lacking(last, missing, shown=shown), "the rollout goes on as planned")


def blindness(look: Look, declared: Collection[str] = ()) -> str | None:
    """Return why a look could not measure, in one sentence; None where it could.

    Args:
        look: The look.
        declared: The guardrails it must hold.

    >>> blindness(Look(share=0.1, challenger_requests=0, champion_requests=50, findings=()))
    'the challenger got no request since the look before'
    """
    unread = _unread(look)
    if unread is not None:
        return unread
    if look.share > 0 and look.challenger_requests <= 0:
        return "the challenger got no request since the look before"
    if look.share < 1 and look.champion_requests <= 0:
        return "the champion got no request since the look before"
    if not look.findings:
        return "no guardrail was measured"
    absent = sorted(set(declared) - {each.guardrail for each in look.findings})
    if absent:
        return f"{absent[0]} was not measured at this look"
    broken = next((each for each in look.findings if each.state is State.BROKEN), None)
    return None if broken is None else f"{broken.guardrail} is not to be trusted: {broken.reason}"


def lost_too_many(lost_requests: int, read_requests: int) -> bool:
    """Tell whether so many logged requests were lost that what was read may tell another story.

    >>> lost_too_many(2, 0), lost_too_many(3, 900), lost_too_many(3, 1000)
    (False, True, False)
    """
    return lost_requests > LOST_LINES + LOST_FRACTION * read_requests


def _unread(look: Look) -> str | None:
    """Return why the counts are not those of the share's traffic; None where they are, but for an accident's worth."""
    if not 0 <= look.share <= 1:
        return f"the share {look.share} is outside 0..1"
    if look.behind:
        return "the log was not read to its end, so what was counted is a part"
    lost, logged = look.lost_requests, look.lost_requests + look.read_requests
    if lost_too_many(lost, look.read_requests):
        return f"{lost} of {logged} logged requests cannot be read any more"
    return None


def _while_blind(why: str, in_a_row: int, patience: int, *, time_is_up: bool) -> Decision:
    if in_a_row >= patience or time_is_up:
        said = f"{why}; {in_a_row} {'look' if in_a_row == 1 else 'looks'} in a row could not measure"
        return _ended(RolloutVerdict.INCONCLUSIVE, said, "the champion stays; repair the measurement and start again")
    return _ended(RolloutVerdict.CONTINUE, why, f"no step forward; ends at {patience} such looks in a row")


def _lacking(last: Look, missing: Finding | None, *, shown: bool) -> str:
    if missing is not None:
        lacks = ": " if missing.state is State.UNMET else " has too little data: "
        return f"{missing.guardrail}{lacks}{missing.reason}"
    if not shown:
        return "not shown yet that the challenger is within the margin"
    return "the bake of the last step is over" if last.steps_done else "steps are left"


def _ended(verdict: RolloutVerdict, reason: str, following: str) -> Decision:
    return Decision(verdict=verdict, reason=reason, next=following)
