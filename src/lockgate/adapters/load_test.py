"""Runs a load test: Locust, the open-loop generator and the echo server, each in a process of its own.

    echo server ──> generators start, connect, warm up ──> common start ──> plan ──> samples ──> every process ended

What a generator cannot do (start, finish in time, write its samples) is a `MeasurementError`, never a verdict about
the model. Kept in the folder: `plan.json`, both samples, Locust's own `locust.html` and `locust.json`, and the logs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import lockgate
from lockgate.adapters import load_plan
from lockgate.adapters.load_plan import Arm, LoadPlan
from lockgate.adapters.processes import MARK
from lockgate.adapters.tether import tethered
from lockgate.core.load import ECHO, STEADY, Window, histogram_between
from lockgate.core.load_summary import LOCUST, OPEN_LOOP, LoadRun, as_samples
from lockgate.core.load_witness import Between
from lockgate.core.memory_growth import Reading
from lockgate.core.wire import Call
from lockgate.errors import MeasurementError

SHARES: Mapping[str, float] = {OPEN_LOOP: 0.6, LOCUST: 0.4}
"""Each generator's part of the offered rate; ours: latency is judged on the open loop, so it gets the larger one."""
_READY_S = 60.0
_LEAD_S = 0.2
_GRACE_S = 20.0
_LOOK_S = 0.02
_MEMORY_LOOKS = 100  # ours: enough for a slope in a short test too; a look takes a tenth of a millisecond
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", MARK)


