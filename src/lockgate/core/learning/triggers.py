"""What may start a release, as a value and as the words that go on record.

    kind           reason on record          started_by
    new_data       new data                  landing
    schedule       schedule                  schedule
    degradation    degradation: ...          monitor
    message        message: ...              message
    code           code change: ...          code change
    by_hand        a person's own words      a person, or the Prefect UI

A run hands only words on, so `trigger_of` reads a kind back from them. The last three kinds of the table's words count
only with their own starter: what a person wrote stays theirs, whatever it begins with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Json


class TriggerKind(StrEnum):
    """What kind of thing asks for a release."""

    NEW_DATA = "new_data"
    SCHEDULE = "schedule"
    DEGRADATION = "degradation"
    MESSAGE = "message"
    CODE = "code"
    BY_HAND = "by_hand"


_WHOLE = {"new data": TriggerKind.NEW_DATA, "schedule": TriggerKind.SCHEDULE}
_PREFIX = {
    TriggerKind.DEGRADATION: "degradation",
    TriggerKind.MESSAGE: "message",
    TriggerKind.CODE: "code change",
}
STARTERS: Mapping[TriggerKind, str] = {
    TriggerKind.NEW_DATA: "landing",
    TriggerKind.SCHEDULE: "schedule",
    TriggerKind.DEGRADATION: "monitor",
    TriggerKind.MESSAGE: "message",
    TriggerKind.CODE: "code change",
}
"""What `started_by` says of a release that each kind started."""
_MOST_WORDS = 300  # ours: a reason is a line in tables, and becomes the name of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Something that asks for a release.

    Attributes:
        kind: What kind of thing.
        reason: In words, as it goes on record with the release.
        at: When it was noticed, aware UTC.
        facts: What it knows: files, findings, an idempotency key; no personal data.
    """

    kind: TriggerKind
    reason: str
    at: datetime
    facts: Mapping[str, Json] = field(default_factory=dict)


def reason_of(kind: TriggerKind, words: str = "") -> str:
    """Return the reason that goes on record.

    >>> reason_of(TriggerKind.MESSAGE, "upstream was mended")
    'message: upstream was mended'
    """
    whole = next((text for text, known in _WHOLE.items() if known is kind), None)
    if whole is not None:
        return whole
    kept = " ".join(words.split())[:_MOST_WORDS]
    return f"{_PREFIX[kind]}: {kept}" if kind in _PREFIX else kept or "by hand"


def kind_of(reason: str, started_by: str) -> TriggerKind:
    """Return the kind of trigger that a release's words tell of.

    >>> kind_of("message: go", "message").value, kind_of("message: go", "ada").value
    ('message', 'by_hand')
    """
    if reason in _WHOLE:
        return _WHOLE[reason]
    for kind, prefix in _PREFIX.items():
        if reason.startswith(f"{prefix}:") and started_by == STARTERS[kind]:
            return kind
    return TriggerKind.BY_HAND


def trigger_of(reason: str, started_by: str, at: datetime, facts: Mapping[str, Json] | None = None) -> Trigger:
    """Return the trigger behind the words of a run."""
    return Trigger(kind=kind_of(reason, started_by), reason=reason, at=at, facts=facts or {})
