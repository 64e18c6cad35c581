"""A schedule really creates runs. Under SQLAlchemy 2.1 the server looks healthy and never creates one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.stack import STALLED_S, Stack, await_it

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


def scheduled(stack: Stack, deployment: str) -> list[dict[str, Any]]:
    """Return the runs that the server itself created for a deployment's schedule."""
    found = stack.prefect.deployment(deployment)["id"]
    runs = stack.prefect.flow_runs({"deployments": {"id": {"any_": [found]}}})
    return [run for run in runs if run["auto_scheduled"] and run["state_name"] == "Scheduled"]


@pytest.mark.parametrize("deployment", ["release-model/toy", "reap-releases/reaper", "watch-landing/landing"])
def test_a_cron_schedule_creates_runs(stack: Stack, deployment: str) -> None:
    runs = await_it(lambda: scheduled(stack, deployment), STALLED_S, lambda: f"no run of {deployment} was scheduled")
    assert all(run["created_by"]["type"] == "SCHEDULE" for run in runs), runs[0]["created_by"]
    wanted = {"model": "toy", "reason": "schedule", "started_by": "schedule"} if deployment.endswith("toy") else {}
    assert runs[0]["parameters"] == wanted
