"""A rollout's routing as the admin port of a server takes it, and what that port's account says is really routed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lockgate.core.ids import Digest
from lockgate.core.rollout.routing import CHALLENGER, SHADOW, Routed, RoutedArm, Routing
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
    if routing.arms:
        arms = routing.arms
        body["challengers"] = [{"name": each.name, "bundle": each.bundle, "weight": each.weight} for each in arms]
    if challenger is not None and routing.shadow:
        body["shadows"] = [{"name": SHADOW, "bundle": challenger, "share": routing.shadow}]
    return json.dumps(body).encode()


def routed_of(account: Mapping[str, Any]) -> Routed:
    """Return what an account says is really routed: what every worker does, each by its own word.

    Raises:
        TransientError: A worker has not loaded the champion, does not say what it routes, or routes something else than
            another just now.
    """
    workers: Mapping[str, Mapping[str, Any]] = account.get("workers") or {"0": account}
    arms = [
        each for each in account.get("challengers", ()) if each["name"] != CHALLENGER
    ]  # the sequence's: all workers'
    seen = [_routed_by(number, each, arms) for number, each in workers.items()]
    first = seen[0]
    if any(replace(each, lease_left_s=first.lease_left_s) != first for each in seen):
        told = "; ".join(
            f"worker {number}: sequence {each.sequence}, {each.weight:g} of entities, {each.shadow:g} copied"
            for number, each in zip(workers, seen, strict=True)
        )
        raise TransientError(f"the workers of the server do not route the same just now: {told}")
    return replace(first, lease_left_s=min(each.lease_left_s for each in seen))


def _routed_by(number: str, worker: Mapping[str, Any], arms: Sequence[Mapping[str, Any]]) -> Routed:
    try:
        if worker["since"] is None:
            why = worker["refused"].get(worker["champion"], "not yet")
            raise TransientError(f"the champion is not loaded by worker {number}: {why}")
        weights = worker["weights"]["effective"]
        return Routed(
            sequence=int(worker["sequence"]),
            champion=Digest(worker["champion"]),
            weight=float(weights.get(CHALLENGER, 0.0)),
            shadow=float(worker["shares"]["effective"].get(SHADOW, 0.0)),
            lease_left_s=float(worker["lease_left_s"] or 0.0),
            arms=tuple(
                RoutedArm(name=each["name"], bundle=Digest(each["bundle"]), weight=float(weights[each["name"]]))
                for each in arms
            ),
        )
    except (KeyError, TypeError, ValueError) as silent:
        told = f"worker {number} does not say what it routes ({silent!r}); is the server older than this? restart it"
        raise TransientError(told) from silent
