"""Overrides on record: asked for by one person, confirmed by another, withdrawn by anybody who may.

Who acts was found out before (a token, not a name that was typed): two names in a row of the ledger are two people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from lockgate.core.approval_overrides import Override, Wanted, asked_for, current, refuse_override, standing
from lockgate.core.blessing import Blessing, OverriddenBlessing
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput
from lockgate.ports import Clock, Ledger

_EVENTS = (Event.OVERRIDE_ASKED, Event.OVERRIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overriding:
    """The overrides of one model.

    Attributes:
        ledger: The record.
        clock: Tells which dates are over.
        model: The model.
        gates: The names of all gates.
    """

    ledger: Ledger
    clock: Clock
    model: ModelName
    gates: Sequence[str]

    def ask(self, wanted: Wanted, *, by: str) -> LedgerRow:
        """Record that a person asks to override a gate; nothing is overridden until another confirms it.

        Raises:
            BadInput: It may not be asked for, or it stands or was asked for already.
        """
        now, command = self.clock.now(), f"lockgate override {self.model} --gate {wanted.gate}"
        refuse_override(wanted, now, self.gates)
        seen, rows = self.ledger.last_seq(self.model), self._rows()
        stands = next((each for each in current(rows, now) if each.gate == wanted.gate), None)
        if stands is not None:
            raise BadInput(f"{stands.shout()} Withdraw it first: {command} --withdraw --reason TEXT")
        asked = asked_for(rows, wanted.gate)
        if asked is not None and datetime.fromisoformat(str(asked.payload["until"])) > now:
            told = f"{asked.payload['by']} asked for it already, until {asked.payload['until']}"
            raise BadInput(f"{told}: {asked.payload['reason']}. Somebody else confirms it: {command} --confirm")
        payload = {"gate": wanted.gate, "by": by, "reason": wanted.reason, "until": wanted.until.isoformat()}
        return self.ledger.append(self.model, Event.OVERRIDE_ASKED, payload, actor=by, expect_seq=seen)

    def confirm(self, gate: str, *, by: str) -> Override:
        """Record that a second person confirms what the first asked for; from now on it stands.

        Raises:
            BadInput: Nobody asked, the same person did, or it may not be overridden any more.
        """
        seen, asked = self.ledger.last_seq(self.model), asked_for(self._rows(), gate)
        if asked is None:
            ask = f"lockgate override {self.model} --gate {gate} --until DATE --reason TEXT"
            raise BadInput(f"nobody asked to override gate {gate} of {self.model}; ask first: {ask}")
        first, until = str(asked.payload["by"]), datetime.fromisoformat(str(asked.payload["until"]))
        wanted = Wanted(gate=gate, until=until, reason=str(asked.payload["reason"]))
        refuse_override(wanted, self.clock.now(), self.gates)
        if first.casefold() == by.casefold():
            raise BadInput(f"{by} asked for it; somebody else confirms an override")
        payload: dict[str, Json] = {
            "gate": gate,
            "by": [first, by],
            "reason": wanted.reason,
            "until": until.isoformat(),
            "asked": asked.seq,
        }
        row = self.ledger.append(self.model, Event.OVERRIDDEN, payload, actor=by, expect_seq=seen)
        return Override(row=row, gate=gate, by=(first, by), until=until, reason=wanted.reason)

    def withdraw(self, gate: str, *, by: str, reason: str) -> LedgerRow:
        """Record that an override, or the request for one, is over; a release that needs it cannot be promoted.

        Raises:
            BadInput: There is none.
        """
        rows = self._rows()
        stands = any(each.gate == gate for each in current(rows, self.clock.now()))
        if not stands and asked_for(rows, gate) is None:
            raise BadInput(f"gate {gate} of {self.model} is not overridden, and nobody asked for it")
        payload: dict[str, Json] = {"gate": gate, "withdrawn": True, "by": [by], "reason": reason}
        return self.ledger.append(self.model, Event.OVERRIDDEN, payload, actor=by)

    def stand(self) -> tuple[Override, ...]:
        """Return the overrides that stand now."""
        return current(self._rows(), self.clock.now())

    def _rows(self) -> tuple[LedgerRow, ...]:
        return self.ledger.rows(self.model, events=_EVENTS)


def no_longer_overridden(ledger: Ledger, model: ModelName, blessing: Blessing) -> str | None:
    """Say which override that a blessing rests on stands no more; None when all do, or it rests on none."""
    if not isinstance(blessing, OverriddenBlessing):
        return None
    release = blessing.subjects.release
    now = standing(ledger.rows(model, events=(Event.RELEASE_OPENED, Event.OVERRIDDEN)), release)
    for gate, row_hash in blessing.overrides.items():
        if gate not in now or now[gate].row.row_hash != row_hash:
            return f"the override of gate {gate}, which {release} failed, was withdrawn; mend it, then release anew"
    return None
