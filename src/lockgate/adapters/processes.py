"""Operating system processes: who they are, which ports they hold, and how a whole family of them is ended.

A process is named by its id *and* its start time, because ids are used again. Everything a stack starts carries the
stack's folder in its environment (`MARK`), so that what outlives its supervisor is still known as the stack's own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

MARK = "LOCKGATE_STACK"
"""Environment variable that every process of a stack inherits; its value is the stack's folder."""

_SAME_START_S = 1.0  # start times are read in clock ticks and rounded differently from boot to boot
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One process, not mistaken for a later one with the same id.

    Attributes:
        pid: Its id.
        started: When it started, seconds since the epoch.
    """

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Return the identity of a living process; None when there is none with this id."""
        try:
            return cls(pid=pid, started=psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        return _living(self) is not None


def _living(identity: Identity) -> psutil.Process | None:
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.started) < _SAME_START_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def port_is_free(host: str, port: int) -> bool:
    """Tell whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT holds no port
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def who_holds(port: int) -> str:
    """Name the process that listens on a port, as far as this user may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return "a process that this user may not see"
    for each in connections:
        listens = each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
        if listens and each.pid is not None:
            try:
                return f"process {each.pid} ({psutil.Process(each.pid).name()})"
            except psutil.Error:
                break
    return "a process that this user may not see"


def marked(folder: Path) -> tuple[Identity, ...]:
    """Return the living processes that a stack started, and their descendants; never this process or its ancestors."""
    ours = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    found: dict[int, Identity] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid in ours or process.environ().get(MARK) != str(folder):
                continue
            for each in (process, *process.children(recursive=True)):
                _add(found, each)
    return tuple(each for pid, each in found.items() if pid not in ours)


def _add(found: dict[int, Identity], process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            found[process.pid] = Identity(pid=process.pid, started=process.create_time())


def group_lives(group: int) -> bool:
    """Tell whether a process group has a member that is not a zombie."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to every process of a group; nothing happens when there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end(identities: Iterable[Identity], *, grace_s: float) -> int:
    """End processes: SIGTERM, then SIGKILL to what is left after the grace.

    Returns:
        How many were alive when asked.
    """
    alive = [process for each in identities if (process := _living(each)) is not None]
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    left = _wait_gone(alive, grace_s)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _wait_gone(left, 5.0)
    return len(alive)


def _wait_gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    deadline = time.monotonic() + within_s
    while True:
        processes = [each for each in processes if _still_runs(each)]
        if not processes or time.monotonic() >= deadline:
            return processes
        time.sleep(0.05)


def _still_runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def memory_bytes(identities: Iterable[Identity]) -> Mapping[int, int]:
    """Return the proportional set size of processes and all their descendants, in bytes by pid.

    Shared pages are divided among those that share them, so the sum is what the processes really cost. Where the
    system has no such figure, it is the resident size.
    """
    sizes: dict[int, int] = {}
    for identity in identities:
        root = _living(identity)
        if root is None:
            continue
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                full = process.memory_full_info()
                sizes[process.pid] = int(getattr(full, "pss", full.rss))
    return sizes
