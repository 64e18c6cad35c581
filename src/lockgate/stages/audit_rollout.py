"""The auditor's third part: every rollout went by its own rules, from the course to the verdict.

ROLLOUT_BEGUN     the course is that of the spec on record; the challenger is blessed and approved, the champion serves
ROLLOUT_LOOK      findings, plan and decision follow from the statistics and the looks before it (`followed_rollout.py`)
ROLLOUT_MOVED     the state is the one that its event leads to; what had to be verified, or asked by somebody, was
ROLLOUT_ENDED     the verdict that the machine came to
routing rows      what the state asked for; verified as it was intended
promotion intent  of a release whose spec has steps: its rollout decided so; the first champion needs none
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from lockgate.core.ids import ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.alpha import Allocation
from lockgate.core.records import read_record
from lockgate.core.rollout.attempts import spent
from lockgate.core.rollout.record import RolloutRecord, read_begun
from lockgate.core.rollout.several import course_beside
from lockgate.core.rollout.state import read_event
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy
from lockgate.core.traffic import Kind
from lockgate.errors import ConfigError, IntegrityError
from lockgate.stages.audit_several import begun_apart, chosen_wrongly
from lockgate.stages.findings import Finding, finding_at
from lockgate.stages.followed_rollout import Followed
from lockgate.stages.recording import read_blessing, spec_on_record

_PRODUCTION = "production"
WHAT: Final = "rollout"


def audit_rollouts(rows: Sequence[LedgerRow]) -> Iterator[Finding]:
    """Walk one model's rows in order and yield what in its rollouts does not follow from what came before."""
    seen = _Seen()
    for row in rows:
        try:
            for message in _STEPS.get(row.event, _nothing)(seen, row):
                yield finding_at(row, WHAT, message)
        except IntegrityError as unreadable:
            yield finding_at(row, "record", unreadable.message)
        except (KeyError, ValueError, TypeError) as incomplete:
            yield finding_at(row, "record", f"its payload is not what a {row.event.value} row holds ({incomplete!r})")


@dataclass(slots=True)
class _Seen:
    """What the walk has passed."""

    sections: dict[ReleaseId | None, RolloutSection | None] = field(default_factory=dict)
    blessed: dict[ReleaseId | None, str] = field(default_factory=dict)
    approved: dict[ReleaseId | None, bool] = field(default_factory=dict)
    rollouts: dict[ReleaseId | None, Followed] = field(default_factory=dict)
    tries: list[Followed] = field(default_factory=list)
    champion: str | None = None


def _nothing(_seen: _Seen, _row: LedgerRow) -> Iterator[str]:
    yield from ()


