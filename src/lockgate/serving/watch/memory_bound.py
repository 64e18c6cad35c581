"""Lets the system refuse a process memory beyond a bound: a model that asks for too much fails, and nobody else does.

Without it one run could take the whole machine's memory, or end the process: by the system, or because it is above its
cap. With it the allocation fails at once, which ONNX Runtime says, and whatever stands behind the model answers.
"""

from __future__ import annotations

import resource
from typing import Final

from lockgate.errors import ConfigError

UNTOUCHED_BYTES: Final = 256_000_000
"""Counted by the system and never used, such as the ends of stacks: 120 MB when this was written, and some to spare."""


def check_bound(most_mb: int, used_bytes: int) -> None:
    """Refuse a cap that a server without any model is above: started again and again, it would serve nobody.

    Args:
        most_mb: The cap, in units of 1e6 bytes; 0: there is none.
        used_bytes: What the process uses before it has loaded a model.

    Raises:
        ConfigError: It is above it.
    """
    if 0 < most_mb * 1_000_000 < used_bytes:
        raise ConfigError(
            f"--max-memory-mb {most_mb}: a server uses {used_bytes / 1e6:.0f} MB before it has loaded any model, so "
            "no restart would help; give what its models need as well, or 0 for no bound"
        )


def bound_memory(most_bytes: int) -> None:
    """Refuse this process, and those that it starts, more private memory than so much; never raises a lower bound.

    Linux counts all of it (`RLIMIT_DATA`, since 4.7); elsewhere this bounds less, or nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = (most_bytes + UNTOUCHED_BYTES, soft, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (min(each for each in bounds if each != resource.RLIM_INFINITY), hard))
