"""Files that survive a power cut, and locks that end with their process however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TEMPORARY: Final = ".tmp"


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary(target: Path) -> Path:
    """Return the hidden name under which a file is written before it gets its own."""
    return target.with_name(f".{target.name}{TEMPORARY}")


def write_synced(target: Path, data: bytes) -> None:
    """Write a small file that is there whole or not at all, and survives a power cut."""
    hidden = temporary(target)
    hidden.write_bytes(data)
    put_synced(hidden, target)


def put_synced(hidden: Path, target: Path) -> None:
    """Give a file that was written aside its name, in place of what has it now: whole also after a power cut.

    Raises:
        OSError: The disk does not take it; what stood there still does, unless it is the new name that is not synced.
    """
    sync(hidden)
    hidden.replace(target)
    sync(target.parent)  # the rename itself


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Tell whether this process is the only one at it, for the length of the block; the file stays, to be locked again.

    Raises:
        OSError: The file can be neither opened nor made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)
