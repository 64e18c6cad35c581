"""What a server of several workers really routes is what every one of them does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lockgate.adapters.routing_account import routed_of, routing_body
from lockgate.core.ids import Digest
from lockgate.core.rollout.routing import CHALLENGER, SHADOW, Routed, RoutedArm, Routing
from lockgate.errors import RolloutAborted, TransientError
from lockgate.stages.routing import champion_alone
from tests.unit.rollout.world import MODEL, Production

A, B = "a" * 64, "b" * 64


def worker(*, weight: float = 0.2, shadow: float = 0.0, **other: object) -> dict[str, Any]:
    return {
        "sequence": 7,
        "champion": A,
        "loaded": [A],
        "refused": {},
        "lease_left_s": 9.0,
        "since": "2026-03-01T00:00:00+00:00",
        "weights": {"asked": {CHALLENGER: 0.2}, "effective": {CHALLENGER: weight}},
        "shares": {"asked": {}, "effective": {SHADOW: shadow} if shadow else {}},
        **other,
    }


def account(*workers: dict[str, Any]) -> dict[str, Any]:
    return {**workers[0], "workers": {str(at): each for at, each in enumerate(workers)}}


def test_workers_that_route_alike_are_one_routing_whose_lease_ends_with_the_first() -> None:
    seen = routed_of(account(worker(), worker(lease_left_s=3.0)))
    assert (seen.sequence, seen.champion, seen.weight, seen.shadow, seen.lease_left_s) == (7, A, 0.2, 0.0, 3.0)


@pytest.mark.parametrize(
    "other",
    [
        lambda: worker(weight=0.5),
        lambda: worker(weight=0.0, lease_left_s=0.0),
        lambda: worker(shadow=1.0),
        lambda: worker(sequence=6),
        lambda: worker(champion="b" * 64),
    ],
)
def test_a_worker_that_routes_something_else_is_seen_whichever_it_is(other: Callable[[], dict[str, Any]]) -> None:
    for workers in ((worker(), other()), (other(), worker()), (worker(), worker(), other())):
        with pytest.raises(TransientError, match="workers of the server do not route the same"):
            routed_of(account(*workers))


def test_a_champion_that_one_worker_has_not_loaded_is_not_served() -> None:
    missing = worker(since=None, refused={A: "its signature is broken"})
    with pytest.raises(TransientError, match="by worker 1: its signature is broken"):
        routed_of(account(worker(), missing))
    with pytest.raises(TransientError, match="not yet"):
        routed_of(worker(since=None))


def test_a_worker_that_does_not_tell_its_weights_proves_nothing() -> None:
    short = {key: each for key, each in worker().items() if key not in ("weights", "shares", "since", "refused")}
    with pytest.raises(TransientError, match="does not say what it routes"):
        routed_of(account(worker(), worker()) | {"workers": {"0": worker(), "1": short}})


@pytest.mark.parametrize("share", [{"weight": 0.5}, {"shadow": 1.0}])
def test_a_champion_is_not_alone_beside_a_challenger_that_the_server_still_routes(share: dict[str, float]) -> None:
    production = Production()
    production.begin()
    lane = production.world().lane
    weight, shadow = share.get("weight", 0.0), share.get("shadow", 0.0)
    sequence = production.ledger.last_seq(MODEL) + 1
    stray = Routed(sequence=sequence, champion=Digest(A), weight=weight, shadow=shadow, lease_left_s=5.0)
    production.router.strays.append(stray)
    with pytest.raises(RolloutAborted, match="to the challenger"):
        champion_alone(lane, production.readback)


def test_each_of_several_arms_is_told_with_what_every_worker_gives_it() -> None:
    weights = {"effective": {"champion": 0.4, "challenger-1": 0.3, "challenger-2": 0.3}}
    listed = [
        {"name": "challenger-1", "bundle": B, "weight": 0.3},
        {"name": "challenger-2", "bundle": A, "weight": 0.3},
    ]
    both = account(worker(weights=weights), worker(weights=weights)) | {"challengers": listed}

    routed = routed_of(both)

    assert [(each.name, each.bundle, each.weight) for each in routed.arms] == [
        ("challenger-1", B, 0.3),
        ("challenger-2", A, 0.3),
    ]
    lapsed = {"effective": {"champion": 1.0, "challenger-1": 0.0, "challenger-2": 0.0}}
    with pytest.raises(TransientError, match="do not route the same"):
        routed_of(account(worker(weights=weights), worker(weights=lapsed)) | {"challengers": listed})


def test_several_arms_are_asked_for_by_name() -> None:
    arms = (
        RoutedArm(name="challenger-1", bundle=Digest(B), weight=0.25),
        RoutedArm(name="challenger-2", bundle=Digest(A), weight=0.25),
    )

    body = json.loads(routing_body(Routing(sequence=7, champion=Digest(A), salt="s", arms=arms), None))

    assert body["challengers"] == [
        {"name": "challenger-1", "bundle": B, "weight": 0.25},
        {"name": "challenger-2", "bundle": A, "weight": 0.25},
    ]
    assert "shadows" not in body
