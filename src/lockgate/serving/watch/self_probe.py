"""Asks every served model, again and again, one request whose answer is known: a server that lies finds it out itself.

A model that lies is not asked while another arm can answer for it. The request goes through the data plane like a
caller's, in a thread of its own; it is no traffic: it is not logged and is in no statistic of an arm. Models proved all
their golden answers when they were loaded; this finds what broke since.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from lockgate.core.contract import ProbeRequest, ProbeSet
from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.proving import check_probe
from lockgate.serving.routing.router import Route, Router

logger = logging.getLogger(__name__)

REST_S: Final = 60.0  # ours: several probes; a right one ends it
ANSWER_WITHIN_S: Final = 5.0  # ours: a row takes a thousandth; a busy machine, not a right model, takes so long


class SelfProbe:
    """The self-probes of one process.

    Attributes:
        wrong: Why a bundle's last probe did not hold, by digest; empty while all is well.
        results: How many probes were `right` or `wrong`, by model and that word.
    """

    def __init__(self, router: Router, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        """Make it; nothing is asked yet.

        Args:
            router: Says what is served.
            answer_within_s: A probe that has no answer by then has failed.
        """
        self.wrong: Mapping[Digest, str] = {}
        self.results: Final[Counter[tuple[str, str]]] = Counter()
        self._router = router
        self._answer_within_s = answer_within_s
        self._round = 0
        self._unanswered: dict[Digest, asyncio.Future[str | None]] = {}

    async def keep(self, every_s: float) -> None:
        """Probe every `every_s` seconds until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.probe()

    async def probe(self) -> None:
        """Ask every model that is loaded the next one of its probes, one after the other."""
        wrong: dict[Digest, str] = {}
        for route in tuple(self._router.table.values()):
            for model in served(route):
                if model.probes is None or not model.probes.requests:
                    continue
                reason = await self._ask(model, model.probes)
                self.results[route.model, "right" if reason is None else "wrong"] += 1
                self._say(route.model, model.digest, reason)
                if reason is not None:
                    wrong[model.digest] = reason
                    if _is_stood_in_for(route, model):
                        model.breaker.rest(REST_S)
        self.wrong = wrong
        self._unanswered = {digest: asked for digest, asked in self._unanswered.items() if digest in wrong}
        self._round += 1

    async def _ask(self, model: ServedModel, probes: ProbeSet) -> str | None:
        """Return why the probe did not hold, or None."""
        asked = self._unanswered.get(model.digest)
        if asked is None:  # else the last one still runs, and another would only take a thread more
            asked = _in_thread(model, probes, probes.requests[self._round % len(probes.requests)])
        await asyncio.wait((asked,), timeout=self._answer_within_s)
        if not asked.done():
            self._unanswered[model.digest] = asked
            return f"a self-probe has no answer after {self._answer_within_s:g} s"
        self._unanswered.pop(model.digest, None)
        return asked.result()

    def _say(self, model: str, digest: Digest, reason: str | None) -> None:
        before = self.wrong.get(digest)
        if reason is not None and before is None:
            logger.error("model %s: bundle %s answers wrong: %s", model, digest, reason)
        elif reason is None and before is not None:
            logger.warning("model %s: bundle %s answers right again", model, digest)


def _in_thread(model: ServedModel, probes: ProbeSet, probe: ProbeRequest) -> asyncio.Future[str | None]:
    """Ask in a thread that nobody waits for at the end: a model that hangs must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def settle(reason: str | None) -> None:
        if not answer.done():
            answer.set_result(reason)

    def ask() -> None:
        reason = None
        try:
            check_probe(model, probes, probe)
        except IntegrityError as wrong:
            reason = wrong.message
        except Exception as broken:  # noqa: BLE001 - whatever else the data plane raises is as bad as a wrong answer
            reason = f"probe {probe.name}: {broken!r}"
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(settle, reason)

    threading.Thread(target=ask, name="self-probe", daemon=True).start()
    return answer


def _is_stood_in_for(route: Route, model: ServedModel) -> bool:
    """Tell whether another arm answers while this model rests: the last one left answers as it can."""
    return any(arm.model is model and route.fallback(arm) for arm in route.arms)


def served(route: Route) -> Iterable[ServedModel]:
    """Return every model in memory that requests or copies of them may reach, each once."""
    arms = (*route.arms, *(() if route.previous is None else (route.previous,)))
    models = (*(arm.model for arm in arms), *(shadow.model for shadow in route.shadows))
    return {model.digest: model for model in models}.values()
