"""Keeps models that are asked now and then in the core's caches.

Between two requests of a hundred a second a core does other work, or sleeps, and what a model needs leaves its caches:
the next request then waits for memory most of its time. So a model that was asked lately and has nothing to do runs one
of its own probes every few milliseconds. A busy model is left alone, and so is one that nobody asks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.proving import columns_of
from lockgate.serving.model.row import EncodedRow
from lockgate.serving.refusals import RequestRefused

LINGER_S: Final = 1.0  # ours: who asks less than once a second cannot tell 0.1 ms
IDLE_LOOK_S: Final = 0.1  # ours: ten looks a second cost nothing; the first requests of a burst are not warm anyway
DEAR_S: Final = 0.001  # ours: a request that comes during a run waits for it, and should not see that
REST_S: Final = 10.0
"""After a run that took longer, or had no answer; ours: a slow model is as good as never run, and a stall forgiven."""


class Warmth:
    """The runs that keep the models of one process warm; used from its event loop alone.

    Attributes:
        runs: How many there were, by model.
    """

    def __init__(self, models: Callable[[], Iterable[ServedModel]]) -> None:
        """Take what tells the models that may be asked; nothing runs yet."""
        self._models = models
        self._kept: dict[ServedModel, _Kept] = {}
        self.runs: Final[Counter[str]] = Counter()

    async def keep(self, every_s: float) -> None:
        """Look every so many seconds until cancelled; more seldom while nobody asks."""
        pause_s = every_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = every_s if self.look(time.monotonic()) else max(every_s, IDLE_LOOK_S)

    def look(self, now: float) -> bool:
        """Run every model that was asked lately, though not since the last look.

        Args:
            now: Seconds on a clock that only goes forward.

        Returns:
            Whether any was asked lately.
        """
        lately = False
        kept = {}
        for model in self._models():
            kept[model] = one = self._kept.get(model) or _Kept(model)
            if one.is_asked_lately(now):
                lately = True
                self.runs[model.contract.model] += one.warm(now)
        self._kept = kept  # what is no longer served is let go
        return lately


class _Kept:
    """One model, and when it was asked."""

    __slots__ = ("_asked", "_asked_at", "_model", "_rests_until", "_row", "_since_look")

    def __init__(self, model: ServedModel) -> None:
        self._model = model
        self._row = _own_row(model)
        self._asked, self._asked_at = 0, -LINGER_S
        self._rests_until = 0.0
        self._since_look = False

    def is_asked_lately(self, now: float) -> bool:
        """Tell whether callers asked it within `LINGER_S`."""
        turns = self._model.turns
        self._since_look = turns != self._asked
        if self._since_look:
            self._asked, self._asked_at = turns, now
        return self._row is not None and now - self._asked_at < LINGER_S

    def warm(self, now: float) -> bool:
        """Run it, if nobody else did; tell whether it ran."""
        if self._row is None or self._since_look or now < self._rests_until or self._model.breaker.resting_until:
            return False
        began = time.perf_counter()
        try:
            (found,) = self._model.answer_rows([self._row])
            held = isinstance(found, Answer)
        except Exception:  # noqa: BLE001 - whatever it is, the self-probe or a caller will hear of it
            held = False
        if not held or time.perf_counter() - began > DEAR_S:
            self._rests_until = now + REST_S
        self._asked = self._model.turns  # this one was ours
        return True


def _own_row(model: ServedModel) -> EncodedRow | None:
    """Return one of a model's own golden requests, encoded; None where it has none that goes the way of one row."""
    if model.probes is None or not model.probes.requests:
        return None
    try:
        return model.encoder.encode_row(columns_of(model, model.probes.requests[0]))
    except RequestRefused:
        return None
