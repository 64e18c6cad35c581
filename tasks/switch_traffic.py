"""The rollout's one step for blue-green: switch, read back, keep the previous warm."""

from __future__ import annotations

from prefect import task

from tasks.artifacts import show_rollout
from tasks.running import stage


@task(**stage(timeout_seconds=600))
def switch_traffic(model: str, release: str) -> dict[str, str]:
    """Switch production to the release's bundle and verify it from live answers; undo it otherwise."""
    from lockgate.line import line_of, roll_out

    done = roll_out(line_of(model), release)
    show_rollout(done)
    return done
