"""Which of the past is learnt from: times that are left out, and what a row's age makes it weigh."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from numpy.typing import NDArray

from lockgate.core.spec_sections.learning import IncidentSection
from lockgate.errors import BadInput


def span_of(incident: IncidentSection) -> tuple[datetime, datetime]:
    """Return the time that an incident covers: from the first, up to but without the second.

    Raises:
        BadInput: One of the two is no ISO day or time, or nothing lies between them.

    >>> since, until = span_of(IncidentSection(since="2013-05-01", until="2013-05-02", reason="clock"))
    >>> (until - since).days
    2
    """
    since, until = _start(incident.since), _end(incident.until)
    if until <= since:
        raise BadInput(f"until {incident.until!r} is not after since {incident.since!r}")
    return since, until


def _start(text: str) -> datetime:
    day = _day(text)
    return _time(text) if day is None else datetime.combine(day, time(), UTC)


def _end(text: str) -> datetime:
    day = _day(text)
    return _time(text) if day is None else datetime.combine(day, time(), UTC) + timedelta(days=1)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as wrong:
        raise BadInput(f"{text!r} is no ISO day or time; write it like 2026-03-01 or 2026-03-01T14:05+00:00") from wrong
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def within_incidents(seconds: NDArray[np.float64], incidents: Sequence[IncidentSection]) -> NDArray[np.bool_]:
    """Tell which rows lie in an incident.

    Args:
        seconds: [n], seconds since 1970 UTC of each row; NaN is in none.
        incidents: Times that are left out.

    Returns:
        bool [n].
    """
    inside = np.zeros(len(seconds), dtype=np.bool_)
    for incident in incidents:
        since, until = span_of(incident)
        inside |= (seconds >= since.timestamp()) & (seconds < until.timestamp())
    return inside


def weights_by_age(age_days: NDArray[np.float64], half_life_days: float) -> NDArray[np.float64]:
    """Return what each row weighs: half for every half-life of its age, with a mean of 1.

    The mean is 1 so that bounds on a leaf's weight and penalties mean what they mean without weights.

    Args:
        age_days: [n], days before the newest row; 0 or more.
        half_life_days: More than 0.

    Returns:
        float64 [n], more than 0.

    >>> weights_by_age(np.array([0.0, 30.0]), 30.0)
    array([1.33333333, 0.66666667])
    """
    if not len(age_days):
        return np.zeros(0)
    raw = np.exp2(-np.minimum(age_days / half_life_days, 1000.0))  # 2**-1000 is still a number
    return np.asarray(raw / raw.mean(), dtype=np.float64)
