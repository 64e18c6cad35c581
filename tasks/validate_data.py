"""Stage `validate_data`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=900))
def validate_data(so_far: Progress) -> Progress:
    """Hold the rows against the suite, and look for leaks, drift and duplicates."""
    return run_stage(Stage.VALIDATE_DATA, so_far)
