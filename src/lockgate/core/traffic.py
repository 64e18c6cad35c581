"""What one environment serves, served before, and is in the middle of changing: a fold over the ledger's traffic rows.

Champions form a stack: a verified promotion pushes, a verified rollback pops, a verified undo leaves it as it was. So
rolling back twice goes back two champions, and never forward to the one that was just left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow


class Kind(StrEnum):
    """Why traffic changes."""

    PROMOTION = "promotion"
    UNDO = "undo"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of traffic, as its intent says.

    Attributes:
        kind: promotion, undo or rollback.
        release: The release that made, or makes, `to` champion.
        origin: The champion that was verified when the change was begun; for an undo the bundle that is taken away.
        to: The bundle that shall be champion.
        why: One sentence.
        undoes: For an undo: the sequence of the intent that it undoes.
        undone: For an undo: the release whose promotion that was.
    """

    kind: Kind
    release: ReleaseId | None
    origin: Digest | None
    to: Digest
    why: str
    undoes: int | None = None
    undone: ReleaseId | None = None

    @property
    def keep(self) -> Digest | None:
        """The bundle kept loaded and warm beside the new champion: what a rollback would go back to.

        A rollback and an undo keep none: what was just left may be what makes the server ill.
        """
        return self.origin if self.kind is Kind.PROMOTION else None

    def payload(self, environment: str) -> dict[str, Json]:
        """Return the payload of the change's intent."""
        return {
            "environment": environment,
            "kind": self.kind.value,
            "from": self.origin,
            "to": self.to,
            "why": self.why,
            "undoes": self.undoes,
            "undone": self.undone,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A change that was begun and neither verified nor given up.

    Attributes:
        sequence: Its intent's row, and what the target is told.
        change: What shall change.
    """

    sequence: int
    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A champion.

    Attributes:
        bundle: Its digest.
        release: The release that made it champion.
        sequence: Of the last change that was verified to it.
        keep: What that change kept warm beside it.
    """

    bundle: Digest
    release: ReleaseId | None
    sequence: int
    keep: Digest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The traffic of one model in one environment.

    Attributes:
        placed: The champions, the first one first, the one that serves last.
        pending: The change in progress.
        promoted: Release and bundle to the row that verified the promotion.
        given_up: Sequences of the intents written off as unverified.
    """

    placed: tuple[Placed, ...] = ()
    pending: Pending | None = None
    promoted: Mapping[tuple[ReleaseId | None, Digest], LedgerRow] = field(default_factory=dict)
    given_up: frozenset[int] = frozenset()

    @property
    def champion(self) -> Digest | None:
        """What serves, as last verified; None before the first champion."""
        return self.placed[-1].bundle if self.placed else None

    @property
    def before(self) -> Placed | None:
        """The champion to go back to; None when there never was another."""
        return next((each for each in reversed(self.placed) if each.bundle != self.champion), None)


def read_traffic(rows: Iterable[LedgerRow], environment: str) -> Traffic:
    """Fold one model's rows, in order, into the traffic of one environment."""
    traffic = Traffic()
    for row in rows:
        if row.payload.get("environment") != environment:
            continue
        if row.event is Event.TRAFFIC_INTENDED:
            traffic = replace(traffic, pending=Pending(sequence=row.seq, change=_change(row)))
        elif row.event in (Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED):
            traffic = _closed(traffic, row)
    return traffic


def _change(row: LedgerRow) -> Change:
    payload = row.payload
    origin, undoes, undone = payload.get("from"), payload.get("undoes"), payload.get("undone")
    return Change(
        kind=Kind(str(payload.get("kind", Kind.PROMOTION.value))),
        release=row.release,
        origin=None if origin is None else Digest(str(origin)),
        to=Digest(str(payload["to"])),
        why=str(payload.get("why", "")),
        undoes=None if undoes is None else int(str(undoes)),
        undone=None if undone is None else ReleaseId(str(undone)),
    )


def _closed(traffic: Traffic, row: LedgerRow) -> Traffic:
    sequence = int(str(row.payload["sequence"]))
    if traffic.pending is not None and traffic.pending.sequence == sequence:
        traffic = replace(traffic, pending=None)
    if row.event is Event.TRAFFIC_UNVERIFIED:
        return replace(traffic, given_up=traffic.given_up | {sequence})
    change = _change(row)
    now = Placed(bundle=change.to, release=row.release, sequence=sequence, keep=change.keep)
    if change.kind is Kind.PROMOTION:
        promoted = {**traffic.promoted, (row.release, change.to): row}
        return replace(traffic, placed=(*traffic.placed, now), promoted=promoted)
    return replace(traffic, placed=(*_down_to(traffic.placed, change.to), now))


def _down_to(placed: tuple[Placed, ...], bundle: Digest) -> tuple[Placed, ...]:
    """Return the champions below the newest one that is this bundle; all of them when it is none of them."""
    for index in reversed(range(len(placed))):
        if placed[index].bundle == bundle:
            return placed[:index]
    return placed
