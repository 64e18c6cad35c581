"""A monitor that says nothing although it was due is itself an alarm, from the process that watches."""

from __future__ import annotations

import doctest
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.adapters.watched_since import WatchedSince
from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.alerting import alert, cron, messages
from lockgate.core.alerting.watchdog import monitor_silence
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.ledger import GENESIS, Event, LedgerRow
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judging import MonitorReport
from lockgate.core.spec_sections.watching import AlertsSection, MonitoringSection
from lockgate.line.alerting import DELIVER_S, WATCH_S, AlertWatch
from lockgate.line.model_line import Line
from lockgate.line.monitoring import tell
from lockgate.line.watching import Watcher
from lockgate.stages.alerting import alert_rows
from tests.fakes import FakeClock
from tests.unit.alerting.receiving import Receiver
from tests.unit.alerting.world import TOY

ROOT = Path(__file__).resolve().parents[3]
NOON = datetime(2013, 3, 4, 12, 0, tzinfo=UTC)
FLIGHTS = ModelName("flight-delays")
HOURLY = MonitoringSection(schedule="0 * * * *", alerts=AlertsSection(silent_after_s=7_200))
DAILY = MonitoringSection(schedule="0 6 * * *", alerts=AlertsSection(silent_after_s=7_200))


def row(event: Event, at: datetime, environment: str = "production") -> LedgerRow:
    payload = {"environment": environment} if event is Event.TRAFFIC_VERIFIED else {}
    return LedgerRow(
        model=TOY,
        seq=1,
        schema_version=1,
        at=at,
        event=event,
        release=None,
        actor="t",
        payload=payload,
        prev_hash=GENESIS,
        row_hash=Digest(""),
    )


CHAMPION = row(Event.TRAFFIC_VERIFIED, NOON - timedelta(days=9))


def state(
    *rows: LedgerRow, section: MonitoringSection = HOURLY, now: datetime = NOON, since: datetime = CHAMPION.at
) -> str | None:
    found = monitor_silence(rows, section, TOY, since=since, now=now)
    return None if found is None else found.state


@pytest.mark.parametrize("module", [alert, cron, messages])
def test_the_examples_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]  # a module


def test_a_monitor_that_spoke_since_it_was_due_is_not_silent() -> None:
    assert state(CHAMPION, row(Event.MONITORED, NOON - timedelta(hours=2))) == "ok"


def test_a_monitor_that_missed_what_was_due_is_silent_with_the_time_and_the_next_step() -> None:
    rows = (CHAMPION, row(Event.MONITORED, NOON - timedelta(hours=3)))
    found = monitor_silence(rows, HOURLY, TOY, since=CHAMPION.at, now=NOON)
    assert found is not None
    assert (found.state, found.observed, found.next) == ("harm", 3 * 3600, "lockgate status")
    assert "was due at 2013-03-04 10:00 UTC" in found.reason
    assert "last at 2013-03-04 09:00 UTC" in found.reason


def test_a_daily_monitor_is_not_silent_between_its_runs_and_is_when_it_missed_one() -> None:
    yesterday = row(Event.MONITORED, NOON - timedelta(hours=30))
    today = row(Event.MONITORED, NOON - timedelta(hours=6) + timedelta(minutes=1))
    assert state(CHAMPION, yesterday, today, section=DAILY, now=NOON + timedelta(hours=17)) == "ok"
    assert state(CHAMPION, yesterday, section=DAILY, now=NOON - timedelta(hours=4, minutes=1)) == "ok"
    assert state(CHAMPION, yesterday, section=DAILY, now=NOON) == "harm"


def test_nobody_misses_a_monitor_that_is_not_scheduled_or_has_nothing_to_watch() -> None:
    assert state(CHAMPION, section=MonitoringSection()) == "ok"
    assert state(row(Event.TRAFFIC_VERIFIED, CHAMPION.at, "staging")) == "ok"
    assert state() == "ok"


def test_what_was_due_before_anybody_watched_proves_nothing() -> None:
    assert state(CHAMPION, since=NOON - timedelta(hours=1)) is None
    assert state(CHAMPION, since=NOON - timedelta(hours=3)) == "harm"


