"""A rollout's tasks: put its course on record, then carry it through one step at a time."""

from __future__ import annotations

from prefect import task

from lockgate.line.rolling import Standing
from tasks.artifacts import show_rollout_page
from tasks.running import A_MONTH_S, flow_run_id, stage


@task(**stage(timeout_seconds=600))
def begin_rollout(model: str, release: str, beside: tuple[str, ...] = ()) -> Standing:
    """Declare the steps, the guardrails with their errors, and the plan, before anything is seen; once."""
    from lockgate.line import line_of
    from lockgate.line.rolling import begin_rollout as begin

    return begin(line_of(model), release, run=flow_run_id(), beside=beside)


@task(**stage(timeout_seconds=A_MONTH_S))
def take_step(standing: Standing) -> Standing:
    """Put one step in place and look at it until it is over: the next one, the switch, or the way back."""
    from lockgate.line import line_of
    from lockgate.line.rolling import carry_on

    return carry_on(line_of(standing.model), standing, show_rollout_page)
