"""One supervised process: started when it may, watched until it is ready, started again when it dies.

Only the supervisor's loop calls it. Health is asked in a thread of its own, so that a slow answer of one process
holds up no other.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lockgate.adapters.health import is_ready
from lockgate.adapters.process_log import ProcessLog
from lockgate.adapters.processes import Identity, group_lives, signal_group
from lockgate.adapters.stack_state import Process, ProcessState, Running

_HEALTH_EVERY_S = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When to try again, and when to call it a loop.

    Attributes:
        first_s: Pause before the first restart; doubles with each that follows.
        longest_s: Pause at most.
        loop: This many deaths ...
        window_s: ... in this time are a restart loop.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    loop: int = 5
    window_s: float = 120.0


class Child:
    """One process of the plan, and all its lives."""

    def __init__(self, plan: Process, logs: Path, environment: Mapping[str, str], patience: Patience) -> None:
        self.plan = plan
        self._environment = {**environment, **plan.env}
        self._patience = patience
        self._log = ProcessLog(logs / f"{plan.name}.log")
        self._life: _Life | None = None
        self._next_try = 0.0
        self._deaths: deque[float] = deque()
        self._stop_asked: float | None = None
        self.running = Running(
            name=plan.name,
            state=ProcessState.WAITING,
            identity=None,
            since=time.time(),
            restarts=0,
            reason=f"waits for {', '.join(plan.after)}" if plan.after else "",
            log=str(self._log.path),
            url=plan.url,
        )

    @property
    def ready(self) -> bool:
        """Whether it is."""
        return self.running.state is ProcessState.READY

    @property
    def group(self) -> int | None:
        """Its process group; None when it does not run."""
        return None if self._life is None else self._life.group

    def follow(self, *, may_start: bool) -> None:
        """Take the next step, if one is due.

        Args:
            may_start: Whether everything it follows is ready.
        """
        self._log.rotate_if_due()
        if self._life is None:
            if may_start and time.monotonic() >= self._next_try:
                self._start()
            return
        code = self._life.exit_code()
        if code is not None:
            self._died(self._life, f"ended with {_in_words(code)}")
        elif self._life.healthy.is_set():
            self._enter(ProcessState.READY, self._life.identity)
        elif self._life.age_s > self.plan.ready_within_s:
            self._died(self._life, f"was not ready after {self.plan.ready_within_s:.0f} s")

    def is_ended(self) -> bool:
        """Ask it to end, harder with time, and tell whether all of its group is gone."""
        life = self._life
        if life is not None:
            if self._stop_asked is None:
                self._stop_asked = time.monotonic()
                life.cancelled.set()
                signal_group(life.group, signal.SIGTERM)
            if time.monotonic() - self._stop_asked > self.plan.grace_s:
                signal_group(life.group, signal.SIGKILL)
            if life.exit_code() is None or group_lives(life.group):
                return False
        self._life = None
        self._enter(ProcessState.STOPPED, None)
        return True

    def _start(self) -> None:
        try:
            self._log.note(f"lockgate starts {self.plan.name}")
            self._life = _Life(self.plan, self._environment, self._log)
        except OSError as refused:
            self._try_again(f"could not be started: {refused}")
            return
        looping = self.running.state is ProcessState.FAILING  # until it is ready again
        state = ProcessState.FAILING if looping else ProcessState.STARTING
        self._enter(state, self._life.identity, reason=self.running.reason if looping else "")

    def _died(self, life: _Life, how: str) -> None:
        life.cancelled.set()
        if life.exit_code() is None or not self.plan.outlived:
            signal_group(life.group, signal.SIGKILL)
            life.reap()
        self._life = None
        self._try_again(how)

    def _try_again(self, how: str) -> None:
        now = time.monotonic()
        while self._deaths and now - self._deaths[0] > self._patience.window_s:
            self._deaths.popleft()
        self._deaths.append(now)
        pause = min(self._patience.longest_s, self._patience.first_s * 2.0 ** (len(self._deaths) - 1))
        self._next_try = now + pause
        reason = f"{how}; its last words are in {self._log.path}"
        state = ProcessState.RESTARTING
        if len(self._deaths) >= self._patience.loop:
            state = ProcessState.FAILING
            reason = f"died {len(self._deaths)} times in {self._patience.window_s:.0f} s; {reason}"
        self.running = replace(self.running, restarts=self.running.restarts + 1)
        self._enter(state, None, reason=reason)

    def _enter(self, state: ProcessState, identity: Identity | None, *, reason: str = "") -> None:
        since = self.running.since if state is self.running.state else time.time()
        self.running = replace(self.running, state=state, identity=identity, since=since, reason=reason)


class _Life:
    """One started process, leader of a session of its own, and the thread that asks for its health."""

    def __init__(self, plan: Process, environment: Mapping[str, str], log: ProcessLog) -> None:
        with log.open() as output:
            self._popen = subprocess.Popen(
                plan.argv,
                cwd=plan.cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._began = time.monotonic()
        self.group = self._popen.pid
        self.identity = Identity.of(self.group) or Identity(pid=self.group, started=time.time())
        self.healthy = threading.Event()
        self.cancelled = threading.Event()
        threading.Thread(target=self._ask, args=(plan,), daemon=True).start()

    @property
    def age_s(self) -> float:
        """For how long it has run."""
        return time.monotonic() - self._began

    def exit_code(self) -> int | None:
        """Return how it ended; None while it runs."""
        return self._popen.poll()

    def reap(self) -> None:
        """Collect a process that was killed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=5.0)

    def _ask(self, plan: Process) -> None:
        while not self.cancelled.is_set():
            if is_ready(plan.health, started=self.identity.started, age_s=self.age_s):
                self.healthy.set()
                return
            self.cancelled.wait(_HEALTH_EVERY_S)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
