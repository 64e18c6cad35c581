"""Fits in a process of their own that SIGKILL ends in the middle: at the same moment on every machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parents[1] / "src"
_PROGRAM = """
import json, os, signal, sys
from lockgate.models.fit_process import fit

folder, left = sys.argv[1], int(sys.argv[2])

def die(event, given):
    global left
    if event == "os.rename" and os.path.basename(os.path.dirname(given[1])) == folder:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
fit(**json.load(sys.stdin))
"""


def die_in_a_fit(request: Mapping[str, Any], folder: str, *, kept: int) -> None:
    """Fit, and end the process with SIGKILL as it is about to keep one checkpoint more than so many.

    Args:
        request: What `fit_process.fit` takes.
        folder: Whose checkpoints: `checkpoint`, of the rounds of a fit, or `search`, of its trials.
        kept: How many times one was kept before.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, folder, str(kept)],
        input=json.dumps(request).encode(),
        env={**os.environ, "PYTHONPATH": str(_SOURCE), "OMP_WAIT_POLICY": "PASSIVE"},
        timeout=250,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, f"the fit ended with {done.returncode} before it was killed"
