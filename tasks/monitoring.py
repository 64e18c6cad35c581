"""The monitor's one step: retried, because a look that was cut short is simply taken again."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from lockgate.core.monitoring.judging import MonitorReport


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=30, timeout_seconds=900)
def monitor(model: str) -> MonitorReport:
    """Look at the model's champion once, tell what must be told, and publish the page."""
    from lockgate.line.model_line import line_of
    from lockgate.line.monitoring import monitor as look
    from lockgate.line.monitoring_page import monitor_page

    report = look(line_of(model))
    create_markdown_artifact(monitor_page(report), key=f"{model}-monitor", description=report.sentence)
    return report


def monitor_state(report: MonitorReport) -> State:
    """Return the state of a look's run; one that found harm did its work, and is named for it."""
    if report.cannot_say:
        return Cancelled(name="CannotSay", message=report.sentence)
    return Completed(name="Harm" if report.harmful() else "Clear", message=report.sentence)
