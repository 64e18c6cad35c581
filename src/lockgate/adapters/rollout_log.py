"""What a server's logs still hold of one stretch of time: its requests, and every label of them that has come since.

Segments first, then the archive: what leaves a segment between the two readings is in the archive by then. So what is
in both is counted once, and a request or label is missed only where its retention is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path

from lockgate.adapters.traffic_archive import archived_labels, archived_requests, requests_of
from lockgate.adapters.traffic_cursor import Cursor
from lockgate.adapters.traffic_log import ROWS_AT_MOST, FileTrafficLog
from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.errors import MeasurementError, TransientError
from lockgate.serving.log.archive_status import archive_folder

REQUESTS_AT_MOST = 2_000_000
"""Ours: with their labels some 2.5 GB (660 bytes a request were measured, and a label is half of one); more would end
the process that asks, on a machine that may serve as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Requests of a stretch, in the order of their times, and by prediction the newest label of each row."""

    observations: tuple[Observation, ...]
    labels: Mapping[str, tuple[LabelSeen, ...]]


def read_stretch(  # noqa: PLR0913 - whose log, which stretch, how much of it
    state: Path, model: ModelName, *, since: float, until: float, now: float, at_most: int = REQUESTS_AT_MOST
) -> Stretch:
    """Return the requests of a stretch of time, and all labels that have come of them.

    Args:
        state: The server's state folder.
        model: Whose requests.
        since: From when, seconds since the epoch, by the servers' clock.
        until: Until when, likewise.
        now: Seconds since the epoch.
        at_most: Requests that may be held at once.

    Raises:
        MeasurementError: There are more requests than may be held.
        TransientError: The logs cannot be read now.
    """
    requests: dict[tuple[str, bool], Observation] = {}
    labels: dict[str, dict[int, LabelSeen]] = {}
    try:
        loose = _from_segments(state, model, since, until, now, requests, at_most)
        _from_archive(state, model, since, until, requests, at_most)
        names = {name for name, _ in requests}
        _take(labels, loose, names)
        _archived_labels(state, model, since, names, labels)
    except (OSError, ValueError) as broken:
        raise TransientError(f"the server's logs cannot be read now: {broken}") from broken
    return Stretch(
        observations=tuple(sorted(requests.values(), key=lambda each: each.time)),
        labels={name: tuple(by_row[row] for row in sorted(by_row)) for name, by_row in labels.items()},
    )


def _from_segments(  # noqa: PLR0913, PLR0917 - whose log, which stretch, where to
    state: Path,
    model: ModelName,
    since: float,
    until: float,
    now: float,
    requests: dict[tuple[str, bool], Observation],
    at_most: int,
) -> list[LabelSeen]:
    """Take the requests that are in segments, and return their labels: of any request, as long as it is not known."""
    log, labels = FileTrafficLog(state, state), list[LabelSeen]()
    cursor, behind = Cursor(began=now, listed=now).text(), True  # all segments, and next to nothing of the archive
    try:
        while behind:
            seen = log.read(model, cursor)
            cursor, behind = seen.cursor, seen.behind
            requests.update({(o.prediction_id, o.shadow): o for o in seen.observations if since <= o.time <= until})
            labels += (each for each in seen.labels if each.received >= since)
            _refuse_beyond(requests, at_most)
    finally:
        log.close()
    return labels


def _from_archive(  # noqa: PLR0913, PLR0917 - as above
    state: Path,
    model: ModelName,
    since: float,
    until: float,
    requests: dict[tuple[str, bool], Observation],
    at_most: int,
) -> None:
    low: float | None = since
    while low is not None and low <= until:
        caught = archived_requests(archive_folder(state) / model, low, ROWS_AT_MOST, ())
        for each in requests_of([row for row in caught.rows if row["time"].timestamp() <= until], ()):
            if each.seen is not None:
                requests[each.prediction_id, each.seen.shadow] = each.seen
        _refuse_beyond(requests, at_most)
        low = caught.low


def _refuse_beyond(requests: Sized, at_most: int) -> None:
    if len(requests) > at_most:
        told = f"the rollout logged more than {at_most} requests, which is more than can be held to compare losses"
        raise MeasurementError(f"{told}; query the archive for them, see docs/howto/read-the-prediction-log.md")


def _archived_labels(
    state: Path, model: ModelName, since: float, names: set[str], labels: dict[str, dict[int, LabelSeen]]
) -> None:
    low: float | None = since
    while low is not None:
        found, low = archived_labels(archive_folder(state), model, low, ROWS_AT_MOST)
        _take(labels, found, names)


def _take(labels: dict[str, dict[int, LabelSeen]], found: list[LabelSeen], names: set[str]) -> None:
    for each in found:
        if each.prediction_id in names:
            by_row = labels.setdefault(each.prediction_id, {})
            before = by_row.get(each.row)
            if before is None or each.received >= before.received:
                by_row[each.row] = each  # a later one corrects it
