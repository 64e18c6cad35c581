"""Reads the newest requests back from a server's prediction log: from its segments, then from its archive.

Left out are requests that say nothing of what callers got (forced, shadow, answered by a fallback), large ones, and
those that cannot be repeated, because inputs were not logged, or hashed, or left out; the last are counted.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from lockgate.core.ids import ModelName
from lockgate.core.replay import LoggedRequest
from lockgate.serving.log.archive_status import archive_folder
from lockgate.serving.log.logged_line import LIVE, LoggedLine, read_line
from lockgate.serving.log.packed_columns import LoggedValues, listed
from lockgate.serving.log.segments import newest_lines, segments

logger = logging.getLogger(__name__)

_ROWS_AT_MOST: Final = 64  # a larger request is a batch job, not traffic
_UNREPEATABLE_AT_MOST: Final = 10_000  # ours: after so many there is no point in reading on
_HIDDEN: Final = b"lockgate.hidden"
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRequests:
    """The newest requests of a log.

    Attributes:
        requests: Newest first.
        unrepeatable: Requests that were met and lack inputs, by the log's policy or the server's options.
    """

    requests: tuple[LoggedRequest, ...]
    unrepeatable: int


@dataclass(slots=True)
class _Search:
    """What was met so far."""

    ids: set[str] = field(default_factory=set)
    unrepeatable: int = 0

    @property
    def is_vain(self) -> bool:
        """Whether so many requests could not be repeated that it is not worth reading on."""
        return self.unrepeatable >= _UNREPEATABLE_AT_MOST

    def is_new(self, prediction_id: str) -> bool:
        """Tell whether a request was not met before: while it is archived, it lies in two places."""
        if prediction_id in self.ids:
            return False
        self.ids.add(prediction_id)
        return True


def recent_requests(state: Path, model: ModelName, *, at_most: int) -> tuple[LoggedRequest, ...]:
    """Return up to `at_most` of the newest requests that can be repeated, newest first; none without a log.

    Args:
        state: The server's state folder.
        model: Whose requests.
        at_most: How many.
    """
    read = read_recent(state, model, at_most=at_most)
    if read.unrepeatable:
        logger.warning(
            "%d requests of model %s cannot be repeated: the prediction log does not hold all of their inputs",
            read.unrepeatable,
            model,
        )
    return read.requests


def read_recent(state: Path, model: ModelName, *, at_most: int) -> RecentRequests:
    """Return the newest requests, and how many could not be repeated; see `recent_requests`."""
    search = _Search()
    found = list(islice(_from_segments(state / "predictions" / model, search), at_most))
    if len(found) < at_most:
        found += islice(_from_archive(archive_folder(state) / model, search, at_most), at_most - len(found))
    return RecentRequests(requests=tuple(found), unrepeatable=search.unrepeatable)


# -- segments --------------------------------------------------------------------------------------------------------


def _from_segments(folder: Path, search: _Search) -> Iterator[LoggedRequest]:
    """Return the requests of all workers' segments, newest first; half a line at the end of one is left out."""
    by_worker: dict[str, list[Path]] = {}
    for path in reversed(segments(folder)):
        by_worker.setdefault(path.stem.split("-")[1], []).append(path)
    newest_first = heapq.merge(*map(_lines, by_worker.values()), key=lambda line: line.time, reverse=True)
    for line in newest_first:
        if search.is_vain:
            return
        if line.kind == LIVE and not line.fallback and line.rows <= _ROWS_AT_MOST and search.is_new(line.prediction_id):
            if line.inputs and not line.hashed and not line.omitted:
                said = (line.request_id, line.entity, line.digest)
                yield _request(line.rows, _listed(line.inputs), _listed(line.outputs), said)
            else:
                search.unrepeatable += 1


def _lines(paths: Iterable[Path]) -> Iterator[LoggedLine]:
    return filter(None, (read_line(line) for path in paths for line in newest_lines(path)))


def _listed(columns: Mapping[str, LoggedValues]) -> dict[str, list[Any]]:
    return {name: listed(values) for name, values in columns.items()}


def _request(
    rows: int, inputs: dict[str, list[Any]], outputs: dict[str, list[Any]], said: tuple[str | None, str | None, str]
) -> LoggedRequest:
    """Return a request of so many rows; `said` is its caller's id, its entity and the bundle that answered."""
    request_id, entity, digest = said
    return LoggedRequest(
        rows=tuple({name: values[index] for name, values in inputs.items()} for index in range(rows)),
        outputs=outputs,
        request_id=request_id,
        entity=entity,
        digest=digest,
    )


# -- archive ---------------------------------------------------------------------------------------------------------


def _from_archive(folder: Path, search: _Search, at_most: int) -> Iterator[LoggedRequest]:
    for partition in sorted(folder.glob("date=*"), reverse=True):
        yield from _from_partition(partition, search, at_most)


def _from_partition(partition: Path, search: _Search, at_most: int) -> Iterator[LoggedRequest]:
    """Return a date's requests, newest first; reads parts of its files only as long as they may hold newer ones."""
    found: list[tuple[datetime, int, LoggedRequest]] = []
    for newest, path, part in sorted(_parts(partition), reverse=True):
        if search.is_vain or (len(found) >= at_most and heapq.nlargest(at_most, found)[-1][0] >= newest):
            break
        for time, request in _from_part(path, part, search):
            found.append((time, len(found), request))
    for _, _, request in heapq.nlargest(at_most, found):
        yield request


def _parts(partition: Path) -> Iterator[tuple[datetime, Path, int]]:
    """Return each row group of a partition's files, with the time of its newest row."""
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

    for path in partition.glob("*.parquet"):
        try:
            metadata = pq.read_metadata(path)
        except (OSError, ValueError) as broken:
            logger.warning("%s cannot be read and is left out: %s", path, broken)
            continue
        column = metadata.schema.to_arrow_schema().get_field_index("time")
        for part in range(metadata.num_row_groups):
            statistics = metadata.row_group(part).column(column).statistics
            yield statistics.max if statistics is not None and statistics.has_min_max else _NEVER, path, part


def _from_part(path: Path, part: int, search: _Search) -> Iterator[tuple[datetime, LoggedRequest]]:
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # as above
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        hidden = (file.schema_arrow.metadata or {}).get(_HIDDEN, b"[]") != b"[]"
        is_traffic = (
            (pc.field("kind") == LIVE) & ~pc.field("fallback") & (pc.field("rows") <= _ROWS_AT_MOST)
        )  # fmt: skip
        rows = file.read_row_group(part, use_threads=False).filter(is_traffic).to_pylist()
    for prediction_id, request in _by_request(rows):
        if len(request) == request[0]["rows"] and search.is_new(prediction_id):
            if hidden or not request[0]["has_inputs"]:
                search.unrepeatable += 1
            else:
                inputs, outputs = (_columns(prefix, request) for prefix in ("input_", "output_"))
                first = request[0]
                said = (first["request_id"], first["entity"], first["digest"])
                yield first["time"], _request(len(request), inputs, outputs, said)


def _by_request(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        requests.setdefault(row["prediction_id"], []).append(row)
    yield from requests.items()


def _columns(prefix: str, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name.removeprefix(prefix): [row[name] for row in rows] for name in rows[0] if name.startswith(prefix)}
