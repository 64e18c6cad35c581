"""What every router of a rollout's traffic promises, held against the fake and against a real server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.sandbox import Sandbox, Sandboxes
from lockgate.adapters.server_target import ServerTarget
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Digest, ModelName
from lockgate.core.rollout.routing import RoutedArm, Routing
from lockgate.errors import BadInput, IntegrityError, LedgerConflict, TransientError
from lockgate.ports import TrafficRouter
from tests.bundles import make_bundle, make_keys
from tests.fakes import FakeClock
from tests.rollout_fakes import FakeTrafficRouter
from tests.server_process import World, serving

MODEL = ModelName("toy")
LEASE_S = 1.0
TRIES = 10  # what a busy machine may spoil is tried again; what is wrong stays wrong


@dataclass
class Case:
    """A router of a server that routes nothing yet, with bundles it can load."""

    router: TrafficRouter
    model: ModelName
    champion: Digest
    challenger: Digest
    end: Callable[[], None]
    wait: Callable[[float], None]

    def routing(self, sequence: int = 3, **how: Any) -> Routing:
        return replace(
            Routing(sequence=sequence, champion=self.champion, challenger=self.challenger, salt="s", lease_s=60.0),
            **how,
        )


def fake() -> Case:
    champion, challenger = Digest("a" * 64), Digest("b" * 64)
    clock = FakeClock()
    router = FakeTrafficRouter(clock=clock, known={champion, challenger})

    def end() -> None:
        router.down = True

    return Case(router, MODEL, champion, challenger, end, clock.advance)


class Folders:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def folder(self, digest: Digest) -> Path:
        return self._settings.bundles / digest


class Real:
    """A server, and a model of its own for each test."""

    def __init__(self, folder: Path, server: Sandbox) -> None:
        self.server, self._models = server, 0
        self.settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})

    def case(self) -> Case:
        self._models += 1
        model = ModelName(f"toy-{self._models}")
        settings, server = self.settings, self.server
        keys = settings.signing_key.parent
        champion, challenger = (
            make_bundle(settings.bundles, model=model, key_dir=keys, bias=bias) for bias in (0.0, 1.0)
        )
        router = ServerTarget("production", server.url, server.admin_url, server.token_file, Folders(settings))
        return Case(router, model, champion, challenger, server.stop, time.sleep)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Real]:
    settings = load_settings({"LOCKGATE_HOME": str(folder), "LOCKGATE_PROJECT": str(folder)})
    make_keys(settings.signing_key.parent)
    settings.bundles.mkdir()
    with Sandboxes(settings, folder / "logs").open("router") as server:
        yield Real(folder, server)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    with running(tmp_path_factory.mktemp("router")) as made:
        yield made


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.integration)])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    if request.param == "fake":
        yield fake()
        return
    made: Case = request.getfixturevalue("real").case()
    yield made
    if isinstance(made.router, ServerTarget):
        made.router.close()


def test_what_is_routed_is_told(case: Case) -> None:
    routed = case.router.route(case.model, case.routing(weight=0.25, shadow=0.5))
    assert (routed.sequence, routed.champion, routed.weight, routed.shadow) == (3, case.champion, 0.25, 0.5)
    assert 0 < routed.lease_left_s <= 60
    again = case.router.routed(case.model)
    assert again is not None
    assert replace(again, lease_left_s=0) == replace(routed, lease_left_s=0)


@pytest.mark.parametrize(("weight", "shadow"), [(0.0, 1.0), (0.0, 0.0), (1.0, 0.0)])
def test_weight_and_shadow_are_each_without_the_other(case: Case, weight: float, shadow: float) -> None:
    routed = case.router.route(case.model, case.routing(weight=weight, shadow=shadow))
    assert (routed.weight, routed.shadow) == (weight, shadow)


def test_several_arms_have_each_its_share_and_one_may_give_way_to_the_champions_bundle(case: Case) -> None:
    def arms(second: Digest) -> tuple[RoutedArm, ...]:
        named = (("challenger-1", case.challenger), ("challenger-2", second))
        return tuple(RoutedArm(name=name, bundle=bundle, weight=0.25) for name, bundle in named)

    case.router.route(case.model, case.routing(challenger=None, arms=arms(case.challenger)))
    routed = case.router.route(case.model, case.routing(4, challenger=None, arms=arms(case.champion)))
    assert (routed.sequence, routed.weight, routed.arms) == (4, 0.0, arms(case.champion))
    assert 0 < routed.lease_left_s <= 60
    alone = case.router.route(case.model, case.routing(5, challenger=None))
    assert (alone.arms, alone.lease_left_s) == ((), 0.0)


def test_the_champion_alone_is_not_leased(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5))
    routed = case.router.route(case.model, case.routing(4, challenger=None))
    assert (routed.sequence, routed.weight, routed.shadow, routed.lease_left_s) == (4, 0.0, 0.0, 0.0)


def test_a_model_that_was_never_routed_is_not(case: Case) -> None:
    assert case.router.routed(case.model) is None
    with pytest.raises(LedgerConflict):
        case.router.renew(case.model, 3)


def test_one_routing_may_be_sent_twice_and_its_lease_is_new(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5))
    case.wait(0.3)
    before = case.router.routed(case.model)
    assert before is not None
    again = [case.router.route(case.model, case.routing(weight=0.5))]
    while again[-1].lease_left_s <= before.lease_left_s and len(again) < TRIES:
        again.append(case.router.route(case.model, case.routing(weight=0.5)))
    assert again[-1].lease_left_s > before.lease_left_s
    assert again[-1].weight == 0.5


def test_without_renewal_the_champion_is_alone_and_a_renewal_brings_the_challenger_back(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5, shadow=0.5, lease_s=LEASE_S))
    case.wait(LEASE_S + 0.05)
    left = case.router.routed(case.model)
    assert left is not None
    assert (left.sequence, left.weight, left.shadow, left.lease_left_s) == (3, 0.0, 0.0, 0.0)
    renewed = case.router.renew(case.model, 3)
    for _ in range(TRIES):
        if renewed.lease_left_s <= LEASE_S / 2:  # the server stood still before it could say so
            renewed = case.router.renew(case.model, 3)
    assert (renewed.weight, renewed.shadow) == (0.5, 0.5)
    assert renewed.lease_left_s > LEASE_S / 2


def test_the_lease_of_another_sequence_is_not_renewed(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5))
    for sequence in (2, 4):
        with pytest.raises(LedgerConflict):
            case.router.renew(case.model, sequence)


def test_a_lower_sequence_and_another_routing_of_the_same_are_conflicts_that_change_nothing(case: Case) -> None:
    case.router.route(case.model, case.routing(5, weight=0.5))
    for routing in (case.routing(4, weight=0.5), case.routing(5, weight=0.6), case.routing(5, challenger=None)):
        with pytest.raises(LedgerConflict):
            case.router.route(case.model, routing)
    still = case.router.routed(case.model)
    assert still is not None
    assert (still.sequence, still.weight) == (5, 0.5)


def test_a_bundle_that_is_not_there_is_refused_and_changes_nothing(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5))
    with pytest.raises(IntegrityError):
        case.router.route(case.model, case.routing(4, challenger=Digest("9" * 64), weight=0.5))
    still = case.router.routed(case.model)
    assert still is not None
    assert (still.sequence, still.weight) == (3, 0.5)


@pytest.mark.parametrize("how", [{"weight": 1.5}, {"shadow": -0.1}, {"challenger": None, "weight": 0.5}])
def test_a_routing_that_makes_no_sense_is_bad_input(case: Case, how: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        case.router.route(case.model, case.routing(**how))
    assert case.router.routed(case.model) is None


def gone_is_told(case: Case) -> None:
    case.router.route(case.model, case.routing(weight=0.5))
    case.end()
    for call in (
        lambda: case.router.route(case.model, case.routing(4)),
        lambda: case.router.renew(case.model, 3),
        lambda: case.router.routed(case.model),
    ):
        with pytest.raises(TransientError):
            call()


def test_a_server_that_is_gone_does_not_answer() -> None:
    gone_is_told(fake())


# -- the real one alone ------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_real_server_that_is_gone_does_not_answer(tmp_path: Path) -> None:
    with running(tmp_path) as made:
        case = made.case()
        gone_is_told(case)
        assert isinstance(case.router, ServerTarget)
        case.router.close()


@pytest.mark.integration
def test_what_the_champions_switch_kept_stays_loaded_all_through_a_rollout(real: Real) -> None:
    case = real.case()
    target, model = case.router, case.model
    assert isinstance(target, ServerTarget)
    target.switch(model, case.challenger, sequence=1, previous=None)
    target.switch(model, case.champion, sequence=2, previous=case.challenger)
    for routing in (case.routing(3, weight=0.5), case.routing(3, weight=0.5), case.routing(4, challenger=None)):
        target.route(model, routing)
        assert target.serving(model)["previous"] == case.challenger
    other = case.routing(5, champion=case.challenger, challenger=None)
    for _ in range(2):
        target.route(model, other)
        assert target.serving(model)["previous"] == case.champion
    target.close()


@pytest.mark.integration
def test_every_worker_is_met_by_a_readback_and_routes_alike(tmp_path: Path) -> None:
    world = World(tmp_path)
    digest, challenger = (Digest(world.bundle(bias=bias)) for bias in (0.0, 1.0))

    class Store:
        def folder(self, digest: Digest) -> Path:
            return world.store / digest

    with serving(world, "--workers", "3") as server:
        url, admin = (f"http://127.0.0.1:{port}" for port in (server.port, server.admin_port))
        target = ServerTarget("sandbox", url, admin, world.root / "token", Store())
        target.switch(MODEL, digest, sequence=1, previous=None)
        for _ in range(TRIES):
            began = time.monotonic()
            seen = target.readback(MODEL, digest, 1)
            took_s = time.monotonic() - began
            assert set(seen.answers) == {digest}
            if took_s < 2 and len(seen.answers) >= 3:
                break
        assert took_s < 2
        assert len(seen.answers) >= 3  # one connection meets one worker
        routed = target.route(
            MODEL, Routing(sequence=2, champion=digest, challenger=challenger, weight=0.5, salt="s", lease_s=60)
        )
        assert (routed.sequence, routed.weight) == (2, 0.5)
        target.close()
    met = {path.name.split("-")[1] for path in (world.state / "predictions" / "toy").glob("*.jsonl")}
    assert met == {"w1", "w2", "w3"}
