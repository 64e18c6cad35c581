"""What every stage's task has in common: how it retries, what it shows, and how its verdict becomes progress."""

from __future__ import annotations

from typing import Any

from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from lockgate.errors import NotRunning, TransientError
from tasks.artifacts import show_stage

A_MONTH_S = 31 * 86_400  # for what a rollout's own course bounds: only ends a process that hangs


def is_transient(task: Task[..., Any], run: TaskRun, state: State) -> bool:  # noqa: ARG001 - Prefect's signature
    """Retry only what may succeed when it is tried again; a verdict is a value and never gets here.

    What is not running counts: a supervisor brings it back, and until then nobody is there to press Retry.
    """
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, TransientError | NotRunning)


def stage(*, timeout_seconds: float) -> dict[str, Any]:
    """Return the options of a stage's task: persisted, retried when transient, bounded in time."""
    return {
        "persist_result": True,
        "retries": 4,
        "retry_delay_seconds": [2, 5, 15, 45],
        "retry_condition_fn": is_transient,
        "timeout_seconds": timeout_seconds,
    }


def run_stage(name: Stage, so_far: Progress) -> Progress:
    """Run one stage of the line and show what it found on the task's page."""
    from lockgate.line import line_of, run

    done = run(line_of(so_far.model), name, so_far)
    show_stage(done)
    get_run_logger().info("%s: %s", name.value, done.sentence)
    return done.so_far


def flow_run_id() -> str:
    """Return the id of the flow run that this task belongs to; empty outside one."""
    return str(flow_run.id or "")
