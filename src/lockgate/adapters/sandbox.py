"""The production server program, started alone with one bundle, limited, asked, and always stopped.

    __enter__              route(bundle)            send(call)...              stop()
    start ──> ready line ──> admin PUT: verify, load ──> queries answered ──> SIGTERM ──> exit code
      │ no ready line          │ 4xx: refused             │ no answer            │ no end in time
      v                        v                          v                      v
    SandboxError             an Answer: the            TransientError, and      SIGKILL; the code says so
    (sandbox is broken)      candidate's fault         `ended` tells a death

What happens before a bundle is routed cannot be the bundle's fault: it raises `SandboxError`. What happens after is
told as it is, and is the candidate's. The log is kept whatever happens, the state folder is not. Leaving the `with`
stops the server on every path. Not done here: judging, retrying, or repairing anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import lockgate
from lockgate.adapters.http_probe import HttpClient
from lockgate.adapters.process_memory import PeakWatch, resident_bytes
from lockgate.adapters.processes import MARK
from lockgate.adapters.tether import tethered
from lockgate.config import Settings
from lockgate.core.ids import Digest, ModelName
from lockgate.core.wire import Answer, Call
from lockgate.errors import SandboxError

SERVER = ("-m", "lockgate.serving")
"""How Python starts the production server."""
_LOOK_S = 0.01
_TAIL_BYTES = 4000
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", MARK)
# exec keeps the limits and leaves no second process behind; the limits hold before any of our code runs
_LAUNCHER = """
import os, resource, sys
data, cpu = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (data, data))
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sandboxed server may use, and how long it is waited for.

    Attributes:
        data_bytes: Private memory it may reserve (RLIMIT_DATA). A safety net well above the gate's threshold on the
            resident set, because threads reserve much that they never touch.
        cpu_s: CPU time it may use in all (RLIMIT_CPU).
        start_s: From its start to its ready line.
        load_s: The order to load a bundle.
        answer_s: Any other answer.
        stop_s: From SIGTERM to its end; then SIGKILL.
    """

    data_bytes: int = 4 * 1024**3
    cpu_s: int = 600
    start_s: float = 30.0
    load_s: float = 120.0
    answer_s: float = 10.0
    stop_s: float = 15.0


class Sandboxes:
    """Starts sandboxes for one release.

    Args:
        settings: Say where bundles and the public key lie; nothing else of them is used.
        folder: Where logs go.
        limits: What a server may use.
        program: How Python starts the server; another than the real one is for proving that the gates see its faults.
    """

    def __init__(
        self, settings: Settings, folder: Path, limits: Limits | None = None, *, program: tuple[str, ...] = SERVER
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._limits = limits or Limits()
        self._program = program

    def open(self, name: str) -> Sandbox:
        """Return a sandbox to be entered; its log is `<folder>/<name>.log`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return Sandbox(self._settings, self._folder / f"{name}.log", self._limits, program=self._program)


