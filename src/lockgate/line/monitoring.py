"""One model watched: production's log and labels summed by day, judged against the champion's release, and told.

summaries ── judge ──> report ──> alerts (harm is told, what is clear is closed)
                             ──> retraining (harm that labels show; the policy decides)
                             ──> a row of the ledger
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from lockgate.core.alerting.superseded import of_bundle
from lockgate.core.ids import Digest, digest_bytes
from lockgate.core.monitoring.ages import Upstream
from lockgate.core.monitoring.findings import Finding
from lockgate.core.monitoring.judging import MonitorReport, judge_window, report_of
from lockgate.core.monitoring.reference import Reference, read_reference
from lockgate.core.monitoring.saturation import judge_saturation, read_gauges
from lockgate.core.monitoring.skew_finding import judge_skew
from lockgate.errors import LockgateError
from lockgate.line.alerting import close_superseded, deliver_messages, raise_findings
from lockgate.line.joint_watch import judge_together
from lockgate.line.learning import on_degradation
from lockgate.line.model_line import Line
from lockgate.line.production import logged_requests
from lockgate.line.reference import json_part
from lockgate.stages.monitoring import bundle_row, landed_fate, nothing_served, record, recorded_of

if TYPE_CHECKING:
    import pandas as pd

_SKEW_REQUESTS = 2_000  # ours: shows one wrong value in 400 rows at 24 features, and is read within a second


def monitor(line: Line, since: date | None = None) -> MonitorReport:
    """Look at a model's champion once; the same data give the same findings, however often.

    Args:
        line: The model's line.
        since: The first day (UTC) to judge; None: since production serves it, as far as the log reaches.

    Raises:
        TransientError: The logs, the ledger or the orchestrator cannot be reached now.
        IntegrityError: A part of the champion, or a file of the archive, is damaged.
    """
    report = look(line, since)
    if report.digest is not None:
        tell(line, report)
    record(line.ledger, report)
    deliver_messages(line.services)  # last: an address that is slow keeps nothing from being on record
    return report


def look(line: Line, since: date | None = None) -> MonitorReport:
    """Measure and judge; nothing is told and nothing written but the summaries."""
    from lockgate.adapters.log_windows import summarise

    now, champion = line.services.clock.now(), line.ledger.state(line.model).champion
    if champion is None:
        return nothing_served(line.model, now)
    days = summarise(line.services.settings, line.model, since=since, spec=line.spec)
    reference = reference_of(line, champion)
    findings = judge_window(
        days,
        reference,
        line.spec.monitoring,
        now=now,
        ages=_upstream(line, champion),
        label_delay_s=line.spec.data.label_delay_s,
        others=(
            _saturation(line),
            _skew(line, champion),
            *judge_together(line, champion, days, reference.importance),
        ),
    )
    return report_of(reference, days, findings, now=now)


def tell(line: Line, report: MonitorReport) -> None:
    """Raise and close alerts, and let the policy decide about harm that labels show."""
    close_superseded(line)
    serving = line.ledger.state(line.model).champion
    findings = report.findings if report.digest is None else of_bundle(report.findings, report.digest, serving)
    raise_findings(line, findings, report.at)
    on_degradation(line, report.findings)


def reference_of(line: Line, champion: Digest) -> Reference:
    """Return what a champion is held against: its bundle's parts, and what the ledger says of it.

    Raises:
        IntegrityError: A part is damaged.
    """
    return read_reference(
        line.model,
        champion,
        line.spec.task.kind,
        profile=json_part(line, champion, "reference_profile.json") or {},
        evaluation=json_part(line, champion, "evaluation.json") or {},
        recorded=recorded_of(line.ledger, line.model, champion, _data_as_of(line, champion)),
    )


def _data_as_of(line: Line, champion: Digest) -> datetime | None:
    made = bundle_row(line.ledger, line.model, champion)
    try:
        return None if made is None else line.services.store.snapshot(Digest(str(made.payload["data"]))).as_of
    except LockgateError:  # the snapshot was removed; its age is then not known, and said so
        return None


def _upstream(line: Line, champion: Digest) -> Upstream:
    mine = line.services.bundles.folder(champion) / "requirements.lock"
    ours = line.services.settings.project / "requirements.lock"
    landed, refused = landed_fate(line.ledger, line.model)
    return Upstream(
        lock=digest_bytes(mine.read_bytes()) if mine.is_file() else None,
        lock_now=digest_bytes(ours.read_bytes()) if ours.is_file() else None,
        refused=refused,
        landed=landed,
    )


def _saturation(line: Line) -> Finding:
    from lockgate.adapters.metrics_page import metrics_page

    page = metrics_page(line.services.settings.url("production"))
    return judge_saturation(line.model, None if page is None else read_gauges(page))


def _skew(line: Line, champion: Digest) -> Finding:
    """Hold the newest logged requests against the newest landed rows, as a release's gate does."""
    from lockgate.core.ledger import Event
    from lockgate.stages.skew import measure_skew

    rows = line.ledger.rows(line.model, events=(Event.BUNDLE,))
    if not rows:
        return judge_skew(line.model, {})
    try:
        snapshot = line.services.store.snapshot(Digest(str(rows[-1].payload["data"])))
        landed = line.services.store.part(snapshot, "batch", [*line.spec.data.key, *line.spec.data.features])
        takes = [each.name for each in line.services.bundles.get(champion).contract.inputs]

        def ask(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - numbers of the task's shape
            from lockgate.adapters.native_scorer import score_bundle

            return score_bundle(line.services.bundles.folder(champion), frame)

        logged = logged_requests(line, _SKEW_REQUESTS)
        return judge_skew(line.model, measure_skew(line.spec, champion, logged, landed, ask, takes=takes))
    except (LockgateError, OSError) as why:
        return judge_skew(line.model, None, str(why))
