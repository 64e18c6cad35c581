"""What people said of a model's answers, read from a server's state folder and joined to the prediction log by id.

    <state>/feedback/*.jsonl                what was said                     `serving.log.feedback`
    <state>/predictions/<model>/*.jsonl     answers that are not archived yet
    <state>/archive/<model>/...             all others

Nothing is kept of it: feedback is little, and an id is looked up by the ranges that the archive's files tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lockgate.core.ids import ModelName
from lockgate.core.monitoring.feedback import Answered, FeedbackSummary, Gathered, Key, Said, summarise_feedback
from lockgate.errors import TransientError
from lockgate.serving.log.archive_status import archive_folder
from lockgate.serving.log.feedback import StoredFeedback, read_segments
from lockgate.serving.log.logged_line import FORCED, LIVE
from lockgate.serving.log.segments import lines

if TYPE_CHECKING:
    from lockgate.adapters.log_windows_files import LogFiles

_TRIES: Final = 3  # the archive puts small files together while they are read
_TOLD: Final = frozenset((LIVE, FORCED))  # whose callers were told the id that their feedback names
_NEEDED: Final = ("prediction_id", "row", "digest", "arm", "kind", "time")


class _Line(msgspec.Struct, gc=False):
    """What is needed of a line of the prediction log."""

    time: datetime
    prediction_id: str
    digest: str
    arm: str
    rows: int
    kind: str = LIVE


_LINE: Final = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is looked for: answers of some rows, and how many there were in a window."""

    rows: Mapping[str, frozenset[int]]
    since: datetime | None
    until: datetime | None
    bundle: str | None

    def is_in_window(self, time: datetime) -> bool:
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)

    def is_of_bundle(self, digest: str) -> bool:
        return self.bundle is None or digest == self.bundle


@dataclass(slots=True)
class _Logged:
    """What was found in one model's log."""

    answers: dict[Key, Answered] = field(default_factory=dict)
    predictions: int = 0


def read_feedback(
    state: Path,
    model: ModelName,
    since: datetime | None = None,
    *,
    until: datetime | None = None,
    bundle: str | None = None,
) -> FeedbackSummary:
    """Return what people said of a model's answers; all zero where nobody said anything.

    Args:
        state: The server's state folder; it need not be there.
        model: Of whose answers.
        since: What the server was told from then on, aware; None: all that is kept.
        until: And before then; None: by now.
        bundle: Only of what this bundle answered; None: of any. Words about others count as `of_others`.

    Raises:
        TransientError: The logs cannot be read now.
    """
    said, broken = _said(state, since, until)
    gathered = Gathered(model=model, since=since, until=until, said=said, answers={}, broken=broken)
    if not said:
        return summarise_feedback(gathered)
    rows: dict[str, set[int]] = {}
    for each in said:
        rows.setdefault(each.key[0], set()).add(each.key[1])
    wanted = _Wanted(
        rows={name: frozenset(of) for name, of in rows.items()}, since=since, until=until, bundle=bundle
    )  # fmt: skip
    logged = _settled(state, model, lambda files: _look_up(files, wanted, counts=True))
    answers = {key: each for key, each in logged.answers.items() if wanted.is_of_bundle(each.digest)}
    others = (logged.answers.keys() - answers.keys()) | _of_other_models(state, model, wanted, logged)
    return summarise_feedback(
        Gathered(
            model=model,
            since=since,
            until=until,
            said=said,
            answers=answers,
            others=others,
            predictions=logged.predictions,
            broken=broken,
        )
    )


def _said(state: Path, since: datetime | None, until: datetime | None) -> tuple[list[Said], int]:
    broken, said = 0, []
    try:
        for each in read_segments(state, since=since):
            if each is None:
                broken += 1
            elif until is None or each.received < until:
                said.append(_as_said(each))
    except OSError as unreadable:
        raise _unreadable(unreadable) from unreadable
    return said, broken


def _as_said(stored: StoredFeedback) -> Said:
    return Said(
        key=(stored.prediction_id, stored.row),
        verdict=stored.verdict,
        comment=stored.comment,
        who=stored.who,
        time=stored.time,
        received=stored.received,
    )


def _of_other_models(state: Path, model: str, wanted: _Wanted, found: _Logged) -> set[Key]:
    """Return the keys of other models' answers among those that are not this model's."""
    left = {name: rows for name, rows in wanted.rows.items() if any((name, row) not in found.answers for row in rows)}
    others: set[Key] = set()
    rest = _Wanted(rows=left, since=None, until=None, bundle=None)
    for name in sorted(_models(state) - {model}) if left else ():
        others |= _settled(state, name, lambda files: _look_up(files, rest, counts=False)).answers.keys()
    return others


def _models(state: Path) -> set[str]:
    """Return the models of which there is a log."""
    from lockgate.serving.log.archive_labels import SUFFIX

    folders = (path for place in (state / "predictions", archive_folder(state)) for path in place.glob("*"))
    return {path.name for path in folders if path.is_dir() and not path.name.endswith(SUFFIX)}


