"""What watching found, harm and noise strictly apart.

    HARM      callers are worse off than was promised: realised loss, or the service. Nothing else can say so alone
    NOISE     something moved. Shown and ranked, never an alert by itself: on the demo's flights the usual drift alarm
              fires in every month of the year
    OK        measured, and within what is allowed
    NO_DATA   too little to say; clears nothing
    BROKEN    it could not be measured although it should have been; clears nothing

Findings are ranked by `harm`: how far it moved, times how much the answers lean on it, times the loss that may be at
stake, as a share of the loss at release. So a feature that drifts far and matters little stands below one that drifts a
little and carries the answers, and both below a loss that is really there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from lockgate.core.ids import Json, ModelName


class State(StrEnum):
    """What a finding says; see the module."""

    HARM = "harm"
    NOISE = "noise"
    OK = "ok"
    NO_DATA = "no_data"
    BROKEN = "broken"


class Subject(StrEnum):
    """What a finding is about."""

    INPUT = "input"
    OUTPUT = "output"
    TRUTH = "truth"
    ESTIMATE = "estimate"
    SERVICE = "service"
    AGE = "age"


MAY_BE_HARM: Final = frozenset({Subject.TRUTH, Subject.SERVICE})
"""Only what callers really got. Drift, estimates and ages are reasons to look."""
MUST_SPEAK: Final = frozenset({Subject.TRUTH, Subject.SERVICE})
"""Without an answer of these, nothing is all clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        model: Whose.
        name: What, as `subject.what` or `subject.what:slice`; the same from run to run.
        subject: What kind.
        state: What it says.
        observed: What was measured; None where nothing could be.
        threshold: What it is held to; None where there is nothing.
        unit: Of both.
        harm: Rank, at least 0, comparable between findings: the loss at stake as a share of the loss at release.
        reason: One sentence.
        evidence: Numbers to judge it by; no row and no key.
        next: What to do, a command where there is one.
    """

    model: ModelName
    name: str
    subject: Subject
    state: State
    observed: float | None = None
    threshold: float | None = None
    unit: str = "1"
    harm: float = 0.0
    reason: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict)
    next: str = ""

    def __post_init__(self) -> None:
        """Refuse harm from what cannot say so alone.

        Raises:
            ValueError: Its subject is none of `MAY_BE_HARM`.
        """
        if self.state is State.HARM and self.subject not in MAY_BE_HARM:
            raise ValueError(f"{self.name}: {self.subject.value} cannot be harm by itself; only truth and service can")


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings as they are shown: harm first, then what could not be measured, then noise, by rank."""
    order = (State.HARM, State.BROKEN, State.NOISE, State.NO_DATA, State.OK)
    return tuple(sorted(findings, key=lambda each: (order.index(each.state), -each.harm, each.name)))


def standing(findings: Sequence[Finding]) -> State:
    """Fold findings into one state: harm beats all, and what must speak and does not keeps it from being clear.

    Returns:
        HARM; else BROKEN or NO_DATA where truth or service cannot say; else NOISE; else OK. Nothing at all is NO_DATA.

    >>> standing([])
    <State.NO_DATA: 'no_data'>
    """
    states = {each.state for each in findings}
    if State.HARM in states:
        return State.HARM
    for subject in MUST_SPEAK:
        told = {each.state for each in findings if each.subject is subject}
        if State.BROKEN in told:
            return State.BROKEN
        if not told & {State.OK, State.NOISE}:
            return State.NO_DATA
    return State.NOISE if states & {State.NOISE, State.BROKEN} else State.OK
