"""Stage `package_model`."""

from __future__ import annotations

from prefect import task

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from tasks.running import run_stage, stage


@task(**stage(timeout_seconds=900))
def package_model(so_far: Progress) -> Progress:
    """Convert, sign and compare the bundle with the native estimator over many rows."""
    return run_stage(Stage.PACKAGE, so_far)
