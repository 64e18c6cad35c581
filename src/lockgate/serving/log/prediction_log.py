"""One JSON line an answered request, written off the hot path; an answer never waits for the disk.

`append` puts a record into a queue; a thread makes lines of it and writes them, five times within `flush_s`, so that a
kill -9 loses no answer older than that. When the disk does not take them, lines are kept up to a bound of rows and of
bytes and dropped beyond it, both counted and said; serving goes on, and so does the log once there is room. One model's
broken folder costs the others no row, see `stuck`.

    <state>/predictions/<model>/<UTC time of opening>-w<worker>-<number>.jsonl     see `segments`
    <state>/predictions/<model>/<digest>.columns.json                              the columns' types, for the archive
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lockgate.serving.log.binary_columns import Line
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.lane import Lane
from lockgate.serving.log.record import WHOLE_ROWS, LineEncoder, Record
from lockgate.serving.log.segments import open_for_appending
from lockgate.serving.log.stuck import Stuck
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
COMPLAIN_EVERY_S = 30.0
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
        self._refused_rows = self._lost_rows = 0  # one for each thread, so that neither count needs a lock
        self._told_dropped = 0
        self._appended_rows = self._taken_rows = 0
        self._appended_bytes = self._encoded_bytes = self._waiting_bytes = 0
        self._queue_rows, self._queue_bytes = queue_rows, queue_bytes
        self._wake_rows, self._wake_bytes = queue_rows // _WAKE_AT, queue_bytes // _WAKE_AT
        self._queue: deque[Record] = deque()
        self._wait_s, self._segment_bytes, self._segment_age_s = (
            flush_s / _WAKES_PER_FLUSH,
            segment_bytes,
            segment_age_s,
        )
        self._lines = LineEncoder(KeyedHash(key_file or folder.parent / "prediction-log.key"), _breathe)
        self._new_lane: Callable[[str], Lane] = lambda model: Lane(folder / model, worker, opener)
        self._lanes: dict[str, Lane] = {}
        self._stuck = Stuck(queue_rows, queue_bytes)
        self._problem: str | None = None
        self._complained_at = -math.inf
        self._wake = threading.Event()
        self._stopping = False
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
        return self._refused_rows + self._lost_rows

    @property
    def problem(self) -> str | None:
        """Why nothing can be written now; None while the log is well."""
        return self._problem

    def append(self, record: Record) -> None:
        """Take a record; never blocks, never fails. Called from one thread only."""
        rows, size = weigh(record)
        queued = self._appended_rows - self._taken_rows
        if queued:
            waiting = self._appended_bytes - self._encoded_bytes + self._waiting_bytes
            if queued + rows > self._queue_rows or waiting + size > self._queue_bytes:
                lane = self._lanes.get(record.model)
                if not self._stuck.lets_in(lane, rows, size, (queued, waiting)):
                    self._refused_rows += record.rows
                    return
            if queued > self._wake_rows or waiting > self._wake_bytes:
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
        for lane in self._lanes.values():
            lane.close()

    def _run(self) -> None:
        last = False
        while not last:
            self._wake.wait(self._wait_s)
            self._wake.clear()
            last = self._stopping  # read before writing: what was queued before the stop is written
            try:
                self._write_all()
            except OSError as broken:
                self._complain(broken)
            except Exception:  # the log must outlive whatever one record does to it
                self.errors += 1
                logger.exception("the prediction log failed; it goes on")
            else:
                self._recovered()
                self._tell_dropped()

    def _write_all(self) -> None:
        """Make lines of what is queued and write them; what waits for the disk goes first.

        Raises:
            OSError: The disk did not take all of it; the rest waits.
        """
        broken = self._write_lanes()
        while self._queue:
            self._encode_chunk()
            broken = self._write_lanes() or broken
            while self._stuck.hold_too_much:
                self._make_room()
            _breathe()
        if broken is not None:
            raise broken

    def _write_lanes(self) -> OSError | None:
        """Write what waits and return the last error: beside one model's broken folder the others are written."""
        broken = None
        for lane in self._lanes.values():
            try:
                rows, counted, size = lane.write()
            except OSError as error:
                broken = error
            else:
                self.written_rows += rows
                self._taken_rows += counted
                self._waiting_bytes -= size
            lane.close_if(self._segment_bytes, self._segment_age_s)
        if broken is not None or self._stuck.bytes:
            self._stuck.look(self._lanes.values())
        return broken

    def _make_room(self) -> None:
        """Have the model that holds most of what cannot be written give up its newest line."""
        lane = self._stuck.largest()
        if lane is not None:
            rows, counted, size = lane.give_up_newest()
            self._lost_rows += rows
            self._taken_rows += counted
            self._waiting_bytes -= size
            self._stuck.look(self._lanes.values())

    def _encode_chunk(self) -> None:
        """Make lines of the oldest records, few enough not to keep the interpreter for long."""
        rows = size = 0
        for _ in range(min(len(self._queue), CHUNK_RECORDS)):
            record = self._queue[0]
            line = self._encode(record)
            self._queue.popleft()
            counted, held = weigh(record)
            self._encoded_bytes += held
            length = 0 if line is None else line.size
            lane = self._lanes.get(record.model)
            if lane is None:
                lane = self._lanes[record.model] = self._new_lane(record.model)
            full = self._waiting_bytes and self._waiting_bytes + length > self._queue_bytes
            if line is None or (full and not self._has_room(lane, length)):
                self._lost_rows += record.rows
                self._taken_rows += counted
                continue
            lane.add(record, line, counted)
            self._waiting_bytes += length
            rows += min(record.rows, _BLOB_ROWS * len(line.blobs)) if line.blobs else record.rows
            size += length
            if rows >= WHOLE_ROWS or size >= CHUNK_BYTES:
                break

    def _has_room(self, lane: Lane, size: int) -> bool:
        """Tell whether a line may wait: beside what cannot be written, or in place of what others hold of it."""
        waiting = self._waiting_bytes - (0 if lane.is_stuck else self._stuck.bytes)
        return (
            not waiting or waiting + size <= self._queue_bytes or (lane.is_stuck and lane is not self._stuck.largest())
        )

    def _encode(self, record: Record) -> Line | None:
        """Return a record's line, None where it has none: one odd record must not end the log."""
        try:
            return self._lines.encode(record)
        except OSError:
            raise  # the key of hashed columns is not there: nothing may be written yet
        except Exception as odd:  # noqa: BLE001 - whatever a caller's values bring about
            if self._may_complain():
                logger.error("prediction %s cannot be logged: %s", record.prediction_id, odd)  # noqa: TRY400 - said
            return None

    def _may_complain(self) -> bool:
        now = time.monotonic()
        due = now - self._complained_at >= COMPLAIN_EVERY_S
        if due:
            self._complained_at = now
        return due

    def _complain(self, broken: OSError) -> None:
        self.errors += 1
        self._problem = (
            f"the prediction log cannot be written ({broken}): {self.queued_rows} rows wait, "
            f"{self.dropped_rows} were dropped; serving goes on"
        )
        if self._may_complain():
            self._told_dropped = self.dropped_rows
            logger.error("%s", self._problem)

    def _recovered(self) -> None:
        if self._problem is not None:
            self._problem, self._complained_at = None, -math.inf
            self._told_dropped = self.dropped_rows
            logger.warning("the prediction log is written again; %d rows were dropped so far", self.dropped_rows)

    def _tell_dropped(self) -> None:
        """Say that rows were given up although the disk takes them: more came than can be written."""
        dropped = self.dropped_rows
        if dropped > self._told_dropped and self._may_complain():
            logger.error(
                "the prediction log gave up %d rows: they came faster than they are written; serving goes on",
                dropped - self._told_dropped,
            )
            self._told_dropped = dropped


def _breathe() -> None:
    """Let the thread that answers have the interpreter now, not after its switch interval."""
    time.sleep(BREATH_S)
