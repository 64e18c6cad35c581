"""Put one approved bundle into production and prove from live answers that it is there; undo it if it is not."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.closing import rollout_state
from tasks.switch_traffic import switch_traffic


@flow(name="roll-out-model", flow_run_name="{release}")
def roll_out_model(model: str, release: str) -> State:
    """Roll out a release that has its blessing, its staging verdict and its approval.

    Args:
        model: Name of a spec in deployments/.
        release: The release to roll out, e.g. flight-delays-0001.
    """
    return rollout_state(switch_traffic(model, release))
