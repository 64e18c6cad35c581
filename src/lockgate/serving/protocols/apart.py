"""Large bodies are read beside the event loop, by the threads that answer large requests: other callers go on.

Python's lock is still one, so that whatever reads a body is made to give it up often: see `json_pieces`, and the bounds
of what one request may hold (`json_marks.MOST_VALUES`).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from lockgate.serving.http.handling import Request
from lockgate.serving.http.json_body import LARGE_BYTES
from lockgate.serving.refusals import RequestRefused, refuse
from lockgate.serving.service import Service

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Looks:
    """Puts looks for garbage off while anybody reads: none of what is made meanwhile is any, and each walks all of it.

    16 MiB of small arrays took five times as long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._were_on = True

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                self._were_on = gc.isenabled()
                gc.disable()
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers and self._were_on:
                gc.enable()


_LOOKS: Final = _Looks()


async def read_body(service: Service, request: Request, read: Callable[[*Ts], T], *args: *Ts) -> T:
    """Return what `read` makes of a request's body, beside the event loop where that is large; raises as it does."""
    return read(*args) if len(request.body) < LARGE_BYTES else await apart(service, read, *args)


async def apart(service: Service, read: Callable[[*Ts], T], *args: *Ts) -> T:
    """Return what `read` makes of a large body; raises as it does."""
    return await service.answering.hands.run(_quietly, read, args)


def _quietly(read: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
    with _LOOKS:
        try:
            return read(*args)
        except RequestRefused as error:
            refused = refuse(error.reason, error.message)  # without a traceback, which would keep all that was read
        raise refused
