"""Counters of one server, rendered in the Prometheus text format; plain numbers, changed from one thread.

Labels are names of routed models and arms, never anything a caller chose, so that their number is bounded.
"""

from __future__ import annotations

import os
import resource
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from lockgate import __version__
from lockgate.serving.columns import Flag
from lockgate.serving.prediction_log import PredictionLog
from lockgate.serving.refusals import Reason
from lockgate.serving.router import Route

BUCKETS_S: Final = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005),
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0),
)
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Histogram:
    """Latencies of one arm, in seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one latency."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds


class Metrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.latency: dict[tuple[str, str], Histogram] = {}
        self.rows: Counter[tuple[str, str]] = Counter()
        self.flags: Counter[tuple[str, str, str]] = Counter()
        self.refused: Counter[Reason] = Counter()
        self.responses: Counter[int] = Counter()
        self.switches: Counter[str] = Counter()
        self.failures = 0
        self.in_flight = 0
        self._started = time.time()

    def answered(self, model: str, arm: str, rows: int, flags: tuple[Flag, ...], seconds: float) -> None:
        """Count one answered request."""
        key = (model, arm)
        histogram = self.latency.get(key)
        if histogram is None:
            histogram = self.latency[key] = Histogram()
        histogram.observe(seconds)
        self.rows[key] += rows
        for flag in flags:
            self.flags[model, flag.column, flag.flag] += len(flag.rows)

    def render(self, table: Mapping[str, Route], log: PredictionLog) -> bytes:
        """Return the page at `/metrics`."""
        lines = [*self._requests(), *_routing(table), *self._server(log), ""]
        return "\n".join(lines).encode()

    def _requests(self) -> Iterator[str]:
        yield from _head("lockgate_request_seconds", "histogram", "From a request's headers to its answer, by arm.")
        for (model, arm), histogram in self.latency.items():
            labels = f"model={_quoted(model)},arm={_quoted(arm)}"
            below = 0
            for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), histogram.counts, strict=True):
                below += count
                yield f'lockgate_request_seconds_bucket{{{labels},le="{bound}"}} {below}'
            yield f"lockgate_request_seconds_sum{{{labels}}} {histogram.total_s:.9g}"
            yield f"lockgate_request_seconds_count{{{labels}}} {below}"
        yield from _head("lockgate_rows_total", "counter", "Rows answered, by arm.")
        for (model, arm), rows in self.rows.items():
            yield f"lockgate_rows_total{{model={_quoted(model)},arm={_quoted(arm)}}} {rows}"
        yield from _head("lockgate_flagged_rows_total", "counter", "Rows answered outside the trained domain.")
        for (model, column, flag), rows in self.flags.items():
            labels = f"model={_quoted(model)},column={_quoted(column)},flag={_quoted(flag)}"
            yield f"lockgate_flagged_rows_total{{{labels}}} {rows}"
        yield from _head("lockgate_refused_total", "counter", "Requests refused, by reason.")
        for reason, count in self.refused.items():
            yield f"lockgate_refused_total{{reason={_quoted(reason)}}} {count}"
        yield from _head("lockgate_responses_total", "counter", "HTTP answers of the data port, by status.")
        for status, count in self.responses.items():
            yield f'lockgate_responses_total{{status="{status}"}} {count}'

    def _server(self, log: PredictionLog) -> Iterator[str]:
        yield from _head("lockgate_switches_total", "counter", "Routing changes put in place.")
        for model, count in self.switches.items():
            yield f"lockgate_switches_total{{model={_quoted(model)}}} {count}"
        usage = resource.getrusage(resource.RUSAGE_SELF)
        for name, kind, what, value in (
            ("lockgate_failures_total", "counter", "Requests that failed inside the server.", self.failures),
            ("lockgate_in_flight", "gauge", "Requests being answered.", self.in_flight),
            ("lockgate_log_written_rows_total", "counter", "Rows the prediction log wrote.", log.written_rows),
            ("lockgate_log_dropped_rows_total", "counter", "Rows the prediction log gave up.", log.dropped_rows),
            ("lockgate_log_errors_total", "counter", "Failed writes of the prediction log.", log.errors),
            ("lockgate_log_queued_rows", "gauge", "Rows waiting for the prediction log.", log.queued_rows),
            ("process_cpu_seconds_total", "counter", "CPU time.", round(usage.ru_utime + usage.ru_stime, 6)),
            ("process_resident_memory_bytes", "gauge", "Resident memory.", _resident_bytes()),
            ("process_start_time_seconds", "gauge", "Start, since the epoch.", round(self._started, 3)),
        ):
            yield from _head(name, kind, what)
            yield f"{name} {value}"
        yield from _head("lockgate_build_info", "gauge", "The program's version.")
        yield f"lockgate_build_info{{version={_quoted(__version__)}}} 1"


def _routing(table: Mapping[str, Route]) -> Iterator[str]:
    yield from _head("lockgate_arm_weight", "gauge", "Share of the traffic that was asked for, by arm and bundle.")
    for name, route in table.items():
        for arm in route.arms:
            labels = f"model={_quoted(name)},arm={_quoted(arm.name)},digest={_quoted(arm.model.digest)}"
            yield f"lockgate_arm_weight{{{labels}}} {arm.weight:g}"
    yield from _head("lockgate_model_ready", "gauge", "1 where the routed champion answers, 0 where it is not loaded.")
    for name, route in table.items():
        yield f"lockgate_model_ready{{model={_quoted(name)}}} {int(route.ready)}"
    yield from _head("lockgate_routing_sequence", "gauge", "The ledger's sequence that is served.")
    for name, route in table.items():
        yield f"lockgate_routing_sequence{{model={_quoted(name)}}} {route.desired.sequence}"
    yield from _head("lockgate_loaded_bundles", "gauge", "Bundles in memory.")
    for name, route in table.items():
        yield f"lockgate_loaded_bundles{{model={_quoted(name)}}} {len(route.loaded)}"


def _head(name: str, kind: str, what: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"


def _quoted(value: str) -> str:
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - a path object would cost more than the read
            return int(statm.read().split()[1]) * _PAGE_BYTES
    except OSError:  # not Linux: the peak is the best there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
