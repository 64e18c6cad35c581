"""Stage `register_model`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=600))
def register_model(so_far: Progress) -> Progress:
    """Bless the bundle and list it as a version with its lineage."""
    return run_stage(Stage.REGISTER, so_far)
