"""One run of the archive: segments of predictions -> Parquet, labels joined to them, and what is too old goes.

Every step happens whole or not at all (`archive_journal`), so a run may be killed at any instant; the next one goes on.
Its caller is the only process that works on the archive.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from lockgate.serving import virtual_time
from lockgate.serving.disk import temporary
from lockgate.serving.log.archive_journal import Journal
from lockgate.serving.log.archive_labels import WAITING, LabelJoin, prediction_files
from lockgate.serving.log.archive_retention import Old, merge, outlived, remove_empty, remove_feedback, size_of
from lockgate.serving.log.archive_status import ArchiveStatus, Kept, LabelCounts, archive_folder, read_status
from lockgate.serving.log.archive_tables import convert
from lockgate.serving.log.archive_waiting import keep_newest, oldest
from lockgate.serving.log.feedback import feedback_folder
from lockgate.serving.log.label_windows import LabelWindows
from lockgate.serving.log.segments import BINARY_SUFFIX, NO_ROOM, SUFFIX, binary_file, lines, segment_files, taken

logger = logging.getLogger(__name__)

LABEL_SEGMENTS: Final = 4  # joined in one pass: half a million labels, about 100 MB


class Archive:
    """One run over a server's state folder."""

    def __init__(self, state: Path, kept: Kept) -> None:
        """Take a state folder; the archive's folder is made in it.

        Raises:
            OSError: It cannot be written.
        """
        self._state, self._kept = state, kept
        self._folder = archive_folder(state)
        self._folder.mkdir(mode=0o750, exist_ok=True)
        self._journal = Journal(state, self._folder)
        self._now = virtual_time.now()
        self.failed = 0
        self.status = ArchiveStatus()

    def run(self) -> ArchiveStatus:
        """Archive what is closed, join labels, put small files together, delete what is too old.

        A segment that cannot be read is said and left where it is; `failed` counts it.

        Raises:
            OSError: The disk does not take it; what was done is kept.
            ValueError: Journal or status are not what this program wrote.
        """
        self._journal.recover()
        self._remove_nameless()
        self.status = read_status(self._state)
        self._remove_old()  # first, because it makes room
        for segment in self._prediction_segments():
            with self._taken(segment) as got:
                if got:
                    self._archive(segment)
        self._join_labels()
        self._merge_small()
        self._remove_old()
        self._commit((), (), replace(self.status, bytes=size_of(self._folder), finished=time.time()))
        return self.status

    def _commit(self, named: Sequence[Path], removed: Iterable[Path], status: ArchiveStatus) -> None:
        self._journal.commit(named, removed, status)
        self.status = status

    @contextlib.contextmanager
    def _taken(self, segment: Path) -> Iterator[bool]:
        """Hold a closed segment, see `taken`; one that this user may not read stands in nobody's way."""
        with contextlib.ExitStack() as held:
            try:
                got = held.enter_context(taken(segment))
            except PermissionError as refused:
                self.failed += 1
                logger.error("%s may not be read and is left where it is: %s", segment, refused)  # noqa: TRY400 - said
                got = False
            yield got

    def _prediction_segments(self) -> Iterator[Path]:
        """Return the segments of all models, each model's oldest first; a folder that cannot be read has none."""
        folders: list[Path] = []
        with contextlib.suppress(FileNotFoundError):  # no prediction was ever logged
            folders += sorted((self._state / "predictions").iterdir())
        for folder in folders:
            try:
                there = segment_files(folder)
            except OSError as broken:
                self.failed += 1
                logger.error("%s cannot be read and is left as it is: %s", folder, broken)  # noqa: TRY400 - said
            else:
                yield from there

    def _remove_nameless(self) -> None:
        """Remove segments whose writer was killed before it had named them, empty ones, and what lies beside none."""
        for place in ("predictions/*", "labels", "feedback"):
            for path in filter(Path.is_file, self._state.glob(f"{place}/.*{SUFFIX}")):
                with self._taken(path) as got:
                    if got:
                        path.unlink(missing_ok=True)  # its writer, which found it held, may have been faster
        for path in self._state.glob(f"predictions/*/*{BINARY_SUFFIX}"):
            if path.is_file() and not path.with_suffix(SUFFIX).exists():  # somebody else has removed the segment
                path.unlink()

    def _archive(self, segment: Path) -> None:
        try:
            done = convert(segment, self._folder / segment.parent.name)
        except (OSError, ValueError, TypeError, LookupError, ArithmeticError) as broken:
            if isinstance(broken, OSError) and broken.errno in NO_ROOM:
                raise  # everybody's; all else is this segment's or its model's, and a later run would meet it again
            self.failed += 1
            say = logger.error if isinstance(broken, OSError) else logger.exception
            say("%s could not be archived (%s); it is left where it is", segment, broken)
            self._give_up_if_old(segment)
            return
        status = replace(
            self.status,
            segments=self.status.segments + 1,
            requests=self.status.requests + done.requests,
            rows=self.status.rows + done.rows,
            broken_lines=self.status.broken_lines + done.broken,
            unmatched_files=(
                *self.status.unmatched_files,
                *(str(file.relative_to(self._folder)) for file in done.files),
            ),
        )
        self._commit(done.files, (segment, binary_file(segment)), status)

    def _give_up_if_old(self, segment: Path) -> None:
        """Remove a segment that cannot be archived when its rows would be too old: no longer is anything kept."""
        try:
            found = segment.stat()
        except FileNotFoundError:  # that is why
            return
        last_written = datetime.fromtimestamp(found.st_mtime, UTC)
        if self._kept.days and last_written < self._now - timedelta(days=self._kept.days):
            status = replace(
                self.status,
                removed_files=self.status.removed_files + 1,
                removed_bytes=self.status.removed_bytes + found.st_size,
            )
            self._commit((), (segment, binary_file(segment)), status)
            logger.warning("%s was deleted: kept are %d days", segment, self._kept.days)

    def _join_labels(self) -> None:
        """Join new labels with all predictions, and those that wait with the predictions they were not held against."""
        more = True
        while more:
            with contextlib.ExitStack() as held:
                new: list[Path] = []
                for path in segment_files(self._state / "labels"):
                    if held.enter_context(self._taken(path)):
                        new.append(path)
                    if len(new) == LABEL_SEGMENTS:
                        break
                if new or (self.status.labels.waiting and (self.status.unmatched_files or self._are_old())):
                    self._join(new)
            more = len(new) == LABEL_SEGMENTS
        if self.status.unmatched_files:
            self._commit((), (), replace(self.status, unmatched_files=()))

    def _oldest_kept(self) -> datetime | None:
        return self._now - timedelta(days=self._kept.days) if self._kept.days else None

    def _are_old(self) -> bool:
        """Tell whether labels wait that have waited for as long as they may."""
        kept, waits_since = self._oldest_kept(), oldest(self._folder / WAITING)
        return kept is not None and waits_since is not None and waits_since < kept

    def _join(self, new: Sequence[Path]) -> None:
        waiting, files = self._folder / WAITING, prediction_files(self._folder)
        unmatched = [self._folder / file for file in self.status.unmatched_files]
        kept = self._kept
        join = LabelJoin(
            self._folder,
            f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}",
            window=LabelWindows(kept),
            oldest=self._oldest_kept(),
        )
        try:
            with temporary(waiting).open("wb") as still:
                still.writelines(join.take(lines(waiting), unmatched if set(unmatched) <= set(files) else files))
                still.writelines(join.take(chain.from_iterable(map(lines, new)), files))
        finally:
            join.close()
        displaced = keep_newest(temporary(waiting), min(kept.waiting_bytes, kept.max_bytes or kept.waiting_bytes))
        done, before = join.done, self.status.labels
        labels = LabelCounts(
            joined=before.joined + done.joined,
            late=before.late + done.late,
            corrected=before.corrected + done.corrected,
            duplicate=before.duplicate + done.duplicate,
            expired=before.expired + done.expired,
            displaced=before.displaced + displaced,
            waiting=done.waiting - displaced,
            broken=before.broken + done.broken,
        )
        self._commit((*done.files, waiting), new, replace(self.status, labels=labels, unmatched_files=()))
        if done.expired:
            logger.warning("%d labels had no prediction for %d days and were given up", done.expired, kept.days)
        if displaced:
            logger.warning("%d labels that waited for a prediction were given up: too many wait", displaced)

    def _merge_small(self) -> None:
        for folder in sorted(self._folder.glob("*/date=*")):
            try:
                for merged in merge(folder):
                    self._commit((merged.target,), merged.sources, self.status)
            except (OSError, ValueError):  # a file is broken, or there is no room for both: they stay as they are
                self.failed += 1
                logger.exception("the small files of %s could not be put together", folder)

    def _remove_old(self) -> None:
        kept = self._kept
        since = self._oldest_kept()
        first = None if since is None else since.date()
        said = remove_feedback(feedback_folder(self._state), oldest=first, max_bytes=kept.max_bytes or None)
        if said:
            logger.warning("deleted the oldest %d files of feedback: kept are %d days", said, kept.days)
        old = outlived(self._folder, oldest=first, max_bytes=kept.max_bytes or None)
        if old.files:
            self._remove(old)
            logger.warning(
                "deleted the oldest %d files of the archive, %d rows: kept are %d days and %d bytes",
                len(old.files), old.rows, kept.days, kept.max_bytes,
            )  # fmt: skip
        remove_empty(self._folder)

    def _remove(self, old: Old) -> None:
        status = replace(
            self.status,
            removed_files=self.status.removed_files + len(old.files),
            removed_rows=self.status.removed_rows + old.rows,
            removed_bytes=self.status.removed_bytes + old.bytes,
        )
        try:
            self._commit((), old.files, status)
        except OSError:  # the disk may be too full for the journal itself
            old.files[0].unlink(missing_ok=True)
            self._commit((), old.files, status)