def _settled(state: Path, model: str, read: Callable[[LogFiles], _Logged]) -> _Logged:
    """Return what is read of a model's files, none of which went while it was read.

    Raises:
        TransientError: They go on changing, or cannot be read.
    """
    from lockgate.adapters.log_windows_files import look

    try:
        for _ in range(_TRIES):
            files = look(state, model)
            try:
                found = read(files)
            except FileNotFoundError:
                continue
            if look(state, model).rows == files.rows:
                return found
    except OSError as broken:
        raise _unreadable(broken) from broken
    raise TransientError(
        f"the archive in {archive_folder(state)} goes on changing its files; try again when its run is over"
    )


def _look_up(files: LogFiles, wanted: _Wanted, *, counts: bool) -> _Logged:
    found = _Logged()
    archived = [path for _, day in sorted(files.rows.items()) for path in day]
    for key, answer in (*_in_segments(files.segments, wanted, found, counts=counts), *_in_archive(archived, wanted)):
        found.answers[key] = answer
    if counts:
        found.predictions += sum(_rows_in(path, wanted) for path in archived)
    return found


# -- segments --------------------------------------------------------------------------------------------------------


def _in_segments(
    paths: Iterable[Path], wanted: _Wanted, found: _Logged, *, counts: bool
) -> Iterator[tuple[Key, Answered]]:
    for path in paths:
        path.stat()  # archived meanwhile: FileNotFoundError, and all is read anew
        for line in filter(None, map(_read, lines(path))):
            if counts and line.kind == LIVE and wanted.is_in_window(line.time) and wanted.is_of_bundle(line.digest):
                found.predictions += line.rows
            if line.kind in _TOLD and line.prediction_id in wanted.rows:
                answer = Answered(arm=line.arm, digest=line.digest, time=line.time, live=line.kind == LIVE)
                yield from (
                    ((line.prediction_id, row), answer) for row in wanted.rows[line.prediction_id] if row < line.rows
                )


def _read(line: bytes) -> _Line | None:
    try:
        return _LINE.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the archive counts it


# -- archive ---------------------------------------------------------------------------------------------------------


def _in_archive(paths: Sequence[Path], wanted: _Wanted) -> Iterator[tuple[Key, Answered]]:
    import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published

    from lockgate.serving.log.archive_lookup import IdRange

    ids = sorted(wanted.rows)
    array = pa.array(ids, pa.string())
    for path in paths:
        for name, row, digest, arm, kind, time in IdRange(path).rows(ids, array, list(_NEEDED)):
            if kind in _TOLD and row in wanted.rows[name]:
                yield (name, row), Answered(arm=arm, digest=digest, time=time.astimezone(UTC), live=kind == LIVE)


def _rows_in(path: Path, wanted: _Wanted) -> int:
    """Return how many rows of a file were answered to callers in the window; reads only what statistics leave open."""
    import pyarrow.compute as pc  # type: ignore[import-untyped]  # as above
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    rows = 0
    with pq.ParquetFile(path) as file:
        for part in range(file.metadata.num_row_groups):
            known = _statistics(file, part)
            if known["kind"] == (LIVE, LIVE) and _is_whole(known, wanted):
                rows += file.metadata.row_group(part).num_rows
                continue
            table = file.read_row_group(part, ["kind", "digest", "time"], use_threads=False)
            taken = pc.equal(table["kind"], LIVE)
            if wanted.bundle is not None:
                taken = pc.and_(taken, pc.equal(table["digest"], wanted.bundle))
            if wanted.since is not None:
                taken = pc.and_(taken, pc.greater_equal(table["time"], wanted.since))
            if wanted.until is not None:
                taken = pc.and_(taken, pc.less(table["time"], wanted.until))
            rows += pc.sum(taken).as_py() or 0
    return rows


def _statistics(file: Any, part: int) -> dict[str, tuple[Any, Any] | None]:  # noqa: ANN401 - no stubs published
    """Return the least and the greatest value of each column that counting needs; None where the file does not say."""
    found = {}
    for name in ("kind", "digest", "time"):
        told = file.metadata.row_group(part).column(file.schema_arrow.get_field_index(name)).statistics
        found[name] = (told.min, told.max) if told is not None and told.has_min_max else None
    return found


def _is_whole(known: Mapping[str, tuple[Any, Any] | None], wanted: _Wanted) -> bool:
    """Tell whether all rows of a part are in the window and of the bundle."""
    time, digest = known["time"], known["digest"]
    return (
        time is not None
        and all(map(wanted.is_in_window, time))
        and digest is not None
        and all(map(wanted.is_of_bundle, digest))
    )


def _unreadable(broken: Exception) -> TransientError:
    return TransientError(f"the server's feedback or prediction log cannot be read now: {broken}")
