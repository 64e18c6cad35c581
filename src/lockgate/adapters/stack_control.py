"""Putting a stack up, taking it down, and looking at it: what `lockgate up`, `down` and `status` do.

`up` ends what an earlier supervisor that was killed left behind, checks the ports, starts the supervisor as a session
of its own and waits until everything is ready. `down` ends the supervisor, which ends everything in reverse order,
then looks for what is left. Both may be repeated.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lockgate.adapters.process_log import ProcessLog
from lockgate.adapters.processes import MARK, end, marked, port_is_free, who_holds
from lockgate.adapters.stack import inherited
from lockgate.adapters.stack_state import (
    Plan,
    ProcessState,
    Running,
    Status,
    forget_status,
    locked,
    read_plan,
    read_status,
    write_plan,
)
from lockgate.errors import BadInput, NotRunning

_LOOK_EVERY_S = 0.1
_STRAY_GRACE_S = 5.0

Tell = Callable[[Running], None]
"""Called with each process whose state changed, while one waits."""


def current(folder: Path) -> Status | None:
    """Return the status of the living supervisor of a folder; None when there is none."""
    status = read_status(folder)
    return status if status is not None and status.supervisor.alive else None


def up(folder: Path, plan: Plan, *, within_s: float, tell: Tell | None = None) -> Status:
    """Start the plan, unless it is up, and wait until everything is ready.

    Args:
        folder: The stack's folder.
        plan: What should run.
        within_s: How long to wait.
        tell: Called with each process whose state changed.

    Raises:
        BadInput: A port is taken, or a stack with other settings is up.
        NotRunning: Something did not become ready; the others stay up.
    """
    with _alone(folder):
        status = current(folder)
        if status is None or status.stopping:
            _start(folder, plan)
        elif status.plan != plan.digest:
            raise _other_plan(folder, plan)
        return _await_ready(folder, time.monotonic() + within_s, tell or (lambda _: None))


def down(folder: Path, *, tell: Tell | None = None) -> int:
    """End everything that was started from this folder, and return how many processes there were.

    Safe to repeat; what a killed supervisor left behind is ended too.
    """
    with _alone(folder):
        status = current(folder)
        known = 0
        if status is not None:
            known = len(status.identities)
            with suppress(ProcessLookupError):
                os.kill(status.supervisor.pid, signal.SIGTERM)
            _await_gone(folder, status, tell or (lambda _: None))
        return known + _end_leftovers(folder)


def _start(folder: Path, plan: Plan) -> None:
    _end_leftovers(folder)
    _refuse_taken_ports(plan)
    write_plan(folder, plan)
    log = ProcessLog(Path(plan.logs) / "supervisor.log")
    log.rotate()
    with log.open() as output:
        # Not waited for: it belongs to no shell, and ends when it is told to.
        started = subprocess.Popen(
            [sys.executable, "-m", "lockgate.adapters.supervisor", str(folder)],
            env={**inherited(os.environ), **_supervisor_environment(plan), MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while current(folder) is None:
        if started.poll() is not None:
            raise NotRunning(f"the supervisor ended at once; its last words:\n{log.tail(15)}", log=str(log.path))
        time.sleep(_LOOK_EVERY_S)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it is meant to outlive us
        del started


def _other_plan(folder: Path, plan: Plan) -> BadInput:
    running = {each.name: each for each in read_plan(folder).processes}
    differ = [each.name for each in plan.processes if running.pop(each.name, None) != each]
    names = ", ".join([*differ, *running]) or "its logs"
    return BadInput(
        f"a stack with other settings is up in this home ({names} would differ); run lockgate down first",
        home=str(folder),
    )


def _supervisor_environment(plan: Plan) -> dict[str, str]:
    """Return how the supervisor finds this program: as every process of the plan does."""
    names = ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
    given = plan.processes[0].env if plan.processes else {}
    return {name: given[name] for name in names if name in given}


def _await_ready(folder: Path, deadline: float, tell: Tell) -> Status:
    told: dict[str, Running] = {}
    while True:
        status = current(folder)
        if status is None:
            raise NotRunning("the supervisor is gone; look into supervisor.log, then run lockgate up again")
        _tell_changes(status, told, tell)
        if status.ready:
            return status
        lost = [each for each in status.processes if each.state is ProcessState.FAILING]
        settled = all(each.state in (ProcessState.READY, ProcessState.FAILING) for each in status.processes)
        if time.monotonic() >= deadline or (lost and settled):
            raise _not_ready(status)
        time.sleep(_LOOK_EVERY_S)


def _not_ready(status: Status) -> NotRunning:
    late = [each for each in status.processes if each.state is not ProcessState.READY]
    words = [f"{each.name} is {each.state}: {each.reason or 'not ready yet'}" for each in late]
    tail = ProcessLog(Path(late[0].log)).tail(8) if late else ""
    hint = "the others stay up; lockgate status shows how it goes on"
    return NotRunning(f"{'; '.join(words)}\n{tail}\n{hint}", processes=[each.name for each in late])


def _await_gone(folder: Path, status: Status, tell: Tell) -> None:
    patience = 90.0  # longer than any process of the plan may take, one after the other
    deadline = time.monotonic() + patience
    told = {each.name: each for each in status.processes}
    while status.supervisor.alive and time.monotonic() < deadline:
        latest = read_status(folder)
        if latest is not None:
            _tell_changes(latest, told, tell)
        time.sleep(_LOOK_EVERY_S)


def _tell_changes(status: Status, told: dict[str, Running], tell: Tell) -> None:
    for each in status.processes:
        before = told.get(each.name)
        if before is None or before.state is not each.state or before.restarts != each.restarts:
            told[each.name] = each
            tell(each)


def _end_leftovers(folder: Path) -> int:
    """End what is still there of a stack without a supervisor: by the recorded ids and start times, and by the mark."""
    status = read_status(folder)
    recorded = () if status is None else status.identities
    found = {each.pid: each for each in (*recorded, *marked(folder))}
    ended = end(found.values(), grace_s=_STRAY_GRACE_S)
    forget_status(folder)
    return ended


def _refuse_taken_ports(plan: Plan) -> None:
    for process in plan.processes:
        host = process.env.get("LOCKGATE_HOST", "127.0.0.1")
        for variable, port in process.ports.items():
            if not port_is_free(host, port):
                raise BadInput(
                    f"port {port} for {process.name} is taken by {who_holds(port)}; "
                    f"end that, or set {variable} to a free port",
                    process=process.name,
                    port=port,
                    variable=variable,
                )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for another `up` or `down` of this folder to finish."""
    with locked(folder / "command.lock", wait=True):
        yield


def make_token(path: Path) -> None:
    """Make a token the servers ask for, unless it is there: 256 random bits, readable by its owner alone."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - needs the mode
        file.write(secrets.token_urlsafe(32))
    draft.replace(path)
