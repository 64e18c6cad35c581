"""After a crash: what servers route and what the registry's aliases say is made what the ledger says.

The ledger is the record; routing tables and aliases are projections of it. A change of traffic whose process died is
finished when live answers show that it happened; when they do not, a promotion is taken back and a way back is
finished. Safe to run at any time, any number of times: a change that may still be under way is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from lockgate.core.ids import Digest, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.traffic import Kind, Pending, read_traffic
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, NotRunning, RolloutAborted, TransientError
from lockgate.ports import Clock, DeployTarget, Ledger, Registry
from lockgate.stages import traffic as changing
from lockgate.stages.traffic import Switch

PRODUCTION = "production"
_TRAFFIC = (Event.TRAFFIC_INTENDED, Event.TRAFFIC_VERIFIED, Event.TRAFFIC_UNVERIFIED)
_UNDER_WAY = timedelta(seconds=180)  # ours: three times a rollout's default bound; younger ones may have a living owner


def reconcile(  # noqa: PLR0913 - two projections of one ledger, of one model, at one time
    ledger: Ledger,
    registry: Registry,
    targets: Sequence[DeployTarget],
    model: ModelName,
    *,
    clock: Clock,
    timeout_s: float = 10.0,
) -> tuple[str, ...]:
    """Settle what was left half done, restore what servers lost, and set the aliases of one model.

    Args:
        targets: The environments; one that does not answer is told of and left for the next time.
        timeout_s: How long each target is asked.

    Returns:
        What was done or could not be, a sentence each; empty when nothing had to be.

    Raises:
        TransientError: The ledger or the registry did not answer.
    """
    did: list[str] = []
    for target in targets:
        switch = Switch(ledger=ledger, target=target, model=model, actor="reconciler", timeout_s=timeout_s)
        did += _reconcile_target(switch, clock)
    return (*did, *set_aliases(ledger, registry, model))


def _reconcile_target(switch: Switch, clock: Clock) -> Iterable[str]:
    where, pending = switch.target.name, switch.traffic().pending
    if pending is not None and clock.now() - _begun(switch, pending).at < _UNDER_WAY:
        return
    try:
        if pending is not None:
            yield _settle(switch, pending)
        elif _lost(switch):
            changing.reconcile(switch)
            yield f"{where} had lost its routing of {switch.model} and was given it again"
    except (NotRunning, TransientError) as silent:
        yield f"{where} does not answer for {switch.model} and is reconciled the next time: {silent.message}"
    except (LedgerConflict, RolloutAborted, IntegrityError, BadInput) as refused:
        yield f"{where} does not serve what the ledger says of {switch.model}: {refused.message}"


def _begun(switch: Switch, pending: Pending) -> LedgerRow:
    rows = switch.ledger.rows(switch.model, events=(Event.TRAFFIC_INTENDED,))
    return next(row for row in rows if row.seq == pending.sequence)


def _settle(switch: Switch, pending: Pending) -> str:
    where, change = switch.target.name, pending.change
    if change.kind is Kind.PROMOTION and not _happened(switch, pending):
        changing.settle(switch)
        return f"sequence {pending.sequence} to {change.to[:12]} was given up: {where} does not serve it"
    changing.carry_out(switch, pending)
    return f"sequence {pending.sequence} to {change.to[:12]} was finished and verified in {where}"


def _happened(switch: Switch, pending: Pending) -> bool:
    """Tell from live answers whether the target made the change before its controller died."""
    seen = switch.target.readback(switch.model, pending.change.to, switch.readback_requests)
    return seen.sequence == pending.sequence and set(seen.answers) == {pending.change.to}


def _lost(switch: Switch) -> bool:
    """Tell whether the target's own account is older than what the ledger has verified."""
    placed = switch.traffic().placed
    if not placed:
        return False
    account = switch.target.serving(switch.model)
    sequence = account.get("sequence", 0)
    return account.get("champion") != placed[-1].bundle and int(str(sequence)) <= placed[-1].sequence


def set_aliases(ledger: Ledger, registry: Registry, model: ModelName) -> tuple[str, ...]:
    """Point `champion`, `previous` and `challenger` at what the ledger says; take away what it does not.

    Returns:
        A sentence for each alias whose bundle the registry does not have.

    Raises:
        TransientError: The ledger or the registry did not answer.
    """
    problems = []
    for alias, bundle in wanted_aliases(ledger, model).items():
        try:
            if bundle is None:
                registry.drop_alias(model, alias)
            else:
                registry.set_alias(model, alias, bundle)
        except BadInput as unknown:
            problems.append(f"alias {alias} of {model} cannot be set: {unknown.message}")
    return tuple(problems)


def wanted_aliases(ledger: Ledger, model: ModelName) -> dict[str, Digest | None]:
    """Return the bundle that each alias should point at; None where there is none."""
    traffic = read_traffic(ledger.rows(model, events=_TRAFFIC), PRODUCTION)
    opened = ledger.state(model).open
    registered = ledger.rows(model, release=opened.release, events=(Event.REGISTERED,)) if opened is not None else ()
    challenger = Digest(str(registered[-1].payload["bundle"])) if registered else None
    return {
        "champion": traffic.champion,
        "previous": traffic.before.bundle if traffic.before is not None else None,
        "challenger": challenger if challenger != traffic.champion else None,
    }
