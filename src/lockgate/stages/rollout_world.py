"""What the controller of a rollout acts on: the lane, the logs, the clock, and where its tally is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from lockgate.core.ids import Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.tally import Tally
from lockgate.ports import Clock, Readback, TrafficLog
from lockgate.stages.routing import Lane


def _nothing(_shown: Mapping[str, Json]) -> None:
    pass


class Keeper(Protocol):
    """Keeps a tally over a crash; `adapters.tally_file.TallyFile` is one."""

    def load(self) -> tuple[str, bytes] | None:
        """Return the cursor and the tally that were saved last; None where there are none."""
        ...

    def save(self, cursor: str, kept: bytes) -> None:
        """Keep both, whole or not at all."""
        ...

    def drop(self) -> None:
        """Forget both."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a controller acts on.

    Attributes:
        lane: Ledger and router, and the two bundles.
        log: What production's logs say.
        keeper: Keeps the tally.
        clock: Dates looks and moves.
        readback: Asks for live answers of the champion.
        promote: Makes the challenger the champion, verified from live answers.
        tally: Makes a new tally, or one from what was kept.
        show: Told of every look (with what it counted for pages) and every move; what it raises is logged, never in
            the way.
    """

    lane: Lane
    log: TrafficLog
    keeper: Keeper
    clock: Clock
    readback: Callable[[], Readback]
    promote: Callable[[], object]
    tally: Callable[[bytes | None], Tally]
    show: Callable[[Mapping[str, Json]], None] = _nothing

    def rows(self, *events: Event, after: int = 0) -> tuple[LedgerRow, ...]:
        """Return the rows of this rollout's release or drill, later than a row where given."""
        return self.lane.ledger.rows(self.lane.model, release=self.lane.release, events=events, after=after)

    def append(self, event: Event, payload: dict[str, Json], *, expect_seq: int | None = None) -> LedgerRow:
        """Append a row of this rollout.

        Raises:
            LedgerConflict: The model's last row is another than `expect_seq`.
        """
        lane = self.lane
        return lane.ledger.append(
            lane.model, event, payload, release=lane.release, actor=lane.actor, expect_seq=expect_seq
        )
