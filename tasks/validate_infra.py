"""Stage `validate_infra`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=600))
def validate_infra(so_far: Progress) -> Progress:
    """Load the bundle in the production server, in a sandbox, and query it."""
    return run_stage(Stage.INFRA, so_far)
