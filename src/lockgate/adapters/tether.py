"""Helper processes that end with the process that started them, even when that one is killed.

A flow that gets SIGKILL can end neither its sandbox nor its load generator; the kernel can. It watches the thread that
started the child, so a child is started in the thread that waits for it. On Linux only: elsewhere what is left over is
ended by `lockgate down`, which knows it by the stack's mark.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# 1 is PR_SET_PDEATHSIG (linux/prctl.h); exec keeps it. A parent that died before is told by the new parent's id.
_LAUNCHER = """
import os, sys
if sys.platform == "linux":
    import ctypes, signal
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def tethered(command: Sequence[str]) -> list[str]:
    """Return the command that runs `command` under the same process id, tied to the life of this process.

    Args:
        command: Absolute path of a program, and its arguments.
    """
    return [sys.executable, "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
