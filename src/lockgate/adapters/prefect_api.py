"""The orchestrator's REST API, as much of it as Lockgate needs: start, look, answer, end, emit.

Every call is bounded in time and repeats what may be repeated: a Prefect server on SQLite answers 503 when its
database is busy, and a run that was suspended a moment ago has not stored its form yet. The resume call answers HTTP
200 with `"status": "REJECT"` when it refuses, so the status in the body decides, not the code.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from lockgate.core.ids import Json
from lockgate.errors import ApprovalVoid, BadInput, NotRunning, TransientError
from lockgate.ports import RunState

_BUSY = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT}
_FORM_NOT_STORED = "schema not found"
WITHIN_S = 75.0
"""Seconds that a call may take. Prefect on SQLite waits up to 60 s for its own lock, and answers nobody meanwhile."""


class PrefectApi:
    """A client of one Prefect server."""

    def __init__(
        self,
        api_url: str,
        *,
        within_s: float = WITHIN_S,
        absent_s: float = 0.0,
        pause_s: float = 0.3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Take the address; nothing is sent yet.

        Args:
            api_url: The server's API, e.g. http://127.0.0.1:4200/api.
            within_s: How long one call may take, with its repeats.
            absent_s: How long a server that nobody listens for is waited for: 0 for a person at a terminal, a minute or
                two for work that should outlast a restart of the server.
            pause_s: Between two tries.
            transport: Stands in for the network in tests.
        """
        self._url = api_url
        self._within_s = within_s
        self._absent_s = absent_s
        self._pause_s = pause_s
        # No proxy of the environment stands between this machine and its own loopback.
        self._http = httpx.Client(base_url=api_url, timeout=10.0, trust_env=False, transport=transport)

    def __enter__(self) -> Self:
        """Return itself; connections are kept open until the end of the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the connections."""
        self._http.close()

    # -- runs --------------------------------------------------------------------------------------------------------

    def start_run(
        self,
        deployment: str,
        parameters: Mapping[str, Json],
        *,
        idempotency_key: str | None = None,
        name: str | None = None,
    ) -> str:
        """Start a run of a deployment and return its id; the same key starts it once.

        Args:
            deployment: `flow/deployment`.
            parameters: What the flow takes.
            idempotency_key: Names this start. None: one is made, so that a repeated request starts one run only.
            name: Shown in the UI.

        Raises:
            BadInput: There is no such deployment, or it refuses the parameters.
            NotRunning: Nothing listens there.
            TransientError: The server did not answer in time.
        """
        found = self.deployment(deployment)
        body: dict[str, Json] = {
            "parameters": dict(parameters),
            "idempotency_key": idempotency_key or str(uuid.uuid4()),
            "state": {"type": "SCHEDULED"},
        }
        if name is not None:
            body["name"] = name
        return str(self._object("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def deployment(self, deployment: str) -> dict[str, Any]:
        """Return a deployment by `flow/deployment`.

        Raises:
            BadInput: There is none; names those that are there.
        """
        answer = self._send("GET", f"/deployments/name/{deployment}", None)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            known = ", ".join(self.deployments()) or "none; run lockgate up"
            raise BadInput(f"there is no deployment {deployment!r}; known: {known}", deployment=deployment)
        return dict(self._checked(answer).json())

    def deployments(self) -> tuple[str, ...]:
        """Return every deployment as `flow/deployment`, sorted."""
        flows = {each["id"]: each["name"] for each in self._list("/flows/filter", {})}
        found = self._list("/deployments/filter", {})
        return tuple(sorted(f"{flows.get(each['flow_id'], '?')}/{each['name']}" for each in found))

    def run(self, run_id: str) -> dict[str, Any]:
        """Return one flow run as the server tells it.

        Raises:
            BadInput: There is no such run.
        """
        answer = self._send("GET", f"/flow_runs/{run_id}", None)
        if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise BadInput(f"the orchestrator knows no run {run_id!r}", run=run_id)
        return dict(self._checked(answer).json())

    def flow_runs(self, chosen: Mapping[str, Json] | None = None, *, limit: int = 50) -> list[dict[str, Any]]:
        """Return flow runs, newest first.

        Args:
            chosen: Filters as the API takes them, e.g. `{"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}`.
            limit: At most this many.
        """
        return self._list("/flow_runs/filter", {**(chosen or {}), "sort": "START_TIME_DESC", "limit": limit})

    def task_runs(self, run_id: str) -> list[dict[str, Any]]:
        """Return the task runs of a flow run, in the order they were expected."""
        body: dict[str, Json] = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return self._list("/task_runs/filter", body)

    def state(self, run: str) -> RunState | None:
        """Return the run's state; None when the orchestrator does not know it."""
        answer = self._send("GET", f"/flow_runs/{run}", None)
        if answer.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY):
            return None
        told = self._checked(answer).json().get("state")
        if told is None:
            return None
        return RunState(type=told["type"], name=told["name"], since=datetime.fromisoformat(told["timestamp"]))

    def end(self, run: str, *, type: str, name: str, message: str) -> None:  # noqa: A002 - the orchestrator's word
        """Put the run in an end state of that type (CANCELLED or CRASHED), name and message, whatever it was in."""
        self.set_state(run, type=type, name=name, message=message, force=True)

    def set_state(
        self,
        run: str,
        *,
        type: str,  # noqa: A002 - the orchestrator's word
        name: str,
        message: str = "",
        force: bool = False,
    ) -> str:
        """Ask for a state and return what became of it: ACCEPT, REJECT, ABORT or WAIT."""
        state: Json = {"type": type, "name": name, "message": message}
        return str(self._object("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})["status"])

    def cancel(self, run: str, reason: str) -> str:
        """Cancel a run; one that executes is ended by its worker, one that waits ends at once."""
        told = self.state(run)
        executes = told is not None and told.type in ("RUNNING", "PENDING")
        if executes:
            return self.set_state(run, type="CANCELLING", name="Cancelling", message=reason)
        return self.set_state(run, type="CANCELLED", name="Cancelled", message=reason, force=True)

    def resume(self, run_id: str, run_input: Mapping[str, Json]) -> None:
        """Answer a suspended run.

        Raises:
            BadInput: The answer does not fit the form; says where. It may be given again.
            ApprovalVoid: The run does not wait (any more).
        """
        deadline = time.monotonic() + self._within_s
        while True:
            told = self._object("POST", f"/flow_runs/{run_id}/resume", {"run_input": dict(run_input)})
            if told["status"] == "ACCEPT":
                return
            reason = str((told.get("details") or {}).get("reason") or told["status"])
            if told["status"] == "ABORT":
                raise ApprovalVoid(f"run {run_id} does not wait for an answer: {reason}", run=run_id)
            if _FORM_NOT_STORED not in reason or time.monotonic() >= deadline:
                raise BadInput(f"the answer was refused: {reason}", run=run_id)
            time.sleep(self._pause_s)

    def wait(self, run_id: str, until: Callable[[RunState], bool], *, within_s: float) -> RunState:
        """Look at a run until its state satisfies `until`; the server may be away for a part of that time.

        Raises:
            TransientError: It did not in time.
        """
        deadline, last = time.monotonic() + within_s, "unknown"
        while time.monotonic() < deadline:
            try:
                state = self.state(run_id)
            except (NotRunning, TransientError) as away:
                last = away.message
            else:
                if state is not None and until(state):
                    return state
                last = "unknown" if state is None else state.name
            time.sleep(self._pause_s)
        raise TransientError(f"run {run_id} is still {last} after {within_s:.0f} s", run=run_id)

    # -- events and work pools ---------------------------------------------------------------------------------------

    def emit_event(
        self,
        event: str,
        resource: str,
        payload: Mapping[str, Json],
        *,
        id: str | None = None,  # noqa: A002 - the orchestrator's word
    ) -> str:
        """Emit one event and return its id; the same id is recorded once.

        Args:
            event: Its name, e.g. `lockgate.batch.landed`.
            resource: What it is about: `prefect.resource.id`.
            payload: The facts.
            id: A UUID. None: a new one.
        """
        event_id = id or str(uuid.uuid4())
        body: Json = [
            {
                "id": event_id,
                "occurred": datetime.now(UTC).isoformat(),
                "event": event,
                "resource": {"prefect.resource.id": resource},
                "related": [],
                "payload": dict(payload),
            }
        ]
        self._checked(self._send("POST", "/events", body))
        return event_id

    def put_work_pool(self, name: str, *, kind: str, template: Mapping[str, Json]) -> None:
        """Make a work pool, or bring the one of that name to this template."""
        body: dict[str, Json] = {"name": name, "type": kind, "base_job_template": dict(template)}
        answer = self._send("POST", "/work_pools/", body)
        if answer.status_code == HTTPStatus.CONFLICT:
            answer = self._send("PATCH", f"/work_pools/{name}", {"base_job_template": dict(template)})
        self._checked(answer)

    # -- transport ---------------------------------------------------------------------------------------------------

    def _object(self, method: str, path: str, body: Json) -> dict[str, Any]:
        return dict(self._checked(self._send(method, path, body)).json())

    def _list(self, path: str, body: Json) -> list[dict[str, Any]]:
        return list(self._checked(self._send("POST", path, body)).json())

    def _send(self, method: str, path: str, body: Json) -> httpx.Response:
        began = time.monotonic()
        deadline = began + self._within_s
        while True:
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.ConnectError as nobody:
                if time.monotonic() - began >= self._absent_s:
                    message = f"nothing answers at {self._url}; start the stack with: lockgate up"
                    raise NotRunning(message, url=self._url) from nobody
            except httpx.HTTPError as failed:
                if time.monotonic() >= deadline:
                    raise TransientError(f"{self._url} did not answer: {failed!r}", url=self._url) from failed
            else:
                if answer.status_code not in _BUSY or time.monotonic() >= deadline:
                    return answer
            time.sleep(self._pause_s)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        said = f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text[:500]}"
        if answer.is_server_error:
            raise TransientError(said, url=self._url)
        raise BadInput(said, url=self._url)
