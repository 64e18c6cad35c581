"""The real orchestrator and its worker under the supervisor, with a project of two small flows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import psutil
import pytest

from lockgate.adapters.deployments import bring_deployments
from lockgate.adapters.local_stack import stack_folder
from lockgate.adapters.prefect_api import PrefectApi
from lockgate.adapters.processes import marked
from lockgate.adapters.stack import plan_stack
from lockgate.adapters.stack_control import current, down, up
from lockgate.adapters.stack_state import Running, read_plan
from lockgate.config import Settings, load_settings
from lockgate.errors import ApprovalVoid, BadInput
from lockgate.line.cancelling import BY_HAND
from tests.e2e.starting import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

FLOWS = """
import os
import time
from pathlib import Path
from typing import Literal

from prefect import flow, suspend_flow_run
from prefect.input import RunInput


class Approval(RunInput):
    decision: Literal["approve", "reject"]
    approver: str


@flow
def where(note: str = "") -> None:
    lines = [os.getcwd(), os.environ["LOCKGATE_HOME"], os.environ["MLFLOW_TRACKING_URI"], note]
    (Path(os.environ["LOCKGATE_HOME"]) / "where.txt").write_text("\\n".join(lines))


@flow
def gate() -> None:
    answer = suspend_flow_run(wait_for_input=Approval, key="approval-0", timeout=300)
    (Path(os.environ["LOCKGATE_HOME"]) / "answer.txt").write_text(answer.approver)


def note(flow, flow_run, state):
    told = f"{state.name} {flow_run.id} {flow_run.parameters['release']}"
    (Path(os.environ["LOCKGATE_HOME"]) / "cancelled.txt").write_text(told)


@flow(on_cancellation=[note])
def held(release: str) -> None:
    (Path(os.environ["LOCKGATE_HOME"]) / "held.txt").write_text(str(os.getpid()))
    time.sleep(300)
"""

PREFECT_YAML = """
name: toy
pull:
  - prefect.deployments.steps.set_working_directory:
      directory: "{{ $LOCKGATE_PROJECT }}"
deployments:
  - {name: toy, entrypoint: "flows/toy.py:where", work_pool: {name: lockgate}}
  - {name: toy, entrypoint: "flows/toy.py:gate", work_pool: {name: lockgate}}
  - {name: toy, entrypoint: "flows/toy.py:held", work_pool: {name: lockgate}}
"""


STALLED_S = 180.0  # ours: Prefect on SQLite answers nobody for a minute now and then, waiting for its own lock


def within(seconds: float, there: Callable[[], bool]) -> None:
    """Wait until something is there."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"not after {seconds:g} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("stack")
    (root / "project" / "flows").mkdir(parents=True)
    (root / "project" / "flows" / "toy.py").write_text(FLOWS)
    (root / "project" / "prefect.yaml").write_text(PREFECT_YAML)
    environ = {"LOCKGATE_HOME": str(root / "home"), "LOCKGATE_PROJECT": str(root / "project"), **free_ports()}
    return load_settings(environ)


@pytest.fixture(scope="module")
def prefect(settings: Settings) -> Iterator[PrefectApi]:
    """The stack without what this project does not have: Prefect and the worker, and two deployments."""
    whole = plan_stack(settings)
    plan = replace(whole, processes=tuple(each for each in whole.processes if each.name in ("prefect", "worker")))
    try:
        up(stack_folder(settings), plan, within_s=300)
        bring_deployments(settings)
        with PrefectApi(settings.prefect_api, within_s=STALLED_S, absent_s=60) as api:
            yield api
    finally:
        down(stack_folder(settings))
        assert marked(stack_folder(settings)) == ()


def test_what_is_deployed_is_not_deployed_again(settings: Settings, prefect: PrefectApi) -> None:
    assert prefect.deployments() == ("gate/toy", "held/toy", "where/toy")
    assert bring_deployments(settings) is None


def test_a_run_starts_in_the_project_with_the_stacks_environment(settings: Settings, prefect: PrefectApi) -> None:
    run = prefect.start_run("where/toy", {"note": "hello"}, idempotency_key="once")
    assert prefect.start_run("where/toy", {"note": "hello"}, idempotency_key="once") == run
    assert prefect.wait(run, lambda state: state.ended, within_s=STALLED_S).type == "COMPLETED"
    told = (settings.home / "where.txt").read_text().splitlines()
    assert told == [str(settings.project), str(settings.home), settings.url("mlflow"), "hello"]


