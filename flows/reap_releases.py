"""End what cannot go on: approvals that are overdue, runs whose process is gone, half-recorded switches."""

from __future__ import annotations

from prefect import flow

from tasks.reaping import reap_model, reconcile_model, released_models


@flow(name="reap-releases")
def reap_releases() -> list[str]:
    """Look at every model once; returns what was done, one sentence each."""
    did = []
    for model in released_models():
        did += reap_model(model)
        did += reconcile_model(model)
    return did
