"""Server processes: started on one core, awaited, their CPU time and memory read from /proc, ended by their own ids."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVER_CPU, CLIENT_CPU = 0, 1
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Unusable(Exception):
    """This machine cannot be measured on, or a server did not come up; says why and what to do."""


def check_machine() -> None:
    """Refuse a machine on which the figures would mean nothing.

    Raises:
        Unusable: No Linux /proc, fewer than two cores, or a tool is not there.
    """
    if not Path("/proc/self/smaps_rollup").exists():
        raise Unusable("the benchmark reads CPU time and memory from Linux's /proc, which is not here")
    if not {SERVER_CPU, CLIENT_CPU} <= os.sched_getaffinity(0):
        raise Unusable("the benchmark needs cores 0 and 1: one for the server, one for the client")
    for tool, package in (("wrk", "wrk"), ("taskset", "util-linux")):
        if shutil.which(tool) is None:
            raise Unusable(f"{tool} is not installed: `apt-get install {package}` on Debian and Ubuntu")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Running:
    """A server that answers.

    Attributes:
        process: Its root process.
        port: Where it answers.
        log: What it wrote.
        ready_s: From exec until it said, or first answered, that it is ready.
        facts: What its starter found out.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    ready_s: float
    facts: dict[str, Any] = field(default_factory=dict)

    def pids(self) -> list[int]:
        """Return its processes, the root first."""
        return tree(self.process.pid)

    def cpu_s(self) -> float:
        """Return user and system time of its processes, ended children included."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / _TICKS

    def pss_bytes(self) -> int:
        """Return the proportional set size of its processes."""
        return sum(_pss(pid) for pid in self.pids())

    def threads(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.pids())  # noqa: PTH208 - names are enough

    def check_alive(self) -> None:
        if self.process.poll() is not None:
            raise Unusable(f"the server ended with {self.process.returncode}:\n{tail(self.log)}")


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - hundreds of entries; names are enough
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat after the name, which may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_ticks(pid: int) -> int:
    try:
        return sum(map(int, _stat(pid)[11:15]))  # utime, stime, cutime, cstime
    except OSError:
        return 0


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environ: Mapping[str, str],
    ready: Callable[[Path], int | None],
    cpu: int = SERVER_CPU,
) -> Iterator[Running]:
    """Run a server on one core for the length of a block.

    Args:
        command: The program and its arguments.
        folder: Its working folder; its output goes to a file in it.
        environ: Added to the environment.
        ready: Called again and again with the output file; returns the port once the server answers.
        cpu: The core.

    Raises:
        Unusable: It ended, or was not ready in time; with its last lines.
    """
    log = folder / "output.log"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | environ
    with log.open("wb") as out:
        began = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        while (port := ready(log)) is None:
            if process.poll() is not None:
                raise Unusable(f"{command[0]} ended with {process.returncode}:\n{tail(log)}")
            if time.perf_counter() - began > START_TIMEOUT_S:
                raise Unusable(f"{command[0]} was not ready in {START_TIMEOUT_S:g} s:\n{tail(log)}")
            time.sleep(0.002)
        yield Running(process, port, log, time.perf_counter() - began)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it started; the group is its own, see `start_new_session`."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(port: int, path: str) -> Callable[[Path], int | None]:
    """Return a readiness check: GET `path` is answered with 200."""

    def ready(log: Path) -> int | None:
        del log
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", path)
            return port if connection.getresponse().status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    return ready


def says_ready(log: Path) -> int | None:
    """Readiness check of our server: its ready line, which also names the port."""
    line = ready_line(log)
    return None if line is None else int(line["port"])


def ready_line(log: Path) -> Mapping[str, Any] | None:
    for text in log.read_bytes().splitlines():
        if b'"ready"' in text:
            with contextlib.suppress(ValueError):
                line = json.loads(text)
                if line.get("event") == "ready":
                    return dict(line)
    return None
