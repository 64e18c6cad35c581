"""Stage 6: the bundle in the production server, in a sandbox: does it load, answer as it must, and refuse as it must?

Every try counts: the server is started, given the bundle, asked and stopped several times over, and one failed try
fails the gate. The first try asks everything, the others the golden requests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lockgate.core.contract import ModelBundle, ProbeSet
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.wire import Answer, Call, model_path
from lockgate.errors import TransientError
from lockgate.stages.battery import Battery


class SandboxServer(Protocol):
    """One sandboxed server that runs."""

    @property
    def start_s(self) -> float:
        """From its start to its ready line."""
        ...

    def route(self, model: ModelName, bundle: Digest, *, sequence: int = 1) -> Answer:
        """Order it to serve a bundle.

        Raises:
            TransientError: No answer.
        """
        ...

    def send(self, call: Call) -> Answer:
        """Send a request to its data port.

        Raises:
            TransientError: No answer.
        """
        ...

    @property
    def ended(self) -> int | None:
        """Its exit code; None while it runs."""
        ...

    def peak_rss_bytes(self) -> int:
        """Return its largest resident set."""
        ...

    def log_tail(self) -> str:
        """Return the end of its log."""
        ...

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        ...


class SandboxFactory(Protocol):
    """Starts sandboxed servers."""

    def open(self, name: str) -> AbstractContextManager[SandboxServer]:
        """Return a sandbox to be entered.

        Raises:
            SandboxError: On entering: the server did not start without any bundle.
        """
        ...


def measure_infra(sandboxes: SandboxFactory, bundle: ModelBundle, probes: ProbeSet, *, tries: int) -> dict[str, Json]:
    """Start, load, ask and stop the server `tries` times; return the infra gate's measurements.

    Raises:
        SandboxError: The sandbox itself broke, before the bundle was loaded.
    """
    battery: Battery | None = None
    seen = [_Try(number=number) for number in range(1, tries + 1)]
    for each in seen:
        with sandboxes.open(f"infra-{each.number}") as server:
            battery = battery or Battery(bundle=bundle, probes=probes, send=server.send)
            battery.send = server.send
            _attempt(each, server, battery)
    if battery is None:
        return {"tries": {"made": 0}}
    loads = [each.load_s for each in seen if each.load_s is not None]
    return {
        "bundle": bundle.digest,
        "tries": {
            "made": len(seen),
            "failed": sum(each.reason is not None for each in seen),
            "reasons": [f"try {each.number}: {each.reason}" for each in seen if each.reason],
            "start_s": [round(each.start_s, 4) for each in seen],
            "load_s": [None if each.load_s is None else round(each.load_s, 4) for each in seen],
            "exit_codes": [each.exit_code for each in seen],
        },
        "load_s_max": max(loads) if loads else None,
        "peak_rss_bytes": max(each.peak_rss_bytes for each in seen),
        **battery.measurements(),
    }


@dataclass
class _Try:
    number: int
    start_s: float = 0.0
    load_s: float | None = None
    peak_rss_bytes: int = 0
    exit_code: int | None = None
    reason: str | None = None


def _attempt(attempt: _Try, server: SandboxServer, battery: Battery) -> None:
    """Load, ask and stop one server; whatever goes wrong from here on is the bundle's doing, and the try's reason."""
    attempt.start_s = server.start_s
    wrong_before = battery.wrong.total()
    try:
        attempt.reason = _load(attempt, server, battery.bundle)
        if attempt.reason is None:
            battery.run(everything=attempt.number == 1)
            if battery.wrong.total() > wrong_before:
                attempt.reason = "it answered otherwise than it must"
    except TransientError as silent:
        code = server.ended
        death = f"the server died with code {code}" if code is not None else "the server hangs"
        attempt.reason = f"{death}: {silent.message}; its log ends: {server.log_tail()[-500:]}"
    attempt.peak_rss_bytes = server.peak_rss_bytes()
    attempt.exit_code = server.stop()
    if attempt.reason is None and attempt.exit_code != 0:
        attempt.reason = f"told to stop, the server ended with code {attempt.exit_code}"


def _load(attempt: _Try, server: SandboxServer, bundle: ModelBundle) -> str | None:
    model = bundle.contract.model
    answer = server.route(model, bundle.digest)
    if answer.status != 200:
        return f"the server refused the bundle ({answer.status}): {answer.body[:500].decode(errors='replace')}"
    ready = server.send(Call(path=model_path(model, "ready")))
    attempt.load_s = answer.seconds + ready.seconds
    return None if ready.status == 200 else f"loaded, but not ready: {ready.status}"
