"""Makes a costly thing once for all who ask for it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One making at a time; whoever asks gets a result whose making began after the question."""

    def __init__(self) -> None:
        """Begin with nothing made."""
        self._lock = asyncio.Lock()
        self._begun = 0
        self._made: tuple[int, T] | None = None

    async def get(self, make: Callable[[], Awaitable[T]]) -> T:
        """Return what `make` returns, or what it returned to somebody who asked at the same time."""
        asked = self._begun
        async with self._lock:
            if self._made is not None and self._made[0] > asked:
                return self._made[1]
            self._begun += 1
            number = self._begun
            made = await make()
            self._made = (number, made)
            return made
