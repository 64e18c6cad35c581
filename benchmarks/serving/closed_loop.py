"""CPU per request: every server in turns under a closed loop, its answers checked while it is measured."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serving import wrk
from benchmarks.serving.forms import VARIED, Call
from benchmarks.serving.model import Model
from benchmarks.serving.processes import SERVER_CPU, Running
from benchmarks.serving.subject import Subject
from benchmarks.serving.wrk import Wrong

ENTITIES = 1_024
"""How many different entities ask: a sticky split shares these out, not the requests."""
TOLERANCE = 1e-5
CHECK_EVERY_S = 0.05
SETTLE_S = 0.8
"""What a server does after its answers (writing its log, shadows) is part of their cost; it gets this long to end."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one server.

    Attributes:
        us: CPU time a request, user and system of all its processes, in microseconds.
        requests: How many were answered.
        rps: Answers a second of wall time; two cores, so the client's speed may bound it.
        others: Share of the server's core that others used meanwhile, 0 to 1.
        checked: How many answers were read and held against the golden ones.
    """

    us: float
    requests: int
    rps: float
    others: float
    checked: int


@dataclass
class Result:
    """All turns of one server, or why they count for nothing."""

    turns: list[Turn] = field(default_factory=list)
    void: str | None = None

    @property
    def median_us(self) -> float | None:
        return statistics.median(each.us for each in self.turns) if self.turns and self.void is None else None


def ask(
    port: int, call: Call, entity: str | None, connection: http.client.HTTPConnection | None = None
) -> tuple[Mapping[str, str], bytes]:
    """Send one request and return headers and body.

    Raises:
        Wrong: Its status is not 2xx.
    """
    used = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        headers = dict(call.headers) | ({} if entity is None else {"x-lockgate-entity": entity})
        used.request("POST", call.path, call.body, headers)
        answer = used.getresponse()
        body = answer.read()
        if not 200 <= answer.status < 300:
            raise Wrong(f"status {answer.status}: {body[:200].decode(errors='replace')}")
        return {name.lower(): value for name, value in answer.getheaders()}, body
    finally:
        if connection is None:
            used.close()


def check(subject: Subject, model: Model, at: Sequence[int], headers: Mapping[str, str], body: bytes) -> None:
    """Hold an answer against the golden ones.

    Raises:
        Wrong: It is not the right number.
    """
    try:
        found = subject.read(body, headers)
    except (ValueError, KeyError, IndexError, TypeError) as broken:
        raise Wrong(f"unreadable answer ({broken!r}): {body[:200].decode(errors='replace')}") from broken
    if found is None:
        return
    wanted = [float(model.golden[index]) for index in at]
    if len(found) != len(wanted) or max(abs(a - b) for a, b in zip(found, wanted, strict=True)) > TOLERANCE:
        raise Wrong(f"rows {list(at)[:3]}: answered {found[:3]}, golden is {wanted[:3]}")


def check_many(subject: Subject, model: Model, port: int, number: int = 64) -> None:
    """Ask so many different rows one by one.

    Raises:
        Wrong: An answer is not right.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        for index in range(number):
            try:
                headers, body = ask(port, subject.make(model, [index]), f"check-{index}", connection)
            except (OSError, http.client.HTTPException) as broken:
                raise Wrong(f"no answer: {broken!r}") from broken
            check(subject, model, [index], headers, body)


class Checker:
    """Asks a row every now and then while the server is under load."""

    def __init__(self, subject: Subject, model: Model, port: int) -> None:
        self._subject, self._model, self._port = subject, model, port
        self._over = threading.Event()
        self.checked = 0
        self.problem: str | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, name="checker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(connection):
            for index in itertools.cycle(range(VARIED)):
                if self._over.wait(CHECK_EVERY_S):
                    return
                try:
                    call = self._subject.make(self._model, [index])
                    headers, body = ask(self._port, call, f"check-{index}", connection)
                    check(self._subject, self._model, [index], headers, body)
                except (Wrong, OSError, http.client.HTTPException) as wrong:
                    self.problem = f"under load: {wrong}"
                    return
                self.checked += 1


def script_of(subject: Subject, model: Model, folder: Path, port: int) -> Path:
    """Write the requests of a subject: different rows, different entities."""
    calls = [subject.make(model, [index]) for index in range(VARIED)]
    return wrk.write_script(folder, [(calls[at % VARIED], f"entity-{at}") for at in range(ENTITIES)], port)


def turn(subject: Subject, model: Model, running: Running, script: Path, seconds: float) -> Turn:
    """Measure one turn.

    Raises:
        Wrong: An answer was not 2xx, or not right.
        Unusable: The server or wrk ended.
    """
    checker = Checker(subject, model, running.port)
    busy, cpu = _busy_s(), running.cpu_s()
    with checker.running():
        load = wrk.run(script, running.port, seconds)
    time.sleep(SETTLE_S)
    running.check_alive()
    used, everything = running.cpu_s() - cpu, _busy_s() - busy
    load.check()
    if checker.problem:
        raise Wrong(checker.problem)
    return Turn(
        us=used / (load.requests + checker.checked) * 1e6,
        requests=load.requests,
        rps=load.requests / load.seconds,
        others=max(0.0, everything - used) / (load.seconds + SETTLE_S),
        checked=checker.checked,
    )


def _busy_s() -> float:
    """Return how long the server's core was anything but idle."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{SERVER_CPU} "):
            ticks = [int(each) for each in line.split()[1:9]]
            return (sum(ticks) - ticks[3] - ticks[4]) / 100  # without idle and iowait; USER_HZ is 100 everywhere
    return 0.0
