"""How much memory a process holds, and held at most; 0 for one that is gone."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


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
