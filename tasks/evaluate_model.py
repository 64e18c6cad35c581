"""Stage `evaluate_model`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=1800))
def evaluate_model(so_far: Progress) -> Progress:
    """Judge the fit against floors, simple models and the champion now serving."""
    return run_stage(Stage.EVALUATE, so_far)
