"""Going back: the champion before serves again, verified from what the server really answers."""

from __future__ import annotations

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.traffic import Change, Kind, Traffic
from lockgate.errors import BadInput
from lockgate.stages.traffic import Switch, begin, carry_out, settle


def roll_back(switch: Switch, reason: str) -> LedgerRow:
    """Put the champion before back and return the verified row.

    A change that another process began and did not finish is settled instead: a promotion is undone, a rollback that
    was cut off is finished. So running it again after a crash goes back one champion, not two. Run again after
    it succeeded, it goes back one further.

    Args:
        switch: The environment; `switch.actor` is who asks.
        reason: Why, in the person's words.

    Raises:
        BadInput: There is no champion to go back to.
        RolloutAborted: The target refused it; what served goes on serving.
        TransientError: The target does not answer; the rollback is pending and running it again finishes it.
        LedgerConflict: Another controller changed the traffic meanwhile.
    """
    before = switch.traffic()
    row = settle(switch) if before.pending is not None else _go_back(switch, before, reason)
    if row is None:
        raise BadInput(f"{switch.model} has no champion in {switch.target.name} to go back to")
    _end_release(switch, before, reason)
    return row


def _go_back(switch: Switch, traffic: Traffic, reason: str) -> LedgerRow:
    earlier = traffic.before
    if earlier is None:
        served = f"{traffic.champion} is the first" if traffic.champion else "nothing was ever promoted"
        raise BadInput(
            f"{switch.model} has no earlier champion in {switch.target.name} to go back to: {served}; promote another "
            "release instead"
        )
    change = Change(kind=Kind.ROLLBACK, release=earlier.release, origin=traffic.champion, to=earlier.bundle, why=reason)
    return carry_out(switch, begin(switch, change, seen=traffic))


def _end_release(switch: Switch, before: Traffic, reason: str) -> None:
    """Write that the release whose bundle was left ended as rolled back, if it had ended as promoted."""
    left = _left(switch, before)
    if left is None or switch.ledger.state(switch.model).outcomes.get(left) is not Outcome.PROMOTED:
        return
    payload: dict[str, Json] = {"outcome": Outcome.ROLLED_BACK.value, "reason": reason, "gate": None}
    switch.ledger.append(switch.model, Event.RELEASE_ENDED, payload, release=left, actor=switch.actor)


def _left(switch: Switch, before: Traffic) -> ReleaseId | None:
    if switch.target.name != "production" or not before.placed or switch.traffic().champion == before.champion:
        return None
    return before.placed[-1].release
