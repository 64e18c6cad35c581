"""Labels that wait for their prediction: kept up to a size, the oldest given up first."""

from __future__ import annotations

import contextlib
import shutil
from datetime import datetime
from pathlib import Path

import msgspec

from lockgate.serving.disk import put_synced, temporary
from lockgate.serving.log.labels import StoredLabel
from lockgate.serving.log.segments import lines

_DECODER = msgspec.json.Decoder(StoredLabel)


def oldest(path: Path) -> datetime | None:
    """Return when the label was received that has waited longest; None where none waits.

    Raises:
        OSError: The file cannot be read.
    """
    for line in lines(path):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return _DECODER.decode(line).received
    return None


def keep_newest(path: Path, max_bytes: int) -> int:
    """Cut lines off the beginning of a file until it is no larger than it may be.

    Args:
        path: The file, its lines oldest first.
        max_bytes: The size it may have.

    Returns:
        How many lines are gone.

    Raises:
        OSError: The disk does not take it; the file is as it was.
    """
    excess, gone = path.stat().st_size - max_bytes, 0
    if excess <= 0:
        return 0
    with path.open("rb") as file:
        while excess > 0 and (line := file.readline()):
            excess -= len(line)
            gone += 1
        with temporary(path).open("wb") as kept:
            shutil.copyfileobj(file, kept, 1 << 20)
    put_synced(temporary(path), path)
    return gone
