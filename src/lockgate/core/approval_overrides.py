"""Overrides: a gate that failed and is let pass all the same, by two people, with a reason, until a date.

    (asked by one) ── confirmed by another ──> stands ── its date, or withdrawn by anybody who may ──> over

An override holds for releases of its model that are opened while it stands, for a FAIL of exactly its gate. What could
not be measured (ERROR) or could not be told (INCONCLUSIVE) it never covers: two people can carry a known harm, not an
unknown one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from lockgate.core.ids import Digest, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import BadInput

LONGEST = timedelta(days=30)
"""Ours: long enough to mend a model, too short to forget that it was excused."""
NEVER: Mapping[str, str] = {
    "schema": "the rows are not what the model was told they are, so nothing measured on them means anything",
    "leakage": "the model knows the answer beforehand, so every other figure is worthless",
    "parity": "the bundle answers otherwise than the model that was judged",
    "privacy": "personal data would leave where it may be, which no colleague can take back",
    "infra": "the server does not load it or answers wrongly, whatever the model is worth",
    "staging": "what answers is not what was judged",
}
"""Gates whose failure is a danger by nature: no override, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One override as it stands.

    Attributes:
        row: The row that made it stand.
        gate: The gate that may fail.
        by: The two people.
        until: It holds for releases opened before.
        reason: Why.
    """

    row: LedgerRow
    gate: str
    by: tuple[str, ...]
    until: datetime
    reason: str

    def shout(self, failed: str | None = None) -> str:
        """Return the sentence that nobody may overlook.

        Args:
            failed: Why the gate failed, where it did.
        """
        who, until = " and ".join(self.by), f"{self.until:%Y-%m-%d %H:%M UTC}"
        said = (
            f"GATE {self.gate.upper()} FAILED AND IS OVERRIDDEN"
            if failed
            else f"GATE {self.gate.upper()} IS OVERRIDDEN"
        )
        why = f" It failed because: {failed}." if failed else ""
        return f"{said} by {who} until {until}: {self.reason.rstrip('.')}.{why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What somebody asks to override.

    Attributes:
        gate: The gate.
        until: The end date, aware.
        reason: Why.
    """

    gate: str
    until: datetime
    reason: str


def refuse_override(wanted: Wanted, now: datetime, gates: Sequence[str]) -> None:
    """Check that an override may be asked for, or confirmed.

    Raises:
        BadInput: The gate is unknown or never overridden, the date is over or too far, or no reason is given.
    """
    if wanted.gate not in gates:
        raise BadInput(f"there is no gate {wanted.gate!r}; gates: {', '.join(gates)}")
    if wanted.gate in NEVER:
        free = ", ".join(name for name in gates if name not in NEVER)
        raise BadInput(f"gate {wanted.gate} is never overridden: {NEVER[wanted.gate]}. Gates that may be: {free}")
    if not wanted.reason.strip():
        raise BadInput("an override needs a reason; give one with --reason, everybody will read it")
    if wanted.until <= now:
        raise BadInput(f"{wanted.until.isoformat()} is over; an override ends in the future")
    if wanted.until - now > LONGEST:
        latest = (now + LONGEST).date().isoformat()
        raise BadInput(f"{wanted.until.date().isoformat()} is too far; the latest end date is {latest}")


def asked_for(rows: Iterable[LedgerRow], gate: str) -> LedgerRow | None:
    """Return the newest request to override a gate that was neither confirmed nor withdrawn; None without one."""
    open_: LedgerRow | None = None
    for row in rows:
        if row.payload.get("gate") == gate:
            if row.event is Event.OVERRIDE_ASKED:
                open_ = row
            elif row.event is Event.OVERRIDDEN:
                open_ = None
    return open_


def current(rows: Iterable[LedgerRow], now: datetime) -> tuple[Override, ...]:
    """Return the overrides that stand at a time, in the order of their gates' confirmation."""
    found: dict[str, Override] = {}
    for row in rows:
        if row.event is Event.OVERRIDDEN:
            gate = str(row.payload.get("gate"))
            found.pop(gate, None)
            if not row.payload.get("withdrawn"):
                found[gate] = _read(row)
    return tuple(each for each in found.values() if now < each.until)


def standing(rows: Sequence[LedgerRow], release: ReleaseId) -> Mapping[str, Override]:
    """Return the overrides that hold for a release, by gate.

    They were confirmed before it was opened, it was opened before they end, and none was withdrawn or replaced since.

    Args:
        rows: The model's rows, or those of them that open releases and override gates, in order.
        release: Which.
    """
    opened = next((row for row in rows if row.release == release and row.event is Event.RELEASE_OPENED), None)
    if opened is None:
        return {}
    return {each.gate: each for each in current(rows, opened.at) if each.row.seq < opened.seq}


def lets_pass(
    reports: Iterable[GateReport], required: Iterable[str], overrides: Mapping[str, Override]
) -> dict[str, Digest]:
    """Return the hash of the row that lets each required gate pass that ever failed; one that passed needs none."""
    failed = {each.gate for each in reports if each.verdict is Verdict.FAIL}
    return {gate: overrides[gate].row.row_hash for gate in sorted(failed & set(required)) if gate in overrides}


def shouts(reports: Iterable[GateReport], overrides: Mapping[str, Override]) -> tuple[str, ...]:
    """Return a sentence for each gate that failed and is overridden."""
    failed = {each.gate: each.reason for each in reports if each.verdict is Verdict.FAIL}
    return tuple(each.shout(failed[gate]) for gate, each in overrides.items() if gate in failed)


def _read(row: LedgerRow) -> Override:
    by = row.payload["by"]
    return Override(
        row=row,
        gate=str(row.payload["gate"]),
        by=tuple(str(each) for each in by) if isinstance(by, list | tuple) else (str(by),),
        until=datetime.fromisoformat(str(row.payload["until"])),
        reason=str(row.payload.get("reason") or ""),
    )
