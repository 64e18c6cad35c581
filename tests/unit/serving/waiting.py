"""Waits for what another thread does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool]) -> None:
    """Return once it is so; the end is for what never comes, not for what comes late."""
    pause, end = threading.Event(), time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        pause.wait(0.002)
