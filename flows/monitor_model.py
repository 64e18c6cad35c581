"""Look at what serves: harm is told and may start a release, noise is shown; by hand `lockgate monitor`."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.monitoring import monitor, monitor_state


@flow(name="monitor-model", flow_run_name="{model}")
def monitor_model(model: str) -> State:
    """Judge production's log and labels of a model against its release, once.

    Args:
        model: Name of a spec in deployments/.
    """
    return monitor_state(monitor(model))
