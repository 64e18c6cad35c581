"""Asking production all through a test, so that one unanswered request shows."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from tests.e2e.stack import LOOK_S, Stack


@dataclass
class Poller:
    """Asks production again and again, and keeps what it answered.

    Attributes:
        answers: The bundle that answered, by its digest.
        asked_at: When that answer was asked for, seconds since the epoch.
        failures: What was no answer.
    """

    answers: list[str] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextlib.contextmanager
def polling(stack: Stack, model: str) -> Iterator[Poller]:
    """Ask production for predictions all through a block, about ten times a second."""
    seen, stop = Poller(), threading.Event()

    def poll() -> None:
        while not stop.wait(LOOK_S):
            now = time.time()
            try:
                answer = stack.ask(model)
            except httpx.HTTPError as failed:
                seen.failures.append(f"{time.strftime('%H:%M:%S')} {failed!r}")
                continue
            if answer.status_code == httpx.codes.OK:
                seen.answers.append(answer.headers["x-lockgate-release-digest"])
                seen.asked_at.append(now)
            else:
                seen.failures.append(f"{time.strftime('%H:%M:%S')} {answer.status_code} {answer.text[:200]}")

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(timeout=60)
