"""Routing as pure state."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.errors import LedgerConflict
from lockgate.serving.dataplane import ServedModel
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.router import Desired, Router, already_served, make_route
from tests.bundles import contract, graph

A, B = Digest("a" * 64), Digest("b" * 64)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
DESIRED = Desired(sequence=5, champion=A, previous=B, since=NOW)
MODEL = {digest: ServedModel(digest, contract(), graph(0.0, TaskKind.BINARY)) for digest in (A, B)}


def test_a_lower_sequence_is_refused() -> None:
    route = make_route("toy", DESIRED, MODEL, {})
    with pytest.raises(LedgerConflict, match="sequence 4 is behind 5"):
        already_served(route, replace(DESIRED, sequence=4))


def test_the_same_request_again_changes_nothing_whenever_it_comes() -> None:
    route = make_route("toy", DESIRED, MODEL, {})
    assert already_served(route, replace(DESIRED, since=datetime.now(UTC)))


def test_the_same_sequence_with_other_content_is_refused() -> None:
    route = make_route("toy", DESIRED, MODEL, {})
    with pytest.raises(LedgerConflict, match="already stands for"):
        already_served(route, replace(DESIRED, champion=B))


def test_a_higher_sequence_is_a_change_even_with_the_same_content() -> None:
    assert not already_served(make_route("toy", DESIRED, MODEL, {}), replace(DESIRED, sequence=6))


def test_the_champion_takes_all_traffic_and_the_previous_one_is_kept() -> None:
    route = make_route("toy", DESIRED, MODEL, {})
    assert [route.choose(each).model.digest for each in (None, "x", "y")] == [A, A, A]
    assert list(route.loaded) == [A, B]


def test_a_route_whose_champion_is_not_loaded_says_why() -> None:
    route = make_route("toy", DESIRED, {B: MODEL[B]}, {A: "part card.md is missing"})
    assert not route.ready
    with pytest.raises(RequestRefused, match=r"routed to a{64}, but: part card\.md is missing") as refused:
        route.choose(None)
    assert refused.value.reason is Reason.NOT_LOADED
    assert route.to_json()["since"] is None


def test_a_published_table_is_new_and_leaves_the_old_one_as_it_was() -> None:
    router = Router()
    before = router.table
    router.publish(make_route("toy", DESIRED, MODEL, {}))
    router.publish(make_route("other", DESIRED, MODEL, {}))
    assert dict(before) == {}
    assert set(router.table) == {"toy", "other"}


def test_only_a_single_model_may_go_unnamed() -> None:
    router = Router()
    with pytest.raises(RequestRefused, match="no model is routed"):
        router.find(None)
    router.publish(make_route("toy", DESIRED, MODEL, {}))
    assert router.find(None).model == "toy"
    router.publish(make_route("other", DESIRED, MODEL, {}))
    with pytest.raises(RequestRefused, match=r"\?model= with one of other, toy"):
        router.find(None)
    with pytest.raises(RequestRefused, match="no model 'third' is routed here; there are: other, toy"):
        router.find("third")
