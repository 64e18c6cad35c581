"""Which rows a run's findings bring: an alert is raised, repeated, closed, or left alone.

What is clear must have been measured: a finding without data, or one that a run did not bring, closes nothing. What an
alert was about may serve no more (`superseded`): it closes, and says so. What could not be measured although it should
have been (`broken`) is told like harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from lockgate.core.alerting.alert import Action, Alert, alert_key, harm_order
from lockgate.core.ids import Json

STORM = 5
"""More messages than this in one run become one. Ours: what a person reads one by one on a phone."""
WORSE = 2.0
"""Harm that grew by this factor is told at once, acknowledged or not. Ours: a doubling is news, noise is less."""
FLAPS = 3
"""An alert that opens and closes is told of so many times within one repeat interval. Ours: the fourth says no more."""
_ALARMS = ("HARM", "BROKEN")
_CLEAR = ("OK", "NOISE", "SUPERSEDED")  # the last: see superseded.py


class Found(Protocol):
    """What the monitor found: `core.monitoring.findings.Finding` is one."""

    @property
    def model(self) -> str:
        """The model."""
        ...

    @property
    def name(self) -> str:
        """What was looked at."""
        ...

    @property
    def state(self) -> str:
        """One of ok, harm, noise, no_data, broken, superseded; in any case."""
        ...

    @property
    def observed(self) -> float | None:
        """The figure."""
        ...

    @property
    def threshold(self) -> float | None:
        """What it is held to."""
        ...

    @property
    def unit(self) -> str:
        """Unit of both."""
        ...

    @property
    def harm(self) -> float:
        """Its rank."""
        ...

    @property
    def reason(self) -> str:
        """One sentence."""
        ...

    @property
    def evidence(self) -> Mapping[str, Json]:
        """The figures behind it; `slice` names the part of the rows it is about."""
        ...

    @property
    def next(self) -> str:
        """What to do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a finding changes of its alert.

    Attributes:
        action: raised, repeated or closed.
        tells: Whether people are told.
    """

    action: Action
    tells: bool


def word(found: Found) -> str:
    """Return a finding's state in capitals."""
    return str(found.state).upper()


def key_of(found: Found) -> str:
    """Return the key of a finding's alert."""
    return alert_key(found.model, found.name, found.evidence)


def by_key(findings: Iterable[Found]) -> dict[str, Found]:
    """Return one finding a key, the worst harm first: an alarm before what has no data, that before what is clear."""
    first: dict[str, Found] = {}
    for each in sorted(findings, key=_order):
        first.setdefault(key_of(each), each)
    return first


def _order(found: Found) -> tuple[int, float, str]:
    kind = 0 if word(found) in _ALARMS else 2 if word(found) in _CLEAR else 1
    return kind, harm_order(found.harm), key_of(found)


def decide(found: Found, alert: Alert | None, now: datetime, repeat_s: float) -> Step | None:
    """Return what a finding changes; None for nothing.

    Args:
        found: The finding.
        alert: The alert of its key as it stands now; None when it was never raised.
        now: The time, aware UTC.
        repeat_s: After how long what lasts is told again.
    """
    if word(found) in _CLEAR:
        if alert is None or not alert.is_open:
            return None
        return Step(action=Action.CLOSED, tells=alert.silence is None and _told_since_opened(alert))
    if word(found) not in _ALARMS:
        return None
    if alert is None or not alert.is_open:
        return Step(action=Action.RAISED, tells=alert is None or not (alert.silence or _flaps(alert, now, repeat_s)))
    return Step(action=Action.REPEATED, tells=True) if _due(alert, found.harm, now, repeat_s) else None


def _told_since_opened(alert: Alert) -> bool:
    return alert.told is not None and alert.told >= alert.opened


def _flaps(alert: Alert, now: datetime, repeat_s: float) -> bool:
    return sum(now - when < timedelta(seconds=repeat_s) for when in alert.raised_told) >= FLAPS


def _due(alert: Alert, harm: float, now: datetime, repeat_s: float) -> bool:
    """Tell whether an alert that lasts is told again: in time, or sooner because it got worse."""
    if alert.silence is not None:
        return False
    if alert.acknowledged_by:
        return _worse(harm, alert.acknowledged_harm)
    if alert.told is None or now - alert.told >= timedelta(seconds=repeat_s):
        return True
    if not _told_since_opened(alert):  # raised while it was silenced, which is over
        return not _flaps(alert, now, repeat_s)
    return _worse(harm, alert.told_harm)


def _worse(harm: float, before: float) -> bool:
    """Tell whether harm grew by `WORSE`; where either is no number or there was none, nobody can say so."""
    return before > 0 and harm >= WORSE * before and harm != before


def payload_of(found: Found, step: Step, owner: str, message: str | None) -> dict[str, Json]:
    """Return the payload of the ledger's row.

    Args:
        found: The finding.
        step: What it changes.
        owner: Who acts on it.
        message: Id of the message that tells people; None when they are not told.
    """
    figures: dict[str, Json] = {"observed": found.observed, "threshold": found.threshold, "unit": found.unit}
    return {
        "key": key_of(found),
        "action": step.action.value,
        "name": found.name,
        "state": str(found.state),
        "harm": found.harm,
        "owner": owner,
        "reason": found.reason,
        "evidence": {**figures, **found.evidence},
        "next": found.next,
        "message": message,
    }