def test_a_schedule_that_cannot_be_read_is_held_to_the_plain_time() -> None:
    odd = MonitoringSection(schedule="now and then", alerts=AlertsSection(silent_after_s=7_200))
    assert state(CHAMPION, row(Event.MONITORED, NOON - timedelta(hours=1)), section=odd) == "ok"
    assert state(CHAMPION, row(Event.MONITORED, NOON - timedelta(hours=3)), section=odd) == "harm"


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        ("@daily", "2013-03-04T00:00"),
        ("0 9-17/4 * * mon-fri", "2013-03-04T09:00"),
        ("0 12 * * 7", "2013-03-03T12:00"),
        ("30 8 1,15 feb *", "2013-02-15T08:30"),
        ("0 0 29 2 *", "2012-02-29T00:00"),
        ("0 12 31 4 *", None),
        ("60 * * * *", None),
        ("*/0 * * * *", None),
        ("* * * *", None),
    ],
)
def test_when_a_schedule_was_last_due(schedule: str, due: str | None) -> None:
    found = cron.last_due(schedule, NOON)
    assert (None if found is None else f"{found:%Y-%m-%dT%H:%M}") == due


# -- the process that watches ------------------------------------------------------------------------------------------


def services_in(folder: Path, *addresses: str) -> Services:
    specs = folder / "project" / "deployments"
    specs.mkdir(parents=True)
    shutil.copy(ROOT / "deployments" / "flight-delays.yaml", specs)
    path = specs / "flight-delays.yaml"
    text = path.read_text()
    if "\nmonitoring:" not in text:
        path.write_text(f'{text}\nmonitoring: {{schedule: "0 * * * *"}}\n')
    env = {"LOCKGATE_PROJECT": str(specs.parent), "LOCKGATE_HOME": str(folder / "home")}
    made = Services(load_settings({**env, "LOCKGATE_NOTIFY": " ".join(addresses)}))
    made.clock = FakeClock(NOON)
    made.ledger = SqlLedger(made.settings.ledger_url, made.clock)
    return made


def champion(services: Services) -> None:
    payload: dict[str, Json] = {"environment": "production", "from": None, "to": "b" * 64, "sequence": 1}
    services.ledger.append(FLIGHTS, Event.TRAFFIC_INTENDED, {**payload, "why": "first"})
    services.ledger.append(FLIGHTS, Event.TRAFFIC_VERIFIED, payload)


def test_the_watcher_tells_that_the_monitor_is_silent_and_that_it_speaks_again(tmp_path: Path) -> None:
    receiver = Receiver()
    services = services_in(tmp_path, receiver.address())
    assert isinstance(services.clock, FakeClock)
    try:
        champion(services)
        watcher = Watcher(services, lambda _: False, lambda _: ())
        watcher.look(0.0)
        assert alert_rows(services.ledger, FLIGHTS) == ()
        services.clock.advance(5 * 86_400)
        watcher.look(WATCH_S)
        (told,) = receiver.got
        assert "flight-delays:monitor silent" in told["title"]
        services.ledger.append(FLIGHTS, Event.MONITORED, {})
        watcher.look(2 * WATCH_S)
        watcher.look(3 * WATCH_S)
        rows = alert_rows(services.ledger, FLIGHTS)
        assert [row.payload["action"] for row in rows] == ["raised", "delivered", "closed", "delivered"]
        assert len(receiver.got) == 2
    finally:
        receiver.down()
        services.ledger.close()


