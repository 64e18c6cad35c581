"""The archive's process: closed segments of predictions and labels -> Parquet, and what is too old goes.

    python -m lockgate.serving.log_archive --state DIR [--once]

    <state>/archive/<model>/date=YYYY-MM-DD/*.parquet            predictions, see `archive_tables`
    <state>/archive/<model>.labels/date=YYYY-MM-DD/*.parquet     labels, see `archive_labels`
    <state>/archive/status.json                                  what was done, see `archive_status`

It runs apart from the server, at low priority, and may be killed at any instant: every step happens whole or not at
all (`archive_journal`). One process at a time works on an archive; a second one ends at once.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib.abc import MetaPathFinder
from itertools import chain
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]  # no stubs published
from msgspec.structs import replace

from lockgate.serving.archive_journal import Journal, temporary
from lockgate.serving.archive_labels import WAITING, LabelJoin, prediction_files
from lockgate.serving.archive_retention import merge, outlived, remove_empty, size_of
from lockgate.serving.archive_status import BUSY, ArchiveStatus, Kept, LabelCounts, archive_folder, read_status
from lockgate.serving.archive_tables import convert
from lockgate.serving.process_log import log_to_stderr
from lockgate.serving.segments import SUFFIX, lines, segments, taken

logger = logging.getLogger("lockgate.serving.log_archive")

LABEL_SEGMENTS: Final = 64  # taken in one pass, of 16 MB at most each
NICE: Final = 10


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
        self._now = datetime.now(UTC)
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
        for segment in self._prediction_segments():
            with taken(segment) as got:
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

    def _prediction_segments(self) -> Iterator[Path]:
        """Return the segments of all models, each model's oldest first."""
        with contextlib.suppress(FileNotFoundError):  # no prediction was ever logged
            for folder in sorted((self._state / "predictions").iterdir()):
                yield from segments(folder)

    def _remove_nameless(self) -> None:
        """Remove segments whose writer was killed before it had named them; they are empty."""
        for left in self._state.glob(f"predictions/*/.*{SUFFIX}"), self._state.glob(f"labels/.*{SUFFIX}"):
            for path in left:
                with taken(path) as got:
                    if got:
                        path.unlink()

    def _archive(self, segment: Path) -> None:
        try:
            done = convert(segment, self._folder / segment.parent.name)
        except (ValueError, TypeError, KeyError, ArithmeticError):  # the data's; a later run would meet it again
            self.failed += 1
            logger.exception("%s could not be archived; it is left where it is", segment)
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
        self._commit(done.files, (segment,), status)

    def _join_labels(self) -> None:
        """Join new labels with all predictions, and those that wait with the predictions they were not held against."""
        with contextlib.ExitStack() as held:
            new = [
                path for path in segments(self._state / "labels")[:LABEL_SEGMENTS] if held.enter_context(taken(path))
            ]
            waits = self.status.labels.waiting > 0
            if new or (waits and self.status.unmatched_files):
                self._join(new)
        if self.status.unmatched_files:
            self._commit((), (), replace(self.status, unmatched_files=()))

    def _join(self, new: Sequence[Path]) -> None:
        waiting, files = self._folder / WAITING, prediction_files(self._folder)
        unmatched = [self._folder / file for file in self.status.unmatched_files]
        kept = self._kept
        join = LabelJoin(
            self._folder,
            f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}",
            window=timedelta(days=kept.label_window_days) if kept.label_window_days else None,
            oldest=self._now - timedelta(days=kept.days) if kept.days else None,
        )
        try:
            with temporary(waiting).open("wb") as still:
                still.writelines(join.take(lines(waiting), unmatched if set(unmatched) <= set(files) else files))
                still.writelines(join.take(chain.from_iterable(map(lines, new)), files))
        finally:
            join.close()
        done, before = join.done, self.status.labels
        labels = LabelCounts(
            joined=before.joined + done.joined,
            late=before.late + done.late,
            corrected=before.corrected + done.corrected,
            duplicate=before.duplicate + done.duplicate,
            expired=before.expired + done.expired,
            waiting=done.waiting,
            broken=before.broken + done.broken,
        )
        self._commit((*done.files, waiting), new, replace(self.status, labels=labels, unmatched_files=()))
        if done.expired:
            logger.warning("%d labels had no prediction for %d days and were given up", done.expired, kept.days)

    def _merge_small(self) -> None:
        for folder in sorted(self._folder.glob("*/date=*")):
            for merged in merge(folder):
                self._commit((merged.target,), merged.sources, self.status)

    def _remove_old(self) -> None:
        kept = self._kept
        old = outlived(
            self._folder,
            oldest=(self._now - timedelta(days=kept.days)).date() if kept.days else None,
            max_bytes=kept.max_bytes or None,
        )
        if old.files:
            status = replace(
                self.status,
                removed_files=self.status.removed_files + len(old.files),
                removed_rows=self.status.removed_rows + old.rows,
                removed_bytes=self.status.removed_bytes + old.bytes,
            )
            self._commit((), old.files, status)
            logger.warning(
                "deleted the oldest %d files of the archive, %d rows: kept are %d days and %d bytes",
                len(old.files), old.rows, kept.days, kept.max_bytes,
            )  # fmt: skip
        remove_empty(self._folder)


