"""What this process uses of the machine, under the names that Prometheus clients give it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Final

from lockgate.serving.watch.metric_snapshot import Family

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def usage(started: float) -> Iterable[Family]:
    """Yield CPU time, memory and start.

    Args:
        started: When the process started, seconds since the epoch.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = round(used.ru_utime + used.ru_stime, 6)
    yield Family("process_cpu_seconds_total", "counter", "CPU time, of all processes.", (), {(): cpu_s})
    yield Family("process_resident_memory_bytes", "gauge", "Memory, of all processes.", (), {(): resident_bytes()})
    yield Family("process_start_time_seconds", "gauge", "Earliest start, since the epoch.", (), {(): round(started, 3)})


def resident_bytes() -> int:
    """Return the resident memory of this process, in bytes."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - a path object would cost more than the read
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:  # not Linux: the peak is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