class LoadTester:
    """Runs load tests on this machine."""

    def __init__(self, folder: Path, host: str) -> None:
        """Take where plans, samples, reports and logs go, and the address of the servers."""
        self._folder = folder
        self._host = host

    def run(  # noqa: PLR0913, PLR0917 - a plan, whom it meets, and how to look at them
        self,
        windows: Sequence[Window],
        ports: Mapping[str, int],
        calls: Mapping[str, Sequence[Call]],
        digests: Mapping[str, str],
        histogram: Callable[[str], Mapping[float, float]],
        rss_bytes: Callable[[str], float] | None = None,
    ) -> LoadRun:
        """Carry out a plan and return every sample.

        Args:
            windows: From `core.load.plan`.
            ports: Each arm's data port.
            calls: What each arm is asked, in turn; all to one path.
            digests: The bundle that must answer, by arm.
            histogram: Reads an arm's own histogram; called at the edges of the steady phase.
            rss_bytes: Reads the memory of an arm's server; None where nobody can.

        Raises:
            MeasurementError: A generator did not start, did not end in time, or wrote no samples.
        """
        cpu_before = _children_cpu_s()
        with contextlib.ExitStack() as running:
            echo = running.enter_context(self._echo())
            arms = {name: self._arm(port, calls[name], digests[name]) for name, port in ports.items()}
            some = next(iter(arms.values()))
            arms[ECHO] = Arm(host=self._host, port=echo, path=some.path, bodies=some.bodies, digest=None)
            plan = LoadPlan(folder=self._clean_folder(), windows=tuple(windows), arms=arms, shares=SHARES)
            plan.write()
            generators = {name: running.enter_context(self._generator(name, plan)) for name in SHARES}
            self._await(generators, [plan.ready(name) for name in SHARES], "get ready", _READY_S)
            start = plan.give_start(_LEAD_S)
            watched = running.enter_context(_watched(plan, start, () if rss_bytes is None else tuple(ports), rss_bytes))
            histograms, between = _steady_histograms(windows, start, ports, histogram)
            over = start + windows[-1].end_s + plan.timeout_s + _GRACE_S - time.monotonic()
            self._await(generators, [plan.samples(name) for name in SHARES], "write its samples", over)
        samples = [each for name in SHARES for each in as_samples(name, json.loads(plan.samples(name).read_text()))]
        return LoadRun(
            windows=plan.windows,
            samples=tuple(samples),
            histograms=histograms,
            between=between,
            memory=watched,
            cpu_s=round(_children_cpu_s() - cpu_before, 3),
        )

    def _arm(self, port: int, calls: Sequence[Call], digest: str) -> Arm:
        bodies = tuple((call.body or b"").decode() for call in calls)
        return Arm(host=self._host, port=port, path=calls[0].path, bodies=bodies, digest=digest)

    def _clean_folder(self) -> Path:
        """Return the folder, without what an earlier run would make this one believe."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in (*self._folder.glob("*.ready"), *self._folder.glob("*.samples.json"), self._folder / "go"):
            old.unlink(missing_ok=True)
        return self._folder

    @contextlib.contextmanager
    def _echo(self) -> Iterator[int]:
        command = [sys.executable, "-m", "lockgate.adapters.echo_server", self._host]
        with self._process("echo", command, {}, stdout=subprocess.PIPE) as process:
            line = process.stdout.readline() if process.stdout else b""
            if not line.strip().isdigit():
                raise self._broken("echo", "name its port")
            yield int(line)

    @contextlib.contextmanager
    def _generator(self, name: str, plan: LoadPlan) -> Iterator[subprocess.Popen[bytes]]:
        command = {
            OPEN_LOOP: ["-m", "lockgate.adapters.open_loop", str(plan.path)],
            LOCUST: [
                *("-m", "locust", "-f", str(Path(load_plan.__file__).with_name("locustfile.py"))),
                *(
                    "--headless",
                    "--only-summary",
                    "--stop-timeout",
                    str(math.ceil(plan.timeout_s)),
                    "--exit-code-on-error",
                    "0",
                ),
                *("--html", str(self._folder / "locust.html"), "--json-file", str(self._folder / "locust")),
            ],
        }[name]
        environment = {"LOCKGATE_LOAD_PLAN": str(plan.path)}
        with self._process(name, [sys.executable, *command], environment) as process:
            yield process

    @contextlib.contextmanager
    def _process(
        self, name: str, command: Sequence[str], extra: Mapping[str, str], stdout: int | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        package = str(Path(lockgate.__file__).resolve().parents[1])
        environment = {**passed, "HOME": str(self._folder), "PYTHONPATH": package, **extra}
        with self._log(name).open("wb") as log:
            process = subprocess.Popen(
                tethered(command),
                env=environment,
                cwd=self._folder,  # Locust reads settings from where it stands: there are none here
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )
            try:
                yield process
                if stdout is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_GRACE_S)  # its reports are written after its samples
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    def _await(
        self, processes: Mapping[str, subprocess.Popen[bytes]], files: Sequence[Path], what: str, within_s: float
    ) -> None:
        deadline = time.monotonic() + within_s
        wanted = dict(zip(processes, files, strict=True))
        while missing := [name for name, path in wanted.items() if not path.exists()]:
            for name in missing:
                if processes[name].poll() is not None and not wanted[name].exists():
                    raise self._broken(name, what)
            if time.monotonic() > deadline:
                raise self._broken(missing[0], f"{what} in {within_s:.0f} s")
            time.sleep(_LOOK_S)

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _broken(self, name: str, what: str) -> MeasurementError:
        tail = self._log(name).read_bytes()[-2000:].decode(errors="replace")
        return MeasurementError(f"the load generator {name} did not {what}; its log ends:\n{tail}", generator=name)


def _steady_histograms(
    windows: Sequence[Window],
    start: float,
    ports: Mapping[str, int],
    histogram: Callable[[str], Mapping[float, float]],
) -> tuple[dict[str, Mapping[float, float]], dict[str, Between]]:
    """Return each arm's own histogram of the steady phase, read at its two edges, and when it really was read."""
    steady = [each for each in windows if each.phase == STEADY]
    readings, moments = [], []
    for moment in (steady[0].start_s, steady[-1].end_s):
        time.sleep(max(start + moment - time.monotonic(), 0.0))
        read, asked_s, there_s = {}, {}, {}
        for name in ports:
            asked_s[name] = time.monotonic() - start
            read[name] = histogram(name)
            there_s[name] = time.monotonic() - start
        readings.append(read)
        moments.append((asked_s, there_s))
    (before, after), (first, last) = readings, moments
    between = {
        name: Between(
            first_asked_s=first[0][name],
            first_there_s=first[1][name],
            last_asked_s=last[0][name],
            last_there_s=last[1][name],
        )
        for name in ports
    }
    return {name: histogram_between(before[name], after[name]) for name in ports}, between


@contextlib.contextmanager
def _watched(
    plan: LoadPlan, start: float, arms: Sequence[str], rss_bytes: Callable[[str], float] | None
) -> Iterator[dict[str, list[Reading]]]:
    """Look at each arm's memory, evenly over the plan, until the end of the `with`."""
    pause_s = plan.windows[-1].end_s / _MEMORY_LOOKS
    readings: dict[str, list[Reading]] = {arm: [] for arm in arms}
    over = threading.Event()

    def look() -> None:
        while rss_bytes is not None and not over.wait(pause_s):
            for arm, found in readings.items():
                found.append(Reading(at_s=time.monotonic() - start, rss_bytes=float(rss_bytes(arm))))

    watcher = threading.Thread(target=look, name="memory", daemon=True)
    watcher.start()
    try:
        yield readings
    finally:
        over.set()
        watcher.join()


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