class WithoutPandas(MetaPathFinder):
    """Hides pandas from pyarrow, which would load it to look at plain lists: 0.5 s and 40 MB a run."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find everything but pandas elsewhere.

        Raises:
            ModuleNotFoundError: It is pandas.
        """
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is not wanted here", name=fullname)


@contextlib.contextmanager
def only_one(state: Path) -> Iterator[bool]:
    """Be the one process that works on an archive for the length of a block; gives False where another one is."""
    folder = archive_folder(state)
    folder.mkdir(mode=0o750, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def run_once(state: Path, kept: Kept) -> int:
    """Run once and return the exit code: 0, 1 after a failure, which is logged, or `BUSY`."""
    started = time.monotonic()
    with only_one(state) as alone:
        if not alone:
            return BUSY
        archive = Archive(state, kept)
        try:
            status = archive.run()
        except (OSError, ValueError) as broken:
            logger.error("the archive could not be brought up to date: %s; what was done is kept", broken)  # noqa: TRY400 - said
            return 1
    logger.info(
        "archived %d requests, %d rows so far; labels: %d joined, %d wait; %.1f s",
        status.requests, status.rows, status.labels.joined, status.labels.waiting, time.monotonic() - started,
        extra={"event": "archived"},
    )  # fmt: skip
    return min(archive.failed, 1)


def main(argv: Sequence[str]) -> int:
    """Bring a server's archive up to date, once or again and again.

    Args:
        argv: The options, without the program's name.

    Returns:
        0; with `--once` also 1 after a failure and 75 when another process is at it.
    """
    kept = Kept()
    parser = argparse.ArgumentParser(
        prog="python -m lockgate.serving.log_archive", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--state", required=True, type=Path, help="the server's state folder")
    parser.add_argument("--once", action="store_true", help="end after one run")
    parser.add_argument("--interval-s", type=float, default=60.0, help="between two runs; default: %(default)s")
    parser.add_argument("--keep-days", type=int, default=kept.days, help="0: all; default: %(default)s")
    parser.add_argument("--max-bytes", type=int, default=kept.max_bytes, help="0: any size; default: %(default)s")
    parser.add_argument("--label-window-days", type=float, default=kept.label_window_days, help="0: none is late")
    parser.add_argument(
        "--tethered", action="store_true", help="end when stdin does: the process that started this one"
    )
    given = parser.parse_args(argv)
    if not given.state.is_dir():
        parser.error(f"--state: {given.state} is not a folder; give the one the server was started with")
    log_to_stderr()
    os.nice(NICE)
    pa.set_cpu_count(1)  # the other cores are the server's
    sys.meta_path.insert(0, WithoutPandas())
    if given.tethered:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    kept = Kept(days=given.keep_days, max_bytes=given.max_bytes, label_window_days=given.label_window_days)
    while True:
        code = run_once(given.state, kept)
        if given.once:
            return code
        time.sleep(given.interval_s)


def _end_with_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):  # not sys.stdin, whose lock would still be held at this process's own end
            pass
    os._exit(1)  # at once: every step happens whole or not at all


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
