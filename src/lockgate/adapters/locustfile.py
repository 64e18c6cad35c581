"""Locust's part of a load test: a few users who follow the plan, each at an even pace.

Run by `load_test.py` as `python -m locust -f locustfile.py --headless` in a process of its own, because importing
locust patches sockets and threads of the whole process. No other module may import locust, and nothing may import this.
"""

from __future__ import annotations

import os
import time
from itertools import count, cycle
from pathlib import Path
from typing import ClassVar

from locust import FastHttpUser, LoadTestShape, events, task
from locust.env import Environment

from lockgate.adapters.load_plan import read_plan
from lockgate.core.load import window_at
from lockgate.core.load_summary import LOCUST
from lockgate.core.wire import DIGEST_HEADER

USERS = 8  # ours: at a latency of 100 ms they still send 80 requests a second
PLAN = read_plan(Path(os.environ["LOCKGATE_LOAD_PLAN"]))
NUMBER = {window: index for index, window in enumerate(PLAN.windows)}
END_S = PLAN.windows[-1].end_s
samples: list[tuple[int, float, float, float, str | None]] = []


class Start:
    """The common start, given once every user is warm."""

    at: ClassVar[float | None] = None
    warm: ClassVar[int] = 0

    @classmethod
    def await_it(cls) -> float:
        """Wait until every user is here, then for the start; the last user asks, the others look."""
        cls.warm += 1
        if cls.warm == USERS:
            cls.at = PLAN.await_start(LOCUST)
        while cls.at is None:
            time.sleep(0.01)  # gevent's: the other users run meanwhile
        return cls.at


class WholePlan(LoadTestShape):
    """All users from the beginning; over when the plan is."""

    def tick(self) -> tuple[int, float] | None:
        """Return the users wanted, None to end the test."""
        over = Start.at is not None and time.monotonic() > Start.at + END_S
        return None if over else (USERS, USERS)


class Caller(FastHttpUser):
    """One user: asks the arm whose window it is, at an even pace, and waits for each answer (closed loop)."""

    host = "http://127.0.0.1"  # every request names its own server; Locust wants one
    network_timeout = PLAN.timeout_s
    connection_timeout = PLAN.timeout_s
    _numbers = count()

    def on_start(self) -> None:
        """Open a connection to each arm, because the first request on one takes tens of milliseconds; then wait."""
        self._bodies = {name: cycle(arm.bodies) for name, arm in PLAN.arms.items()}
        for _ in range(2):
            for name in PLAN.arms:
                self._ask(name, "warm-up", None)
        self._offset = next(self._numbers) / USERS
        self._start = Start.await_it()
        self._due = self._start + self._offset * self._pace(0.0)
        time.sleep(max(self._due - time.monotonic(), 0.0))

    def wait_time(self) -> float:
        """Return how long to wait for the next turn; a user that fell behind does not catch up."""
        now = time.monotonic()
        self._due = max(self._due + self._pace(self._due - self._start), now)
        return self._due - now

    def _pace(self, at_s: float) -> float:
        """Return the seconds between two requests of one user."""
        window = window_at(PLAN.windows, at_s) or PLAN.windows[-1]
        return USERS / (window.rate_rps * PLAN.shares[LOCUST])

    @task
    def ask(self) -> None:
        """Ask the arm whose turn it is."""
        at_s = time.monotonic() - self._start
        window = window_at(PLAN.windows, max(at_s, 0.0))
        if window is not None and not window.searches:  # there the open loop sends alone
            self._ask(window.arm, f"{window.arm} {window.phase}", (NUMBER[window], at_s))

    def _ask(self, name: str, label: str, place: tuple[int, float] | None) -> None:
        arm = PLAN.arms[name]
        began = time.perf_counter()
        with self.client.post(
            f"http://{arm.host}:{arm.port}{arm.path}",
            data=next(self._bodies[name]),
            headers={"Content-Type": "application/json"},
            name=label,
            catch_response=True,
        ) as response:
            taken_ms = (time.perf_counter() - began) * 1000
            error = None if response.status_code == 200 else f"status {response.status_code}"
            if error is None and response.headers.get(DIGEST_HEADER) != arm.digest:
                error = f"answered by {response.headers.get(DIGEST_HEADER)}"
            if error is not None:
                response.failure(error)
        if place is not None:
            samples.append((*place, taken_ms, 0.0, error))


@events.quitting.add_listener  # type: ignore[untyped-decorator]  # locust does not annotate its hooks
def keep_samples(environment: Environment, **_: object) -> None:
    """Write what was measured when the test is over."""
    del environment
    PLAN.write_samples(LOCUST, samples)
