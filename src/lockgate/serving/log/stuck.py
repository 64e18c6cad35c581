"""What waits for folders that take nothing, or for a key, so that it costs other models no row of the prediction log.

Lines that wait for such a folder may fill the queue as long as nobody else needs it: beside them, rows whose folders
are not known to refuse them may have half as much again, which they leave within an instant. Several such folders
share the queue: who holds less than another one is let in, and the one that holds most gives up its newest line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from lockgate.serving.log.dropped import Why


class Waiting(Protocol):
    """One model's part of what waits: `lane.Lane` and `unhashed.Unhashed`."""

    counted: int
    bytes: int

    @property
    def is_stuck(self) -> bool:
        """Whether it waits for more than its turn."""
        ...

    @property
    def why(self) -> Why:
        """The reason where some of it has to be given up."""
        ...

    def give_up_newest(self) -> tuple[int, int, int]:
        """Give up what came last; returns how many rows, for how many they counted, and how many bytes."""
        ...


class _Held(NamedTuple):
    """What some lanes hold: rows as the queue counts them, and bytes."""

    lanes: tuple[Waiting, ...] = ()
    rows: int = 0
    bytes: int = 0


class Stuck:
    """What is stuck; kept by the writer's thread, asked by both."""

    def __init__(self, queue_rows: int, queue_bytes: int) -> None:
        """Take the bounds of the queue."""
        self._queue_rows, self._queue_bytes = queue_rows, queue_bytes
        self._held = _Held()

    @property
    def holds(self) -> bool:
        """Whether anything was, at the last look."""
        return bool(self._held.lanes)

    @property
    def rows(self) -> int:
        """Rows that they held at the last look, as the queue counts them."""
        return self._held.rows

    @property
    def bytes(self) -> int:
        """What they held at the last look."""
        return self._held.bytes

    def look(self, lanes: Iterable[Waiting]) -> None:
        """Look which lanes are stuck, and what they hold; after the queue has counted what has left."""
        stuck = tuple(lane for lane in lanes if lane.is_stuck and _holds(lane))
        self._held = _Held(stuck, sum(lane.counted for lane in stuck), sum(lane.bytes for lane in stuck))

    def lets_in(self, lane: Waiting | None, rows: int, size: int, waiting: tuple[int, int]) -> bool:
        """Tell whether a record may come although the queue is full.

        Args:
            lane: Its model's; None where there is none yet.
            rows: Rows it counts for.
            size: Bytes likewise.
            waiting: Rows and bytes that wait already.
        """
        held = self._held
        if not held.lanes:
            return False
        others_rows, others_bytes = waiting[0] - held.rows, waiting[1] - held.bytes
        if others_rows > 0 and not (
            2 * (others_rows + rows) <= self._queue_rows and 2 * (others_bytes + size) <= self._queue_bytes
        ):
            return False
        return lane is None or not lane.is_stuck or self._share(lane) < max(map(self._share, held.lanes))

    def largest(self) -> Waiting | None:
        """Return the lane that holds most; None where none holds anything."""
        return max((lane for lane in self._held.lanes if _holds(lane)), key=self._share, default=None)

    @property
    def hold_too_much(self) -> bool:
        """Whether several of them hold more than the queue together; one alone was never let in beyond it."""
        lanes = self._held.lanes
        rows, size = sum(lane.counted for lane in lanes), sum(lane.bytes for lane in lanes)
        return len(lanes) > 1 and (rows > self._queue_rows or size > self._queue_bytes)

    def _share(self, lane: Waiting) -> float:
        return max(lane.counted / self._queue_rows, lane.bytes / self._queue_bytes)


def _holds(lane: Waiting) -> bool:
    return bool(lane.counted or lane.bytes)
