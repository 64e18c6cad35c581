"""A loop in whose time no machine is slow."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any


class Timeless(asyncio.SelectorEventLoop):
    """A loop whose clock does not run, but goes to what is due next when nothing else is to be done."""

    def __init__(self) -> None:
        self._now = 0.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                loop._now += timeout or 0.0
                return super().select(timeout and 0.0)

        super().__init__(Selector())

    def time(self) -> float:
        return self._now
