"""How much memory a process holds, and held at most; 0 for one that is gone."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_SAMPLE_S = 0.05


def resident_bytes(pid: int) -> int:
    """Return the present resident set."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def peak_bytes(pid: int) -> int:
    """Return the kernel's own peak of the resident set, or the present size where it keeps none."""
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    return resident_bytes(pid)


class PeakWatch:
    """Follows the largest resident set of a process from a thread; the kernel forgets it with the process.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="rss", daemon=True)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._sampler.join()

    def look(self) -> int:
        """Return the larger of what was seen before and the kernel's own peak now, in bytes."""
        self._peak = max(self._peak, resident_bytes(self._pid), peak_bytes(self._pid))
        return self._peak

    def _sample(self) -> None:
        while not self._over.wait(_SAMPLE_S):
            self.look()
