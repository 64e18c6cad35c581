"""What a monitor has to see: days that production answered in, labels that say otherwise, a schedule that is due."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import numpy as np

from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event
from lockgate.serving.log.prediction_log import PredictionLog, Record
from tests.e2e.stack import LOOK_S, RELEASED_WITHIN_S, STALLED_S, Stack, await_it
from tests.e2e.toy_project import rows

DAYS = 8
OVER = ("COMPLETED", "CANCELLED", "FAILED", "CRASHED")
A_DAY = 60  # each day counts from 30 labelled rows on


def answered_days(stack: Stack, model: str) -> list[tuple[str, datetime, list[str]]]:
    """Let production answer for each of the last days; returns prediction id, time and labels of each.

    A server's clock is the machine's: its answers are put into the log once more, under days that are over.
    """
    champion = stack.state(model).champion
    assert champion is not None
    log = PredictionLog(stack.settings.serving("production") / "predictions", worker=99)
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    made = []
    for back in range(DAYS, 0, -1):
        frame = rows(1000 + back, 1)[["a", "b", "c"]].head(A_DAY).astype(object)
        frame = frame.where(frame.notna(), None)
        url = f"{stack.settings.url('production')}/invocations"
        body = {"dataframe_records": frame.to_dict("records")}
        answer = httpx.post(url, params={"model": model}, json=body, timeout=60, trust_env=False)
        assert answer.status_code == httpx.codes.OK, answer.text
        given = answer.json()["predictions"]
        labels = [str(each["label"]) for each in given]
        at, prediction_id = noon - timedelta(days=back), f"{answer.headers['x-lockgate-prediction-id']}-past"
        log.append(
            Record(
                time=at.timestamp(),
                prediction_id=prediction_id,
                model=model,
                digest=champion,
                arm="champion",
                entity=None,
                rows=A_DAY,
                inputs={name: list(frame[name]) for name in ("a", "b", "c")},
                outputs={
                    "probability": np.array([each["probability"] for each in given], np.float32),
                    "label": labels,
                },
                flags=(),
                latency_us=900,
            )
        )
        made.append((prediction_id, at, labels))
    log.close()
    return made


def tell_labels(stack: Stack, answered: list[tuple[str, datetime, list[str]]], *, right: bool) -> None:
    """Send labels to production that say what it answered, or the other."""
    other = {"yes": "no", "no": "yes"}
    labels = [
        {"prediction_id": key, "row": row, "label": label if right else other[label], "time": at.isoformat()}
        for key, at, given in answered
        for row, label in enumerate(given)
    ]
    token = stack.settings.admin_token_file.read_text().strip()
    answer = httpx.post(
        f"{stack.settings.url('production')}/labels",
        json={"labels": labels},
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.json() == {"accepted": len(labels)}, answer.text


def kill_a_look_in_the_middle(stack: Stack, model: str) -> None:
    """Start `lockgate monitor` and end it with SIGKILL as soon as the first of its alerts is on record."""
    looking = subprocess.Popen(
        [sys.executable, "-m", "lockgate.cli", "monitor", model],
        env=stack.environ,
        cwd=stack.settings.project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while looking.poll() is None and not stack.services.ledger.rows(ModelName(model), events=(Event.ALERT,)):
            time.sleep(0.005)
    finally:
        looking.kill()
        looking.wait()


def let_it_be_due(stack: Stack, deployment: str) -> dict[str, Any]:
    """Set a deployment's schedule to now, once; returns the run that the server makes of it, when it has ended.

    That the server makes runs of schedules by itself, once a minute, is `test_schedule.py`; here it is asked to look.
    """
    found = stack.prefect.deployment(deployment)
    url, slug = f"{stack.settings.prefect_api}/deployments/{found['id']}", found["schedules"][0]["slug"]
    soon = datetime.now(UTC) + timedelta(seconds=10)

    def send(method: str, to: str, body: dict[str, Any]) -> None:
        def sent() -> bool:
            answer = httpx.request(method, to, json=body, timeout=30, trust_env=False)
            assert answer.is_success or answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            return answer.is_success

        await_it(sent, STALLED_S, lambda: f"Prefect did not take {body}")

    def ended() -> dict[str, Any] | None:
        runs = stack.prefect.flow_runs({"deployments": {"id": {"any_": [found["id"]]}}})
        return next((run for run in runs if run["state_type"] in OVER), None)

    every = {"interval": 86_400.0, "anchor_date": soon.isoformat()}
    send("PATCH", url, {"schedules": [{"slug": slug, "active": True, "schedule": every}]})
    try:
        # where Prefect did not answer for a while, the moment is over already: its run is late then, and made
        around = [(soon + timedelta(seconds=each)).isoformat() for each in (-1, 60)]
        send("POST", f"{url}/schedule", dict(zip(("start_time", "end_time"), around, strict=True)))
        return await_it(ended, RELEASED_WITHIN_S, lambda: f"no scheduled run of {deployment} ended")
    finally:
        send("PATCH", url, {"schedules": [{"slug": slug, "active": False}]})


def ask(stack: Stack, model: str, *, key: str = "", token: str | None = None, **what: Any) -> httpx.Response | None:
    """Send a message that asks for a release; None where nobody listens."""
    port = stack.environ["LOCKGATE_TRIGGER_PORT"]
    shown = (stack.settings.home / "tokens" / "trigger.token").read_text() if token is None else token
    headers = {"Authorization": f"Bearer {shown}", **({"Idempotency-Key": key} if key else {})}
    try:
        return httpx.post(
            f"http://127.0.0.1:{port}/trigger/{model}", headers=headers, timeout=STALLED_S, trust_env=False, **what
        )
    except httpx.TransportError:
        time.sleep(LOOK_S)
        return None
