"""One rollout as an auditor follows it: every row of it is derived again from those before, and compared.

Followed is what *should* be on record, so that one doctored row shows where it is, and not in all that come after.
What is said in words (`reason`, `next`) is not compared: it may be improved from one version to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lockgate.core.ids import Json, as_float, digest_of, to_json
from lockgate.core.ledger import LedgerRow
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.records import read_record
from lockgate.core.rollout.machine import (
    Looked,
    PersonAsked,
    Phase,
    Placed,
    Promoted,
    Returned,
    Rollout,
    RolloutEvent,
    advance,
    event_json,
    looked,
    steps_done,
    time_is_up,
)
from lockgate.core.rollout.record import RolloutRecord, look_payload, read_look
from lockgate.core.rollout.state import read_event
from lockgate.core.rollout.tally_counted import Counted
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.errors import IntegrityError
from lockgate.stages.audit_statistics import unlike_the_course
from lockgate.stages.looking import Observer

SHARE_STEP = 1e-4  # servers route in basis points
LATE_S = 120.0
"""A row is written as soon as what it tells has happened. Ours: a ledger that waits for a lock gives up long before."""
_WORDS = frozenset({"reason", "next"})


@dataclass(slots=True, kw_only=True)
class Followed:
    """One rollout.

    Attributes:
        found: What it began with.
        section: The spec's `rollout`; None where no spec is on record, such as for a drill.
        state: What follows from the rows so far.
        observer: Its looks so far, taken again.
        wishes: What people asked and has not been answered, oldest first: what, by, reason.
        intents: Payloads of its routing intents, by row.
        routed: Weight and shadow that were verified since they were asked for.
        switched: Whether the challenger was verified as champion.
        ended: Whether its end is on record.
        now: When it last moved, seconds since the epoch.
        look: The last look's event, until a row of the move that it made has been read.
    """

    found: RolloutRecord
    section: RolloutSection | None
    state: Rollout
    observer: Observer
    wishes: list[tuple[str, str, str]] = field(default_factory=list)
    intents: dict[int, Mapping[str, Json]] = field(default_factory=dict)
    routed: tuple[float, float] | None = None
    switched: bool = False
    ended: bool = False
    now: float = 0.0
    look: Looked | None = None

    @classmethod
    def of(cls, found: RolloutRecord, section: RolloutSection | None) -> Followed:
        """Return a rollout at its beginning."""
        now = found.rollout.began
        return cls(found=found, section=section, state=found.rollout, observer=Observer(course=found.course), now=now)

    def take_look(self, row: LedgerRow) -> Iterator[str]:
        """Look again at what a ROLLOUT_LOOK row counted, and yield what is otherwise on record."""
        course, state, told, counted = self.found.course, self.state, read_look(row), read_counted(row)
        yield from self._told_in_time(row, told.now)
        yield from unlike_the_course(course, self.section, counted)
        judged = self.observer.look(
            counted,
            share=state.exposure,
            steps_done=steps_done(course, state, told.now),
            time_is_up=time_is_up(course, state, told.now),
        )
        again = look_payload(state, judged, told.now)
        for key, each in again.items():
            recorded = row.payload.get(key)
            if key == "look":
                recorded = to_json(told.look)  # what rows of older versions had not is as it was then
            alike = _holds(each, recorded) if key == "counted" else _same(each, recorded)
            if not alike:
                yield f"its {key} is not what follows from its statistics and the looks before it"
        self.look = looked(course, judged.look, judged.decision, now=told.now, next_share=judged.next_share)
        self._go(self.look)

    def move(self, row: LedgerRow) -> Iterator[str]:
        """Move again as a ROLLOUT_MOVED row says, and yield what is otherwise on record."""
        event, recorded = read_event(row.payload["event"]), read_record(Rollout, row.payload["state"])
        if isinstance(event, Looked):
            if self.look is None or not _same(event_json(self.look), event_json(event)):
                yield "it tells of another look than the one on record before it"
            self.look = None
        else:
            yield from self._told_in_time(row, event.now)
            yield from self._lacking(event)
            self._go(event)
        if not _same(self.state, recorded):
            by_rule, told = _standing(self.state), _standing(recorded)
            yield f"the state on record ({told}) is not the one that its event leads to ({by_rule})"

    def ask(self, row: LedgerRow) -> Iterator[str]:
        """Take in a person's wish."""
        what, by, reason = (str(row.payload.get(key) or "") for key in ("what", "by", "reason"))
        self.wishes.append((what, by, reason))
        if not by:
            yield "nobody is named who asked"

    def end(self, row: LedgerRow) -> Iterator[str]:
        """Yield what an end on record is not; one that the machine did not come to may only be inconclusive."""
        verdict = RolloutVerdict(str(row.payload["verdict"]))
        due = self.state.verdict if self.state.phase is Phase.ENDED else RolloutVerdict.INCONCLUSIVE
        if verdict is not due:
            yield f"it ended as {verdict.value} on record; by its looks and moves it is {due.value if due else 'open'}"
        if self.ended:
            yield "it had ended before"
        self.ended = True

    def intend(self, row: LedgerRow) -> Iterator[str]:
        """Yield what an intended routing asks beyond what the rollout's state asks for."""
        self.intents[row.seq] = row.payload
        state, payload = self.state, row.payload
        if payload["champion"] != state.champion:
            yield "it routes beside another champion than the rollout's"
        if payload.get("challenger") is None:
            return
        asked = (state.challenger, state.share, state.shadow, self.found.salt, self.found.course.lease_s)
        told = tuple(payload.get(key) for key in ("challenger", "weight", "shadow", "salt", "lease_s"))
        if state.phase is not Phase.PLACING or told != asked:
            yield f"it routes what the rollout did not ask for, which was {_standing(state)}"

    def verify(self, row: LedgerRow) -> Iterator[str]:
        """Yield what a verified routing is not of its intent."""
        intent = self.intents.get(int(str(row.payload["sequence"])))
        weight, shadow = as_float(row.payload["weight"]), as_float(row.payload["shadow"])
        if intent is None:
            yield f"sequence {row.payload['sequence']} is no routing of this rollout intended before it"
            return
        for key, seen in (("weight", weight), ("shadow", shadow)):
            if not abs(seen - as_float(intent[key])) <= SHARE_STEP:
                yield f"a {key} of {seen:g} was verified where {intent[key]} was intended"
        if any(row.payload.get(key) != intent.get(key) for key in ("environment", "champion")):
            yield "it is of another environment or champion than its intent"
        if self.found.course.beside:
            yield from self._other_arm(row.payload.get("arms"), intent)
        self.routed = weight, shadow

    def _other_arm(self, arms: Json, intent: Mapping[str, Json]) -> Iterator[str]:
        """Yield where the arm of one of several challengers was not verified as it was intended."""
        wanted, name = intent.get("challenger"), self.found.course.arm
        told = arms if isinstance(arms, Sequence) and not isinstance(arms, str) else ()
        own = next((each for each in told if isinstance(each, Mapping) and each.get("name") == name), None)
        if own is None and (wanted is not None or told):
            yield f"no arm {name} was verified"
        elif own is not None and own.get("bundle") != (intent["champion"] if wanted is None else wanted):
            yield f"another bundle than was intended was verified as {name}"
        elif own is not None and wanted is not None and not _near(own.get("weight"), intent["weight"]):
            yield f"another weight than was intended was verified as {name}"

    def may_promote(self, bundle: str) -> bool:
        """Tell whether the rollout has decided that this bundle becomes champion."""
        return not self.ended and self.state.phase is Phase.PROMOTING and self.state.challenger == bundle

    def _go(self, event: RolloutEvent) -> None:
        self.state, commands = advance(self.found.course, self.state, event)
        if commands:
            self.routed = None  # what is asked for from here on is to be verified from here on
        if not isinstance(event, Looked):
            self.look = None

    def _told_in_time(self, row: LedgerRow, now: float) -> Iterator[str]:
        if not now >= self.now:
            yield f"it tells of {self.now - now:g} s before the row before it"
        elif not abs(row.at.timestamp() - now) <= LATE_S:
            yield f"it tells of {now:.0f} and was written at {row.at.timestamp():.0f}"
        else:
            self.now = now

    def _lacking(self, event: RolloutEvent) -> Iterator[str]:
        """Yield what had to be on record before an event."""
        if isinstance(event, PersonAsked):
            if (event.what, event.by, event.reason) not in self.wishes[:1]:
                yield f"no wish of {event.by} to {event.what} is on record and unanswered before it"
            del self.wishes[:1]
        elif isinstance(event, Placed) and not self._is_routed(self.state.share, self.state.shadow):
            yield "its step was taken as placed without a verified routing"
        elif isinstance(event, Returned) and not self._is_routed(0.0, 0.0):
            yield "it was taken as returned without a verified routing to the champion alone"
        elif isinstance(event, Promoted) and not self.switched:
            yield "it was taken as promoted without verified traffic"

    def _is_routed(self, weight: float, shadow: float) -> bool:
        seen = self.routed
        return seen is not None and abs(seen[0] - weight) <= SHARE_STEP and abs(seen[1] - shadow) <= SHARE_STEP


