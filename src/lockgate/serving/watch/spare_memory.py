"""Gives memory that was freed back to the system: the C library keeps it, after a large request for one."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 3.0  # ours: it takes up to 4 ms of another thread, and what was given back is faulted in again


async def give_back() -> None:
    """Do so again and again until cancelled, beside the event loop; without glibc there is nothing to do."""
    trim = _trim()
    while trim is not None:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(trim, 0)


def _trim() -> Callable[[int], int] | None:
    """Return `malloc_trim(3)`; None where the C library has none."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
