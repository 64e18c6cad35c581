"""Features of a champion watched together between releases: its training rows against what production was asked.

    whole days of the window ── kept? ──> what was measured today, or of the same days
                             ── else ──> training rows of its own release + a sample of the archive, measured and kept

Heavy (seconds), so at most once a day and bundle; a look that was killed in the middle measures again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from lockgate.core.ids import Digest, Json, digest_of
from lockgate.core.intervals import MOST_GROUPS
from lockgate.core.joint_shift import MIN_BLOCKS
from lockgate.core.monitoring.findings import Finding
from lockgate.core.monitoring.joint import joint_unknown, judge_joint
from lockgate.core.monitoring.summary import DaySummary
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line
from lockgate.line.past import data_of
from lockgate.stages.joint import LEAST_FEATURES, MOST_DAYS, SampledRows, measure_joint, narrowed, training_rows

if TYPE_CHECKING:
    from lockgate.adapters.log_windows_sample import LoggedSample

logger = logging.getLogger(__name__)

_FORM: Final = 1  # of what is measured: a later one is measured anew


class _UnknownError(Exception):
    """Why nothing can be said, and what to do; told by the finding."""

    def __init__(self, *, reason: str, next: str) -> None:  # noqa: A002 - the finding's own word
        super().__init__(reason)
        self.reason, self.next = reason, next


def judge_together(
    line: Line, champion: Digest, days: Sequence[DaySummary], importance: Mapping[str, float]
) -> tuple[Finding, ...]:
    """Judge a champion's features together; nothing where the spec has it off.

    Args:
        line: The model's.
        champion: The bundle.
        days: Summaries of its days; those of other bundles are left out.
        importance: How much answers lean on each feature.
    """
    section = line.spec.monitoring.joint
    if not section.enabled:
        return ()
    try:
        measured = _measured(line, champion, _whole_days(line, champion, days))
    except _UnknownError as why:
        return (joint_unknown(line.model, why.reason, why.next),)
    return (judge_joint(line.model, measured, section, importance),)


def _whole_days(line: Line, champion: Digest, days: Sequence[DaySummary]) -> dict[str, int]:
    """Return the rows of the window's days that are over, the newest `MOST_DAYS` of them."""
    now, section = line.services.clock.now(), line.spec.monitoring
    first = (now - timedelta(days=section.reference_days)).strftime("%Y-%m-%d")
    mine = {day.day: day.rows for day in days if day.digest == champion and day.rows}
    found = [day for day in sorted(mine) if first <= day < now.strftime("%Y-%m-%d")][-MOST_DAYS:]
    if len(found) < MIN_BLOCKS:
        raise _UnknownError(
            reason=f"{len(found)} whole days of traffic in {section.reference_days}; {MIN_BLOCKS} are needed",
            next="wait for more days"
            if section.reference_days > MIN_BLOCKS
            else f"set monitoring.reference_days above {MIN_BLOCKS}",
        )
    return {day: mine[day] for day in found}


def _measured(line: Line, champion: Digest, days: Mapping[str, int]) -> Mapping[str, Json]:
    from lockgate.adapters.joint_kept import KeptJoint, keep_joint, kept_joint

    folder = line.services.settings.home / "monitoring" / line.model
    today = line.services.clock.now().strftime("%Y-%m-%d")
    try:
        data = data_of(line, champion)
        key, of_days = _key(line, champion, data, min(days)), digest_of(dict(days))
        kept = kept_joint(folder, champion)
        if kept is not None and kept.holds(key, today, of_days):
            return kept.measured
        measured = _compare(line, champion, data, days)
        keep_joint(folder, champion, KeptJoint(key=key, made_on=today, days=of_days, measured=measured))
    except LockgateError as why:
        logger.warning("features of %s were not looked at together: %s", line.model, why)
        raise _UnknownError(
            reason=str(why), next="lockgate verify; until then each release's gate `drift` says it"
        ) from why
    return measured


def _key(line: Line, champion: Digest, data: Digest, first: str) -> str:
    rows, spec = line.spec.monitoring.joint.rows, line.spec
    return digest_of([_FORM, champion, data, first, rows, list(spec.data.features), spec.training.seed])


def _compare(line: Line, champion: Digest, data: Digest, days: Mapping[str, int]) -> dict[str, Json]:
    from lockgate.adapters.log_windows_sample import NUMBER, STRING, sample_inputs, shares

    spec, services = line.spec, line.services
    columns = dict.fromkeys(spec.data.numeric, NUMBER) | dict.fromkeys(spec.data.categorical, STRING)
    takes = shares(days, spec.monitoring.joint.rows, list(days))
    logged = sample_inputs(services.settings, line.model, champion, takes, columns)
    _enough(logged, len(columns))
    spec, seed = narrowed(spec, logged.unlogged), spec.training.seed
    left = MOST_GROUPS - len(logged.days)
    try:
        reference = training_rows(services.store, spec, services.store.snapshot(data), days=left, seed=seed)
    except (LockgateError, OSError) as why:
        raise _UnknownError(
            reason=f"the champion's training rows cannot be read: {getattr(why, 'message', why)}",
            next="restore the snapshot, or release again: lockgate release",
        ) from why
    measured = measure_joint(spec, reference, _rows_of(logged), seed=seed)
    return {**measured, "not_compared": list(logged.unlogged)}


def _enough(logged: LoggedSample, features: int) -> None:
    if len(logged.days) < MIN_BLOCKS:
        raise _UnknownError(
            reason=f"the archive holds inputs of {len(logged.days)} days of the window; {MIN_BLOCKS} are needed",
            next="see that the archive runs and serving.log keeps inputs: docs/howto/read-the-prediction-log.md",
        )
    if features - len(logged.unlogged) < LEAST_FEATURES:
        raise _UnknownError(
            reason=f"hashed or left out of the log: {', '.join(logged.unlogged)}; no two features can be compared",
            next="log at least two features in the clear (serving.log), or set monitoring.joint.enabled: false",
        )


def _rows_of(logged: LoggedSample) -> SampledRows:
    import pandas as pd

    day = [date.fromisoformat(each).toordinal() for each, rows in logged.days.items() for _ in range(len(rows))]
    origin = date(1970, 1, 1).toordinal()
    return SampledRows(
        frame=pd.concat(list(logged.days.values()), ignore_index=True),
        day=np.array(day, dtype=np.int64) - origin,
    )
