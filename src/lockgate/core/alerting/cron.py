"""When a cron schedule was last due: five fields, in UTC.

    minute hour day-of-month month day-of-week     each `*`, a number, a-b, a list of these, all with an optional /step

A day counts when day-of-month and day-of-week both do; where both are restricted, either (as cron(8) has it).
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NAMES: tuple[dict[str, int], ...] = (
    {},
    {},
    {},
    {name: number for number, name in enumerate(_MONTHS, start=1)},
    {name: number for number, name in enumerate(_DAYS)},
)
_LOOKBACK_DAYS = 8 * 366  # the 29th of February is due once in eight years around 1900 and 2100


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
    >>> last_due("now and then", datetime(2026, 3, 8, tzinfo=UTC)) is None
    True
    """
    try:
        minutes, hours, days, months, weekdays = _fields(schedule)
    except ValueError:
        return None
    limit = by.astimezone(UTC)
    either = not _free(schedule, 2) and not _free(schedule, 4)
    for back in range(_LOOKBACK_DAYS):
        day = limit.date() - timedelta(days=back)
        of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
        if day.month in months and ((of_month or of_week) if either else (of_month and of_week)):
            times = (time(hour, minute) for hour in sorted(hours)[::-1] for minute in sorted(minutes)[::-1])
            found = (datetime.combine(day, at, UTC) for at in times)
            due = next((each for each in found if each <= limit), None)
            if due is not None:
                return due
    return None


def _split(schedule: str) -> list[str]:
    return _MACROS.get(schedule.strip().lower(), schedule).lower().split()


def _free(schedule: str, field: int) -> bool:
    return _split(schedule)[field].startswith("*")


def _fields(schedule: str) -> list[frozenset[int]]:
    parts = _split(schedule)
    if len(parts) != len(_LIMITS):
        raise ValueError(f"{schedule!r} has {len(parts)} fields, not {len(_LIMITS)}")
    fields = [_field(part, limits, names) for part, limits, names in zip(parts, _LIMITS, _NAMES, strict=True)]
    fields[4] = frozenset(day % 7 for day in fields[4])  # 7 is Sunday too
    return fields


def _field(text: str, limits: tuple[int, int], names: dict[str, int]) -> frozenset[int]:
    return frozenset(value for part in text.split(",") for value in _range(part, limits, names))


def _range(part: str, limits: tuple[int, int], names: dict[str, int]) -> range:
    span, _, step = part.partition("/")
    first, _, last = span.partition("-")
    if first == "*":
        low, high = limits
    else:
        low = _value(first, names)
        high = _value(last, names) if last else limits[1] if step else low
    if not limits[0] <= low <= high <= limits[1]:
        raise ValueError(f"{part!r} is not within {limits[0]} to {limits[1]}")
    return range(low, high + 1, int(step or 1))


def _value(text: str, names: dict[str, int]) -> int:
    return names[text] if text in names else int(text)
