"""One release: from landed data to a serving champion, through every gate.

    ingest_data > validate_data > train_model > evaluate_model > package_model > validate_infra > stress_test
        > register_model > deploy_staging > ask_approval .. (suspended) .. record_approval > promote

Under four eyes a release that nobody is known to have started suspends twice, for two people.

A gate that does not pass ends the run in a state named after the reason (Blocked, Inconclusive, Rejected, Expired,
Superseded), never Failed: Failed and Crashed mean that something could not be measured, and offer Retry.
"""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.approval import ask_approval, await_decision
from tasks.closing import end_state, note_failure, take_back_rollout
from tasks.deploy_staging import deploy_staging
from tasks.entering import enter_release
from tasks.evaluate_model import evaluate_model
from tasks.ingest_data import ingest_data
from tasks.package_model import package_model
from tasks.promote import promote
from tasks.register_model import register_model
from tasks.stress_test import stress_test
from tasks.train_model import train_model
from tasks.validate_data import validate_data
from tasks.validate_infra import validate_infra

MEASURED = (validate_data, train_model, evaluate_model, package_model, validate_infra, stress_test)
BLESSED = (register_model, deploy_staging)


@flow(
    name="release-model",
    flow_run_name="{model}: {reason}",
    on_failure=[note_failure],
    on_crashed=[note_failure],
    on_cancellation=[note_failure, take_back_rollout],
)
def release_model(model: str, reason: str = "by hand", started_by: str = "Prefect UI") -> State:
    """Take one model from its newest landed data to production.

    Args:
        model: Name of a spec in deployments/.
        reason: Why: "new data", "schedule", or your own words. Goes on record.
        started_by: Who or what starts it. Goes on record.
    """
    void = enter_release(model, reason, started_by)
    if void is not None:
        return end_state(void)
    so_far = ingest_data(model, reason, started_by)
    for stage in (*MEASURED, *BLESSED):
        if so_far.ended:
            return end_state(so_far)
        so_far = stage(so_far)
    if so_far.ended:
        return end_state(so_far)
    so_far = await_decision(ask_approval(so_far))
    if so_far.ended:
        return end_state(so_far)
    return end_state(promote(so_far))
