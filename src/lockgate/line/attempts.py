"""Which attempt at a champion a bundle's next rollout is, by the record."""

from __future__ import annotations

from lockgate.core.ids import Digest
from lockgate.core.ledger import Event
from lockgate.core.rollout.attempts import MOST_ATTEMPTS, attempts_so_far
from lockgate.line.model_line import Line


def attempt_of(line: Line, challenger: Digest, champion: Digest) -> int:
    """Return which attempt the next rollout of a bundle beside a champion is, from 1."""
    begun = line.ledger.rows(line.model, events=(Event.ROLLOUT_BEGUN,))
    tried = dict.fromkeys(row.release for row in begun if row.payload.get("challenger") == challenger)
    events = (Event.ROLLOUT_BEGUN, Event.ROLLOUT_LOOK)
    rows = (row for each in tried for row in line.ledger.rows(line.model, release=each, events=events))
    return attempts_so_far(rows, challenger, champion) + 1


def too_many(attempt: int) -> str | None:
    """Say why an attempt is one too many; None while it is not."""
    if attempt <= MOST_ATTEMPTS:
        return None
    told = f"this bundle was tried {attempt - 1} times against this champion, {MOST_ATTEMPTS} are allowed"
    return f"{told}, or one of them would pass by luck; train another: lockgate release"
