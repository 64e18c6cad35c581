"""Threads that do what would keep the event loop for long; half the price of asyncio's own way to an executor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_Work: TypeAlias = tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]


class Hands:
    """A few threads that take work from one event loop, first come, first served."""

    def __init__(self, threads: int, name: str) -> None:
        """Take the number of threads and what they are called; each starts with the first work that finds none idle."""
        self._most, self._name = threads, name
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._closed = False

    def run(self, do: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Return what will hold the result; called from the event loop.

        Raises:
            RuntimeError: The threads have ended.
        """
        if self._closed:
            raise RuntimeError("no work is taken any more")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._busy += 1
        if self._busy > len(self._threads) < self._most:
            self._threads.append(threading.Thread(target=self._serve, name=f"{self._name}_{len(self._threads)}"))
            self._threads[-1].daemon = True
            self._threads[-1].start()
        self._work.put((future, do, args))
        return future

    def close(self) -> None:
        """Do what waits, and end the threads."""
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            future, do, args = work
            found: Any = None
            broken: BaseException | None = None
            if not future.cancelled():
                try:
                    found = do(*args)
                except BaseException as failed:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
                    broken = failed
            try:
                future.get_loop().call_soon_threadsafe(self._settle, future, found, broken)
            except RuntimeError:  # the loop has ended, and with it whoever waited
                continue
            finally:
                del work, future, do, args, found, broken  # nothing is kept while there is nothing to do

    def _settle(self, future: asyncio.Future[Any], found: object, broken: BaseException | None) -> None:
        self._busy -= 1
        if future.done():  # whoever asked went away
            return
        if broken is None:
            future.set_result(found)
        else:
            future.set_exception(broken)
