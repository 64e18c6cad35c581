"""A real server process for tests: free ports, temporary state, ended by its own id."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from tests.bundles import make_bundle, make_keys

T = TypeVar("T")
TOKEN = "a-token-of-tests"
SOURCE = Path(__file__).parent.parent / "src"
ENDS_WITHIN_S = 60.0  # ours: a stop takes a second; a machine with much else to do takes tens of them
# of a server: what a caller is let wait for, or waits with, that a crowded machine keeps still
PATIENT = ("--header-timeout-s", "60", "--read-timeout-s", "60", "--stop-timeout-s", "60")
ROW = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, which is what servers ask of tokens."""
    path.touch(mode=0o600)
    path.write_text(text)


@dataclass
class World:
    """A bundle store, keys and a state folder that servers are started on."""

    root: Path

    def __post_init__(self) -> None:
        self.store.mkdir(parents=True)
        make_keys(self.root / "keys")
        write_secret(self.root / "token", f"{TOKEN}\n")

    @property
    def store(self) -> Path:
        return self.root / "bundles"

    @property
    def state(self) -> Path:
        return self.root / "state"

    def bundle(self, **how: Any) -> str:
        """Make a bundle in the store, see `make_bundle`."""
        return make_bundle(self.store, key_dir=self.root / "keys", **how)

    def options(self, *more: str) -> list[str]:
        return [
            *("--environment", "sandbox", "--bundles", str(self.store), "--state", str(self.state)),
            *("--public-key", str(self.root / "keys" / "signing.pub")),
            *("--admin-token-file", str(self.root / "token"), "--port", "0", "--admin-port", "0", *more),
        ]


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    client: httpx.Client = field(init=False)
    admin: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append(json.loads(text))
            if self.lines[-1].get("event") == "ready":
                break
        else:
            raise AssertionError(f"the server ended with {self.process.wait()}: {self.lines}")
        self.port, self.admin_port = self.lines[-1]["port"], self.lines[-1]["admin_port"]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        self.admin = httpx.Client(base_url=f"http://127.0.0.1:{self.admin_port}", headers=bearer, timeout=30)

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.lines.extend(json.loads(text) for text in self.process.stderr)

    def route(self, sequence: int, champion: str, previous: str | None = None, model: str = "toy") -> httpx.Response:
        body = {"sequence": sequence, "champion": champion, "previous": previous}
        return self.admin.put(f"/admin/routing/{model}", json=body)

    def ask(self, row: dict[str, Any] | None = None) -> httpx.Response:
        return self.client.post("/invocations", json={"dataframe_records": [row or ROW]})

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry these labels, asked over a connection of its own."""
        with httpx.Client(timeout=30, trust_env=False) as client:
            page = client.get(f"http://127.0.0.1:{self.port}/metrics").text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that live, in the order of their numbers.

        The parent has other children, too: the archive's process comes and goes with what there is to archive.
        """
        found: list[tuple[int, psutil.Process]] = []
        for each in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
                command = each.cmdline()
                if "lockgate.serving.fleet.worker" in command:
                    found.append((int(command[-1]), each))
        return [each for _, each in sorted(found, key=lambda one: one[0])]

    def accepts(self) -> bool:
        """Tell whether the data port takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=30).close()
        except ConnectionError:
            return False
        return True

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.client.close()
        self.admin.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=ENDS_WITHIN_S)
        self._reader.join(timeout=ENDS_WITHIN_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def until(true: Callable[[], T], within_s: float = 60.0) -> T:
    """Return what `true` returns once it is true; the end is for what never comes, not for what comes late."""
    deadline = time.monotonic() + within_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"still not so after {within_s:g} s: {true}"
        time.sleep(0.02)
    return found


def spawn(options: list[str]) -> subprocess.Popen[str]:
    """Start a server process, its log on stderr."""
    path = os.pathsep.join(filter(None, (str(SOURCE), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "lockgate.serving", *options],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serving(world: World, *more: str) -> Iterator[Server]:
    """Run a server for the length of a block."""
    process = spawn(world.options(*more))
    try:
        server = Server(process)
        try:
            yield server
        finally:
            server.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