def test_a_suspended_run_takes_a_right_answer_once_and_no_wrong_one(settings: Settings, prefect: PrefectApi) -> None:
    run = prefect.start_run("gate/toy", {})
    prefect.wait(run, lambda state: state.type == "PAUSED", within_s=STALLED_S)
    with pytest.raises(BadInput, match="approver"):
        prefect.resume(run, {"decision": "approve"})
    with pytest.raises(BadInput, match="maybe"):
        prefect.resume(run, {"decision": "maybe", "approver": "maria"})
    prefect.resume(run, {"decision": "approve", "approver": "maria"})
    assert prefect.wait(run, lambda state: state.ended, within_s=STALLED_S).type == "COMPLETED"
    assert (settings.home / "answer.txt").read_text() == "maria"
    with pytest.raises(ApprovalVoid, match="does not wait"):
        prefect.resume(run, {"decision": "approve", "approver": "maria"})


def test_cancelling_a_run_as_the_ui_does_ends_its_process_and_calls_its_cancellation_hook(
    settings: Settings, prefect: PrefectApi
) -> None:
    run = prefect.start_run("held/toy", {"release": "toy-0002"})
    within(STALLED_S, lambda: said(settings, "held.txt") != "")
    assert prefect.set_state(run, type="CANCELLING", name="Cancelling", message="Cancel from the UI") == "ACCEPT"
    within(STALLED_S, lambda: len(said(settings, "cancelled.txt").split()) == 3)
    told = said(settings, "cancelled.txt").split()
    assert told[0] in BY_HAND
    assert told[1:] == [run, "toy-0002"]
    state = prefect.wait(run, lambda seen: seen.ended, within_s=STALLED_S)
    assert (state.type, state.name) == ("CANCELLED", "Cancelled")
    within(STALLED_S, lambda: not psutil.pid_exists(int(said(settings, "held.txt"))))


def said(settings: Settings, name: str) -> str:
    """Return what a flow has written by now."""
    path = settings.home / name
    return path.read_text() if path.is_file() else ""


def test_a_waiting_run_can_be_ended_under_a_name_of_its_own(prefect: PrefectApi) -> None:
    run = prefect.start_run("gate/toy", {})
    prefect.wait(run, lambda state: state.type == "PAUSED", within_s=STALLED_S)
    prefect.end(run, type="CANCELLED", name="Expired", message="nobody answered")
    state = prefect.state(run)
    assert state is not None
    assert (state.type, state.name) == ("CANCELLED", "Expired")


def test_an_unknown_deployment_names_those_that_are_there(prefect: PrefectApi) -> None:
    with pytest.raises(BadInput, match="gate/toy, held/toy, where/toy"):
        prefect.start_run("release-model/typo", {})


def test_an_event_is_taken(prefect: PrefectApi) -> None:
    assert prefect.emit_event("lockgate.batch.landed", "lockgate.model.toy", {"files": ["a"]})


def test_prefect_shows_its_first_pages_and_calls_nobody(prefect: PrefectApi, settings: Settings) -> None:
    shown = prefect._http.get(f"{settings.url('prefect')}/ui-settings").json()
    assert shown["default_ui"] == "v1"
    asked = prefect._http.get("/admin/settings").json()
    assert asked["server"]["analytics_enabled"] is False


def test_the_server_comes_back_when_it_is_killed_and_the_worker_goes_on(
    settings: Settings, prefect: PrefectApi
) -> None:
    killed = server_of(settings)
    assert killed.identity is not None
    os.kill(killed.identity.pid, signal.SIGKILL)
    deadline = time.monotonic() + STALLED_S
    while server_of(settings).restarts == killed.restarts:
        assert time.monotonic() < deadline, "nobody saw that it died"
        time.sleep(0.05)
    folder = stack_folder(settings)
    up(folder, read_plan(folder), within_s=300)
    run = prefect.start_run("where/toy", {"note": "again"})
    assert prefect.wait(run, lambda state: state.ended, within_s=STALLED_S).type == "COMPLETED"


def server_of(settings: Settings) -> Running:
    status = current(stack_folder(settings))
    assert status is not None
    return next(each for each in status.processes if each.name == "prefect")
