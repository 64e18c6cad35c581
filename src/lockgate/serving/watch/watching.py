"""What goes on beside answering while a process serves: self-probes, numbers shared between workers, the access log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import chain
from typing import Final

from lockgate.serving.http.access_log import AccessLog
from lockgate.serving.log.archiver import Archiver
from lockgate.serving.service import Service
from lockgate.serving.watch.metric_files import MetricFiles
from lockgate.serving.watch.metrics import Metrics
from lockgate.serving.watch.self_probe import served
from lockgate.serving.watch.spare_memory import give_back
from lockgate.serving.watch.warmth import Warmth


@contextlib.contextmanager
def watching(service: Service) -> Iterator[AccessLog | None]:
    """Keep all that going for the length of a block, on the running event loop.

    Yields:
        What takes a line an answer, None where no access log is kept.

    Raises:
        ConfigError: A worker's parent did not begin a run in the state folder.
    """
    options = service.options
    _watch_parts(service)
    with contextlib.ExitStack() as opened:
        if options.self_probe_s:
            opened.callback(asyncio.ensure_future(service.health.self_probe.keep(options.self_probe_s)).cancel)
        opened.callback(asyncio.ensure_future(give_back()).cancel)
        if options.keep_warm_s:
            opened.callback(asyncio.ensure_future(_warmth(service).keep(options.keep_warm_s)).cancel)
        if options.worker:
            files = MetricFiles(options.state / "metrics", service.metrics)
            opened.callback(files.close)
            opened.callback(asyncio.ensure_future(files.keep()).cancel)
        access_log = AccessLog() if options.access_log else None
        if access_log is not None:
            opened.callback(access_log.close)
            service.metrics.watch(
                "lockgate_access_log_dropped_lines_total",
                "Answers that left no line in the access log.",
                lambda: access_log.dropped,
            )
        yield access_log


_OUTCOMES: Final = ("joined", "late", "corrected", "duplicate", "expired", "displaced", "broken")
"""What becomes of a label, by the fields of `LabelCounts`."""


def watch_archive(metrics: Metrics, archiver: Archiver) -> None:
    """Show what became of the prediction log and of labels; for the one process that owns the archive."""

    def labels() -> dict[str, float]:
        counts = archiver.status.labels
        return {name: getattr(counts, name) for name in _OUTCOMES}

    metrics.watch_part("archive", lambda: archiver.problem)
    watch = metrics.watch
    watch("lockgate_archive_failures_total", "Runs of the archive that failed.", lambda: archiver.failures)
    watch("lockgate_archive_rows_total", "Rows archived, since the archive began.", lambda: archiver.status.rows)
    watch("lockgate_archive_size_bytes", "Size of the archive.", lambda: archiver.status.bytes)
    watch("lockgate_archive_removed_bytes_total", "What grew too old.", lambda: archiver.status.removed_bytes)
    watch("lockgate_archive_finished_seconds", "End of the last run.", lambda: archiver.status.finished)
    watch("lockgate_labels_total", "Labels, by what became of them.", labels, ("outcome",))
    watch("lockgate_labels_waiting_rows", "Labels without a prediction so far.", lambda: archiver.status.labels.waiting)


def _warmth(service: Service) -> Warmth:
    """Return what keeps the models warm that this process serves, and show what it costs."""
    warmth = Warmth(lambda: chain.from_iterable(served(route) for route in tuple(service.router.table.values())))
    service.metrics.watch(
        "lockgate_warm_runs_total", "Runs that kept a model in caches.", lambda: warmth.runs, ("model",)
    )
    return warmth


def _watch_parts(service: Service) -> None:
    """Show what the parts of a service count."""
    watch, log, shadows = service.metrics.watch, service.log, service.shadows
    service.metrics.watch_part("prediction_log", lambda: log.problem)
    watch("lockgate_log_written_rows_total", "Rows the prediction log wrote.", lambda: log.written_rows)
    watch("lockgate_log_dropped_rows_total", "Rows the prediction log gave up.", lambda: log.dropped, ("reason",))
    watch("lockgate_log_errors_total", "Failed writes of the prediction log.", lambda: log.errors)
    watch("lockgate_log_queued_rows", "Rows waiting for the prediction log.", lambda: log.queued_rows)
    watch("lockgate_log_queued_bytes", "Memory of what waits for it.", lambda: log.queued_bytes)
    labels = service.labels
    watch("lockgate_labels_accepted_total", "Labels that the disk holds.", lambda: labels.accepted)
    watch("lockgate_labels_errors_total", "Failed writes of labels.", lambda: labels.errors)
    said = service.feedback
    watch("lockgate_feedback_accepted_total", "Feedback that the disk holds.", lambda: said.by_verdict, ("verdict",))
    watch("lockgate_feedback_errors_total", "Failed writes of feedback.", lambda: said.errors)
    shadow = ("model", "arm")
    watch("lockgate_shadow_queued_rows", "Rows waiting for shadow arms.", lambda: shadows.queued_rows)
    watch("lockgate_shadow_dropped_total", "Copies that found their queue full.", lambda: shadows.dropped, shadow)
    watch("lockgate_shadow_failed_total", "Copies a shadow arm had no answer to.", lambda: shadows.failed, shadow)
    wrong = "In how many processes an arm's last self-probe did not hold."
    probes = service.health.self_probe
    watch("lockgate_self_probes_total", "Self-probes.", lambda: probes.results, ("model", "result"))
    watch("lockgate_arm_wrong_processes", wrong, service.health.wrong_arms, ("model", "arm"))
