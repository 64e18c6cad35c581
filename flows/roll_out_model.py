"""Put one approved bundle into production, step by step, and prove it from live answers; take it back if it does harm.

    begin_rollout > take_step (shadow, weights, pauses; looked at all the time) .. > the verified switch or the way back

Each step is a task with a page of its own. A run that died is started again and goes on from the record; until it does,
the challenger's lease ends and the champion answers alone. A run that is cancelled takes its rollout back.
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.closing import rollout_state, take_back_rollout
from tasks.roll_out import begin_rollout, take_step


@flow(name="roll-out-model", flow_run_name="{release}", on_cancellation=[take_back_rollout])
def roll_out_model(model: str, release: str, beside: tuple[str, ...] = ()) -> State:
    """Roll out a release that has its blessing, its staging verdict and its approval.

    Args:
        model: Name of a spec in deployments/.
        release: The release to roll out, e.g. flight-delays-0001.
        beside: Other releases to compare with the champion at the same time; one of all is promoted at most.
    """
    standing = begin_rollout(model, release, beside)
    while not standing.ended:
        standing = take_step.with_options(task_run_name=standing.title)(standing)
    return rollout_state(standing)
