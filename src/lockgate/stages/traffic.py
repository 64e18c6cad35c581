"""One change of what an environment serves: written down first, verified from live answers, undone if they are others.

    champion A ── intent n (A -> B) ──> target.switch(n) ──> live answers read back ──> verified n: champion B
                                              │ refused, silent, or other answers
                                              └──> intent m (B -> A, undoes n) ── unverified n ──> switch(m)
                                                     ──> live answers read back ──> verified m: champion A

Killed anywhere, run again: the pending intent in the ledger says what was begun. A target takes one sequence twice, so
a change is finished by doing it again. Every row is appended by compare-and-set on what was read, so that of two
controllers one gets `LedgerConflict` and writes nothing. A target that answers 409 has obeyed a later controller: it is
left alone, and the intent is written off.

What is raised, and what holds then:

    RolloutAborted   the change did not happen; the champion before serves, or is pending as an undo for the next run
    LedgerConflict   another controller changed the traffic; what it wrote holds
    TransientError   the ledger did not answer; run again
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.traffic import Change, Kind, Pending, Traffic, read_traffic
from lockgate.errors import (
    BadInput,
    IntegrityError,
    LedgerConflict,
    LockgateError,
    NotRunning,
    RolloutAborted,
    TransientError,
)
from lockgate.ports import DeployTarget, Ledger, Readback

_WAIT_S = 0.1  # between two tries at a target that does not answer; ours: a supervised server is back in about 1 s
_TRAFFIC = (Event.TRAFFIC_INTENDED, Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED)
_REFUSALS = (IntegrityError, BadInput, TransientError, NotRunning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """An environment whose traffic can be changed.

    Attributes:
        ledger: Where changes are written.
        target: What serves.
        model: Whose traffic.
        actor: Who or what asks for changes.
        readback_requests: How many live answers must carry the new digest, at least 1.
        timeout_s: A target that does not answer is asked again for this long.
    """

    ledger: Ledger
    target: DeployTarget
    model: ModelName
    actor: str = "lockgate"
    readback_requests: int = 5
    timeout_s: float = 60.0

    def traffic(self) -> Traffic:
        """Return what the ledger says of this environment."""
        return read_traffic(self.ledger.rows(self.model, events=_TRAFFIC), self.target.name)


def switch_traffic(switch: Switch, release: ReleaseId, to: Digest, *, why: str) -> LedgerRow:
    """Make the target serve a release's bundle and return the verified row; running it again changes nothing more.

    A pending promotion of this release to this bundle is finished. What others left pending is settled first.

    Raises:
        RolloutAborted: The target refused the bundle, did not answer, or its live answers are others. Also when this
            release was verified before and rolled back since: a release is promoted once.
        LedgerConflict: Another controller changed the traffic meanwhile.
        TransientError: The ledger did not answer.
    """
    settle(switch, unless=(release, to))
    traffic = switch.traffic()
    done = traffic.promoted.get((release, to))
    if done is not None:
        return _again(switch, traffic, done)
    pending = traffic.pending
    if pending is None:
        change = Change(kind=Kind.PROMOTION, release=release, origin=traffic.champion, to=to, why=why)
        pending = begin(switch, change, seen=traffic)
    return carry_out(switch, pending)


def _again(switch: Switch, traffic: Traffic, done: LedgerRow) -> LedgerRow:
    if traffic.champion != done.payload["to"]:
        raise RolloutAborted(
            f"{done.release} was verified at sequence {done.payload['sequence']} and another champion serves since; "
            "start a new release",
            release=done.release,
        )
    reconcile(switch)
    return done


def settle(switch: Switch, *, unless: tuple[ReleaseId, Digest] | None = None) -> LedgerRow | None:
    """Bring what a dead process left pending to its end: undos and rollbacks are finished, a promotion is undone.

    Args:
        switch: The environment.
        unless: Release and bundle whose own pending promotion is left to be finished.

    Returns:
        The verified row; None when nothing was pending, or there was no champion to go back to.

    Raises:
        RolloutAborted: The pending undo was of the very release that asks: that is how its promotion ended.
        TransientError: The target or the ledger did not answer; the change is still pending.
    """
    pending = switch.traffic().pending
    if pending is None or unless == (pending.change.release, pending.change.to):
        return None
    if pending.change.kind is Kind.PROMOTION:
        return undo(switch, pending, "its process ended before live answers were read")
    row = carry_out(switch, pending)
    if unless is not None and pending.change.undone == unless[0]:
        raise RolloutAborted(f"the promotion of {unless[0]} did not happen: {pending.change.why}", release=unless[0])
    return row


def reconcile(switch: Switch) -> None:
    """Tell the target again what the ledger holds verified: a no-op unless the target lost its state.

    Raises:
        LedgerConflict: The target has seen a higher sequence than the ledger verified.
        TransientError: The target did not answer.
    """
    traffic = switch.traffic()
    if traffic.placed and traffic.pending is None:
        now = traffic.placed[-1]
        switch.target.switch(switch.model, now.bundle, sequence=now.sequence, previous=now.keep)


def begin(switch: Switch, change: Change, *, seen: Traffic) -> Pending:
    """Write a change's intent, if the traffic still is what was seen.

    Raises:
        LedgerConflict: It is not; nothing was written.
    """

    def unchanged(now: Traffic) -> bool:
        return (now.champion, now.pending) == (seen.champion, seen.pending)

    row = _append(switch, Event.TRAFFIC_INTENDED, change.payload(switch.target.name), change.release, unchanged)
    return Pending(sequence=row.seq, change=change)


def carry_out(switch: Switch, pending: Pending) -> LedgerRow:
    """Switch the target, read it back and write what came of it.

    Raises:
        RolloutAborted: It is not verified. A promotion is undone; a rollback or an undo that the target refuses is
            written off, and what served goes on serving.
        TransientError: The target does not answer; a rollback or an undo stays pending for the next run.
        LedgerConflict: Another controller changed the traffic meanwhile.
    """
    change = pending.change
    if change.undoes is not None and change.undoes not in switch.traffic().given_up:
        _give_up(switch, change.undoes, change.why, change, release=change.undone)
    try:
        seen = _serve(switch, pending)
    except LedgerConflict as later:
        _give_up(switch, pending.sequence, later.message, change)
        raise
    except _REFUSALS as refused:
        if change.kind is Kind.PROMOTION:
            _abort(switch, pending, refused)
        if isinstance(refused, IntegrityError | BadInput):
            _give_up(switch, pending.sequence, refused.message, change)
            raise RolloutAborted(f"could not go back to {change.to}: {refused.message}", to=change.to) from refused
        raise
    return _verified(switch, pending, seen)


def _abort(switch: Switch, pending: Pending, refused: LockgateError) -> NoReturn:
    """Undo a promotion and raise; `silent` in the error's data tells that the target did not answer at all."""
    change, reason = pending.change, refused.message
    silent = isinstance(refused, TransientError | NotRunning)
    facts: dict[str, Json] = {"release": change.release, "sequence": pending.sequence, "silent": silent}
    try:
        row = undo(switch, pending, reason)
    except (TransientError, NotRunning) as gone:
        raise RolloutAborted(
            f"the switch to {change.to} was not verified ({reason}), and {switch.target.name} did not take the undo "
            f"({gone.message}); it stays pending and the next promotion or rollback finishes it",
            **facts,
        ) from gone
    except RolloutAborted as twice:
        raise RolloutAborted(
            f"the switch to {change.to} was not verified ({reason}), nor was going back ({twice.message}); look at "
            f"{switch.target.name} now: `lockgate status`",
            **facts,
        ) from twice
    served = f"{row.payload['to']} serves again" if row else "there was no champion before it to go back to"
    raise RolloutAborted(f"the switch to {change.to} was not verified ({reason}); {served}", **facts)


