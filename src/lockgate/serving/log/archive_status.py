"""What the archive's process has done so far, on the disk for the server to read: light, and free of Parquet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

STATUS_FILE: Final = "status.json"
BUSY: Final = 75  # exit code (EX_TEMPFAIL of sysexits.h): another process works on the archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What is kept of an archive.

    Attributes:
        days: Dates before that many days ago are deleted; 0: none.
        max_bytes: Beyond this size the oldest files are deleted; 0: none.
        label_window_days: A label that becomes known later than this after its prediction is late; 0: none is; None:
            the specs say.
        specs: Holds `<model>.yaml`, the spec that says how late a model's labels are due; None: none is late.
        waiting_bytes: Labels that wait for their prediction are given up beyond this size, never more than
            `max_bytes` where that is one.
    """

    days: int = 90
    max_bytes: int = 10 << 30
    label_window_days: float | None = None
    specs: Path | None = None
    waiting_bytes: int = 128 << 20  # ours: 800,000 labels, 1,300 a second while a segment is open; ten seconds of a run


def archive_folder(state: Path) -> Path:
    """Return the folder that holds a server's archive."""
    return state / "archive"


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of labels since the archive began.

    Attributes:
        joined: Found their prediction; the two below are among them.
        late: Became known after they were due, see `label_windows`.
        corrected: Said something else than the newest label of their row; both are kept, the newer one holds.
        duplicate: Said the same as the newest label of their row, and were left out.
        expired: Had no prediction until they were as old as the oldest that is kept; given up.
        displaced: Were the oldest of more that waited than are kept; given up.
        waiting: Have no prediction now and wait for it.
        broken: Lines that were no labels, such as half a line that no caller was told of.
    """

    joined: int = 0
    late: int = 0
    corrected: int = 0
    duplicate: int = 0
    expired: int = 0
    displaced: int = 0
    waiting: int = 0
    broken: int = 0


class ArchiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the archive; everything counts since it began, but for what says otherwise.

    Attributes:
        schema_version: Of this file.
        segments: Segments of the prediction log that were taken.
        requests: Requests that were archived.
        rows: Rows of them.
        broken_lines: Lines of the prediction log that could not be read, half lines of killed writers among them.
        removed_files: Files that were deleted because of their age or the archive's size.
        removed_rows: Rows in them.
        removed_bytes: Their size.
        bytes: Size of the archive now.
        labels: What became of labels.
        unmatched_files: Files of predictions that labels which wait were not looked up in yet.
        finished: When the last run ended, seconds since the epoch; 0: none has.
    """

    schema_version: int = 1
    segments: int = 0
    requests: int = 0
    rows: int = 0
    broken_lines: int = 0
    removed_files: int = 0
    removed_rows: int = 0
    removed_bytes: int = 0
    bytes: int = 0
    labels: LabelCounts = LabelCounts()
    unmatched_files: tuple[str, ...] = ()
    finished: float = 0.0


_DECODER = msgspec.json.Decoder(ArchiveStatus)


def read_status(state: Path) -> ArchiveStatus:
    """Return what the archive of a server's state folder says of itself; all zero where there is none yet.

    Raises:
        ValueError: The file is not what this program wrote.
        OSError: It cannot be read.
    """
    path = archive_folder(state) / STATUS_FILE
    try:
        return _DECODER.decode(path.read_bytes())
    except FileNotFoundError:
        return ArchiveStatus()
    except (msgspec.MsgspecError, UnicodeDecodeError) as broken:
        raise ValueError(
            f"{path} is not what this program wrote ({broken}); put it back, or remove it: all counts then begin again"
        ) from broken


class StatusReader:
    """Reads the status at most once a second; for pages that are asked often."""

    def __init__(self, state: Path) -> None:
        self._state, self._status, self._read_at = state, ArchiveStatus(), -1.0

    def __call__(self) -> ArchiveStatus:
        """Return the newest status that could be read."""
        now = time.monotonic()
        if self._read_at < 0 or now - self._read_at >= 1:
            self._read_at = now
            try:
                self._status = read_status(self._state)
            except (OSError, ValueError):
                return self._status  # the archive's own run says what is wrong with it
        return self._status
