"""Replay past months through the whole line, on a temporary stack, and say what the policy would have been worth.

The same as `lockgate replay`. Run again with the same months after a kill, it goes on at the month it was in.
"""

from __future__ import annotations

from prefect import flow

from tasks.replaying import replay_months


@flow(name="replay-history", flow_run_name="{model}: {since} to {until}")
def replay_history(model: str, since: str, until: str, policies: list[str] | None = None) -> str:
    """Replay months of a model; returns where the report lies.

    Args:
        model: Name of a spec in deployments/.
        since: The first month, as data.sample_batches of the spec names it.
        until: The last one.
        policies: Files with sections of a spec, each laid over it and replayed after it.
    """
    return replay_months(model, since, until, policies or [])
