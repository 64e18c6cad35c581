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
from lockgate.core.ids import Json
from lockgate.core.load import CHALLENGER, CHAMPION, Window, plan, read_histogram
from lockgate.core.load_summary import LoadRun, summarise
from lockgate.core.wire import Call, Row, infer_call
from lockgate.errors import MeasurementError, TransientError
from lockgate.stages.infra import SandboxServer

_HISTOGRAM = "lockgate_request_seconds"


class ReachableServer(SandboxServer, Protocol):
    """A sandboxed server that others can call."""

    @property
    def url(self) -> str:
        """Its data port."""
        ...


class ReachableSandboxes(Protocol):
    """Starts such servers."""

    def open(self, name: str) -> AbstractContextManager[ReachableServer]:
        """Return a sandbox to be entered; see `stages.infra.SandboxFactory`."""
        ...


class LoadGenerators(Protocol):
    """What sends the load."""

    def run(
        self,
        windows: Sequence[Window],
        ports: Mapping[str, int],
        calls: Mapping[str, Sequence[Call]],
        digests: Mapping[str, str],
        histogram: Callable[[str], Mapping[float, float]],
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


def measure_stress(  # noqa: PLR0913 - two of the six are keywords with a unit
    sandboxes: ReachableSandboxes,
    generators: LoadGenerators,
    challenger: Contender,
    champion: Contender | None,
    *,
    target_rps: float,
    duration_s: float,
) -> dict[str, Json]:
    """Load challenger and champion, drive them for the declared window, return the stress gate's measurements.

    Args:
        champion: What serves now; None only when the ledger shows that there never was one.

    Raises:
        MeasurementError: A bundle that passed the infra gate, or the champion, did not load; or a generator broke.
        SandboxError: A sandbox broke.
    """
    began, cpu_began = time.monotonic(), _cpu_s()
    contenders = {CHALLENGER: challenger} | ({} if champion is None else {CHAMPION: champion})
    windows = plan(duration_s, target_rps, champion=champion is not None)
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
        )
        memory = {name: server.peak_rss_bytes() for name, server in servers.items()}
        measured = summarise(run)
        died = _died(servers, run)
    wall_s = time.monotonic() - began
    cost: dict[str, Json] = {
        "wall_s": round(wall_s, 3),
        "outside_window_s": round(wall_s - duration_s, 3),
        "cpu_s": round(_cpu_s() - cpu_began, 3),
        "generators_cpu_s": run.cpu_s,
    }
    return measured | {"cost": cost, "peak_rss_bytes": memory, "died": died}


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
