"""Records that cannot become lines while the key of hashed columns is not there: they wait as they came, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from lockgate.serving.log.dropped import Why
from lockgate.serving.log.record import Record

_NAMED: Final = 5  # models in one message


class Unhashed:
    """One model's records that wait for the key; the writer's thread alone changes them.

    Attributes:
        rows: Rows that wait.
        counted: For how many they count, see `weight`.
        bytes: Bytes likewise.
        is_stuck: They are for as long as they are here.
        why: The reason where some have to be given up.
    """

    is_stuck: Final = True
    why: Final = Why.NO_KEY

    def __init__(self) -> None:
        """Begin without any."""
        self._records: deque[tuple[Record, int, int]] = deque()
        self.rows = self.counted = self.bytes = 0

    def add(self, record: Record, counted: int, size: int) -> None:
        """Take a record, and for how many rows and bytes it counts."""
        self._records.append((record, counted, size))
        self.rows += record.rows
        self.counted += counted
        self.bytes += size

    def give_up_newest(self) -> tuple[int, int, int]:
        """Give up the record that came last.

        Returns:
            How many rows that was, for how many it counted, and for how many bytes.
        """
        record, counted, size = self._records.pop()
        self.rows -= record.rows
        self.counted -= counted
        self.bytes -= size
        return record.rows, counted, size

    def take(self) -> list[Record]:
        """Return all of them, oldest first; none are left."""
        taken = [record for record, _, _ in self._records]
        self._records.clear()
        self.rows = self.counted = self.bytes = 0
        return taken


class KeyWait:
    """What waits for the key, of all models.

    Attributes:
        lanes: By model; none once the key is there.
        broken: Why it was not there last.
    """

    def __init__(self, open_key: Callable[[], object]) -> None:
        """Take what reads the key, and raises OSError where it is not there."""
        self.lanes: Final[dict[str, Unhashed]] = {}
        self.broken: OSError | None = None
        self._open_key = open_key

    def lane(self, model: str) -> Unhashed:
        """Return a model's part; there is one from now on."""
        return self.lanes.get(model) or self.lanes.setdefault(model, Unhashed())

    def take(self) -> tuple[list[Record], int]:
        """Return all records, each model's oldest first, and for how many bytes they count; none without the key."""
        if not self.lanes:
            return [], 0
        try:
            self._open_key()
        except OSError as broken:
            self.broken = broken
            return [], 0
        size = sum(lane.bytes for lane in self.lanes.values())
        records = [record for lane in self.lanes.values() for record in lane.take()]
        self.lanes.clear()
        return records, size

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(lane.rows for lane in self.lanes.values())

    @property
    def problem(self) -> str | None:
        """What is not written, and why; None where nothing waits."""
        if not self.lanes:
            return None
        models = ", ".join(sorted(self.lanes)[:_NAMED])
        return f"the prediction log cannot hash columns of {models} for want of the key ({self.broken})"
