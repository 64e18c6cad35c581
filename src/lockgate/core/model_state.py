"""What one model's rows of the ledger add up to: what serves, the open release, how releases ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What an environment serves, as verified from its live answers.

    Attributes:
        bundle: The champion's digest.
        release: The release that put it there; None after a rollback to a bundle whose release is unknown.
        since: When it was verified.
        why: The release's reason, or the rollback's.
        sequence: The ledger sequence of the change.
    """

    bundle: Digest
    release: ReleaseId | None
    since: datetime
    why: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRelease:
    """The one release of a model that has not ended.

    Attributes:
        release: Its id.
        run: The Prefect flow run that carries it.
        opened_at: When.
        waiting: True once approval was asked and not answered.
        expires_at: When the approval expires, once asked.
        reminded: Whether the approvers were told a second time.
    """

    release: ReleaseId
    run: str
    opened_at: datetime
    waiting: bool = False
    expires_at: datetime | None = None
    reminded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """What the rows of one model add up to.

    Attributes:
        serving: Environment name to what it serves; an environment never switched is absent.
        previous: Environment name to what it served before.
        open: The open release, if any.
        pending: Traffic intents that were neither verified nor given up: environment to the intent's row.
        releases: How many releases were ever opened.
        outcomes: How each ended release ended.
        ingested: sha256 of every batch that was ingested; one that was quarantined may be landed again.
    """

    serving: Mapping[str, Serving]
    previous: Mapping[str, Serving]
    open: OpenRelease | None
    pending: Mapping[str, LedgerRow]
    releases: int
    outcomes: Mapping[ReleaseId, Outcome]
    ingested: frozenset[str]

    @property
    def champion(self) -> Digest | None:
        """What production serves; None when there never was a champion."""
        now = self.serving.get("production")
        return None if now is None else now.bundle


def project(rows: Iterable[LedgerRow]) -> ModelState:
    """Fold one model's rows, in order, into what holds now."""
    serving: dict[str, Serving] = {}
    previous: dict[str, Serving] = {}
    pending: dict[str, LedgerRow] = {}
    outcomes: dict[ReleaseId, Outcome] = {}
    ingested: set[str] = set()
    opened: OpenRelease | None = None
    left: dict[ReleaseId, OpenRelease] = {}  # how each release stood when it ended: a Retry takes it up from there
    releases = 0
    for row in rows:
        if row.event is Event.RELEASE_OPENED:
            releases += 1
        if row.event is Event.BATCH_INGESTED:
            ingested.add(str(row.payload["sha256"]))
        if row.event is Event.RELEASE_ENDED and row.release is not None:
            outcomes[row.release] = Outcome(str(row.payload["outcome"]))
        if row.event is Event.RELEASE_RESUMED and row.release is not None:
            outcomes.pop(row.release, None)
        if opened is not None:
            left[opened.release] = opened
        opened = _follow_release(opened, row, left)
        _follow_traffic(row, serving, previous, pending)
    return ModelState(
        serving=serving,
        previous=previous,
        open=opened,
        pending=pending,
        releases=releases,
        outcomes=outcomes,
        ingested=frozenset(ingested),
    )


def _follow_release(  # noqa: PLR0911 - one return an event
    opened: OpenRelease | None, row: LedgerRow, left: Mapping[ReleaseId, OpenRelease]
) -> OpenRelease | None:
    if row.event in (Event.RELEASE_OPENED, Event.RELEASE_RESUMED) and row.release is not None:
        if row.release in left:
            return replace(left[row.release], run=str(row.payload["run"]))
        return OpenRelease(release=row.release, run=str(row.payload["run"]), opened_at=row.at)
    if opened is None or row.release != opened.release:
        return opened
    match row.event:
        case Event.APPROVAL_ASKED:
            expires = datetime.fromisoformat(str(row.payload["expires_at"]))
            return replace(opened, waiting=True, expires_at=expires)
        case Event.APPROVAL_REMINDED:
            return replace(opened, reminded=True)
        case Event.APPROVAL_GIVEN | Event.APPROVAL_REFUSED:
            return replace(opened, waiting=row.payload.get("complete") is False)  # one approval of two
        case Event.RELEASE_ENDED:
            return None
        case _:
            return opened


def _follow_traffic(
    row: LedgerRow,
    serving: dict[str, Serving],
    previous: dict[str, Serving],
    pending: dict[str, LedgerRow],
) -> None:
    if row.event is Event.TRAFFIC_INTENDED:
        pending[str(row.payload["environment"])] = row
    elif row.event is Event.TRAFFIC_UNVERIFIED:
        begun = pending.get(str(row.payload["environment"]))
        if begun is not None and begun.seq == row.payload["sequence"]:  # an undo may have begun before this write-off
            del pending[str(row.payload["environment"])]
    elif row.event is Event.TRAFFIC_VERIFIED:
        environment = str(row.payload["environment"])
        intent = pending.pop(environment, None)
        before = serving.get(environment)
        now = Serving(
            bundle=Digest(str(row.payload["to"])),
            release=row.release,
            since=row.at,
            why=str(intent.payload["why"]) if intent else "",
            sequence=int(str(row.payload["sequence"])),
        )
        if before is not None and before.bundle != now.bundle:
            previous[environment] = before
        serving[environment] = now
