"""Stage `ingest_data`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import is_transient, run_stage

# A release of the same model that is running is waited for: up to an hour, looked at every ten seconds.
_TURNS = 360


@task(
    persist_result=True,
    retries=_TURNS,
    retry_delay_seconds=10,
    retry_condition_fn=is_transient,
    timeout_seconds=900,
)
def ingest_data(model: str, reason: str, started_by: str) -> Progress:
    """Take what landed into the versioned table, open the release and freeze its rows."""
    from lockgate.line import begin

    so_far = begin(model, reason, started_by)
    return so_far if so_far.ended else run_stage(Stage.INGEST, so_far)