def undo(switch: Switch, pending: Pending, reason: str) -> LedgerRow | None:
    """Take back a pending promotion: the verified champion serves again.

    Returns:
        The verified row of the undo; None when there never was a champion (the intent is written off).

    Raises:
        TransientError: The target does not answer; the undo is pending.
        LedgerConflict: Another controller changed the traffic meanwhile.
    """
    traffic = switch.traffic()
    if not traffic.placed:
        _give_up(switch, pending.sequence, reason, pending.change)
        return None
    change = Change(
        kind=Kind.UNDO,
        release=traffic.placed[-1].release,
        origin=pending.change.to,
        to=traffic.placed[-1].bundle,
        why=f"undo of sequence {pending.sequence}: {reason}",
        undoes=pending.sequence,
        undone=pending.change.release,
    )
    return carry_out(switch, begin(switch, change, seen=traffic))


def _serve(switch: Switch, pending: Pending) -> Readback:
    """Switch and read back until the target answers, `timeout_s` at most."""
    change, deadline = pending.change, time.monotonic() + switch.timeout_s
    while True:
        try:
            switch.target.switch(switch.model, change.to, sequence=pending.sequence, previous=change.keep)
            seen = switch.target.readback(switch.model, change.to, switch.readback_requests)
        except (TransientError, NotRunning):
            if time.monotonic() >= deadline:
                raise
            time.sleep(_WAIT_S)
            continue
        _require(switch, pending, seen)
        return seen


def _require(switch: Switch, pending: Pending, seen: Readback) -> None:
    if seen.sequence > pending.sequence:
        raise LedgerConflict(
            f"{switch.target.name} obeys sequence {seen.sequence}, later than {pending.sequence}",
            sequence=seen.sequence,
        )
    others = sorted({each for each in seen.answers if each != pending.change.to})
    if seen.sequence != pending.sequence or others or len(seen.answers) < max(switch.readback_requests, 1):
        raise IntegrityError(
            f"{switch.target.name} acknowledged sequence {seen.sequence} of {pending.sequence}, and "
            f"{len(seen.answers)} live answers carry {', '.join(others) or 'its digest'}; "
            f"{switch.readback_requests} must carry it",
            answers=list(seen.answers),
        )


def _verified(switch: Switch, pending: Pending, seen: Readback) -> LedgerRow:
    payload = pending.change.payload(switch.target.name)
    payload |= {"sequence": pending.sequence, "answers": len(seen.answers)}
    return _append(switch, Event.TRAFFIC_VERIFIED, payload, pending.change.release, _still(pending))


def _give_up(switch: Switch, sequence: int, reason: str, change: Change, release: ReleaseId | None = None) -> None:
    payload = change.payload(switch.target.name) | {"sequence": sequence, "reason": reason}
    whose = release or change.release
    switch.ledger.append(switch.model, Event.TRAFFIC_UNVERIFIED, payload, release=whose, actor=switch.actor)


def _still(pending: Pending) -> Callable[[Traffic], bool]:
    return lambda now: now.pending == pending


def _append(
    switch: Switch,
    event: Event,
    payload: Mapping[str, Json],
    release: ReleaseId | None,
    holds: Callable[[Traffic], bool],
) -> LedgerRow:
    """Append a row while `holds` of the traffic that the ledger shows; rows about other things do not disturb it."""
    while True:
        last = switch.ledger.last_seq(switch.model)
        if not holds(switch.traffic()):
            raise LedgerConflict(f"another controller changed the traffic of {switch.model} in {switch.target.name}")
        try:
            return switch.ledger.append(
                switch.model, event, payload, release=release, actor=switch.actor, expect_seq=last
            )
        except LedgerConflict:
            continue
