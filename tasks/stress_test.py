"""Stage `stress_test`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=900))
def stress_test(so_far: Progress) -> Progress:
    """Load the sandbox, champion and challenger in turns."""
    return run_stage(Stage.STRESS, so_far)
