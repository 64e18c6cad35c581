"""Rollback as a task."""

from __future__ import annotations

from prefect import task

from tasks.artifacts import show_rollout
from tasks.running import stage


@task(**stage(timeout_seconds=300))
def restore_champion(model: str, reason: str, requested_by: str) -> dict[str, str]:
    """Put the previous champion back and verify it from live answers."""
    from lockgate.line import line_of, roll_back

    done = roll_back(line_of(model), reason, requested_by)
    show_rollout(done)
    return done
