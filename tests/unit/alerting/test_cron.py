"""Schedules are read as the orchestrator reads them, or refused with what is allowed; never read as something else."""

from __future__ import annotations

import doctest
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from prefect._vendor.croniter import croniter  # type: ignore[import-untyped]  # what reads the deployments' schedules

from lockgate.core.alerting import cron
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec
from tests.unit.spec.test_spec_file import changed

MOMENTS = tuple(
    datetime(2024, 2, 27, 23, 59, 30, tzinfo=UTC) + timedelta(days=13 * at, hours=5 * at, minutes=7 * at)
    for at in range(60)
)
SAME = (
    "0 6 * * fri-sun",
    "0 6 * * mon,wed",
    "0 6 * jan-mar *",
    "0 6 1 nov-feb *",
    "0 22-2 * * *",
    "50-10 3 * * *",
    "0 0 28-2 * *",
    "0 9-17/4 * * MON-FRI",
    "*/15 * * * *",
    "7/20 * * * *",
    "0 12 * * 7",
    "0 12 * * 0,7",
    "0 12 * * 5-7",
    "0 12 * * 1-7/2",
    "0 12 * * 1/3",
    "0 12 * * */2",
    "0 12 * * sat-1",
    "0 0 1 * 1",
    "0 0 */10 * mon",
    "0 0 1-31 * mon",
    "0 0 1-31 * */2",
    "0 0 *,5 * mon",
    "0 0 ? * mon",
    "0 0 l * *",
    "0 0 15,l * *",
    "0 0 L 2 *",
    "0 6 * * mon#1",
    "0 6 * * 5#2,5#4",
    "0 6 * * tue-thu#3",
    "0 6 * * L5",
    "30 8 1,15 feb *",
    "0 0 29 2 *",
    "@hourly",
    "@daily",
    "@midnight",
    "@weekly",
    "@monthly",
    "@yearly",
    "@Annually",
)
REFUSED = {
    "now and then": "3 fields",
    "": "0 fields",
    "0 0 6 * * *": "6 fields",
    "0 6 1 * * 0 2026": "7 fields",
    "60 * * * *": "'60'",
    "* 24 * * *": "'24'",
    "0 0 0 * *": "'0'",
    "0 0 * 13 *": "'13'",
    "0 0 * * 8": "'8'",
    "0 0 * * -1": "'-1'",
    "*/0 * * * *": "step",
    "0 * * * */x": "step",
    "0 0 * * monday": "'monday'",
    "0 0 * mon *": "'mon'",
    "0 0 * * jan": "'jan'",
    "0 0 1,,2 * *": "''",
    "h h * * *": "'h'",
    "0 0 31 2 *": "never due",
    "0 0 30-31 feb *": "never due",
    "0 0 31 4,6 mon": "never due",  # either would do, and the orchestrator gives up on the day that never comes
    "@reboot": "1 field",
    "0 6 * * fri-tue/2": "list",
    "0 5-5 * * *": "every",
    "0 6 * * mon-mon": "every",
    "0 6 * * mon#6": "'mon#6'",
    "0 6 * * mon#1,tue": "mixed",
    "0 6 1 * mon#1": "day of month",
    "0 6 l * l5": "day of month",
    "0 0 ?,1 * *": "'?'",
    "\u0665 * * * *": "'\u0665'",
}


@pytest.mark.parametrize("schedule", SAME)
def test_a_schedule_was_last_due_when_the_orchestrator_says_so(schedule: str) -> None:
    assert cron.problem(schedule) is None
    for by in MOMENTS:
        theirs = croniter(schedule, by + timedelta(seconds=1)).get_prev(datetime)
        assert cron.last_due(schedule, by) == theirs, by


@pytest.mark.parametrize(("schedule", "says"), REFUSED.items())
def test_what_is_not_read_is_refused_with_what_is_wrong_and_what_is_allowed(schedule: str, says: str) -> None:
    told = cron.problem(schedule)
    assert told is not None
    assert says in told
    assert cron.last_due(schedule, MOMENTS[0]) is None


def test_every_schedule_of_small_parts_is_read_alike_or_refused() -> None:
    days = ("*", "1", "31", "l", "20-5", "*/9", "1-31")
    weekdays = ("*", "0", "7", "sun", "fri-mon", "2-6/3", "5/2", "wed#5", "l1", "0-7", "6-7/2", "7-2", "3-3")
    by = datetime(2026, 3, 2, 6, 29, tzinfo=UTC)
    read = 0
    for day, month, weekday in itertools.product(days, ("*", "2", "dec-feb", "*/5"), weekdays):
        schedule = f"30 4 {day} {month} {weekday}"
        if cron.problem(schedule) is None:
            read += 1
            assert cron.last_due(schedule, by) == croniter(schedule, by).get_prev(datetime), schedule
    assert read > 200


@pytest.mark.parametrize("key", ["retraining.schedule", "monitoring.schedule"])
def test_a_spec_with_a_schedule_that_is_not_read_is_refused_by_its_key(key: str) -> None:
    for schedule in ("0 6 * * fri-sun", "@daily"):
        parse_spec(changed(key, schedule))
    for schedule in ("now and then", "0 0 31 2 *", "0 0 6 * * *"):
        with pytest.raises(ConfigError, match=f"{key}: ") as told:
            parse_spec(changed(key, schedule))
        assert repr(schedule) in str(told.value)


def test_the_examples_of_schedules_hold() -> None:
    assert doctest.testmod(cron).failed == 0
