"""How many cores this process may use, which is fewer than the machine has where it was given some of them."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
