"""The newest traffic in a server's logs, for who plans on it; a rollout under way reads on by `traffic_log` instead."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lockgate.adapters.traffic_cursor import Cursor
from lockgate.adapters.traffic_log import FileTrafficLog
from lockgate.core.ids import ModelName
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen

ENOUGH: Final = 20_000
"""Requests that tell all a plan asks: a share of a hundredth is known to a tenth of it. Ours: read in a second."""
MOST: Final = 200_000  # of each kind, the newest, are kept: some 100 MB
_HOUR_S: Final = 3600.0
_WINDOWS_H: Final = (0.25, 2.0)  # tried before the whole: a day of a busy server takes long to read


def read_recent_traffic(  # noqa: PLR0913 - whose logs, and how far back; half are keywords
    state: Path,
    kpi_folder: Path,
    model: ModelName,
    *,
    kpis: Mapping[str, str],
    now: float,
    hours: float,
    slices: Sequence[str] = (),
) -> Seen:
    """Return what was logged lately: as far back as it takes for enough requests, and no further than asked.

    Args:
        state: The server's state folder.
        kpi_folder: Where files of business numbers lie.
        model: Whose requests.
        kpis: File by the name of each business number.
        now: Seconds since the epoch.
        hours: How far back at most.
        slices: Columns whose values are wanted with each request.

    Raises:
        TransientError: The log cannot be read now.
    """
    for window in (*(each for each in _WINDOWS_H if each < hours), hours):
        log = FileTrafficLog(state, kpi_folder, kpis=kpis, slices=slices)
        try:
            found = _since(log, model, now - window * _HOUR_S)
        finally:
            log.close()
        if len(found.observations) >= ENOUGH:
            break
    return found


def _since(log: FileTrafficLog, model: ModelName, since: float) -> Seen:
    """Read everything from a time on, the newest `MOST` of each kind kept; a segment may begin before it."""
    observations: deque[Observation] = deque(maxlen=MOST)
    labels: deque[LabelSeen] = deque(maxlen=MOST)
    kpis: deque[KpiSeen] = deque(maxlen=MOST)
    seen = Seen(cursor=Cursor(began=since, listed=since).text(), behind=True)
    while seen.behind:
        seen = log.read(model, seen.cursor)
        observations.extend(each for each in seen.observations if each.time >= since)
        labels.extend(seen.labels)
        kpis.extend(each for each in seen.kpis if each.time >= since)
    in_order = sorted(observations, key=lambda each: each.time)
    return Seen(observations=tuple(in_order), labels=tuple(labels), kpis=tuple(kpis), cursor=seen.cursor)
