"""What a server's logs say, read once each, in order, by a cursor that survives its reader; see `ports.rollout`.

    <state>/predictions/<model>/*.jsonl     requests: live, failed, a shadow's           `traffic_tail`, `traffic_lines`
    <state>/labels/*.jsonl                  what turned out to be true
    <state>/archive/...                     what of both has left unseen                 `traffic_archive`
    <kpi folder>/<file>                     numbers of the business

A request is given once, or counted as lost. A label may be given again where segments have left unseen: its callers
may send one twice, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lockgate.adapters.traffic_cursor import SLACK_S, Cursor, Held, read_cursor, stream_of
from lockgate.adapters.traffic_lines import LineReader, Unreadable, read_label
from lockgate.adapters.traffic_numbers import NOWHERE, numbers_end, read_numbers
from lockgate.adapters.traffic_tail import Budget, Tail
from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.errors import TransientError
from lockgate.serving.log.archive_status import ArchiveStatus, archive_folder, read_status

ROWS_AT_MOST: Final = 50_000  # ours: of requests, labels and numbers each; about 40 MB and half a second of a reading
BYTES_AT_MOST: Final = 64 << 20  # likewise: lines of requests with their inputs are long
REMEMBERED_S: Final = 3600.0  # ours: longer than any segment is written


class _Found:
    """What one reading gives."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.labels: list[LabelSeen] = []
        self.kpis: list[KpiSeen] = []
        self.lost = 0
        self.behind = False


