"""Rehearse a rollback: a planted fault beside the champion must be seen and taken away in seconds, nothing lost."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.drill import drill, drill_state


@flow(name="drill-rollback", flow_run_name="{model}-{fault}")
def drill_rollback(model: str, fault: str = "errors", production: bool = False) -> State:
    """Rehearse the rollback of a model in production.

    Args:
        model: Name of a spec in deployments/.
        fault: What is planted into a copy of the champion: errors, latency or wrong.
        production: Whether the copy answers callers, at rollout.drill.weight; only where rollout.drill.production is
            true. Otherwise it answers copies of requests, and nobody sees what it says.
    """
    return drill_state(drill(model, fault, production=production))