class Sandbox:
    """One sandboxed server; a context manager.

    Attributes:
        log: The server's own log.
        start_s: From its start to its ready line.
        pid: The server's process id, once entered.
        url: Its data port, once entered.
        admin_url: Its admin port, once entered.
        token_file: Holds its admin token, while it runs.
    """

    def __init__(self, settings: Settings, log: Path, limits: Limits, *, program: tuple[str, ...] = SERVER) -> None:
        self._program = program
        self.log = log
        self.start_s = 0.0
        self.pid = 0
        self.url = ""
        self.admin_url = ""
        self.token_file = Path()
        self._settings = settings
        self._limits = limits
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start the server and wait for its ready line.

        Raises:
            SandboxError: It did not start; holds the end of its log.
        """
        with contextlib.ExitStack() as opening:
            token = secrets.token_hex(16)
            self._process = self._start(opening, token)
            self.pid = self._process.pid
            opening.callback(self._kill)
            ports = self._await_ready()
            self.url = f"http://{self._settings.host}:{ports['port']}"
            self.admin_url = f"http://{self._settings.host}:{ports['admin_port']}"
            self._data = opening.enter_context(HttpClient(self.url, timeout_s=self._limits.answer_s))
            self._admin = opening.enter_context(HttpClient(self.admin_url, timeout_s=self._limits.load_s, token=token))
            self._memory = opening.enter_context(PeakWatch(self.pid))
            self._stack = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # -- what a stage does with it -----------------------------------------------------------------------------------

    def route(self, model: ModelName, bundle: Digest, *, sequence: int = 1) -> Answer:
        """Order the server to serve a bundle; returns its answer, 200 once it is loaded, verified and served.

        Raises:
            TransientError: No answer; see `ended`.
        """
        body = json.dumps({"sequence": sequence, "champion": bundle, "previous": None}).encode()
        return self._admin.send(Call(path=f"/admin/routing/{model}", method="PUT", body=body))

    def send(self, call: Call) -> Answer:
        """Send a request to the data port.

        Raises:
            TransientError: No answer; see `ended`.
        """
        return self._data.send(call)

    @property
    def ended(self) -> int | None:
        """The server's exit code, negative for a signal; None while it runs."""
        try:
            return self._process.wait(timeout=0.2)  # a socket closes shortly before its process is gone
        except subprocess.TimeoutExpired:
            return None

    def peak_rss_bytes(self) -> int:
        """Return the largest resident set since the start."""
        return self._memory.look()

    def rss_bytes(self) -> int:
        """Return the present resident set; 0 once the server is gone."""
        return resident_bytes(self.pid)

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        return _tail(self.log)

    def stop(self) -> int:
        """Ask the server to end (SIGTERM) and return its exit code; -9 when it had to be killed."""
        self._memory.look()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(self._limits.stop_s)
        self._kill()
        return self._process.wait()

    # -- starting and ending -----------------------------------------------------------------------------------------

    def _start(self, opening: contextlib.ExitStack, token: str) -> subprocess.Popen[bytes]:
        try:
            folder = Path(tempfile.mkdtemp(prefix="lockgate-sandbox-"))
            opening.callback(shutil.rmtree, folder, ignore_errors=True)
            self.token_file = folder / "admin.token"
            self.token_file.touch(mode=0o600)
            self.token_file.write_text(token)
            log = opening.enter_context(self.log.open("wb"))
            self._started = time.monotonic()
            return subprocess.Popen(
                self._command(folder),
                env=self._environment(folder),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as broken:
            raise SandboxError(f"the sandbox could not be started: {broken}; free the disk and try again") from broken

    def _command(self, folder: Path) -> list[str]:
        options = {
            "--environment": "sandbox",
            "--bundles": self._settings.bundles,
            "--public-key": self._settings.public_key,
            "--state": folder / "state",
            "--admin-token-file": self.token_file,
            "--host": self._settings.host,
            "--port": 0,
            "--admin-port": 0,
        }
        limits = [str(self._limits.data_bytes), str(self._limits.cpu_s)]
        server = [*self._program, *(str(each) for option in options.items() for each in option)]
        return tethered([sys.executable, "-S", "-c", _LAUNCHER, *limits, *server])

    @staticmethod
    def _environment(folder: Path) -> Mapping[str, str]:
        """Return what the server may know: no token, no key, no address of anything else."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        package = str(Path(lockgate.__file__).resolve().parents[1])
        return {**passed, "HOME": str(folder), "PYTHONPATH": package, "PYTHONUNBUFFERED": "1"}

    def _await_ready(self) -> Mapping[str, int]:
        while time.monotonic() - self._started < self._limits.start_s:
            if self._process.poll() is not None:
                raise self._broken(f"its server ended at once with code {self._process.returncode}")
            ready = _ready_line(self.log)
            if ready is not None:
                self.start_s = time.monotonic() - self._started
                return ready
            time.sleep(_LOOK_S)
        raise self._broken(f"its server was not ready after {self._limits.start_s:g} s")

    def _broken(self, what: str) -> SandboxError:
        tail = self.log_tail()
        return SandboxError(f"the sandbox broke before any bundle was loaded: {what}; its log ends:\n{tail}", log=tail)

    def _kill(self) -> None:
        """End the server and whatever it started, and wait for it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def _ready_line(log: Path) -> Mapping[str, int] | None:
    """Return the ports that the server's ready line names; None when it was not written yet."""
    for line in log.read_bytes().splitlines():
        if b'"ready"' in line:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                if told["event"] == "ready":
                    return {"port": int(told["port"]), "admin_port": int(told["admin_port"])}
    return None


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""