class FileTrafficLog:
    """The logs of one server; implements `TrafficLog`."""

    def __init__(  # noqa: PLR0913 - the last three have defaults that only tests change
        self,
        state_folder: Path,
        kpi_folder: Path,
        *,
        slices: Sequence[str] = (),
        kpis: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        rows_at_most: int = ROWS_AT_MOST,
        bytes_at_most: int = BYTES_AT_MOST,
    ) -> None:
        """Name the folders; nothing is read yet, and they need not be there.

        Args:
            state_folder: The server's.
            kpi_folder: Holds the files of `kpis`.
            slices: Columns whose values are wanted with each request.
            kpis: File by the name of each number of the business.
            clock: Seconds since the epoch; the servers' own.
            rows_at_most: How many requests' rows, labels and numbers one reading gives at most, of each.
            bytes_at_most: How many bytes of lines it reads of each.
        """
        self._state, self._kpi_folder, self._kpis = state_folder, kpi_folder, dict(kpis or {})
        self._slices, self._clock = tuple(slices), clock
        self._rows, self._bytes = rows_at_most, bytes_at_most
        self._lines = LineReader(slices)
        self._requests: dict[ModelName, Tail] = {}
        self._labels = Tail(state_folder / "labels", counts_lines=True)

    def end(self, model: ModelName) -> str:
        """See `TrafficLog.end`.

        Raises:
            TransientError: The logs cannot be read now.
        """
        try:
            return self._end(model).text()
        except (OSError, ValueError) as broken:
            raise _unreadable(broken) from broken

    def read(self, model: ModelName, cursor: str) -> Seen:
        """See `TrafficLog.read`.

        Raises:
            TransientError: The logs cannot be read now.
            BadInput: The cursor is none.
        """
        at, found = read_cursor(cursor), _Found()
        try:
            self._read(model, at, found)
        except (OSError, ValueError) as broken:
            raise _unreadable(broken) from broken
        return Seen(
            observations=tuple(found.observations),
            labels=tuple(found.labels),
            kpis=tuple(found.kpis),
            cursor=at.text(),
            behind=found.behind,
            lost=found.lost,
        )

    def close(self) -> None:
        """Let go of what is held open."""
        for tail in (self._labels, *self._requests.values()):
            tail.close()

    def _end(self, model: ModelName) -> Cursor:
        now, status = self._clock(), read_status(self._state)
        cursor = Cursor(began=now, listed=now)
        cursor.predictions.base, cursor.labels.base = status.segments, _labels_taken(status)

        def request(line: bytes, held: Held) -> None:
            try:
                self._lines.read(line)
            except Unreadable:
                return
            held.time, held.stream = self._lines.time, self._lines.stream
            stream = cursor.stream(held.stream)
            stream.read = max(stream.read, held.time)

        def label(line: bytes, held: Held) -> None:
            try:
                held.time = read_label(line).received
            except Unreadable:
                return

        for tail, part, told in (
            (self._tail(model), cursor.predictions, request),
            (self._labels, cursor.labels, label),
        ):
            tail.look(part)
            tail.to_end(part, told)
        for name, file in self._kpis.items():
            cursor.kpis[name] = numbers_end(self._kpi_folder / file)
        return cursor

    def _read(self, model: ModelName, at: Cursor, found: _Found) -> None:
        now, status = (
            self._clock(),
            read_status(self._state),
        )  # before the folders: what has left is counted there later
        self._read_labels(model, at, found, status)  # first: what they are about was logged before they came
        self._read_requests(model, at, found, status)
        for name, file in self._kpis.items():
            got = read_numbers(
                name, self._kpi_folder / file, at.kpis.get(name, NOWHERE), Budget(self._rows, self._bytes)
            )
            found.kpis += got.kpis
            found.lost += got.lost
            found.behind |= got.behind
            at.kpis[name] = got.place
        if not found.behind:  # else there may be segments that came and went, and nobody has looked for them
            at.listed = now
            at.forget_before(now - REMEMBERED_S)

    def _tail(self, model: ModelName) -> Tail:
        tail = self._requests.get(model)
        if tail is None:
            tail = self._requests[model] = Tail(self._state / "predictions" / model, counts_lines=False)
        return tail

    def _read_requests(self, model: ModelName, at: Cursor, found: _Found, status: ArchiveStatus) -> None:
        part, tail, budget = at.predictions, self._tail(model), Budget(self._rows, self._bytes)
        begun, left = part.low is not None, tail.look(part)
        for held in left.unheld:
            part.catch_up(held.time)
            if held.stream:
                stream = at.stream(held.stream)
                stream.read = max(stream.read, held.time)
            if held.size > held.offset:
                part.owed.append((held.stream, held.time))
        if part.missed(status.segments):  # before the rest: lines of one process are read in the order of their times
            part.catch_up(max(at.began, at.listed - SLACK_S))
        if part.low is not None:
            for held in left.held if begun else [held for held in part.held.values() if held.left]:
                part.catch_up(held.time)  # the archive has these, too, and of each process all or nothing comes from it
            self._catch_up(model, at, found, budget)
            if part.low is not None:
                found.behind = True
                return
        if tail.read(part, budget, lambda line, held: self._request(line, held, at, found)):
            found.behind = True

    def _request(self, line: bytes, held: Held, at: Cursor, found: _Found) -> int:
        reader = self._lines
        try:
            seen = reader.read(line)
        except Unreadable:
            found.lost += 1
            return 1
        held.stream, held.time = reader.stream, reader.time
        stream = at.stream(reader.stream)
        if reader.time <= stream.caught:
            return 1  # the archive had it
        stream.read = reader.time
        if seen is None:
            return 1
        found.observations.append(seen)
        return seen.rows

    def _catch_up(self, model: ModelName, at: Cursor, found: _Found, budget: Budget) -> None:
        """Read what has left unseen from the archive; beyond the budget the rest waits for the next reading."""
        from lockgate.adapters.traffic_archive import archived_requests, requests_of

        part = at.predictions
        low = part.low or 0.0
        caught = archived_requests(archive_folder(self._state) / model, low, budget.rows, self._slices)
        read = {name: stream.read for name, stream in at.streams.items()}
        new = [
            row
            for row in caught.rows
            if _is_new(row["time"].timestamp(), read.get(stream_of(row["prediction_id"])), at.began)
        ]
        for each in requests_of(new, self._slices):
            stream = at.stream(stream_of(each.prediction_id))
            stream.read = stream.caught = max(each.time, stream.read)
            found.lost += each.lost
            if each.seen is not None:
                found.observations.append(each.seen)
        budget.take(0, len(new))
        part.low = caught.low
        if caught.rows:  # whose a segment was of which no line was read is not known: it may be among these
            part.owed = [owed for owed in part.owed if owed[0]]
        if part.low is None:
            found.lost += sum(not name or at.stream(name).read <= last for name, last in part.owed)
            part.owed.clear()

    def _read_labels(self, model: ModelName, at: Cursor, found: _Found, status: ArchiveStatus) -> None:
        part, budget = at.labels, Budget(self._rows, self._bytes)
        for held in self._labels.look(part).unheld:
            part.catch_up(held.time)
        if part.low is not None:
            from lockgate.adapters.traffic_archive import archived_labels

            labels, part.low = archived_labels(archive_folder(self._state), model, part.low, budget.rows)
            found.labels += labels
            budget.take(0, len(labels))
            if part.low is not None:
                found.behind = True
                return

        def take(line: bytes, held: Held) -> int:
            try:
                found.labels.append(read_label(line))
                held.time = found.labels[-1].received
            except Unreadable:
                found.lost += 1
            return 1

        if self._labels.read(part, budget, take):
            found.behind = True
        elif part.missed(_labels_taken(status)):  # behind the rest: only now it is known how many lines have left
            part.catch_up(max(at.began, at.listed - SLACK_S))
            found.behind = True


def _is_new(moment: float, read: float | None, began: float) -> bool:
    """Tell whether a row was not read yet: of a process that was never met, whether it came after the beginning."""
    return moment >= began if read is None else moment > read


def _labels_taken(status: ArchiveStatus) -> int:
    """Return how many lines of labels the archive has taken; one that waits is counted once, whatever it becomes."""
    labels = status.labels
    return labels.joined + labels.duplicate + labels.expired + labels.displaced + labels.waiting + labels.broken


def _unreadable(broken: Exception) -> TransientError:
    return TransientError(f"the server's logs cannot be read now: {broken}")
