"""A rollout's routing as the admin port of a server takes it, and what that port's account says is really routed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from lockgate.core.ids import Digest
from lockgate.core.rollout.routing import CHALLENGER, SHADOW, Routed, Routing
from lockgate.errors import BadInput, TransientError


def kept_previous(routing: Routing, account: Mapping[str, Any]) -> Digest | None:
    """Return the bundle to keep loaded beside the champion: what the champion's own switch kept.

    It answers where the champion fails. Were it dropped for the length of a rollout, callers would lose that, and both
    arms' failures would be measured on another server than the one before and after. Where the champion is another
    one than is served, its predecessor is kept, as a switch does. One routing asked for twice is the same both times.

    Args:
        routing: What is asked for.
        account: What is served; empty where the model is not routed.
    """
    before = account.get("previous") if account.get("champion") == routing.champion else account.get("champion")
    return None if before is None else Digest(before)


def routing_body(routing: Routing, previous: Digest | None) -> bytes:
    """Return the body of the request that puts a routing in place.

    A challenger that only answers copies is a shadow alone: it need not take the columns that callers send.

    Raises:
        BadInput: There is weight or shadow without a challenger.
    """
    challenger = routing.challenger
    if challenger is None and (routing.weight or routing.shadow):
        raise BadInput("a routing without a challenger has neither weight nor shadow", sequence=routing.sequence)
    body: dict[str, Any] = {
        "sequence": routing.sequence,
        "champion": routing.champion,
        "previous": previous,
        "salt": routing.salt,
        "lease_s": routing.lease_s,
    }
    if challenger is not None and (routing.weight or not routing.shadow):
        body["challengers"] = [{"name": CHALLENGER, "bundle": challenger, "weight": routing.weight}]
    if challenger is not None and routing.shadow:
        body["shadows"] = [{"name": SHADOW, "bundle": challenger, "share": routing.shadow}]
    return json.dumps(body).encode()


def routed_of(account: Mapping[str, Any]) -> Routed:
    """Return what an account says is really routed.

    Raises:
        TransientError: Its champion is not loaded, or its workers do not serve the same just now.
    """
    if account["since"] is None:
        raise TransientError(f"the champion is not loaded: {account['refused'].get(account['champion'], 'not yet')}")
    workers: Iterable[Mapping[str, Any]] = (account.get("workers") or {"0": account}).values()
    if len({(each["sequence"], each["champion"]) for each in workers}) > 1:
        raise TransientError("the workers of the server do not serve the same just now")
    return Routed(
        sequence=int(account["sequence"]),
        champion=Digest(account["champion"]),
        weight=float(account["weights"]["effective"].get(CHALLENGER, 0.0)),
        shadow=float(account["shares"]["effective"].get(SHADOW, 0.0)),
        lease_left_s=min(float(each["lease_left_s"] or 0.0) for each in workers),
    )
