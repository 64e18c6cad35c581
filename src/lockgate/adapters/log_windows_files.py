"""What the logs of one model hold at one instant: files of rows and labels by day, segments that are not archived yet.

The archive replaces files by others (a segment by its Parquet, small files by a large one) while this looks. What it is
about to do stands in its journal before it does it (`serving.log.archive_journal`), so that files are read here as they
are once the change has happened: never both the old and the new, never neither.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lockgate.core.ids import Json
from lockgate.errors import IntegrityError, TransientError
from lockgate.serving.disk import temporary
from lockgate.serving.log.archive_labels import SUFFIX, WAITING
from lockgate.serving.log.archive_status import archive_folder
from lockgate.serving.log.archive_tables import convert
from lockgate.serving.log.segments import binary_file, segments

LOOKS: Final = 50
PAUSE_S: Final = 0.1  # between two looks: a change of the archive takes milliseconds
JOURNAL: Final = ".journal.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """The files.

    Attributes:
        rows: Parquet of predictions, by day.
        labels: Parquet of joined labels, by day of the prediction.
        segments: Of predictions that are not archived yet, with their sizes.
        newest_labels: Files of labels that are not joined yet, those that came first in front, with their sizes.
    """

    rows: Mapping[str, Mapping[Path, int]]
    labels: Mapping[str, Mapping[Path, int]]
    segments: Mapping[Path, int]
    newest_labels: Mapping[Path, int]


def look(state: Path, model: str) -> LogFiles:
    """Return the files of a model's logs as they are at one instant; none where there is no log yet.

    Raises:
        TransientError: The archive goes on changing them.
        IntegrityError: The archive's journal is not what its program writes.
    """
    for _ in range(LOOKS):
        try:
            journal, first = _journal(state), _listed(state, model)
            second, after = _listed(state, model), _journal(state)
        except FileNotFoundError:
            continue
        if journal == after and _is_settled(first, second):
            return _after(state, model, second, journal)
        time.sleep(PAUSE_S)
    raise TransientError(
        f"the archive in {archive_folder(state)} goes on changing its files; try again when its run is over"
    )


def segment_rows(segment: Path, folder: Path) -> dict[str, list[Path]]:
    """Write the rows of a segment as Parquet, and return the files by day.

    Args:
        segment: Closed or not; half a line at its end is left out.
        folder: A scratch folder.

    Raises:
        FileNotFoundError: It was archived meanwhile.
        OSError: It cannot be read, or the disk is full.
    """
    beside = binary_file(segment)
    had_beside = beside.exists()
    made = convert(segment, folder)
    if had_beside:
        beside.stat()
    by_day: dict[str, list[Path]] = {}
    for target in made.files:
        by_day.setdefault(_day_of(target), []).append(temporary(target))
    return by_day


_Lists = tuple[Mapping[Path, int], Mapping[Path, int], Mapping[Path, int], Mapping[Path, int]]


def _listed(state: Path, model: str) -> _Lists:
    """Return rows, labels, segments and newest labels; segments first: what leaves them is in the archive by then."""
    archive = archive_folder(state)
    waiting = archive / WAITING
    logged = _sized(segments(state / "predictions" / model))
    told = _sized([*([waiting] if waiting.exists() else []), *segments(state / "labels")])
    rows, labels = (_sized(sorted(folder.glob("date=*/*.parquet"))) for folder in _folders(archive, model))
    return rows, labels, logged, told


def _sized(paths: Sequence[Path]) -> dict[Path, int]:
    return {path: path.stat().st_size for path in paths}


def _folders(archive: Path, model: str) -> tuple[Path, Path]:
    return archive / model, archive / f"{model}{SUFFIX}"


def _is_settled(first: _Lists, second: _Lists) -> bool:
    """Tell whether no file has come to the archive or left for it between two lists; segments may grow and begin."""
    return first[:2] == second[:2] and all(one.keys() <= other.keys() for one, other in zip(first, second, strict=True))


def _journal(state: Path) -> bytes | None:
    try:
        return (archive_folder(state) / JOURNAL).read_bytes()
    except FileNotFoundError:
        return None


def _after(state: Path, model: str, lists: _Lists, journal: bytes | None) -> LogFiles:
    """Return the files as they are once the change that a journal tells has happened."""
    named, removed = _change(state, journal)
    rows, labels, logged, told = ({path: size for path, size in each.items() if path not in removed} for each in lists)
    archive = archive_folder(state)
    for hidden, target in named:
        there = hidden if hidden.exists() else target
        size = there.stat().st_size
        if target.name == WAITING:
            told.pop(target, None)
            told = {there: size, **told}
        for found, folder in zip((rows, labels), _folders(archive, model), strict=True):
            if target.parent.parent == folder:
                found.pop(target, None)
                found[there] = size
    return LogFiles(rows=_by_day(rows), labels=_by_day(labels), segments=logged, newest_labels=told)


def _change(state: Path, journal: bytes | None) -> tuple[list[tuple[Path, Path]], set[Path]]:
    if journal is None:
        return [], set()
    try:
        told = json.loads(journal)
        named = [(state / hidden, state / name) for hidden, name in told["named"]]
        return named, {state / name for name in told["removed"]}
    except (ValueError, KeyError, TypeError) as broken:
        raise IntegrityError(
            f"{archive_folder(state) / JOURNAL} is not what the archive writes ({broken!r}); run "
            f"`python -m lockgate.serving.log.archive --state {state} --once`, which says what is wrong"
        ) from broken


def _by_day(files: Mapping[Path, int]) -> dict[str, dict[Path, int]]:
    days: dict[str, dict[Path, int]] = {}
    for path, size in files.items():
        days.setdefault(_day_of(path), {})[path] = size
    return days


def _day_of(path: Path) -> str:
    return path.parent.name.removeprefix("date=")


def named(files: Mapping[Path, int]) -> list[Json]:
    """Return names and sizes, sorted: what a fingerprint is made of."""
    return [[name, size] for name, size in sorted((path.name, size) for path, size in files.items())]
