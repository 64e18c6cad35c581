"""Asks a server a few requests a second while a fault is rehearsed, and counts those that were lost.

Open loop: each request starts when it is due, on a connection of its own, whatever became of those before it; so a
server that stalls or ends loses every request that was due meanwhile, and every worker is met.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from lockgate.adapters.http_probe import HttpClient
from lockgate.core.contract import ModelContract, ProbeSet
from lockgate.core.ids import Digest
from lockgate.core.wire import Answer, Call, infer_call
from lockgate.errors import LockgateError

RPS: Final = 8.0  # ours: 80 requests in ten seconds show a loss of 4 % of them nineteen times in twenty
TIMEOUT_S: Final = 2.0  # ours: as long as a server lets one run take; who waits longer has no answer


class DrillProber:
    """Asks in the background for the length of a block.

    Attributes:
        asked: Requests that were due so far.
        lost: Those without an answer, with an error, or with the answer of a bundle that nobody should see.
        problems: What was wrong, each kind once.
    """

    def __init__(
        self, url: str, contract: ModelContract, probes: ProbeSet, allowed: Collection[Digest], *, rps: float = RPS
    ) -> None:
        """Take the requests; nothing is sent yet.

        Args:
            url: The server's data port.
            contract: What it takes.
            probes: Requests that the faulty copy answers as the champion does.
            allowed: The bundles whose answers a caller may see.
            rps: Requests a second.
        """
        self.asked = 0
        self.lost = 0
        self.problems: list[str] = []
        self._url, self._allowed, self._period_s = url, frozenset(allowed), 1.0 / rps
        self._calls = itertools.cycle([infer_call(contract, [probe.row]) for probe in probes.requests])
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._open: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._ask_on, name="drill prober", daemon=True)

    def __enter__(self) -> Self:
        """Begin to ask."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop asking, and wait for the answers that are still due."""
        self._over.set()
        self._thread.join()
        for each in self._open:
            each.join()

    def _ask_on(self) -> None:
        due = time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            self.asked += 1
            request = threading.Thread(target=self._ask, args=(next(self._calls),), daemon=True)
            request.start()
            self._open = [*(each for each in self._open if each.is_alive()), request]
            due += self._period_s

    def _ask(self, call: Call) -> None:
        try:
            with HttpClient(self._url, timeout_s=TIMEOUT_S) as client:
                problem = self._problem(client.send(call))
        except LockgateError as silent:
            problem = silent.message
        if problem is not None:
            with self._lock:
                self.lost += 1
                if problem not in self.problems:
                    self.problems.append(problem)

    def _problem(self, answer: Answer) -> str | None:
        if answer.status != 200:
            return f"status {answer.status}"
        return None if answer.digest in self._allowed else f"answered by bundle {str(answer.digest)[:12]}"
