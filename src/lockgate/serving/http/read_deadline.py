"""Ends the reading of bodies that take too long, at next to no cost for those that do not.

`asyncio.timeout` sets and cancels a timer for each request, 4 us; here one sweep looks at all that are being read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

T = TypeVar("T")
_SWEEPS: Final = 8  # within the limit: a body may take that part of it longer


class ReadDeadline:
    """The deadline of one application's reads; each is the read of a task of its own."""

    def __init__(self, limit_s: float) -> None:
        """Say how long a read may take, in seconds."""
        self._limit_s = limit_s
        self._reading: dict[asyncio.Task[Any] | None, float] = {}
        self._late: set[asyncio.Task[Any] | None] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, reading: Awaitable[T], started: float) -> T:
        """Await a read.

        Args:
            reading: The read.
            started: When the request began, on `time.perf_counter`.

        Raises:
            TimeoutError: It was not done in time.
        """
        task = asyncio.current_task()
        self._reading[task] = started
        if self._timer is None:
            self._arm()
        try:
            return await reading
        except asyncio.CancelledError:
            if task is None or task not in self._late:
                raise
            if task.uncancel():  # somebody else ends it as well, as `asyncio.timeout` has it
                raise
            raise TimeoutError from None
        finally:
            del self._reading[task]
            self._late.discard(task)

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limit_s / _SWEEPS, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        if not self._reading:
            return
        before = time.perf_counter() - self._limit_s
        for task, started in self._reading.items():
            if started < before and task is not None and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._arm()