def test_a_watcher_that_was_restarted_does_not_take_back_that_the_monitor_is_silent(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    assert isinstance(services.clock, FakeClock)
    try:
        champion(services)
        before = Watcher(services, lambda _: False, lambda _: ())
        before.look(0.0)
        services.clock.advance(5 * 86_400)
        before.look(WATCH_S)
        Watcher(services, lambda _: False, lambda _: ()).look(0.0)
        assert [row.payload["action"] for row in alert_rows(services.ledger, FLIGHTS)] == ["raised"]
        services.ledger.append(FLIGHTS, Event.MONITORED, {})
        Watcher(services, lambda _: False, lambda _: ()).look(0.0)
        assert [row.payload["action"] for row in alert_rows(services.ledger, FLIGHTS)] == ["raised", "closed"]
    finally:
        services.ledger.close()


NAIVE = '{"flight-delays": {"schedule": null, "since": "2013-03-04T12:00:00", "seen": "2013-03-04T12:00:00"}}'


def watched_anew(services: Services) -> list[object]:
    """Let a watcher that has just started look once; returns what the record says of alerts."""
    Watcher(services, lambda _: False, lambda _: ()).look(0.0)
    return [row.payload["action"] for row in alert_rows(services.ledger, FLIGHTS)]


def test_a_watcher_that_restarts_more_often_than_the_limit_still_tells_that_the_monitor_is_silent(
    tmp_path: Path,
) -> None:
    services = services_in(tmp_path)
    assert isinstance(services.clock, FakeClock)
    try:
        champion(services)
        services.ledger.append(FLIGHTS, Event.MONITORED, {})
        schedule = services.spec(FLIGHTS).monitoring.schedule
        assert schedule is not None
        silent_s = services.spec(FLIGHTS).monitoring.alerts.silent_after_s
        for _ in range(int((2 * 86_400 + silent_s) // 600)):  # every schedule of the checkout is due within two days
            services.clock.advance(600)
            if watched_anew(services):
                break
        assert watched_anew(services) == ["raised"]
    finally:
        services.ledger.close()


def test_a_watcher_that_was_away_for_long_proves_nothing_by_what_was_due_meanwhile(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    assert isinstance(services.clock, FakeClock)
    try:
        champion(services)
        assert watched_anew(services) == []
        services.clock.advance(5 * 86_400)
        assert watched_anew(services) == []
    finally:
        services.ledger.close()


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"flight-delays": 3}', NAIVE, '{"flight-delays": {"since": "yesterday"}}']
)
def test_an_account_of_the_watch_that_cannot_be_read_begins_anew_and_is_written_again(
    tmp_path: Path, content: str
) -> None:
    services = services_in(tmp_path)
    assert isinstance(services.clock, FakeClock)
    account = services.settings.home / "watched.json"
    try:
        champion(services)
        assert watched_anew(services) == []
        account.write_text(content)
        assert watched_anew(services) == []
        told = WatchedSince(account)
        schedule = services.spec(FLIGHTS).monitoring.schedule
        assert told.since(FLIGHTS, schedule, NOON + timedelta(minutes=10)) == NOON
        assert told.since(FLIGHTS, "5 4 * * *", NOON + timedelta(minutes=10)) == NOON + timedelta(minutes=10)
    finally:
        services.ledger.close()


def another_champion(services: Services) -> None:
    payload: dict[str, Json] = {"environment": "production", "from": "b" * 64, "to": "c" * 64, "sequence": 2}
    services.ledger.append(FLIGHTS, Event.TRAFFIC_INTENDED, {**payload, "why": "second"})
    services.ledger.append(FLIGHTS, Event.TRAFFIC_VERIFIED, payload)


def test_watcher_and_monitor_close_what_was_about_a_champion_that_serves_no_more(tmp_path: Path) -> None:
    services = services_in(tmp_path)
    assert isinstance(services.clock, FakeClock)
    line = Line(services=services, spec=services.spec(FLIGHTS))
    broken = Finding(model=FLIGHTS, name="quality.loss", subject=Subject.TRUTH, state=State.BROKEN, reason="no file")
    report = MonitorReport(model=FLIGHTS, digest=Digest("b" * 64), at=NOON, state=State.BROKEN, findings=(broken,))
    try:
        champion(services)
        tell(line, report)
        services.clock.advance(60)
        another_champion(services)
        assert watched_anew(services) == ["raised", "closed"]
        tell(line, replace(report, digest=Digest("c" * 64)))
        champion(services)
        tell(line, replace(report, findings=()))
        rows = alert_rows(services.ledger, FLIGHTS)
        assert [row.payload["action"] for row in rows] == ["raised", "closed", "raised", "closed"]
        assert [row.payload["evidence"]["bundle"][0] for row in rows] == ["b", "b", "c", "c"]  # type: ignore[index, call-overload]  # JSON
    finally:
        services.ledger.close()


def test_the_watcher_sends_what_a_killed_process_left_on_record(tmp_path: Path) -> None:
    receiver = Receiver()
    services = services_in(tmp_path, receiver.address())
    raised: dict[str, Json] = {"key": "flight-delays:loss", "action": "raised", "message": "flight-delays:loss#1"}
    services.ledger.append(FLIGHTS, Event.ALERT, raised)  # and killed before the outbox had the message
    try:
        for what in AlertWatch(services).due(0.0):
            what[2]()
        assert receiver.taken == ["flight-delays:loss#1"]
        services.outbox.put(next(iter(messages.pending(alert_rows(services.ledger, FLIGHTS)[:1]))))
        again = AlertWatch(services)
        for now in (0.0, DELIVER_S):
            for what in again.due(now):
                what[2]()
        assert receiver.taken == ["flight-delays:loss#1"]
    finally:
        receiver.down()
        services.ledger.close()
