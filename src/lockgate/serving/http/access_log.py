"""One JSON line an answer, on stderr: who asked what, what answered, how long it took. Off unless asked for.

`note` keeps references to what is there anyhow; a thread makes the lines and writes them twice a second, in pieces
that a pipe takes whole. What does not fit into the queue is dropped and counted; nobody waits for a log. Not here: what
was asked and answered, which is the prediction log's; the query, which may hold what a log should not.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import orjson

from lockgate.serving.http.handling import Headers, caller_request_id, caller_trace

logger = logging.getLogger(__name__)

FLUSH_S: Final = 0.5
QUEUE: Final = 20_000  # ours: a second of the highest rate measured, about 20 MB
PIECE_BYTES: Final = select.PIPE_BUF  # a pipe takes so much whole, so that workers do not cut each other's lines
PATH_CHARACTERS: Final = 256
CLOSE_S: Final = 2.0
_ID, _DIGEST, _ARM = b"x-lockgate-prediction-id", b"x-lockgate-release-digest", b"x-lockgate-arm"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One answer.

    Attributes:
        time: When it was answered, seconds since the epoch.
        method: HTTP method.
        path: Raw path without the query.
        asked: Headers of the request.
        status: HTTP status.
        told: Headers of the answer.
        size: Of its body, in bytes.
        rows: How many rows were answered; None where it is no prediction.
        seconds: From the request's headers to the answer being ready.
    """

    time: float
    method: str
    path: bytes
    asked: Mapping[bytes, bytes]
    status: int
    told: Headers
    size: int
    rows: int | None
    seconds: float

    def to_line(self) -> bytes:
        """Return the entry as one JSON line; the request's id is the caller's, else the prediction's."""
        told = dict(self.told)
        prediction_id = _text(told.get(_ID))
        trace = caller_trace(self.asked)
        line = {
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "event": "access",
            "request_id": caller_request_id(self.asked) or _text(told.get(b"x-request-id")) or prediction_id,
            "prediction_id": prediction_id,
            "method": self.method,
            "path": self.path[:PATH_CHARACTERS].decode("latin-1"),
            "status": self.status,
            "arm": _text(told.get(_ARM)),
            "digest": _text(told.get(_DIGEST)),
            "rows": self.rows,
            "latency_us": round(self.seconds * 1e6),
            "bytes": self.size,
            "trace_id": None if trace is None else trace.split("-")[1],
        }
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


class AccessLog:
    """The access log of one process.

    Attributes:
        written: Lines written.
        dropped: Answers that found the queue full, or whose line could not be written.
    """

    def __init__(
        self, write: Callable[[bytes], object] | None = None, *, flush_s: float = FLUSH_S, queue: int = QUEUE
    ) -> None:
        """Start the writer.

        Args:
            write: Takes whole lines; None: stderr.
            flush_s: The longest an entry waits, in seconds.
            queue: Entries that may wait.
        """
        self.written = self.dropped = 0
        self._write = _to_stderr if write is None else write
        self._flush_s, self._most = flush_s, queue
        self._queue: deque[Entry] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def note(self, entry: Entry) -> None:
        """Take an entry; never blocks, never fails."""
        if len(self._queue) >= self._most:
            self.dropped += 1
        else:
            self._queue.append(entry)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what waits and end; a reader that takes nothing is not waited for longer than `timeout_s`."""
        self._stop.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stop.wait(self._flush_s)
            for piece, lines in _pieces(self._queue):
                try:
                    self._write(piece)
                except OSError:  # nobody reads, or the disk is full: there is no better place to say it
                    self.dropped += lines
                else:
                    self.written += lines


def _pieces(queue: deque[Entry]) -> Iterator[tuple[bytes, int]]:
    """Yield what waits as pieces of whole lines, with how many; a longer line makes a longer piece."""
    lines: list[bytes] = []
    size = 0
    for _ in range(len(queue)):
        line = queue.popleft().to_line()
        if lines and size + len(line) > PIECE_BYTES:
            yield b"".join(lines), len(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line)
    if lines:
        yield b"".join(lines), len(lines)


def _to_stderr(piece: bytes) -> None:
    os.write(sys.stderr.fileno(), piece)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
