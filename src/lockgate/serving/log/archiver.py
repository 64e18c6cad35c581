"""Runs the archive's process beside a server: when there is something to do, one at a time, never longer than it."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lockgate.serving.log.archive_status import BUSY, ArchiveStatus, Kept, StatusReader, archive_folder
from lockgate.serving.log.segments import segment_files, taken

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 60.0
IDLE_S: Final = 3600.0  # what is too old goes also when nothing comes
STOP_S: Final = 5.0
LOOK_S: Final = 1.0  # ours: how much later than at once it may be seen that a run was told to end
# -P: nothing that lies in the folder the server was started in is taken for a module
PROGRAM: Final = (sys.executable, "-P", "-m", "lockgate.serving.log.archive")
RUN_S: Final = 3600.0  # ours: far beyond what a day's log takes; a run that hangs must not stand for all others


class Archiver:
    """Owns the archive's process of one server; started by the process that owns the state folder.

    Attributes:
        runs: Runs that ended well.
        failures: Runs that did not.
    """

    def __init__(
        self,
        state: Path,
        kept: Kept,
        *,
        interval_s: float = INTERVAL_S,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """Say what is archived; nothing runs before `start`.

        Args:
            state: The server's state folder.
            kept: What of it is kept.
            interval_s: Between two looks for something to do, in seconds.
            program: What is run.
        """
        self.runs = self.failures = 0
        self._state, self._interval_s = state, interval_s
        self._command = [*program, *archive_options(state, kept)]
        self._read_status = StatusReader(state)
        self._problem: str | None = None
        self._ran_at = time.monotonic()
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str | None:
        """Why the last run failed; None where it did not."""
        return self._problem

    @property
    def status(self) -> ArchiveStatus:
        """What was archived and joined so far; read from the disk at most once a second."""
        return self._read_status()

    def start(self) -> None:
        """Begin to look for something to do."""
        self._thread = threading.Thread(target=self._run, name="archiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, if one runs, and look no more; what it was about is finished by the next one."""
        self._stopping.set()
        process = self._process
        if process is not None:
            process.terminate()
        if self._thread is not None:
            self._thread.join()

    def has_work(self) -> bool:
        """Tell whether a run would find something to do."""
        if (archive_folder(self._state) / ".journal.json").exists():
            return True
        if time.monotonic() - self._ran_at >= IDLE_S:
            return True
        try:
            return any(_is_closed(path) for path in self._segments())
        except OSError:
            return True  # the run says what cannot be read

    def _segments(self) -> Iterator[Path]:
        yield from segment_files(self._state / "labels")
        folders: list[Path] = []
        with contextlib.suppress(FileNotFoundError):  # no prediction was ever logged
            folders += (self._state / "predictions").iterdir()
        for folder in folders:
            yield from segment_files(folder)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                if self.has_work():
                    self._run_once()
            except OSError as broken:
                self._failed(f"it could not be started: {broken}")

    def _run_once(self) -> None:
        self._ran_at = time.monotonic()
        # its log goes where the server's goes; its stdin ends with this process, however that ends
        with subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            self._process = process
            if self._stopping.is_set():  # `stop` may have looked before
                process.terminate()
            code = self._wait(process)
            self._process = None
        if self._stopping.is_set() or code == BUSY:
            return
        if code == 0:
            self.runs += 1
            self._problem = None
        else:
            self._failed(f"it ended with {code}; the log says why")

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of a run, which is killed when it does not end within `STOP_S` though it was told to."""
        end = time.monotonic() + RUN_S
        while True:
            try:
                return process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if self._stopping.is_set():
                    end = min(end, now + STOP_S)
                if now > end:
                    process.kill()

    def _failed(self, why: str) -> None:
        self.failures += 1
        self._problem = f"the prediction log is not archived: {why}"
        logger.error("%s; tried again in %g s, serving goes on", self._problem, self._interval_s)


def archive_options(state: Path, kept: Kept) -> list[str]:
    """Return how the archive's process is told what to keep."""
    options = ["--state", str(state), "--once", "--tethered"]
    options += ["--keep-days", str(kept.days), "--max-bytes", str(kept.max_bytes)]
    if kept.label_window_days is not None:
        options += ["--label-window-days", str(kept.label_window_days)]
    if kept.specs is not None:
        options += ["--specs", str(kept.specs)]
    return options


def _is_closed(path: Path) -> bool:
    try:
        with taken(path) as got:
            return got
    except PermissionError:
        return True  # the run says so
