"""One look at a rollout as the ledger holds it: the statistics, what was decided on, what was decided."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from lockgate.core.ids import Json, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.findings import Evidence
from lockgate.core.online.guardrails import Decision, Look
from lockgate.core.online.means import Effect
from lockgate.core.online.plan_look import PlanLook
from lockgate.core.online.ratio_mismatch import Arrivals, p_value
from lockgate.core.records import read_record
from lockgate.core.rollout.machine import Looked, Rollout, looked
from lockgate.core.rollout.proxy import LabelCount
from lockgate.core.rollout.steps import Course
from lockgate.errors import IntegrityError


class JudgedLook(Protocol):
    """One look with all that it was judged by; `stages.looking.Judged` is one."""

    @property
    def counted(self) -> object:
        """The sufficient statistics: `core.rollout.tally.Counted`."""
        ...

    @property
    def look(self) -> Look:
        """What was decided on."""
        ...

    @property
    def decision(self) -> Decision:
        """What was decided."""
        ...

    @property
    def plan(self) -> PlanLook | None:
        """What the plan said, where a look of it was due."""
        ...

    @property
    def effect(self) -> Effect | None:
        """What the plan was told then."""
        ...

    @property
    def next_share(self) -> float | None:
        """What a bandit gives the challenger in its next period."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRow:
    """A look as it is on record, without its statistics.

    Attributes:
        seq: Its row.
        number: Which look of the rollout, from 1.
        now: When it was taken, seconds since the epoch.
        step: Which step it was taken in.
        look: What was decided on.
        decision: What was decided.
        effect: What the plan was told, where a look of it was due.
        plan: What the plan said then.
        next_share: What a bandit gives the challenger in its next period.
    """

    seq: int = 0
    number: int
    now: float
    step: int
    look: Look
    decision: Decision
    effect: Effect | None = None
    plan: PlanLook | None = None
    next_share: float | None = None


def look_payload(rollout: Rollout, judged: JudgedLook, now: float) -> dict[str, Json]:
    """Return the payload of ROLLOUT_LOOK.

    Args:
        rollout: The state before the look.
        judged: The look; what its statistics hold for pictures alone (`shown`) is left out.
        now: When it was taken, seconds since the epoch.
    """
    row = LookRow(
        number=rollout.looks + 1,
        now=now,
        step=rollout.step,
        look=judged.look,
        decision=judged.decision,
        effect=judged.effect,
        plan=judged.plan,
        next_share=judged.next_share,
    )
    written, counted = _object(row), _object(judged.counted)
    return {
        **{key: each for key, each in written.items() if key != "seq"},
        "counted": {key: _dense(each) for key, each in counted.items() if key != "shown"},
    }


def read_look(row: LedgerRow) -> LookRow:
    """Return the look of a ROLLOUT_LOOK row.

    Raises:
        IntegrityError: It is none.
    """
    return replace(read_record(LookRow, row.payload), seq=row.seq)


def read_evidence_of(row: LedgerRow) -> tuple[Evidence, ...]:
    """Return the evidence of a ROLLOUT_LOOK row, one a guardrail.

    Raises:
        IntegrityError: It holds none.
    """
    counted = row.payload.get("counted")
    told = counted.get("evidence") if isinstance(counted, Mapping) else None
    if isinstance(told, str) or not isinstance(told, Sequence):
        raise IntegrityError(f"row {row.seq} holds no evidence")
    return tuple(read_record(Evidence, each) for each in told)


def label_count_of(row: LedgerRow) -> LabelCount | None:
    """Return how many labels had come by a ROLLOUT_LOOK row; None where it does not say.

    Raises:
        IntegrityError: What it holds is no such count.
    """
    counted = row.payload.get("counted")
    told = counted.get("labels") if isinstance(counted, Mapping) else None
    return None if told is None else read_record(LabelCount, told)


def requests_read(rows: Iterable[LedgerRow]) -> int:
    """Return how many requests of both arms the last ROLLOUT_LOOK of some rows had counted; 0 where there is none."""
    last = next((row for row in reversed(tuple(rows)) if row.event is Event.ROLLOUT_LOOK), None)
    counted = None if last is None else last.payload.get("counted")
    told = counted.get("read_requests") if isinstance(counted, Mapping) else None
    return told if isinstance(told, int) else 0


def look_event(course: Course, row: LookRow) -> Looked:
    """Return the event that a look on record is for the machine."""
    return looked(course, row.look, row.decision, now=row.now, next_share=row.next_share)


def p_after(evidence: Iterable[Evidence], before: float) -> float:
    """Return the p-value of the arrivals after a look; what cannot be computed leaves it as it was."""
    told: list[Arrivals] = [each.arrivals for each in evidence if each.arrivals is not None]
    found = p_value(told[0], before) if told else before
    return before if math.isnan(found) else found


def _object(value: object) -> Mapping[str, Json]:
    written = to_json(value)
    return written if isinstance(written, dict) else {}


def _dense(value: Json) -> Json:
    """Leave out what is null: readers take it from the fields' defaults, and rows stay small."""
    if isinstance(value, Mapping):
        return {key: _dense(each) for key, each in value.items() if each is not None}
    return [_dense(each) for each in value] if isinstance(value, list) else value
