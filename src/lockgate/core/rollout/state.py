"""What a rollout's machine speaks of: its state, what may happen to it, and what it wants done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from lockgate.core.ids import Digest, Json, ReleaseId, to_json
from lockgate.core.online.guardrails import Decision, RolloutVerdict
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError


class Phase(StrEnum):
    """Where a rollout is; see the diagram of `core.rollout.machine`."""

    BEGUN = "begun"
    PLACING = "placing"
    BAKING = "baking"
    PAUSED = "paused"
    PROMOTING = "promoting"
    RETURNING = "returning"
    ENDED = "ended"


class Wish(StrEnum):
    """What a person may ask of a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
    PROMOTE = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The state, whole: a process that reads it carries on.

    Attributes:
        release: Whose bundle it is; of a drill, the drill's id.
        challenger: The bundle that may take over.
        champion: The bundle that serves.
        phase: Where it is.
        step: Which of the course's steps, from 0.
        share: The challenger's share of entities that is asked for.
        shadow: The share of requests that is asked to be copied to it.
        began: When it began, seconds since the epoch.
        step_began: When the routing of its step was verified, seconds since the epoch.
        held_by: Who paused it; None: nobody did.
        looks: How many looks were taken.
        verdict: How it ends; None while that is open.
        reason: Why it is where it is, in one sentence.
        next: What happens or is to be done, in one sentence.
        clear: Whether the last look had every guardrail measured and clear.
        released: Whether somebody has resumed the pause that its step is.
        passed: Beside other challengers: whether the last look would have promoted it.
    """

    release: ReleaseId
    challenger: Digest
    champion: Digest
    phase: Phase = Phase.BEGUN
    step: int = 0
    share: float = 0.0
    shadow: float = 0.0
    began: float
    step_began: float
    held_by: str | None = None
    looks: int = 0
    verdict: RolloutVerdict | None = None
    reason: str = "it was begun"
    next: str = "its first step is put in place"
    clear: bool = False
    released: bool = False
    passed: bool = False

    @classmethod
    def at_start(cls, release: ReleaseId, challenger: Digest, champion: Digest, *, began: float) -> Rollout:
        """Return the state before anything has happened; `Began` is its first event."""
        return cls(release=release, challenger=challenger, champion=champion, began=began, step_began=began)

    @property
    def exposure(self) -> float:
        """The share that a look is about: of entities, or of the requests that are copied where no entity is."""
        return self.share if self.share > 0 else self.shadow


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """It starts."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The server really routes what was asked for."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """It does not, and was tried for long enough."""

    now: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A look was taken; made by `core.rollout.machine.looked`.

    Attributes:
        now: When, seconds since the epoch.
        decision: What all looks so far say.
        next_share: For a bandit: the challenger's share in the next period.
        blind: Whether this look could not measure.
        clear: Whether it could, and every guardrail was clear.
    """

    now: float
    decision: Decision
    next_share: float | None = None
    blind: bool
    clear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonAsked:
    """A person wishes something: one of `Wish`; of any other word only the attempt is on record."""

    now: float
    what: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRouting:
    """Somebody else has changed the routing: another controller, or a rollback by hand."""

    now: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A new process took over from one that died."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """Live answers carry the challenger's digest: it is the champion."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionFailed:
    """The switch was not verified."""

    now: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """The champion alone serves, verified."""

    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Of several challengers beside one champion it is the one to promote; the others have ended."""

    now: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdone:
    """Another challenger beside the same champion, the release `by`, is to be promoted."""

    now: float
    by: str
    reason: str


RolloutEvent: TypeAlias = (
    Began
    | Placed
    | Unplaced
    | Looked
    | PersonAsked
    | LostRouting
    | Resumed
    | Promoted
    | PromotionFailed
    | Returned
    | Chosen
    | Outdone
)

KINDS: Mapping[str, type[RolloutEvent]] = MappingProxyType(
    {
        "began": Began,
        "placed": Placed,
        "unplaced": Unplaced,
        "looked": Looked,
        "person_asked": PersonAsked,
        "lost_routing": LostRouting,
        "resumed": Resumed,
        "promoted": Promoted,
        "promotion_failed": PromotionFailed,
        "returned": Returned,
        "chosen": Chosen,
        "outdone": Outdone,
    }
)
"""Event by the `kind` of its JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Have the server route so, its lease new, and verify it; then `Placed` or `Unplaced`."""

    weight: float
    shadow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Switch to the challenger and verify it; then `Promoted` or `PromotionFailed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Have the champion alone serve, and verify it, for as long as it takes; then `Returned`."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing more happens; record the verdict."""

    verdict: RolloutVerdict
    reason: str


Command: TypeAlias = Place | Promote | Return | End


def event_json(event: RolloutEvent) -> dict[str, Json]:
    """Return the JSON form of an event, with its `kind`.

    >>> event_json(Returned(now=2.5))
    {'kind': 'returned', 'now': 2.5}
    """
    written = to_json(event)
    kind = next(kind for kind, of in KINDS.items() if isinstance(event, of))
    return {"kind": kind, **(written if isinstance(written, dict) else {})}


def read_event(value: Json) -> RolloutEvent:
    """Return the event that `event_json` turned into `value`.

    Raises:
        IntegrityError: It is none.
    """
    kind = value.get("kind") if isinstance(value, Mapping) else None
    of = KINDS.get(str(kind))
    if of is None:
        raise IntegrityError(f"{kind!r} is no event of a rollout; those are {', '.join(KINDS)}")
    event: RolloutEvent = read_record(of, value)
    return event
