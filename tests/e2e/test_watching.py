"""Watching on a real stack: harm that labels show is told and answered by a release; messages and events start one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from lockgate.core.ledger import Event, LedgerRow
from tests.e2e.stack import STALLED_S, Stack, await_it
from tests.e2e.watched import answered_days, ask, kill_a_look_in_the_middle, let_it_be_due, tell_labels
from tests.unit.alerting.receiving import Receiver

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
MODEL = "toy"
HARM = "toy:quality.loss"


@pytest.fixture(scope="module")
def served(stack: Stack) -> str:
    """The champion; released here where no test did it before."""
    if stack.state(MODEL).champion is None:
        stack.land(MODEL)
        stack.await_question("toy-0001")
        assert stack.approve("toy-0001", "--wait").code == 0
    return str(stack.state(MODEL).champion)


@pytest.fixture(scope="module")
def people(stack: Stack) -> Iterator[Receiver]:
    """A webhook that people read; whoever starts from now on knows its address."""
    addresses, receiver = Path(stack.environ["LOCKGATE_NOTIFY_FILE"]), Receiver()
    addresses.write_text(receiver.address())
    try:
        yield receiver
    finally:
        addresses.write_text("")
        receiver.down()


def actions(stack: Stack, key: str) -> list[str]:
    """Return what became of an alert, in order, without the deliveries."""
    return [str(row.payload["action"]) for row in stack.rows(MODEL, Event.ALERT) if row.payload.get("key") == key]


def answers(stack: Stack, kind: str, *, after: int) -> list[LedgerRow]:
    """Return what the policy said to a trigger before a run carried it."""
    decided = [row for row in stack.rows(MODEL, Event.RETRAINING_DECIDED) if row.seq > after and not row.payload["run"]]
    return [row for row in decided if row.payload["trigger"]["kind"] == kind]  # type: ignore[index,call-overload]


def runs_of(stack: Stack, reason: str) -> list[str]:
    """Return the runs that carry a reason."""
    found = stack.prefect.deployment(f"release-model/{MODEL}")["id"]
    runs = stack.prefect.flow_runs({"deployments": {"id": {"any_": [found]}}})
    return [run["id"] for run in runs if run["parameters"].get("reason") == reason]


@pytest.fixture(scope="module")
def harmed(stack: Stack, served: str, people: Receiver) -> int:
    """Eight days of wrong answers, seen by a look that was killed and by the one that the schedule starts."""
    assert served
    before = stack.last_seq(MODEL)
    tell_labels(stack, answered_days(stack, MODEL), right=False)
    kill_a_look_in_the_middle(stack, MODEL)
    run = let_it_be_due(stack, f"monitor-model/{MODEL}")
    assert (run["state_name"], run["created_by"]["type"]) == ("Harm", "SCHEDULE"), stack.story(MODEL)
    assert people.port
    return before


def test_the_scheduled_monitor_goes_on_where_a_killed_look_stopped_and_nothing_is_said_twice(
    stack: Stack, harmed: int, people: Receiver
) -> None:
    (look,) = [row for row in stack.rows(MODEL, Event.MONITORED) if row.seq > harmed][-1:]
    assert look.payload["state"] == "harm"
    assert actions(stack, HARM) == ["raised"]
    assert list((stack.settings.home / "monitoring" / MODEL).rglob("*.json")) != []
    await_it(lambda: f"{HARM}#1" in people.taken, STALLED_S, lambda: f"people were told {people.taken}")
    assert Counter(people.taken)[f"{HARM}#1"] == 1
    (message,) = [each for each in people.got if each["idempotency_key"] == f"{HARM}#1"]
    assert message["header"] == f"{HARM}#1"
    assert "lockgate release" in message["message"]


def test_harm_that_labels_show_starts_a_release_with_its_reason_on_record(stack: Stack, harmed: int) -> None:
    (said,) = answers(stack, "degradation", after=harmed)
    assert said.payload["train"] is True
    opened = stack.await_open(MODEL, after=said.seq)
    assert str(opened.payload["reason"]).startswith("degradation: quality.")
    assert opened.payload["started_by"] == "monitor"
    stack.kill_run(str(opened.payload["run"]), MODEL)  # how a release ends is tested elsewhere


@pytest.mark.usefixtures("harmed")
def test_an_alert_is_acknowledged_and_silenced_by_command(stack: Stack) -> None:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="minutes")
    assert stack.cli("alert", "ack", HARM, "--reason", "a release is on its way", "--as", "ada").code == 0
    said = stack.cli("alert", "silence", HARM, "--until", until, "--reason", "known", "--as", "ada")
    assert said.code == 0, said.err
    assert actions(stack, HARM) == ["raised", "acknowledged", "silenced"]


def taken(stack: Stack, key: str, reason: dict[str, str]) -> httpx.Response | None:
    """Send a message, again where Prefect or the ledger did not answer in time: "not now", senders are told then."""
    for _ in range(5):
        said = ask(stack, MODEL, key=key, json=reason)
        if said is None or said.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
    return said


@pytest.mark.usefixtures("harmed")
def test_a_message_with_the_token_starts_one_run_whatever_dies_between_its_four_deliveries(stack: Stack) -> None:
    before, reason = stack.last_seq(MODEL), {"reason": "the feed was mended"}
    refused = [
        ask(stack, MODEL, token="wrong", json=reason),
        ask(stack, MODEL, json={"reason": "x" * 17_000}),
        ask(stack, "nobody", json=reason),
        ask(stack, MODEL, content=b"nothing"),
    ]
    assert [each and each.status_code for each in refused] == [401, 413, 404, 400]
    assert answers(stack, "message", after=before) == []
    with ThreadPoolExecutor() as senders:
        told = list(senders.map(lambda _: taken(stack, "k1", reason), range(3)))
    killed = stack.kill("watcher")
    if (meanwhile := taken(stack, "k1", reason)) is not None:
        told.append(meanwhile)  # whoever stood still for a second finds it back already
    stack.await_back(killed)
    told.append(await_it(lambda: taken(stack, "k1", reason), STALLED_S, lambda: "nobody takes messages"))
    assert [each and each.status_code for each in told] == [202] * len(told)
    assert sorted(each.json()["answer"] for each in told if each) == ["already started"] * (len(told) - 1) + ["started"]
    (run,) = {each.json()["run"] for each in told if each}
    assert len(answers(stack, "message", after=before)) == 1
    assert runs_of(stack, "message: the feed was mended") == [run]
    other = ask(stack, MODEL, key="k1", json={"reason": "another"})
    assert other is not None
    assert other.status_code == 409


@pytest.mark.soak
@pytest.mark.usefixtures("harmed")
def test_an_event_that_is_delivered_four_times_starts_one_run(stack: Stack) -> None:
    reason = "message: event lockgate.retrain.asked"
    event = str(uuid4())
    for _ in range(4):
        stack.prefect.emit_event("lockgate.retrain.asked", f"lockgate.model.{MODEL}", {}, id=event)
    await_it(lambda: runs_of(stack, reason), STALLED_S, lambda: "the event started nothing")
    last = str(uuid4())
    stack.prefect.emit_event("lockgate.retrain.asked", f"lockgate.model.{MODEL}", {}, id=last)
    # events are taken in their order: when the next one has started its run, the four have done what they ever will
    await_it(lambda: len(runs_of(stack, reason)) > 1, STALLED_S, lambda: "the next event started nothing")
    assert len(runs_of(stack, reason)) == 2
