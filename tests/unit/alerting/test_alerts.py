"""Findings become alerts once, are repeated in time, close when measured clear, and obey what people say."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from lockgate.core.alerting.alert import AlertState, alert_key, ranked
from lockgate.core.alerting.budget import Budget, budget
from lockgate.core.alerting.messages import pending
from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.core.monitoring.findings import Finding as Watched
from lockgate.core.monitoring.findings import State, Subject
from lockgate.core.spec_sections.watching import AlertsSection
from lockgate.errors import BadInput, TransientError
from lockgate.stages.alerting import acknowledge, silence, unsilence
from tests.unit.alerting.world import DAY_S, TOY, Finding, World, bad, fine

HOUR_S = 3_600.0


# -- raised, repeated, closed ------------------------------------------------------------------------------------------


def test_a_finding_is_one_alert_with_owner_reason_evidence_and_next() -> None:
    world = World()
    (alert,) = world.run(bad(slice="origin=EWR"))
    assert alert.key == "toy:loss:origin=EWR"
    assert (alert.state, alert.count, alert.opened) == (AlertState.OPEN, 1, world.now)
    assert (alert.harm, alert.owner, alert.next) == (0.1, "operations desk", "lockgate release toy")
    assert alert.reason == "the loss is 0.3, 0.2 is tolerated"
    assert alert.evidence == {"observed": 0.3, "threshold": 0.2, "unit": "Brier score", "slice": "origin=EWR"}
    assert world.sent == ["toy:loss:origin=EWR#1"]


@pytest.mark.parametrize(
    ("state", "raised"), [(State.HARM, 1), (State.BROKEN, 1), (State.NOISE, 0), (State.OK, 0), (State.NO_DATA, 0)]
)
def test_of_what_the_monitor_finds_harm_and_what_is_broken_are_alerts(state: State, raised: int) -> None:
    found = Watched(model=TOY, name="truth.loss:origin=EWR", subject=Subject.TRUTH, state=state, reason="worse")
    assert [each.key for each in World().run(found)] == ["toy:truth.loss:origin=EWR"] * raised


def test_one_event_delivered_four_times_is_one_alert_and_one_message() -> None:
    world = World()
    for _ in range(4):
        world.run(bad())
    assert world.actions == ["raised"]
    assert world.sent == ["toy:loss#1"]


def test_the_same_key_twice_in_one_run_is_one_alert_with_the_worst_harm() -> None:
    world = World()
    (alert,) = world.run(bad(harm=0.1), bad(harm=0.7), fine())
    assert alert.harm == 0.7
    assert world.actions == ["raised"]


def test_the_section_names_the_owner_before_the_model_does() -> None:
    world = World(section=AlertsSection(owner="night desk"))
    assert world.run(bad())[0].owner == "night desk"


def test_what_lasts_is_told_again_after_the_repeat_time_and_not_before() -> None:
    world = World()
    world.run(bad())
    world.run(bad(), after_s=DAY_S - 1)
    assert world.actions == ["raised"]
    (alert,) = world.run(bad(), after_s=1)
    assert world.actions == ["raised", "repeated"]
    assert alert.count == 2
    assert alert.opened == world.now - timedelta(seconds=DAY_S)
    assert world.sent == ["toy:loss#1", "toy:loss#2"]


def test_harm_that_doubled_is_told_at_once_and_harm_that_grew_a_little_is_not() -> None:
    world = World()
    world.run(bad(harm=0.1))
    world.run(bad(harm=0.19), after_s=60)
    assert world.actions == ["raised"]
    assert world.run(bad(harm=0.2), after_s=60)[0].harm == 0.2
    world.run(bad(harm=0.3), after_s=60)
    assert world.actions == ["raised", "repeated"]


@pytest.mark.parametrize("state", ["ok", "noise"])
def test_an_alert_closes_when_it_was_measured_clear(state: str) -> None:
    world = World()
    world.run(bad())
    assert world.run(fine(state=state), after_s=60) == ()
    assert world.alerts["toy:loss"].state is AlertState.CLOSED
    assert world.sent == ["toy:loss#1", "toy:loss#2"]
    assert "closed" in world.outbox.messages[-1].title


def test_no_data_and_a_finding_that_is_missing_close_nothing() -> None:
    world = World()
    world.run(bad())
    assert len(world.run(fine(state="no_data"), after_s=60)) == 1
    assert len(world.run(fine("drift"), after_s=60)) == 1
    assert len(world.run(fine(state="no_data"), fine(), after_s=60)) == 1  # one of two measurements is missing
    assert world.actions == ["raised"]


def test_what_is_clear_or_without_data_raises_nothing() -> None:
    world = World()
    assert world.run(fine(), fine("a", "noise"), fine("b", "no_data")) == ()
    assert world.rows == ()


def test_what_could_not_be_measured_although_it_should_is_told() -> None:
    world = World()
    assert len(world.run(fine(state="broken"))) == 1


def test_a_closed_alert_that_comes_back_is_raised_anew() -> None:
    world = World()
    for finding in (bad(), fine(), bad()):
        world.run(finding, after_s=60)
    (alert,) = world.alerts.values()
    assert (alert.state, alert.count, alert.opened) == (AlertState.OPEN, 1, world.now)
    assert world.sent == ["toy:loss#1", "toy:loss#2", "toy:loss#3"]


def test_an_alert_that_flaps_is_on_record_each_time_and_told_three_times_a_day() -> None:
    world = World()
    for _ in range(6):
        world.run(bad(), after_s=60)
        world.run(fine(), after_s=60)
    raised = [message for message in world.outbox.messages if "raised" in message.title]
    assert len(raised) == 3
    assert world.actions.count("raised") == 6
    world.run(bad(), after_s=60)
    world.run(bad(), after_s=DAY_S)
    assert "repeated" in world.outbox.messages[-1].title


# -- rank and storm ----------------------------------------------------------------------------------------------------


def test_alerts_are_ranked_by_harm_and_an_unknown_harm_is_not_taken_for_a_small_one() -> None:
    world = World()
    opened = world.run(bad("a", 0.1), bad("b", math.nan), bad("c", 2.0), bad("d", math.inf))
    assert [alert.name for alert in opened] == ["b", "d", "c", "a"]
    assert ranked(reversed(opened)) == opened


def test_a_storm_is_one_row_an_alert_and_one_message_that_lists_them_by_rank() -> None:
    world = World()
    assert len(world.run(*(bad(f"drift-{n:02d}", harm=n / 100) for n in range(30)))) == 30
    assert len(world.rows) == 30
    (message,) = world.outbox.messages
    assert message.id == "toy:storm#1"
    assert "30 alerts of toy at once: 30 raised" in message.title
    assert message.body.index("1. raised toy:drift-29") < message.body.index("20. raised toy:drift-10")
    assert "drift-09" not in message.body
    assert "and 10 more" in message.body


def test_as_many_as_a_person_reads_one_by_one_are_told_one_by_one() -> None:
    world = World()
    world.run(*(bad(f"drift-{n}") for n in range(5)))
    assert len(world.sent) == 5


def test_the_end_of_a_storm_is_one_message_too_and_the_next_storm_has_its_own_number() -> None:
    world = World()
    names = [f"drift-{n}" for n in range(8)]
    world.run(*(bad(name) for name in names))
    assert world.run(*(fine(name) for name in names), after_s=60) == ()
    world.run(*(bad(name) for name in names), after_s=60)
    assert world.sent == ["toy:storm#1", "toy:storm#2", "toy:storm#3"]
    assert "8 closed" in world.outbox.messages[1].title


# -- what people say ---------------------------------------------------------------------------------------------------


def test_an_acknowledged_alert_is_not_repeated_until_its_harm_doubles() -> None:
    world = World()
    world.run(bad(harm=0.1))
    assert acknowledge(world.ledger, world.clock, "toy:loss", by="otto").state is AlertState.ACKNOWLEDGED
    (alert,) = world.run(bad(harm=0.15), after_s=5 * DAY_S)
    assert alert.acknowledged_by == "otto"
    assert len(world.sent) == 1
    (alert,) = world.run(bad(harm=0.2), after_s=60)
    assert alert.state is AlertState.OPEN
    assert len(world.sent) == 2


def test_an_acknowledged_alert_that_is_clear_closes_and_comes_back_open() -> None:
    world = World()
    world.run(bad())
    acknowledge(world.ledger, world.clock, "toy:loss", by="otto")
    assert world.run(fine(), after_s=60) == ()
    assert world.run(bad(), after_s=60)[0].state is AlertState.OPEN


def test_a_silenced_alert_is_told_to_nobody_until_its_date_and_then_if_it_lasts() -> None:
    world = World()
    world.run(bad())
    until = world.now + timedelta(days=3)
    silence(world.ledger, world.clock, "toy:loss", by="otto", until=until, reason="known storm")
    (alert,) = world.run(bad(), after_s=2 * DAY_S)
    assert alert.state is AlertState.SILENCED
    assert alert.silence is not None
    assert (alert.silence.by, alert.silence.reason) == ("otto", "known storm")
    assert world.run(bad(), after_s=DAY_S)[0].state is AlertState.OPEN
    assert world.sent == ["toy:loss#1", "toy:loss#2"]


def test_what_comes_back_during_a_silence_is_on_record_and_told_when_the_silence_ends() -> None:
    world = World()
    world.run(bad())
    silence(world.ledger, world.clock, "toy:loss", by="otto", until=world.now + timedelta(hours=2), reason="known")
    world.run(fine(), after_s=60)
    assert world.run(bad(), after_s=60)[0].state is AlertState.SILENCED
    assert len(world.sent) == 1
    world.run(bad(), after_s=2 * HOUR_S)
    assert world.sent == ["toy:loss#1", "toy:loss#2"]
    assert world.actions[-3:] == ["closed", "raised", "repeated"]


def test_a_silence_ends_by_command() -> None:
    world = World()
    world.run(bad())
    silence(world.ledger, world.clock, "toy:loss", by="otto", until=world.now + timedelta(days=9), reason="known")
    assert unsilence(world.ledger, world.clock, "toy:loss", by="maria").state is AlertState.OPEN
    world.run(bad(), after_s=DAY_S)
    assert len(world.sent) == 2


@pytest.mark.parametrize(
    ("key", "days", "reason", "told"),
    [
        ("toy:drift", 1, "known", "alerts of toy: toy:loss"),
        ("other:loss", 1, "known", "there are no alerts of other"),
        ("toy:loss", 1, "  ", "needs a reason"),
        ("toy:loss", -1, "known", "is over"),
        ("toy:loss", 31, "known", "is too far; the latest end is 2013-03-31"),
    ],
)
def test_a_silence_without_alert_reason_or_possible_end_is_refused(key: str, days: int, reason: str, told: str) -> None:
    world = World()
    world.run(bad())
    with pytest.raises(BadInput, match=told):
        silence(world.ledger, world.clock, key, by="o", until=world.now + timedelta(days=days), reason=reason)
    assert world.actions == ["raised"]


def test_what_is_not_open_or_not_silenced_is_refused() -> None:
    world = World()
    world.run(bad())
    with pytest.raises(BadInput, match="is not silenced; it is open"):
        unsilence(world.ledger, world.clock, "toy:loss", by="otto")
    world.run(fine())
    with pytest.raises(BadInput, match="was closed"):
        acknowledge(world.ledger, world.clock, "toy:loss", by="otto")


def test_false_alarms_are_counted_against_the_budget_for_thirty_days() -> None:
    world = World()
    world.run(bad(), bad("drift"))
    for key in ("toy:loss", "toy:drift"):
        acknowledge(world.ledger, world.clock, key, by="otto", false_alarm=True)
    found = budget(world.rows, world.now, 1.0)
    assert found == Budget(raised=2, false_alarms=2, allowed=1.0)
    assert not found.kept
    assert budget(world.rows, world.now + timedelta(days=31), 1.0) == Budget(raised=0, false_alarms=0, allowed=1.0)


def test_an_alarm_that_two_people_call_false_is_one_false_alarm_and_raised_again_another() -> None:
    world = World()
    world.run(bad())
    for by in ("otto", "ada"):
        acknowledge(world.ledger, world.clock, "toy:loss", by=by, false_alarm=True)
    assert budget(world.rows, world.now, 1.0) == Budget(raised=1, false_alarms=1, allowed=1.0)
    world.run(fine())
    world.run(bad())
    acknowledge(world.ledger, world.clock, "toy:loss", by="otto", false_alarm=True)
    assert budget(world.rows, world.now, 1.0) == Budget(raised=2, false_alarms=2, allowed=1.0)


# -- the record --------------------------------------------------------------------------------------------------------


def test_rows_of_the_older_form_are_alerts_that_people_were_told_of() -> None:
    world = World()
    world.older_row()
    world.older_row("the last drill failed")
    (alert,) = world.alerts.values()
    assert (alert.key, alert.count, alert.reason) == ("toy:drill", 2, "the last drill failed")
    assert (alert.told, alert.messages) == (world.now, 0)
    assert pending(world.rows) == ()
    assert world.run(fine("drill")) == ()
    assert world.alerts["toy:drill"].state is AlertState.CLOSED


def test_rows_that_no_version_knows_change_nothing() -> None:
    world = World()
    world.run(bad())
    world.ledger.append(TOY, Event.ALERT, {"key": "toy:loss", "action": "sung"})
    world.ledger.append(TOY, Event.ALERT, {"key": "toy:never", "action": "closed"})
    assert list(world.alerts) == ["toy:loss"]


def test_a_row_of_somebody_else_in_between_is_seen_and_nothing_is_raised_twice() -> None:
    world = World()
    other = World(clock=world.clock)
    other.ledger = world.ledger
    raced: list[Json] = []

    def meanwhile(event: Event) -> None:
        if event is Event.ALERT and not raced:
            raced.append("yes")
            other.run(bad())

    world.ledger.before_append = meanwhile
    world.run(bad(), bad("drift"))
    assert sorted(str(row.payload["key"]) for row in world.rows) == ["toy:drift", "toy:loss"]


def test_what_is_on_record_when_the_ledger_goes_down_is_sent_by_the_next_run() -> None:
    world = World()
    wrote: list[Event] = []

    def breaks(event: Event) -> None:
        wrote.append(event)
        if len(wrote) == 2:
            raise TransientError("gone")

    world.ledger.before_append = breaks
    with pytest.raises(TransientError):
        world.run(bad(), bad("drift"))
    assert world.sent == []
    world.ledger.before_append = None
    world.run(bad(), bad("drift"), after_s=60)
    assert sorted(world.sent) == ["toy:drift#1", "toy:loss#1"]


def test_without_an_address_messages_stay_on_record_and_old_reminders_give_way() -> None:
    world = World()
    world.outbox.takes = False
    for _ in range(4):
        world.run(bad(), after_s=DAY_S)
    assert [message.id for message in pending(world.rows)] == ["toy:loss#1", "toy:loss#4"]
    world.outbox.takes = True
    world.run(bad())
    assert world.sent == ["toy:loss#1", "toy:loss#4"]


def test_a_delivery_is_recorded_once_and_then_nothing_is_pending() -> None:
    world = World()
    world.run(bad())
    assert world.deliver() == ("toy:loss#1",)
    assert world.rows[-1].payload == {"action": "delivered", "message": "toy:loss#1", "to": ["json-1"], "missed": []}
    assert world.deliver() == ()
    assert pending(world.rows) == ()
    assert world.alerts["toy:loss"].count == 1


def test_a_delivery_that_is_on_record_already_is_not_recorded_again() -> None:
    world = World()
    world.run(bad())
    world.outbox.take()
    kept = dict(world.outbox.done)
    world.deliver()
    world.outbox.done = kept  # killed before the outbox forgot it
    assert world.deliver() == ("toy:loss#1",)
    assert world.actions == ["raised", "delivered"]


def test_a_message_says_what_to_do_and_names_its_key() -> None:
    world = World()
    world.run(Finding(evidence={"slice": "carrier=A A", "rows": 512}))
    (message,) = world.outbox.messages
    assert message.title == "Lockgate alert raised: toy:loss:carrier=A A (toy:loss:carrier=A A#1)"
    for part in (
        "the loss is 0.3",
        "Harm 0.1; owner: operations desk",
        "observed 0.3, threshold 0.2, unit Brier score, rows 512, slice carrier=A A",
        "Next: lockgate release toy",
        "lockgate alert ack 'toy:loss:carrier=A A'",
        "message toy:loss:carrier=A A#1",
    ):
        assert part in message.body


def test_a_slice_that_the_name_holds_already_is_not_in_the_key_twice() -> None:
    assert alert_key("toy", "truth.loss:origin=EWR", {"slice": "origin=EWR"}) == "toy:truth.loss:origin=EWR"
