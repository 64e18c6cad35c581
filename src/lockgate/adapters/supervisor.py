"""The supervisor of the local stack: starts what the plan names, restarts what dies, ends everything when told.

    python -m lockgate.adapters.supervisor <home>/stack

    plan.json ─> waiting ─ what it follows is ready ─> starting ─ healthy ─> ready
                              ^                            └──── died, or not ready in time ────┘
                              └─ after a pause, longer each time ── restarting, or failing in a restart loop

It keeps no process alive that the plan does not name, and it never touches one it did not start. A process that
cannot be kept up is reported (`failing`) and tried on, and the others stay up. When the supervisor itself is killed,
its processes go on; the next `lockgate up` or `lockgate down` finds and ends them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from lockgate.adapters.child import Child, Patience
from lockgate.adapters.processes import MARK, Identity, end, marked
from lockgate.adapters.stack_state import Plan, ProcessState, Status, locked, read_plan, write_status

_TICK_S = 0.1


class Supervisor:
    """Keeps one plan up until it is told to stop."""

    def __init__(self, folder: Path, plan: Plan, patience: Patience | None = None) -> None:
        self._folder = folder
        self._plan = plan
        patience = patience or Patience()
        environment = {**os.environ, MARK: str(folder)}
        self._children = {each.name: Child(each, Path(plan.logs), environment, patience) for each in plan.processes}
        self._stopping = threading.Event()
        self._me = Identity.of(os.getpid()) or Identity(pid=os.getpid(), started=time.time())
        self._written: Status | None = None

    def stop(self) -> None:
        """Ask it to end the stack; `run` returns when everything is gone."""
        self._stopping.set()

    def run(self) -> None:
        """Keep the plan up until `stop`, then end it, dependants first."""
        self._report()
        while not self._stopping.is_set():
            for child in self._children.values():
                child.follow(may_start=all(self._children[name].ready for name in child.plan.after))
            self._report()
            self._stopping.wait(_TICK_S)
        self._end_all()

    def _end_all(self) -> None:
        self._end_strays()
        left = dict(self._children)
        while left:
            for name, child in tuple(left.items()):
                if any(name in other.plan.after for other in left.values()):
                    continue  # something that leans on it still runs
                if child.is_ended():
                    del left[name]
            self._report()
            time.sleep(_TICK_S)
        self._end_strays()

    def _end_strays(self) -> None:
        """End what was started from here and left its process group: flow runs of a worker that died, sandboxes."""
        mine = {child.group for child in self._children.values()}
        strays = [each for each in marked(self._folder) if _group_of(each.pid) not in mine]
        end(strays, grace_s=3.0)

    def _report(self) -> None:
        status = Status(
            supervisor=self._me,
            plan=self._plan.digest,
            stopping=self._stopping.is_set(),
            processes=tuple(child.running for child in self._children.values()),
        )
        if status == self._written:
            return
        with contextlib.suppress(OSError):  # a full disk must not end the supervisor; the next tick tries again
            write_status(self._folder, status)
            self._written = status

    @property
    def states(self) -> dict[str, ProcessState]:
        """Where each process stands."""
        return {name: child.running.state for name, child in self._children.items()}


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def main(arguments: Sequence[str]) -> int:
    """Supervise the plan in a folder until SIGTERM or SIGINT.

    Returns:
        0 when everything was ended; 1 when another supervisor holds the folder.
    """
    folder = Path(arguments[0])
    with locked(folder / "supervisor.lock", wait=False) as mine:
        if not mine:
            return 1
        supervisor = Supervisor(folder, read_plan(folder))
        # A handler, even for SIGINT that the parent ignored, is reset to the default in what is started from here:
        # a Prefect worker that ignores SIGINT never ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: supervisor.stop())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
