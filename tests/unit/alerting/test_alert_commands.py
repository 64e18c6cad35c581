"""`lockgate alert`: what is shown, who may change it, and what the exit codes say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lockgate.adapters.approvers import Approvers
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.bootstrap import SystemClock
from lockgate.cli.app import app
from lockgate.config import Settings, load_settings
from lockgate.core.approval_people import Role
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event
from lockgate.core.spec_sections.watching import AlertsSection
from lockgate.stages.alerting import alert_rows, raise_alerts
from tests.fakes import FakeOutbox
from tests.unit.alerting.receiving import Receiver
from tests.unit.alerting.world import Finding

ROOT = Path(__file__).resolve().parents[3]
FLIGHTS = ModelName("flight-delays")
KEY = "flight-delays:loss"


class Machine:
    """One installation with alerts on record, and its command line."""

    def __init__(self, folder: Path) -> None:
        specs = folder / "project" / "deployments"
        specs.mkdir(parents=True)
        (specs / "flight-delays.yaml").write_bytes((ROOT / "deployments" / "flight-delays.yaml").read_bytes())
        self.env: dict[str, str | None] = {
            "LOCKGATE_PROJECT": str(specs.parent),
            "LOCKGATE_HOME": str(folder / "home"),
            "LOCKGATE_NOTIFY": None,
        }
        self.settings: Settings = load_settings({name: value for name, value in self.env.items() if value})
        self.ledger = SqlLedger(self.settings.ledger_url, SystemClock())

    def run(self, *words: str, token: str | None = None, notify: str | None = None) -> Result:
        given = {"LOCKGATE_APPROVER_TOKEN": token, "LOCKGATE_APPROVER_TOKEN_FILE": None, "LOCKGATE_NOTIFY": notify}
        return CliRunner().invoke(app, list(words), env={**self.env, **given})

    def find(self, *names: str) -> None:
        findings = [Finding(name=each, model=FLIGHTS, harm=n + 1.0) for n, each in enumerate(names)]
        raise_alerts(self.ledger, FakeOutbox(), FLIGHTS, AlertsSection(), findings, SystemClock().now(), "night desk")

    def listed(self, *words: str) -> list[dict[str, object]]:
        shown = self.run("alert", "list", "--json", *words)
        assert shown.exit_code == 0, shown.stderr
        alerts: list[dict[str, object]] = json.loads(shown.stdout)["alerts"]
        return alerts


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.ledger.close()


def test_alerts_are_listed_the_worst_first_with_what_to_do(machine: Machine) -> None:
    assert machine.listed() == []
    machine.find("drift", "loss")
    assert [(each["key"], each["state"]) for each in machine.listed()] == [
        (KEY, "open"),
        ("flight-delays:drift", "open"),
    ]
    shown = machine.run("alert", "list", "flight-delays")
    assert "night desk" in shown.stdout
    assert f"{KEY}: next: lockgate release toy" in shown.stdout
    assert "2 raised in 30 days, 0 called false; 1 are allowed" in shown.stdout
    assert "alerts reach nobody" in shown.stderr


def test_an_alert_is_acknowledged_silenced_and_told_again_by_name(machine: Machine) -> None:
    machine.find("loss")
    assert machine.run("alert", "ack", KEY, "--as", "otto", "--false-alarm").exit_code == 0
    assert machine.listed()[0]["acknowledged_by"] == "otto"
    until = ("--until", f"{SystemClock().now() + timedelta(days=2):%Y-%m-%d}")
    assert machine.run("alert", "silence", KEY, *until, "--reason", "known", "--json").exit_code == 0
    (alert,) = machine.listed()
    assert alert["state"] == "silenced"
    assert machine.run("alert", "unsilence", KEY).exit_code == 0
    assert machine.listed()[0]["state"] == "acknowledged"
    actions = [row.payload["action"] for row in alert_rows(machine.ledger, FLIGHTS)]
    assert actions == ["raised", "acknowledged", "silenced", "unsilenced"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ack", "flight-delays:nothing"), "there is no alert 'flight-delays:nothing'; alerts of flight-delays"),
        (("unsilence", KEY), "is not silenced"),
        (("silence", KEY, "--until", "soon", "--reason", "x"), "is no date; write it like"),
        (("silence", KEY, "--until", "2001-01-01", "--reason", "x"), "is over"),
    ],
)
def test_what_cannot_be_done_says_why_with_exit_code_2(machine: Machine, words: tuple[str, ...], told: str) -> None:
    machine.find("loss")
    said = machine.run("alert", *words)
    assert said.exit_code == 2
    assert told in said.stderr
    assert len(alert_rows(machine.ledger, FLIGHTS)) == 1


def test_with_approvers_it_takes_an_operators_token_and_a_refusal_is_on_record(machine: Machine) -> None:
    machine.find("loss")
    people = Approvers(machine.settings, machine.ledger, SystemClock())
    people.add("root", Role.ADMIN, by="root")
    viewer, operator = people.add("vic", Role.VIEWER, by="root"), people.add("otto", Role.OPERATOR, by="root")
    for token in (None, viewer):
        assert machine.run("alert", "ack", KEY, token=token).exit_code == 2
    assert len(machine.ledger.rows(FLIGHTS, events=(Event.REFUSED,))) == 2
    assert machine.run("alert", "ack", KEY, token=operator).exit_code == 0
    assert machine.listed()[0]["acknowledged_by"] == "otto"


def test_status_shows_open_alerts_and_that_nobody_watches(machine: Machine) -> None:
    machine.find("drift", "loss")
    shown = machine.run("status")
    assert shown.exit_code == 7
    assert shown.stdout.index(f"ALERT {KEY}: the loss is") < shown.stdout.index("ALERT flight-delays:drift")
    assert "the watcher is not running" in shown.stderr
    (model,) = json.loads(machine.run("status", "--json").stdout)["models"]
    assert [each["key"] for each in model["alerts"]] == [KEY, "flight-delays:drift"]


def test_a_test_message_says_which_address_took_it(machine: Machine) -> None:
    assert machine.run("alert", "test").exit_code == 2
    receiver = Receiver()
    try:
        took = machine.run("alert", "test", "--json", notify=receiver.address())
        assert took.exit_code == 0, took.stderr
        assert list(json.loads(took.stdout)["addresses"].values()) == [True]
        receiver.answer = 500
        assert machine.run("alert", "test", notify=receiver.address()).exit_code == 7
        assert "a test of this address" in receiver.got[0]["title"]
    finally:
        receiver.down()
