"""Changes to the archive that happen whole or not at all, also when the process is killed in between.

    new files under hidden names, synced with them
      -> journal synced and named                <- from here on the change has happened
      -> renames, removals, status
      -> journal removed

A process that finds a journal finishes what it says; one that finds none deletes the hidden files that were left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from lockgate.serving.disk import TEMPORARY, sync, temporary, write_synced
from lockgate.serving.log.archive_status import STATUS_FILE, ArchiveStatus

logger = logging.getLogger(__name__)


class _Change(msgspec.Struct):
    named: list[tuple[str, str]]
    removed: list[str]
    status: ArchiveStatus


class Journal:
    """The one way to change an archive; its caller is the only one that does."""

    def __init__(self, state: Path, archive: Path) -> None:
        """Take the folders.

        Args:
            state: Holds everything that is named in a change; paths are kept relative to it.
            archive: Holds the journal and the status.
        """
        self._state, self._archive = state, archive
        self._path = archive / ".journal.json"

    def recover(self) -> None:
        """Finish the change that was begun last, if there is one, and delete what is left of others.

        Raises:
            OSError: The disk does not take it.
            ValueError: The journal is not what this program wrote.
        """
        try:
            begun = self._path.read_bytes()
        except FileNotFoundError:
            pass
        else:
            self._apply(self._read(begun))
        for left in filter(Path.is_file, self._archive.rglob(f".*{TEMPORARY}")):
            left.unlink()

    def _read(self, begun: bytes) -> _Change:
        try:
            return msgspec.json.decode(begun, type=_Change)
        except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
            raise ValueError(
                f"{self._path} is not what this program wrote ({broken}); put it back: removed, the change that it "
                "says would be taken as not begun, and its rows may be archived twice"
            ) from broken

    def commit(self, named: Sequence[Path], removed: Iterable[Path], status: ArchiveStatus) -> None:
        """Name new files, remove others and set the status: all of it, or nothing.

        Args:
            named: What each new file shall be called; it lies at `temporary(name)` and is synced here.
            removed: What goes; may be gone.
            status: The archive's status afterwards.

        Raises:
            OSError: The disk does not take it; either nothing has happened or `recover` finishes it.
        """
        for each in named:
            sync(temporary(each))
        for folder in {folder for each in named for folder in each.parents if folder.is_relative_to(self._archive)}:
            sync(folder)  # a hidden name, and a new partition's own, must not be gone when the journal is there
        change = _Change(
            named=[(self._relative(temporary(each)), self._relative(each)) for each in named],
            removed=[self._relative(each) for each in removed],
            status=status,
        )
        write_synced(self._path, msgspec.json.encode(change))
        self._apply(change)

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._state))

    def _apply(self, change: _Change) -> None:
        folders = set()
        for hidden, name in change.named:
            target = self._state / name
            if (self._state / hidden).exists():
                (self._state / hidden).replace(target)
            if target.exists():
                folders.add(target.parent)
            else:
                logger.error("%s was removed while it was archived; what it held is lost", target)
        for folder in folders:
            sync(folder)  # the new names are kept before the old ones go
        for name in change.removed:
            (self._state / name).unlink(missing_ok=True)
        write_synced(self._archive / STATUS_FILE, msgspec.json.encode(change.status))
        self._path.unlink(missing_ok=True)


def parquet_files(folder: Path) -> Iterator[Path]:
    """Return the Parquet files of a folder of partitions, oldest date first."""
    yield from sorted(filter(Path.is_file, folder.glob("date=*/*.parquet")))
