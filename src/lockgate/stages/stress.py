"""Stage 7: the bundle under load, side by side with the champion, in sandboxes of the production server.

Both are loaded in servers of their own and asked in turn, in short windows of one run, with the same rows.
"""

from __future__ import annotations

import contextlib
import resource
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lockgate.core.contract import ModelBundle, ModelContract, ProbeSet
from lockgate.core.gates.stress import Thresholds
from lockgate.core.ids import Json
from lockgate.core.load import CHALLENGER, CHAMPION, Window, plan, read_histogram
from lockgate.core.load_curve import ServiceLevel
from lockgate.core.load_summary import LoadRun, summarise
from lockgate.core.wire import Call, Row, infer_call
from lockgate.errors import MeasurementError, TransientError
from lockgate.stages.infra import SandboxServer

REPORTS = {"locust": "stress/locust.html"}
"""What the generators leave in the release's folder for people, by name."""
_HISTOGRAM = "lockgate_request_seconds"


class ReachableServer(SandboxServer, Protocol):
    """A sandboxed server that others can call."""

    @property
    def url(self) -> str:
        """Its data port."""
        ...

    def rss_bytes(self) -> int:
        """Return its present resident set; 0 once it is gone."""
        ...


class ReachableSandboxes(Protocol):
    """Starts such servers."""

    def open(self, name: str) -> AbstractContextManager[ReachableServer]:
        """Return a sandbox to be entered; see `stages.infra.SandboxFactory`."""
        ...


class LoadGenerators(Protocol):
    """What sends the load."""

    def run(  # noqa: PLR0913, PLR0917 - a plan, whom it meets, and how to look at them
        self,
        windows: Sequence[Window],
        ports: Mapping[str, int],
        calls: Mapping[str, Sequence[Call]],
        digests: Mapping[str, str],
        histogram: Callable[[str], Mapping[float, float]],
        rss_bytes: Callable[[str], float] | None = None,
    ) -> LoadRun:
        """Carry out a plan.

        Raises:
            MeasurementError: A generator broke.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A bundle that takes part.

    Attributes:
        bundle: The bundle.
        probes: Its probe requests.
    """

    bundle: ModelBundle
    probes: ProbeSet


def measure_stress(
    sandboxes: ReachableSandboxes,
    generators: LoadGenerators,
    challenger: Contender,
    champion: Contender | None,
    *,
    asked: Thresholds,
) -> dict[str, Json]:
    """Load challenger and champion, drive them for the declared window, return the stress gate's measurements.

    Args:
        sandboxes: Start the servers.
        generators: Send the load.
        challenger: What may be released.
        champion: What serves now; None only when the ledger shows that there never was one.
        asked: The gate's thresholds: rate, length and service level.

    Raises:
        MeasurementError: A bundle that passed the infra gate, or the champion, did not load; or a generator broke.
        SandboxError: A sandbox broke.
    """
    began, cpu_began = time.monotonic(), _cpu_s()
    contenders = {CHALLENGER: challenger} | ({} if champion is None else {CHAMPION: champion})
    windows = plan(asked.duration_s, asked.target_rps, champion=champion is not None, soak_s=asked.soak_s)
    with contextlib.ExitStack() as running:
        servers = {
            name: running.enter_context(_loaded(sandboxes, name, contender)) for name, contender in contenders.items()
        }
        run = generators.run(
            windows,
            {name: _port(server) for name, server in servers.items()},
            {name: _calls(contender, challenger) for name, contender in contenders.items()},
            {name: contender.bundle.digest for name, contender in contenders.items()},
            lambda name: _histogram(servers[name], contenders[name].bundle.contract),
            lambda name: float(servers[name].rss_bytes()),
        )
        memory = {name: server.peak_rss_bytes() for name, server in servers.items()}
        measured = summarise(run, _level(asked))
        died = _died(servers, run)
    wall_s = time.monotonic() - began
    cost: dict[str, Json] = {
        "wall_s": round(wall_s, 3),
        "outside_window_s": round(wall_s - asked.duration_s - asked.soak_s, 3),
        "cpu_s": round(_cpu_s() - cpu_began, 3),
        "generators_cpu_s": run.cpu_s,
    }
    return measured | {"cost": cost, "peak_rss_bytes": memory, "died": died, "reports": dict(REPORTS)}


def _level(asked: Thresholds) -> ServiceLevel:
    return ServiceLevel(
        p95_ms=asked.p95_ms,
        p99_ms=asked.p99_ms,
        error_fraction=asked.error_fraction,
        achieved_fraction=asked.achieved_fraction,
        late_ms=asked.p95_ms * asked.generator_floor_fraction,
    )


def _died(servers: Mapping[str, SandboxServer], run: LoadRun) -> dict[str, int]:
    """Return the exit code of each server that did not survive; looked at only where requests failed."""
    if not any(each.error for each in run.samples):
        return {}
    return {name: code for name, server in servers.items() if (code := server.ended) is not None}


@contextlib.contextmanager
def _loaded(sandboxes: ReachableSandboxes, name: str, contender: Contender) -> Iterator[ReachableServer]:
    with sandboxes.open(f"stress-{name}") as server:
        bundle = contender.bundle
        answer = server.route(bundle.contract.model, bundle.digest)
        if answer.status != 200:
            raise MeasurementError(
                f"the {name} {bundle.digest} did not load for the load test ({answer.status}): "
                f"{answer.body[:300].decode(errors='replace')}",
                bundle=bundle.digest,
            )
        yield server


def _calls(contender: Contender, challenger: Contender) -> tuple[Call, ...]:
    """Return the contender's requests: the challenger's probe rows where they have every column, else its own."""
    contract = contender.bundle.contract
    shared = _fitting(contract, [probe.row for probe in challenger.probes.requests])
    rows = shared or [probe.row for probe in contender.probes.requests]
    return tuple(infer_call(contract, [row]) for row in rows)


def _fitting(contract: ModelContract, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if all(column.name in row for column in contract.inputs)]


def _port(server: ReachableServer) -> int:
    port = urllib.parse.urlsplit(server.url).port
    if port is None:
        raise MeasurementError(f"the sandbox at {server.url} names no port")
    return port


def _histogram(server: SandboxServer, contract: ModelContract) -> Mapping[float, float]:
    """Return the server's own histogram; empty when it does not answer, which the gate reads as no witness."""
    try:
        answer = server.send(Call(path="/metrics"))
    except TransientError:
        return {}
    return read_histogram(answer.body.decode(), _HISTOGRAM, contract.model)


def _cpu_s() -> float:
    """Return the CPU time of this process and of the children it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usages)
