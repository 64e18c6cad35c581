"""The client of the orchestrator against canned answers: what it repeats, what it refuses, what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from lockgate.adapters.prefect_api import PrefectApi
from lockgate.errors import ApprovalVoid, BadInput, NotRunning, TransientError
from lockgate.ports import RunState

RUN = "3f0e7a4e-0000-4000-8000-000000000001"
Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, within_s: float = 60.0) -> PrefectApi:
    return PrefectApi("http://prefect/api", within_s=within_s, pause_s=0.01, transport=httpx.MockTransport(handler))


def in_turn(*answers: httpx.Response) -> tuple[Handler, list[httpx.Request]]:
    left, seen = list(answers), []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return left.pop(0) if len(left) > 1 else left[0]

    return handler, seen


def resumed(status: str, reason: str = "") -> httpx.Response:
    return httpx.Response(200, json={"status": status, "details": {"reason": reason}})


def test_an_accepted_answer_is_sent_as_run_input() -> None:
    handler, seen = in_turn(resumed("ACCEPT"))
    client(handler).resume(RUN, {"decision": "approve"})
    assert seen[0].url.path == f"/api/flow_runs/{RUN}/resume"
    assert json.loads(seen[0].content) == {"run_input": {"decision": "approve"}}


def test_a_refused_answer_is_bad_input_although_http_says_200() -> None:
    handler, _ = in_turn(resumed("REJECT", "Reason: 'approver' is a required property"))
    with pytest.raises(BadInput, match="'approver' is a required property"):
        client(handler).resume(RUN, {})


def test_a_run_that_does_not_wait_voids_the_answer() -> None:
    handler, _ = in_turn(resumed("ABORT", "Cannot resume a flow run that is not paused."))
    with pytest.raises(ApprovalVoid, match="not paused"):
        client(handler).resume(RUN, {})


def test_an_answer_that_comes_before_the_form_is_stored_is_given_again() -> None:
    handler, seen = in_turn(resumed("REJECT", "Run input schema not found."), resumed("ACCEPT"))
    client(handler).resume(RUN, {})
    assert len(seen) == 2


def test_a_busy_server_is_asked_again() -> None:
    handler, seen = in_turn(httpx.Response(503), resumed("ACCEPT"))
    client(handler).resume(RUN, {})
    assert len(seen) == 2


def test_a_server_that_stays_busy_is_transient() -> None:
    handler, _ = in_turn(httpx.Response(503, text="database is locked"))
    with pytest.raises(TransientError, match="503"):
        client(handler, within_s=0.0).run(RUN)


def test_a_server_that_is_not_there_is_not_running() -> None:
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(NotRunning, match="lockgate up") as refused:
        client(nobody).run(RUN)
    assert refused.value.exit_code == 7


def test_a_server_that_restarts_is_waited_for_where_that_was_asked_for() -> None:
    tries: list[int] = []

    def away_once(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) == 1:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json={"id": RUN})

    api = PrefectApi("http://prefect/api", absent_s=60.0, pause_s=0.01, transport=httpx.MockTransport(away_once))
    assert api.run(RUN)["id"] == RUN


def test_a_server_that_hangs_up_is_asked_again() -> None:
    tries: list[int] = []

    def once_broken(request: httpx.Request) -> httpx.Response:
        tries.append(1)
        if len(tries) == 1:
            raise httpx.RemoteProtocolError("hung up", request=request)
        return httpx.Response(200, json={"id": RUN})

    assert client(once_broken).run(RUN)["id"] == RUN


def test_a_run_is_started_once_for_one_key() -> None:
    handler, seen = in_turn(httpx.Response(200, json={"id": "d"}), httpx.Response(201, json={"id": RUN}))
    assert client(handler).start_run("f/d", {"model": "toy"}, idempotency_key="toy-0001", name="roll out") == RUN
    body = json.loads(seen[1].content)
    assert body["idempotency_key"] == "toy-0001"
    assert body["parameters"] == {"model": "toy"}
    assert body["name"] == "roll out"


def test_a_start_without_a_key_gets_one_so_that_its_repeats_start_one_run() -> None:
    handler, seen = in_turn(
        httpx.Response(200, json={"id": "d"}), httpx.Response(503), httpx.Response(201, json={"id": RUN})
    )
    client(handler).start_run("f/d", {})
    first, second = (json.loads(each.content)["idempotency_key"] for each in seen[1:])
    assert first == second


def test_an_unknown_deployment_names_those_that_are_there() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/flows/filter"):
            return httpx.Response(200, json=[{"id": "1", "name": "release-model"}])
        if request.url.path.endswith("/deployments/filter"):
            return httpx.Response(200, json=[{"flow_id": "1", "name": "flight-delays"}])
        return httpx.Response(404)

    with pytest.raises(BadInput, match="release-model/flight-delays"):
        client(handler).start_run("release-model/typo", {})


def test_a_state_is_read_with_its_time() -> None:
    told = {"type": "PAUSED", "name": "Suspended", "timestamp": "2026-03-01T14:05:00Z"}
    handler, _ = in_turn(httpx.Response(200, json={"id": RUN, "state": told}))
    state = client(handler).state(RUN)
    assert state is not None
    assert (state.type, state.name, state.since.isoformat()) == ("PAUSED", "Suspended", "2026-03-01T14:05:00+00:00")
    assert not state.ended


def test_a_run_that_the_orchestrator_does_not_know_has_no_state() -> None:
    handler, _ = in_turn(httpx.Response(404))
    assert client(handler).state(RUN) is None


def test_an_end_is_forced_with_its_own_name() -> None:
    handler, seen = in_turn(httpx.Response(201, json={"status": "ACCEPT"}))
    client(handler).end(RUN, type="CANCELLED", name="Expired", message="nobody answered")
    assert json.loads(seen[0].content) == {
        "state": {"type": "CANCELLED", "name": "Expired", "message": "nobody answered"},
        "force": True,
    }


def test_waiting_goes_on_while_the_server_is_away() -> None:
    answers: list[Any] = [None, "RUNNING", "COMPLETED"]

    def handler(request: httpx.Request) -> httpx.Response:
        kind = answers.pop(0) if len(answers) > 1 else answers[0]
        if kind is None:
            raise httpx.ConnectError("restarting", request=request)
        state = {"type": kind, "name": kind.title(), "timestamp": "2026-03-01T14:05:00Z"}
        return httpx.Response(200, json={"state": state})

    assert client(handler).wait(RUN, lambda state: state.ended, within_s=60.0).name == "Completed"


def test_waiting_ends_in_time_and_says_where_the_run_stood() -> None:
    state = {"type": "RUNNING", "name": "Running", "timestamp": "2026-03-01T14:05:00Z"}
    handler, _ = in_turn(httpx.Response(200, json={"state": state}))
    never: Callable[[RunState], bool] = lambda _: False  # noqa: E731 - one line says it
    with pytest.raises(TransientError, match="still Running"):
        client(handler).wait(RUN, never, within_s=0.1)


def test_an_event_carries_its_resource_and_its_id() -> None:
    handler, seen = in_turn(httpx.Response(204))
    client(handler).emit_event("lockgate.batch.landed", "lockgate.model.toy", {"n": 1}, id=RUN)
    (event,) = json.loads(seen[0].content)
    assert event["id"] == RUN
    assert event["resource"] == {"prefect.resource.id": "lockgate.model.toy"}
    assert event["payload"] == {"n": 1}


def test_a_pool_that_is_there_is_brought_to_the_template() -> None:
    handler, seen = in_turn(httpx.Response(409), httpx.Response(204))
    client(handler).put_work_pool("lockgate", kind="process", template={"variables": {}})
    assert [(each.method, each.url.path) for each in seen] == [
        ("POST", "/api/work_pools/"),
        ("PATCH", "/api/work_pools/lockgate"),
    ]
