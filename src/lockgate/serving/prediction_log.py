"""One JSON line an answered request, written off the hot path; an answer never waits for the disk.

`append` puts a record into a bounded queue; a thread writes the queue out every `flush_s` seconds at the latest, so a
kill -9 loses at most that much. When the disk does not take it, records are kept up to the bound and dropped beyond
it, both counted and said in the log; serving goes on.

    <state>/predictions/<model>/<UTC time of opening>-<number>.jsonl
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from lockgate.serving.columns import Columns, Flag

logger = logging.getLogger(__name__)

QUEUE_ROWS = 20_000  # ours: two seconds of the highest rate measured, about 30 MB at 24 columns
CHUNK_RECORDS = 256  # encoded in one go: short enough not to hold the interpreter for long
COMPLAIN_EVERY_S = 30.0
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Record(msgspec.Struct, frozen=True, gc=False):
    """One answered request.

    Attributes:
        time: Seconds since the epoch.
        prediction_id: The id its answer carried.
        model: Name of the model.
        digest: The bundle that answered.
        arm: The arm it answered for.
        entity: What keyed the routing, if anything did.
        rows: How many rows.
        inputs: The columns as they came; None where inputs are not logged.
        outputs: Arrays and lists by name.
        flags: What lay outside the trained domain.
        latency_us: From the request's headers to its answer being ready, whole microseconds.
    """

    time: float
    prediction_id: str
    model: str
    digest: str
    arm: str
    entity: str | None
    rows: int
    inputs: Columns | None
    outputs: Mapping[str, Any]
    flags: tuple[Flag, ...]
    latency_us: int

    def to_line(self) -> bytes:
        """Return the record as one JSON line."""
        line = {name: getattr(self, name) for name in _FIELDS}
        line["time"] = datetime.fromtimestamp(self.time, UTC).isoformat()
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)


_FIELDS: Final = Record.__struct_fields__


class _Segment:
    """The file that a model's records go to now."""

    def __init__(self, folder: Path, number: int, open_file: Callable[[Path], int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        opened = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._handle = open_file(folder / f"{opened}-{number:06d}.jsonl")
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append whole or not at all: a half-written tail is cut off again."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        os.close(self._handle)


class _Lane:
    """One model's records: those that wait, and the file they go to."""

    def __init__(self, folder: Path, segment_bytes: int, open_file: Callable[[Path], int]) -> None:
        self.queue: deque[Record] = deque()
        self._folder, self._segment_bytes, self._open_file = folder, segment_bytes, open_file
        self._segment: _Segment | None = None
        self._opened = 0

    def write_chunk(self) -> tuple[int, int]:
        """Write the oldest records, which leave the queue only after the disk took them.

        Returns:
            Rows written, and rows given up because their record has no JSON form.
        """
        chunk = [self.queue[index] for index in range(min(len(self.queue), CHUNK_RECORDS))]
        lines, lost = [], 0
        for record in chunk:
            try:
                lines.append(record.to_line())
            except TypeError as broken:  # orjson's refusal; one odd record must not end the log
                lost += record.rows
                logger.error("prediction %s cannot be logged: %s", record.prediction_id, broken)  # noqa: TRY400 - said
        self._open().write(b"".join(lines))
        for _ in chunk:
            self.queue.popleft()
        return sum(record.rows for record in chunk) - lost, lost

    def _open(self) -> _Segment:
        if self._segment is not None and self._segment.size >= self._segment_bytes:
            self.close()
        if self._segment is None:
            self._opened += 1
            self._segment = _Segment(self._folder, self._opened, self._open_file)
        return self._segment

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None


def _open_file(path: Path) -> int:
    return os.open(path, _OPEN, 0o640)


class PredictionLog:
    """The log of one server.

    Attributes:
        written_rows: Rows that the disk took.
        errors: Failed attempts to write.
    """

    def __init__(
        self,
        folder: Path,
        *,
        flush_s: float = 0.5,
        segment_bytes: int = 64 << 20,
        queue_rows: int = QUEUE_ROWS,
        open_file: Callable[[Path], int] = _open_file,
    ) -> None:
        """Start the writer.

        Args:
            folder: Holds one folder a model.
            flush_s: The longest a record waits in memory, in seconds.
            segment_bytes: A file that has grown to this size is closed and the next one opened.
            queue_rows: Rows kept in memory while the disk does not take them.
            open_file: Opens a segment for appending and returns its descriptor.
        """
        self.written_rows = self.errors = 0
        self._refused_rows = self._lost_rows = 0  # one for each thread, so that neither count needs a lock
        self._appended_rows = self._taken_rows = 0
        self._flush_s, self._queue_rows = flush_s, queue_rows
        self._folder, self._segment_bytes, self._open_file = folder, segment_bytes, open_file
        self._lanes: dict[str, _Lane] = {}
        self._complained_at: float | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    @property
    def queued_rows(self) -> int:
        """Rows that wait in memory."""
        return self._appended_rows - self._taken_rows

    @property
    def dropped_rows(self) -> int:
        """Rows that were given up."""
        return self._refused_rows + self._lost_rows

    def append(self, record: Record) -> None:
        """Take a record; never blocks, never fails. Called from one thread only."""
        queued = self.queued_rows
        if queued and queued + record.rows > self._queue_rows:
            self._refused_rows += record.rows
            return
        lane = self._lanes.get(record.model)
        if lane is None:
            lane = self._lanes[record.model] = _Lane(self._folder / record.model, self._segment_bytes, self._open_file)
        lane.queue.append(record)
        self._appended_rows += record.rows
        if queued > self._queue_rows // 2:
            self._wake.set()

    def close(self) -> None:
        """Write what waits, if the disk takes it, and end the writer."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        if self.queued_rows:
            logger.error("%d rows of the prediction log were lost: the disk did not take them", self.queued_rows)
        for lane in self._lanes.values():
            lane.close()

    def _run(self) -> None:
        last = False
        while not last:
            self._wake.wait(self._flush_s)
            self._wake.clear()
            last = self._stopping  # read before writing: what was queued before the stop is written
            try:
                for lane in tuple(self._lanes.values()):
                    while lane.queue:
                        written, lost = lane.write_chunk()
                        self.written_rows += written
                        self._lost_rows += lost
                        self._taken_rows += written + lost
            except OSError as broken:
                self._complain(broken)
            else:
                self._recovered()

    def _complain(self, broken: OSError) -> None:
        self.errors += 1
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            logger.error(
                "the prediction log cannot be written (%s): %d rows wait, %d were dropped; serving goes on",
                broken,
                self.queued_rows,
                self.dropped_rows,
            )

    def _recovered(self) -> None:
        if self._complained_at is not None:
            self._complained_at = None
            logger.warning("the prediction log is written again; %d rows were dropped meanwhile", self.dropped_rows)
