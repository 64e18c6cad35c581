"""One JSON line an answered request, written off the hot path; an answer never waits for the disk.

`append` puts a record into a queue; a thread makes lines of it and writes them, five times within `flush_s`, so that a
kill -9 loses no answer older than that. When the disk does not take them, lines are kept up to a bound of rows and of
bytes and dropped beyond it, both counted and said; serving goes on, and so does the log once there is room. One model's
broken folder costs the others no row, nor does the key of hashed columns where it is not there, see `stuck`.

    <state>/predictions/<model>/<UTC time of opening>-w<worker>-<number>.jsonl     see `segments`
    <state>/predictions/<model>/<digest>.columns.json                              the columns' types, for the archive
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lockgate.serving.log.binary_columns import Line
from lockgate.serving.log.complaints import Complaints
from lockgate.serving.log.dropped import Dropped, Why
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.lane import Lane
from lockgate.serving.log.record import WHOLE_ROWS, LineEncoder, Record
from lockgate.serving.log.segments import open_for_appending
from lockgate.serving.log.stuck import Stuck, Waiting
from lockgate.serving.log.unhashed import KeyWait
from lockgate.serving.log.weight import weigh

__all__ = ["PredictionLog", "Record"]

logger = logging.getLogger(__name__)

QUEUE_ROWS = 20_000  # ours: two seconds of the highest rate measured
QUEUE_BYTES = 32 << 20
SEGMENT_AGE_S = 600.0  # ours: what the archive and the labels wait for at most
CHUNK_RECORDS = 32  # lines made in one go: about 0.15 ms at 24 columns
CHUNK_BYTES = 1 << 20  # so that few large lines wait at a time
_BLOB_ROWS: Final = 96  # as long as so many rows take, an array takes that is kept as it came
BREATH_S = 0.00005  # the interpreter is given to whoever wants it for at least this long between two chunks
_WAKES_PER_FLUSH: Final = 5
_WAKE_AT: Final = 4  # the writer is woken before its time when so manieth part of the queue is full


class PredictionLog:
    """The log of one process.

    Attributes:
        written_rows: Rows that the disk took.
        errors: Failed attempts to write.
    """

    def __init__(  # noqa: PLR0913 - every one has a default that is safe; a class of them would only move the list
        self,
        folder: Path,
        *,
        worker: int = 0,
        flush_s: float = 0.5,
        segment_bytes: int = 64 << 20,
        segment_age_s: float = SEGMENT_AGE_S,
        queue_rows: int = QUEUE_ROWS,
        queue_bytes: int = QUEUE_BYTES,
        key_file: Path | None = None,
        opener: Callable[[Path], int] = open_for_appending,
    ) -> None:
        """Start the writer.

        Args:
            folder: Holds one folder a model.
            worker: Which of the server's processes this is; names its files.
            flush_s: The longest a record waits in memory, in seconds, where the disk takes it.
            segment_bytes: A file that has grown to this size is closed and the next one opened.
            segment_age_s: So is one of this age, in seconds.
            queue_rows: Rows kept in memory while the disk does not take them; see `weight` for what a request counts.
            queue_bytes: Bytes likewise: lines that wait, and requests that are not lines yet.
            key_file: Holds the key of hashed columns, made when it is needed; None: a file beside `folder`.
            opener: Opens a segment for appending and returns its descriptor.
        """
        self.written_rows = self.errors = 0
        self._dropped = Dropped()
        self._complaints = Complaints(self._dropped)
        self._appended_rows = self._taken_rows = self._appended_bytes = self._encoded_bytes = self._waiting_bytes = 0
        self._queue_rows, self._queue_bytes = queue_rows, queue_bytes
        self._wake_rows, self._wake_bytes = queue_rows // _WAKE_AT, queue_bytes // _WAKE_AT
        self._queue: deque[Record] = deque()
        self._wait_s = flush_s / _WAKES_PER_FLUSH
        self._segment_bytes, self._segment_age_s = segment_bytes, segment_age_s
        self._lines = LineEncoder(KeyedHash(key_file or folder.parent / "prediction-log.key"), _breathe)
        self._new_lane: Callable[[str], Lane] = lambda model: Lane(folder / model, worker, opener)
        self._lanes: dict[str, Lane] = {}
        self._keyless = KeyWait(self._lines.open_key)
        self._stuck = Stuck(queue_rows, queue_bytes)
        self._wake, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def queued_rows(self) -> int:
        """Rows that wait in memory, as `queue_rows` counts them."""
        return self._appended_rows - self._taken_rows

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait in memory, as `queue_bytes` counts them."""
        return self._appended_bytes - self._encoded_bytes + self._waiting_bytes

    @property
    def dropped_rows(self) -> int:
        """Rows that were given up."""
        return self._dropped.rows

    @property
    def dropped(self) -> dict[str, int]:
        """The same, by `dropped.Why`."""
        return self._dropped.by_reason

    @property
    def problem(self) -> str | None:
        """Why not everything can be written now; None while the log is well."""
        return self._complaints.problem

    def append(self, record: Record) -> None:
        """Take a record; never blocks, never fails. Called from one thread only."""
        rows, size = weigh(record)
        queued = self._appended_rows - self._taken_rows
        if queued:
            waiting = self._appended_bytes - self._encoded_bytes + self._waiting_bytes
            if queued + rows > self._queue_rows or waiting + size > self._queue_bytes:
                lane: Waiting | None = self._keyless.lanes.get(record.model) or self._lanes.get(record.model)
                if not self._stuck.lets_in(lane, rows, size, (queued, waiting)):
                    self._dropped.refused[Why.QUEUE_FULL if lane is None else lane.why] += record.rows
                    return
            if (queued > self._wake_rows or waiting > self._wake_bytes) and (
                queued - self._stuck.rows > self._wake_rows or waiting - self._stuck.bytes > self._wake_bytes
            ):
                self._wake.set()
        self._queue.append(record)
        self._appended_rows += rows
        self._appended_bytes += size

    def close(self) -> None:
        """Write what waits, if the disk takes it, and end the writer."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        lost = sum(lane.rows for lane in self._lanes.values()) + sum(record.rows for record in self._queue)
        if lost:
            logger.error("%d rows of the prediction log were lost: the disk did not take them", lost)
        if self._keyless.rows:
            logger.error("%d rows of the prediction log were lost: %s", self._keyless.rows, self._keyless.problem)
        for lane in self._lanes.values():
            lane.close()

    def _run(self) -> None:
        last = False
        while not last:
            self._wake.wait(self._wait_s)
            self._wake.clear()
            last = self._stopping  # read before writing: what was queued before the stop is written
            try:
                problem = self._write_all()
            except Exception as odd:  # the log must outlive whatever one record does to it
                logger.exception("the prediction log failed; it goes on")
                problem = f"the prediction log failed ({odd!r})"
            if problem is None:
                self._complaints.well()
            else:
                self.errors += 1
                self._complaints.broken(problem, self.queued_rows)

    def _write_all(self) -> str | None:
        """Make lines of what is queued and write them; what waits for the disk, or for the key, goes first.

        Returns:
            Why not all of it could be written, as a sentence's beginning; the rest waits.
        """
        broken = self._write_lanes()
        self._try_key()
        while self._queue:
            self._encode_chunk()
            broken = self._write_lanes() or broken
            while self._stuck.hold_too_much:
                self._make_room()
            _breathe()
        unwritten = None if broken is None else f"the prediction log cannot be written ({broken})"
        return ", and ".join(filter(None, (unwritten, self._keyless.problem))) or None

    def _try_key(self) -> None:
        """Have the records that wait for the key come before all others, if it is there now."""
        records, size = self._keyless.take()
        if records:
            self._waiting_bytes -= size
            self._encoded_bytes -= size
            self._queue.extendleft(reversed(records))
            self._look()

    def _look(self) -> None:
        self._stuck.look([*self._lanes.values(), *self._keyless.lanes.values()])

    def _write_lanes(self) -> OSError | None:
        """Write what waits and return the last error: beside one model's broken folder the others are written."""
        broken = None
        for lane in self._lanes.values():
            try:
                written = lane.write()
                try:
                    lane.keep_columns()
                finally:
                    self._count_written(*written)
            except OSError as error:
                broken = error
            lane.close_if(self._segment_bytes, self._segment_age_s)
        if broken is not None or self._keyless.lanes or self._stuck.holds:
            self._look()
        return broken

    def _count_written(self, rows: int, counted: int, size: int) -> None:
        self.written_rows += rows
        self._taken_rows += counted
        self._waiting_bytes -= size

    def _make_room(self) -> None:
        """Have the model that holds most of what cannot be written give up its newest line."""
        lane = self._stuck.largest()
        if lane is not None:
            rows, counted, size = lane.give_up_newest()
            self._give_up(lane.why, rows, counted)
            self._waiting_bytes -= size
            self._look()

    def _give_up(self, why: Why, rows: int, counted: int) -> None:
        self._dropped.lost[why] += rows
        self._taken_rows += counted

    def _encode_chunk(self) -> None:
        """Make lines of the oldest records, few enough not to keep the interpreter for long."""
        rows = size = 0
        for _ in range(min(len(self._queue), CHUNK_RECORDS)):
            record = self._queue.popleft()
            counted, held = weigh(record)
            self._encoded_bytes += held
            line = self._encode(record)
            if isinstance(line, Line):
                self._wait_for_disk(record, line, counted)
                rows += min(record.rows, _BLOB_ROWS * len(line.blobs)) if line.blobs else record.rows
                size += line.size
            elif line is Why.NO_KEY:
                self._wait_for_key(record, counted, held)
            else:
                self._give_up(line, record.rows, counted)
            if rows >= WHOLE_ROWS or size >= CHUNK_BYTES:
                break

    def _wait_for_disk(self, record: Record, line: Line, counted: int) -> None:
        lane = self._lanes.get(record.model)
        if lane is None:
            lane = self._lanes[record.model] = self._new_lane(record.model)
        if (after := self._waiting_bytes + line.size) <= self._queue_bytes or self._has_room(lane, line.size):
            lane.add(record, line, counted)
            self._waiting_bytes = after
        else:
            self._give_up(lane.why, record.rows, counted)

    def _wait_for_key(self, record: Record, counted: int, size: int) -> None:
        waiting = self._keyless.lane(record.model)
        if self._has_room(waiting, size):
            waiting.add(record, counted, size)
            self._waiting_bytes += size
        else:
            self._give_up(waiting.why, record.rows, counted)

    def _has_room(self, lane: Waiting, size: int) -> bool:
        """Tell whether more may wait: beside what cannot be written, or in place of what others hold of it."""
        if not self._waiting_bytes or self._waiting_bytes + size <= self._queue_bytes:
            return True
        waiting = self._waiting_bytes - (0 if lane.is_stuck else self._stuck.bytes)
        return (
            not waiting or waiting + size <= self._queue_bytes or (lane.is_stuck and lane is not self._stuck.largest())
        )

    def _encode(self, record: Record) -> Line | Why:
        """Return a record's line, or why it has none now: one odd record must not end the log."""
        if self._keyless.lanes and self._lines.needs_key(record):
            return Why.NO_KEY  # others were there before
        try:
            return self._lines.encode(record)
        except OSError as broken:
            self._keyless.broken = broken
            return Why.NO_KEY
        except Exception as odd:  # noqa: BLE001 - whatever a caller's values bring about
            self._complaints.odd(record.prediction_id, odd)
            return Why.NO_FORM


def _breathe() -> None:
    """Let the thread that answers have the interpreter now, not after its switch interval."""
    time.sleep(BREATH_S)