def read_counted(row: LedgerRow) -> Counted:
    """Return the statistics of a ROLLOUT_LOOK row; what was for pages only is not among them.

    Raises:
        IntegrityError: They are not whole.
    """
    counted = row.payload.get("counted")
    if not isinstance(counted, Mapping):
        raise IntegrityError(f"row {row.seq} holds no statistics")
    return read_record(Counted, {**counted, "shown": {}})


def _standing(state: Rollout) -> str:
    placed = f"weight {state.share:g}, shadow {state.shadow:g}"
    verdict = f", {state.verdict.value}" if state.verdict else ""
    return f"{state.phase.value}, step {state.step}, {placed}, look {state.looks}{verdict}"


def _near(one: Json, other: Json) -> bool:
    return abs(as_float(one) - as_float(other)) <= SHARE_STEP


def _same(one: object, other: object) -> bool:
    return digest_of(_plain(one)) == digest_of(_plain(other))


def _plain(value: object) -> Json:
    return _wordless(to_json(value))


def _wordless(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {key: _wordless(each) for key, each in value.items() if key not in _WORDS}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_wordless(each) for each in value]
    return value


def _holds(whole: Json, part: Json) -> bool:
    """Tell whether everything in `part` is in `whole`, which may hold what rows of older versions had not."""
    if isinstance(part, Mapping):
        return isinstance(whole, Mapping) and all(key in whole and _holds(whole[key], part[key]) for key in part)
    if isinstance(part, Sequence) and not isinstance(part, str):
        listed = isinstance(whole, Sequence) and not isinstance(whole, str) and len(whole) == len(part)
        return listed and all(_holds(one, other) for one, other in zip(whole, part, strict=True))  # type: ignore[arg-type]
    return whole == part
