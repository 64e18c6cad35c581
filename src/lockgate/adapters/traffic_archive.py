"""What the archive holds of requests and labels from a time on: for a reader that has missed segments."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pyarrow.parquet as pq  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters.traffic_lines import Unreadable, first_text, label_text, observed, read_label
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.serving.log.archive_labels import SUFFIX, WAITING
from lockgate.serving.log.segments import lines

TRIES: Final = 3  # small files are put together and replaced while they are read
_SCORES: Final = ("output_probabilities", "output_probability", "output_value")
_FACTS: Final = frozenset((
    *("prediction_id", "row", "rows", "time", "arm", "chosen", "kind", "fallback", "propensity", "entity"),
    *("flags", "latency_us", "output_label", *_SCORES),
))  # fmt: skip
_LABELS: Final = frozenset(("prediction_id", "row", "label", "received"))


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """A row group with its times, seconds since the epoch."""

    first: float
    last: float
    path: Path
    index: int


@dataclass(frozen=True, slots=True)
class Caught:
    """What was found.

    Attributes:
        rows: In the order of their times.
        low: From when on there is more, seconds since the epoch; None: there is none.
    """

    rows: Sequence[Mapping[str, Any]]
    low: float | None


def archived_requests(folder: Path, low: float, at_most: int, slices: Sequence[str]) -> Caught:
    """Return a model's archived rows from a time on, about so many at most, with the columns that slices need.

    Raises:
        OSError: The archive cannot be read.
    """
    first_date = datetime.fromtimestamp(low, UTC).date().isoformat()
    dates = [path for path in sorted(folder.glob("date=*")) if path.name.removeprefix("date=") >= first_date]
    columns = _FACTS.union(f"input_{name}" for name in slices)
    return _again(lambda: _rows(dates, "time", low, at_most, columns))


@dataclass(frozen=True, slots=True)
class Archived:
    """An archived request.

    Attributes:
        time: When it was logged, seconds since the epoch.
        prediction_id: Its id.
        seen: What it tells; None where it is none of a rollout's.
        lost: Whether it does not say which arm was chosen.
    """

    time: float
    prediction_id: str
    seen: Observation | None
    lost: bool = False


def requests_of(rows: Iterable[Mapping[str, Any]], slices: Sequence[str]) -> Iterator[Archived]:
    """Return the requests that archived rows are of, in the order of their times, each once."""
    known: dict[str, Mapping[str, str]] = {}
    told: dict[tuple[Any, ...], dict[int, Mapping[str, Any]]] = {}
    for row in rows:  # one that lies in two files, because they are put together just now, is one all the same
        told.setdefault((row["time"], row["prediction_id"], row["kind"]), {})[row["row"]] = row
    for (when, prediction_id, _), by_row in sorted(told.items(), key=lambda each: each[0]):
        request = [by_row[row] for row in sorted(by_row)]
        values = ((name, first_text([request[0].get(f"input_{name}")])) for name in slices)
        sliced = known.setdefault(prediction_id, {name: text for name, text in values if text is not None})
        try:
            yield Archived(when.timestamp(), prediction_id, _observation(request, sliced))
        except Unreadable:
            yield Archived(when.timestamp(), prediction_id, None, lost=True)


def _observation(rows: Sequence[Mapping[str, Any]], slices: Mapping[str, str]) -> Observation | None:
    first = rows[0]
    name = next((name for name in _SCORES if first.get(name) is not None), None)
    scores = [] if name is None else [row[name] for row in rows]
    flat = tuple(float(each) for score in scores for each in (score if isinstance(score, list) else (score,)))
    labels = tuple(str(row["output_label"]) for row in rows if row.get("output_label") is not None)
    flagged = sum(bool(row["flags"]) for row in rows)
    read = SimpleNamespace(**{"chosen": None, **first})
    return observed(read, first["time"].timestamp(), flat, labels, flagged, slices)


def archived_labels(archive: Path, model: str, low: float, at_most: int) -> tuple[list[LabelSeen], float | None]:
    """Return the labels that were received from a time on, and from when on there are more; None: nowhere.

    Those that wait for their prediction to be archived are of any model.

    Raises:
        OSError: The archive cannot be read.
    """
    dates = sorted((archive / f"{model}{SUFFIX}").glob("date=*"))
    caught = _again(lambda: _rows(dates, "received", low, at_most, _LABELS))
    found = [
        LabelSeen(
            prediction_id=row["prediction_id"],
            row=row["row"],
            label=label_text(row["label"]),
            received=row["received"].timestamp(),
        )
        for row in caught.rows
    ]
    end = float("inf") if caught.low is None else caught.low
    found += (each for each in _waiting(archive) if low <= each.received < end)
    return sorted(found, key=lambda each: each.received), caught.low


def _waiting(archive: Path) -> Iterator[LabelSeen]:
    for line in lines(archive / WAITING):
        try:
            yield read_label(line)
        except Unreadable:
            continue  # the archive counts it


def _again(read: Callable[[], Caught]) -> Caught:
    for _ in range(TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def _rows(dates: Sequence[Path], by: str, low: float, at_most: int, columns: Collection[str]) -> Caught:
    """Return rows from a time on, in its order: whole row groups, as far as no later one may hold an earlier row."""
    groups = sorted(group for date in dates for group in _groups(date, by) if group.last >= low)
    rows: list[Mapping[str, Any]] = []
    cut = None
    for number, group in enumerate(groups):
        rows += (row for row in _read(group, columns) if row[by].timestamp() >= low)
        following = groups[number + 1].first if number + 1 < len(groups) else None
        if len(rows) >= at_most and following is not None and any(row[by].timestamp() < following for row in rows):
            cut = following
            break
    if cut is not None:
        rows = [row for row in rows if row[by].timestamp() < cut]
    return Caught(sorted(rows, key=lambda row: row[by]), cut)


def _groups(date: Path, by: str) -> Iterator[_Group]:
    for path in sorted(date.glob("*.parquet")):
        metadata = pq.read_metadata(path)
        column = metadata.schema.to_arrow_schema().get_field_index(by)
        for index in range(metadata.num_row_groups):
            told = metadata.row_group(index).column(column).statistics
            if told is not None and told.has_min_max:
                yield _Group(told.min.timestamp(), told.max.timestamp(), path, index)


def _read(group: _Group, columns: Collection[str]) -> list[dict[str, Any]]:
    with pq.ParquetFile(group.path) as file:
        names = [name for name in file.schema_arrow.names if name in columns]
        rows: list[dict[str, Any]] = file.read_row_group(group.index, names, use_threads=False).to_pylist()
        return rows