def _opened(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    seen.sections[row.release] = None
    _, content = spec_on_record(row)
    section = content.get("rollout") if isinstance(content, Mapping) else None
    if section is not None:
        seen.sections[row.release] = read_record(RolloutSection, section)
    yield from ()


def _blessed(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    seen.blessed[row.release] = str(read_blessing(row).subjects.bundle)
    yield from ()


def _answered(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    whole = row.payload.get("complete") is not False  # one of two is not enough
    seen.approved[row.release] = row.event is Event.APPROVAL_GIVEN and whole
    yield from ()


def _begun(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    before = seen.rollouts.get(row.release)
    if before is not None and not before.ended:
        yield "another rollout of the same release was under way"
    found = read_begun(row)
    section = seen.sections.get(row.release)
    seen.rollouts[row.release] = Followed.of(found, section)
    yield from _undeclared(found.course, section)
    yield from begun_apart(found, seen.rollouts)
    if row.release in seen.sections:  # a drill tries nothing
        yield from _miscounted(found, seen.tries)
        seen.tries.append(seen.rollouts[row.release])
    shares = found.course.guardrails
    told = Allocation(alpha=math.fsum(shares.values()), shares=shares).lines()
    if list(told) != row.payload.get("allocation"):
        yield "the errors it prints are not those of its course"
    if found.rollout.champion != seen.champion:
        yield f"it is beside champion {found.rollout.champion[:12]}; {str(seen.champion)[:12]} served"
    yield from _not_allowed(seen, row, found)


def _miscounted(found: RolloutRecord, before: Sequence[Followed]) -> Iterator[str]:
    """Yield where an attempt is not the one that follows from those before; none was counted of old."""
    rollout, told = found.rollout, found.course.attempt
    pair = rollout.challenger, rollout.champion
    same = [each for each in before if (each.found.rollout.challenger, each.found.rollout.champion) == pair]
    due = 1 + sum(bool(each.observer.effects) for each in same)
    of_old = told == 0 and not any(each.found.course.attempt for each in before)
    if told != due and not of_old:
        yield f"it was judged as attempt {told} of its bundle at its champion; by the record it is attempt {due}"


def _undeclared(course: Course, section: RolloutSection | None) -> Iterator[str]:
    if section is None:
        return
    try:
        sd = None if course.plan is None else course.plan.sd
        section = spent(section, course.attempt)
        if course.beside:
            again = course_beside(section, sd=sd, arm=course.arm, beside=course.beside)
        else:
            again = course_of(section, sd=sd, times_copies=course.times_copies)
    except ConfigError as refused:
        yield f"the spec on record allows no rollout: {refused.message}"
        return
    if replace(again, attempt=course.attempt) != course:
        yield "its course is not the one that the spec on record declares"


def _not_allowed(seen: _Seen, row: LedgerRow, found: RolloutRecord) -> Iterator[str]:
    """Yield what a release lacked before its challenger met users; a drill is no release."""
    if row.release not in seen.sections:
        return
    if seen.blessed.get(row.release) != found.rollout.challenger:
        yield f"{found.rollout.challenger[:12]} was rolled out without a blessing of that bundle"
    if not seen.approved.get(row.release):
        yield "it was rolled out without an approval"


def _of_rollout(step: Callable[[Followed, LedgerRow], Iterator[str]]) -> Callable[[_Seen, LedgerRow], Iterator[str]]:
    """Return a step of the walk that needs a rollout under way."""

    def walked(seen: _Seen, row: LedgerRow) -> Iterator[str]:
        followed = seen.rollouts.get(row.release)
        if followed is None:
            yield "no rollout had begun before it"
            return
        if followed.ended and row.event is not Event.ROLLOUT_ASKED:
            yield "the rollout had ended before it"
        yield from step(followed, row)

    return walked


def _moved(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    followed = seen.rollouts.get(row.release)
    if followed is not None:
        yield from chosen_wrongly(read_event(row.payload["event"]), followed, seen.rollouts)
    yield from _of_rollout(Followed.move)(seen, row)


def _routed(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    """Follow a routing; the champion alone may be asked for by anybody at any time."""
    followed = seen.rollouts.get(row.release)
    if followed is None:
        if row.event is Event.ROUTING_INTENDED and row.payload.get("challenger") is not None:
            yield "a challenger was routed and no rollout had begun before it"
        return
    intended = row.event is Event.ROUTING_INTENDED
    if followed.ended and intended and row.payload.get("challenger") is not None:
        yield "a challenger was routed after the rollout had ended"
    yield from (followed.intend if intended else followed.verify)(row)


def _intended(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    kind, to = Kind(str(row.payload.get("kind", Kind.PROMOTION.value))), str(row.payload["to"])
    if kind is not Kind.PROMOTION or row.payload["environment"] != _PRODUCTION or seen.champion is None:
        return
    section, followed = seen.sections.get(row.release), seen.rollouts.get(row.release)
    if section is None or section.strategy is RolloutStrategy.BLUE_GREEN:
        return
    if followed is None or not followed.may_promote(to):
        yield f"production was switched to {to[:12]} without a rollout that decided so; its spec asks for one"


def _verified(seen: _Seen, row: LedgerRow) -> Iterator[str]:
    if row.payload["environment"] == _PRODUCTION:
        seen.champion = str(row.payload["to"])
        followed = seen.rollouts.get(row.release)
        if followed is not None and followed.state.challenger == seen.champion:
            followed.switched = True
    yield from ()


_STEPS: Final[Mapping[Event, Callable[[_Seen, LedgerRow], Iterator[str]]]] = MappingProxyType(
    {
        Event.RELEASE_OPENED: _opened,
        Event.BLESSING: _blessed,
        Event.APPROVAL_GIVEN: _answered,
        Event.APPROVAL_REFUSED: _answered,
        Event.ROLLOUT_BEGUN: _begun,
        Event.ROLLOUT_LOOK: _of_rollout(Followed.take_look),
        Event.ROLLOUT_MOVED: _moved,
        Event.ROLLOUT_ASKED: _of_rollout(Followed.ask),
        Event.ROLLOUT_ENDED: _of_rollout(Followed.end),
        Event.ROUTING_INTENDED: _routed,
        Event.ROUTING_VERIFIED: _routed,
        Event.TRAFFIC_INTENDED: _intended,
        Event.TRAFFIC_VERIFIED: _verified,
    }
)
