"""Stage `promote`: hands the release to a rollout run of its own and waits for its word."""

from __future__ import annotations

from prefect import task

from lockgate.core.progress import Progress
from tasks.running import A_MONTH_S, stage


@task(**stage(timeout_seconds=A_MONTH_S))
def promote(so_far: Progress) -> Progress:
    """Start `roll-out-model` with the release as idempotency key, so that it is started once, and wait for it."""
    from lockgate.line import hand_over, line_of

    return hand_over(line_of(so_far.model), so_far)
