"""The server's own gauges: what waits, what was lost, what restarted. Shown; harm is what callers get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lockgate.core.ids import Json, ModelName
from lockgate.core.monitoring.findings import Finding, State, Subject

GAUGES: Final[Mapping[str, tuple[str, float]]] = {
    "queue": ("lockgate_log_queued_rows", 10_000.0),
    "log_lost": ("lockgate_log_dropped_rows_total", 0.0),
    "restarts": ("lockgate_worker_restarts_total", 0.0),
    "broken_parts": ("lockgate_part_broken_processes", 0.0),
    "memory": ("process_resident_memory_bytes", 4.0 * 2**30),
}
"""Name on the server's metrics page, and the most that is not shown. Ours: half of the rows that the log may keep in
memory; 4 GiB is half of a small machine."""


def read_gauges(page: str) -> dict[str, float]:
    """Return the sum of each gauge over its labels, from a page in Prometheus' text form.

    >>> read_gauges('lockgate_worker_restarts_total{worker="0"} 2')["restarts"]
    2.0
    """
    wanted = {metric: name for name, (metric, _) in GAUGES.items()}
    found: dict[str, float] = {}
    for line in page.splitlines():
        words = line.split()
        name = wanted.get(line.split("{", 1)[0].split(" ", 1)[0])
        if name is not None and len(words) >= 2:
            try:
                found[name] = found.get(name, 0.0) + float(line.rsplit("}", 1)[-1].split()[-1])
            except ValueError:
                continue
    return found


def judge_saturation(model: ModelName, gauges: Mapping[str, float] | None) -> Finding:
    """Judge the server's gauges; None: the server did not answer."""
    if gauges is None:
        return Finding(model=model, name="service.server", subject=Subject.SERVICE, state=State.BROKEN,
                       reason="production's server did not show its metrics", next="lockgate status")  # fmt: skip
    over = {name: value for name, value in sorted(gauges.items()) if value > GAUGES[name][1]}
    evidence: dict[str, Json] = {**gauges}
    told = ", ".join(f"{name} {value:g}" for name, value in over.items())
    return Finding(
        model=model, name="service.server", subject=Subject.SERVICE, state=State.NOISE if over else State.OK,
        observed=float(len(over)), threshold=0.0, unit="gauges", harm=0.02 * len(over), evidence=evidence,
        reason=f"since its start: {told}" if over else "nothing waits, nothing was lost, nothing restarted",
        next="docs/howto/watch-the-server.md" if over else "",
    )  # fmt: skip
