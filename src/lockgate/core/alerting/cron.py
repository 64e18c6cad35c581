"""When a cron schedule was last due, in UTC, read as the orchestrator reads it; what is not read alike is refused.

    minute hour day-of-month month day-of-week     each `*`, a value, a-b, a list of these, all with an optional /step

Months and weekdays have names; Sunday is 0 and 7; a range may go round (`fri-mon`, `22-2`). `?` is `*` for a day, `l`
the last day of the month, `mon#2` its second Monday, `l5` its last Friday. A day counts when day-of-month and
day-of-week both do; where both are restricted, either. Prefect reads schedules with croniter, which is not to be had
apart from it: where croniter's own reading would surprise (`5-5` is every value), the schedule is refused.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

_MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LOOKBACK_DAYS: Final = 41 * 366  # a fifth Friday of February is due once in 28 years, in 40 around 2100
_LEAP_YEAR: Final = 2020
_LAST: Final = -1
_EVERY: Final = 0
_MOST_OF_A_WEEKDAY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """What one place of a schedule may hold.

    Attributes:
        name: As it is called in messages.
        low: Least value.
        high: Greatest value.
        names: Names of values.
        also: Values that mean another one.
    """

    name: str
    low: int
    high: int
    names: dict[str, int]
    also: dict[int, int]

    def value(self, text: str) -> int:
        if text in self.names:
            return self.names[text]
        given = int(text) if text.isascii() and text.isdigit() else -1
        found = self.also.get(given, given)
        if not self.low <= found <= self.high:
            named = f" or {', '.join(self.names)}" if self.names else ""
            raise ValueError(f"{text!r} is no {self.name}; allowed: {self.low} to {self.high}{named}")
        return found

    def values(self, part: str) -> frozenset[int]:
        """Return what one part of a list says."""
        span, stepped, step = part.partition("/")
        if stepped and not (step.isascii() and step.isdigit() and int(step)):
            raise ValueError(f"{part!r}: the step of a {self.name} is a whole number from 1")
        by = int(step or 1)
        if span == "*" or (span == "0-7" and self.also):
            return frozenset(range(self.low, self.high + 1, by))
        first, ranged, last = span.partition("-") if span[1:] else (span, "", "")
        low = self.value(first or span)
        high = self.value(last or span) if ranged else self.high if stepped else low
        if not ranged or low < high:
            return frozenset(range(low, high + 1, by))
        if low == high:
            raise ValueError(f"{part!r} would be read as every {self.name}; write one value, or '*'")
        if by > 1 and not (high == self.low and (self.high + 1 - low) % by == 0):
            raise ValueError(f"{part!r}: a step over a range that goes round is not read; list each {self.name}")
        return frozenset([*range(low, self.high + 1, by), *range(self.low, high + 1, by)])


_FIELDS: Final = (
    _Field(name="minute", low=0, high=59, names={}, also={}),
    _Field(name="hour", low=0, high=23, names={}, also={}),
    _Field(name="day of month", low=1, high=31, names={}, also={}),
    _Field(name="month", low=1, high=12, names={name: at for at, name in enumerate(_MONTHS, start=1)}, also={}),
    _Field(name="day of week", low=0, high=6, names={name: at for at, name in enumerate(_DAYS)}, also={7: 0}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Schedule:
    """A schedule that was read.

    Attributes:
        times: Of a day, the latest first.
        days: Of the month; `_LAST` is its last one.
        months: Which.
        weekdays: Sunday is 0, each with which of the month: every, the nth, or the last.
        either: Whether a day counts that is in `days` or in `weekdays`; else it must be in both.
    """

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[tuple[int, int]]
    either: bool

    def has(self, day: date) -> bool:
        """Return whether it is due on a day."""
        if day.month not in self.months:
            return False
        last = monthrange(day.year, day.month)[1]
        of_month = day.day in self.days or (_LAST in self.days and day.day == last)
        which = {_EVERY, (day.day + 6) // 7, *([_LAST] if day.day + 7 > last else [])}
        of_week = any((day.isoweekday() % 7, each) in self.weekdays for each in which)
        return (of_month or of_week) if self.either else (of_month and of_week)


def last_due(schedule: str, by: datetime) -> datetime | None:
    """Return the last time at or before `by` at which a schedule was due; None where that cannot be said.

    Args:
        schedule: Cron, in UTC.
        by: Aware.

    >>> last_due("30 6 * * *", datetime(2026, 3, 2, 6, 29, tzinfo=UTC)).isoformat()
    '2026-03-01T06:30:00+00:00'
    >>> last_due("*/15 * * * *", datetime(2026, 3, 2, 6, 29, 59, tzinfo=UTC)).isoformat()
    '2026-03-02T06:15:00+00:00'
    >>> last_due("0 6 1 * 1", datetime(2026, 3, 8, 0, 0, tzinfo=UTC)).isoformat()  # the first, or a Monday
    '2026-03-02T06:00:00+00:00'
    >>> last_due("0 6 * * fri-sun", datetime(2026, 3, 5, tzinfo=UTC)).isoformat()
    '2026-03-01T06:00:00+00:00'
    >>> last_due("now and then", datetime(2026, 3, 8, tzinfo=UTC)) is None
    True
    """
    try:
        read = _read(schedule)
    except ValueError:
        return None
    return next(_due(read, by.astimezone(UTC)), None)


def problem(schedule: str) -> str | None:
    """Return why a schedule is not read, and what is allowed; None for one that is read and is ever due.

    >>> problem("0 0 31 2 *").partition(": ")[2]
    "it is never due on a day of month: '31' does not come in month '2'"
    >>> problem("0 6 * * fri-sun") is None
    True
    """
    try:
        _read(schedule)
    except ValueError as wrong:
        return f"{schedule!r} is not a cron of five fields, e.g. '0 6 1 * *': {wrong}"
    return None


def _due(schedule: _Schedule, limit: datetime) -> Iterator[datetime]:
    for back in range(_LOOKBACK_DAYS):
        day = limit.date() - timedelta(days=back)
        if schedule.has(day):
            yield from (due for at in schedule.times if (due := datetime.combine(day, at, UTC)) <= limit)


def _read(schedule: str) -> _Schedule:
    parts = _MACROS.get(schedule.lower(), schedule).lower().split()
    if len(parts) != len(_FIELDS):
        fields = "field" if len(parts) == 1 else "fields"
        raise ValueError(f"it has {len(parts)} {fields}; allowed besides: {', '.join(_MACROS)}")
    parts = ["*" if at in (2, 4) and part == "?" else part for at, part in enumerate(parts)]
    minutes, hours, months = (_listed(_FIELDS[at], parts[at].split(",")) for at in (0, 1, 3))
    days = _days(parts[2].split(","))
    weekdays = _weekdays(parts[4].split(","))
    free = _free(parts[2], parts[4], len(days) == 31), _free(parts[4], parts[2], len(weekdays) == 7)
    if not free[0] and any(which != _EVERY for _, which in weekdays):
        raise ValueError(f"{parts[4]!r} beside a day of month is not read; leave one of them '*'")
    if min(days) > max(monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise ValueError(f"it is never due on a day of month: {parts[2]!r} does not come in month {parts[3]!r}")
    return _Schedule(
        times=tuple(time(hour, minute) for hour in sorted(hours)[::-1] for minute in sorted(minutes)[::-1]),
        days=days,
        months=months,
        weekdays=weekdays,
        either=not any(free),
    )


def _free(text: str, other: str, whole: bool) -> bool:
    """Return whether a day field restricts nothing; one that lists every value does, unless the other has a `*`."""
    return "*" in text.split(",") or (whole and "*" in other)


def _listed(field: _Field, parts: list[str]) -> frozenset[int]:
    return frozenset(value for part in parts for value in field.values(part))


def _days(parts: list[str]) -> frozenset[int]:
    last = frozenset([_LAST]) if "l" in parts else frozenset[int]()
    return _listed(_FIELDS[2], [part for part in parts if part != "l"]) | last


def _weekdays(parts: list[str]) -> frozenset[tuple[int, int]]:
    found = [(_weekday_part(part), part) for part in parts]
    if len({which == _EVERY for (_, which), _ in found}) > 1:
        raise ValueError(f"{','.join(parts)!r}: weekdays and the nth of a month are mixed; give one or the other")
    return frozenset((day, which) for (days, which), _ in found for day in days)


def _weekday_part(part: str) -> tuple[frozenset[int], int]:
    field = _FIELDS[4]
    if part.startswith("l") and part[1:]:
        return frozenset([field.value(part[1:])]), _LAST
    days, numbered, which = part.partition("#")
    if not numbered:
        return field.values(part), _EVERY
    if which not in {str(each) for each in range(1, _MOST_OF_A_WEEKDAY + 1)} or "*" in days or "/" in days:
        raise ValueError(f"{part!r} is no {field.name}; allowed after '#': 1 to {_MOST_OF_A_WEEKDAY}")
    return field.values(days), int(which)
