"""Put the previous champion back; the same act as `lockgate rollback`, from the Prefect UI."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.closing import restored_state
from tasks.restore_champion import restore_champion


@flow(name="roll-back-model", flow_run_name="{model}")
def roll_back_model(model: str, reason: str, requested_by: str) -> State:
    """Put the previous champion of a model back into production.

    Args:
        model: Name of a spec in deployments/.
        reason: Why. Goes on record.
        requested_by: Who asks. Goes on record.
    """
    return restored_state(restore_champion(model, reason, requested_by))
