"""Files that are there whole or not at all, and a full disk that says so."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lockgate.core.ids import Digest
from lockgate.errors import TransientError
from lockgate.serving.disk import sync

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ROOM_WORDS = ("No space left on device", "os error 28", "File too large", "os error 27", "Disk quota exceeded")
_TOLD = "no room for"


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Turn a full disk, quota or file-size limit into an error that a person can act on.

    Libraries that are not written in Python wrap the system's error in types of their own; its words survive.

    Raises:
        TransientError: There is no room; nothing of `what` is visible, and the same call may succeed later.
    """
    try:
        yield
    except Exception as error:
        told = str(error).startswith(_TOLD)  # by whoever is nearer
        full = (isinstance(error, OSError) and error.errno in _NO_ROOM) or any(w in str(error) for w in _NO_ROOM_WORDS)
        if told or not full:
            raise
        raise TransientError(
            f"{_TOLD} {what} in {folder}: {error}; nothing was changed. Free space there, then try again",
            folder=str(folder),
        ) from error


def sha256_of(path: Path) -> Digest:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def written_aside(path: Path, content: bytes) -> Path:
    """Write a file beside where it belongs, mode 600 from its first byte; the caller puts it in place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def copy_whole(source: Path, target: Path, *, modified_s: float | None = None) -> None:
    """Copy a file so that `target` appears whole: written beside it under a hidden name, synced, renamed.

    Args:
        modified_s: Modification time to give the copy, seconds since the epoch; None: now.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with room_for(f"a copy of {source.name}", target.parent):
            shutil.copyfile(source, partial)
            sync(partial)
            if modified_s is not None:
                os.utime(partial, (modified_s, modified_s))
            partial.rename(target)
            sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(target: Path, text: str) -> None:
    """Write a text file so that it appears whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with room_for(target.name, target.parent):
            partial.write_text(text, encoding="utf-8")
            sync(partial)
            partial.rename(target)
            sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)
