"""Stage `deploy_staging`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=600))
def deploy_staging(so_far: Progress) -> Progress:
    """Serve the bundle in staging and test it there as a client would."""
    return run_stage(Stage.STAGING, so_far)
