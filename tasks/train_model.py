"""Stage `train_model`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=3600))
def train_model(so_far: Progress) -> Progress:
    """Fit the spec's estimator in a process of its own."""
    return run_stage(Stage.TRAIN, so_far)
