"""Segments: files of JSON lines that one process appends to and others may read, or take once they are closed.

    <folder>/<UTC time of opening>-w<worker>-<number>.jsonl
    <folder>/<the same>.numbers       where there are such requests: what `binary_columns` keeps outside the lines

A segment is locked as long as its writer has it open, however the writer ends; what can be locked is closed for good.
It gets its name only under the lock, so that nobody takes it in between. A writer that was killed may leave half a
line at the end: no reader sees it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lockgate.serving.log.binary_columns import Appended

SUFFIX: Final = ".jsonl"
BINARY_SUFFIX: Final = ".numbers"
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
NO_ROOM: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_BLOCK_BYTES: Final = 1 << 20
_WRITE_BYTES: Final = 128 << 10  # about 0.03 ms to put together


def open_for_appending(path: Path) -> int:
    """Open a segment's file, which nobody else reads but the group."""
    return os.open(path, _WRITE, 0o640)


def binary_file(segment: Path) -> Path:
    """Return the file beside a segment, which there may not be; it is opened after the segment and goes with it."""
    return segment.with_suffix(BINARY_SUFFIX)


class Segment:
    """A file that is written now, and the one beside it.

    Attributes:
        size: Its bytes.
    """

    def __init__(
        self, folder: Path, *, worker: int, number: int, opener: Callable[[Path], int] = open_for_appending
    ) -> None:
        """Open a new segment.

        Args:
            folder: Made where it is not there.
            worker: Which worker of the server writes it.
            number: How many this writer has opened, to tell those of one instant apart.
            opener: Opens a file for appending and returns its descriptor.

        Raises:
            OSError: The disk does not take it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC)
        name = f"{now:%Y%m%dT%H%M%S.%fZ}-w{worker}-{number:06d}{SUFFIX}"
        hidden = folder / f".{name}"
        self.size, self._torn = 0, False
        self._binary: Appended | None = None
        self._opener, self._beside = opener, binary_file(folder / name)
        self._handle = opener(hidden)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            hidden.rename(folder / name)
        except OSError:
            os.close(self._handle)
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise

    @property
    def binary_size(self) -> int:
        """Bytes of the file beside."""
        return 0 if self._binary is None else self._binary.size

    @property
    def is_torn(self) -> bool:
        """Whether it ends in what a failed write left, and the disk could not even cut that off."""
        return self._torn

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed it, or the file beside: nobody would ever read what is still written to it."""
        return not os.fstat(self._handle).st_nlink or (self._binary is not None and self._binary.is_gone)

    def gives_way_after(self, broken: OSError) -> bool:
        """Tell whether another file may take what this one did not: it is whole, and the disk is not what is full."""
        return self.size > 0 and not self.is_torn and broken.errno not in NO_ROOM

    def write(self, pieces: Sequence[bytes], blobs: Sequence[memoryview] = ()) -> None:
        """Append all pieces or nothing: what was written of them is cut off again.

        Args:
            pieces: Of lines.
            blobs: What these lines speak of; goes into the file beside, before them.

        Raises:
            OSError: The disk does not take it.
        """
        self._mend()
        beside = self.binary_size
        if blobs:
            if self._binary is None:
                self._binary = Appended(self._opener(self._beside))
            self._binary.write(blobs)
        self._torn = True
        size = self.size
        try:
            for block in _blocks(pieces):
                size += len(block)
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(self._handle, rest) :]
        except OSError:
            if self._binary is not None:
                self._binary.take_back(beside)
            self._mend()
            raise
        self.size, self._torn = size, False

    def _mend(self) -> None:
        """Cut off what a failed write left; tried again before the next one, should the disk not do even that."""
        if self._torn:
            self.cut(self.size)

    def sync(self) -> None:
        """Wait until the disk holds what was written.

        Raises:
            OSError: It does not.
        """
        os.fsync(self._handle)

    def cut(self, size: int) -> None:
        """Take back what was written beyond a size."""
        os.ftruncate(self._handle, size)
        self.size, self._torn = size, False

    def close(self) -> None:
        """Let others take it."""
        if self._binary is not None:
            self._binary.close()
        os.close(self._handle)


def _blocks(pieces: Sequence[bytes]) -> Iterator[bytes]:
    """Put pieces together for fewer writes, a few at a time: copying many would keep the interpreter for long."""
    start = size = 0
    for index, piece in enumerate(pieces):
        size += len(piece)
        if size >= _WRITE_BYTES:
            yield b"".join(pieces[start : index + 1])
            start, size = index + 1, 0
    if start < len(pieces):
        yield b"".join(pieces[start:])


def segments(folder: Path) -> list[Path]:
    """Return the segments of a folder, oldest first; none where there is no folder.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def segment_files(folder: Path) -> list[Path]:
    """Return the same without what is called a segment and is no file, which nobody can take.

    Raises:
        OSError: The folder cannot be read.
    """
    return [path for path in segments(folder) if path.is_file()]


@contextlib.contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Hold a closed segment for the length of a block; gives False where it is being written, or is gone."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield _is_still(handle, path)
    finally:
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """Tell whether a path still names the open file: who held the lock before may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def lines(path: Path) -> Iterator[bytes]:
    """Return a segment's lines, each with its end, oldest first; half a line at the end is left out."""
    try:
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line
    except FileNotFoundError:  # taken meanwhile
        return


def newest_lines(path: Path) -> Iterator[bytes]:
    """Return a segment's lines without their ends, newest first; half a line at the end is left out.

    Reads from the end and no further than it is asked to.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:  # taken meanwhile
        return
    with file:
        position = file.seek(0, os.SEEK_END)
        rest, whole = b"", False
        while position > 0:
            step = min(_BLOCK_BYTES, position)
            position -= step
            file.seek(position)
            rest, *found = (file.read(step) + rest).split(b"\n")
            if found and not whole:
                found.pop()  # what follows the last line's end
                whole = True
            yield from reversed(found)
        if whole:
            yield rest
