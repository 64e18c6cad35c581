"""What was asked for and what is really served, as JSON: the admin port's account of one model's routing."""

from __future__ import annotations

from lockgate.core.ids import Json
from lockgate.serving.routing.router import Route


def account(route: Route) -> dict[str, Json]:
    """Return a route's account.

    The fields of the desired routing come as they were asked for. Beside them: `lease_left_s` (null where nothing is
    leased), `weights` and `shares` each `asked` and `effective` (what a request meets right now), `loaded` and
    `refused` by digest, and `since`, null while the champion is not loaded.
    """
    asked, weights, active = route.desired, route.weights(), {each.name for each in route.active_shadows()}
    return {
        "sequence": asked.sequence,
        "champion": asked.champion,
        "previous": asked.previous,
        "challengers": [
            {"name": each.name, "bundle": each.bundle, "weight": each.weight, "tags": list(each.tags)}
            for each in asked.challengers
        ],
        "shadows": [{"name": each.name, "bundle": each.bundle, "share": each.share} for each in asked.shadows],
        "salt": asked.salt or asked.champion,
        "timeout_ms": None if asked.timeout_s is None else asked.timeout_s * 1000,
        "fallback": None if asked.constant is None else {"constant": asked.constant},
        "lease_s": asked.lease_s,
        "lease_left_s": max(0.0, round(route.lease_until - route.clock(), 3)) if asked.leased else None,
        "weights": {
            "asked": asked.arm_weights,
            "effective": {name: weights.get(name, 0.0) for name in asked.arm_weights},
        },
        "shares": {
            "asked": {each.name: each.share for each in asked.shadows},
            "effective": {each.name: each.share if each.name in active else 0.0 for each in asked.shadows},
        },
        "loaded": list(route.loaded),
        "refused": {str(digest): reason for digest, reason in route.refused.items()},
        "since": asked.since.isoformat() if route.ready else None,
    }
