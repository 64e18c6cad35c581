"""Whatever is put, expires, breaks or restarts, in any order: what must always hold of the routing."""

import asyncio
import gc
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import RequestRefused
from lockgate.serving.routing.control import Control
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route, Router
from lockgate.serving.routing.sticky import CHAMPION
from tests.bundles import contract, graph

DIGESTS = [Digest(letter * 64) for letter in "abcde"]
MODELS = {digest: ServedModel(digest, contract(), graph(0.0, TaskKind.BINARY)) for digest in DIGESTS}
ENTITIES = [f"customer-{number}" for number in range(60)]
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
digests = st.sampled_from(DIGESTS)
weights = st.integers(0, 6000).map(lambda part: part / 10_000)  # two of them may well be too much
routings = st.builds(
    Desired,
    sequence=st.just(0),
    champion=digests,
    previous=st.none() | digests,
    challengers=st.lists(st.tuples(digests, weights), max_size=3).map(
        lambda chosen: tuple(
            DesiredChallenger(name=f"arm-{number}", bundle=bundle, weight=weight)
            for number, (bundle, weight) in enumerate(chosen)
        )
    ),
    shadows=st.lists(
        st.builds(DesiredShadow, name=st.just("dark"), bundle=digests, share=st.just(0.5)), max_size=1
    ).map(tuple),
    salt=st.none(),
    lease_s=st.sampled_from([0.1, 10.0, 3600.0]),
    timeout_s=st.none(),
    constant=st.none(),
    since=st.just(SINCE),
    split=st.none(),
)


class Disk:
    """A routing file in memory, which may be full."""

    def __init__(self) -> None:
        self.models: dict[str, Desired] = {}
        self.full = False

    def load(self) -> dict[str, Desired]:
        return dict(self.models)

    def save(self, models: Mapping[str, Desired]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.models = dict(models)


class RoutingMachine(RuleBasedStateMachine):
    """A server with its disk, its store and its clock."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.damaged: set[Digest] = set()
        self.now = 0.0
        self.highest = 0
        self.lease_ends = float("-inf")
        self.begin()

    def begin(self) -> None:
        self.router = Router()
        self.control = Control(self.router, self.open_model, self.disk, clock=lambda: self.now)

    def open_model(self, model: str, digest: Digest) -> ServedModel:
        del model
        if digest in self.damaged:
            raise IntegrityError(f"bundle {digest} is damaged")
        return MODELS[digest]

    @property
    def route(self) -> Route | None:
        return self.router.table.get("toy")

    def assignment(self) -> dict[str, str]:
        assert self.route is not None
        return {entity: self.route.choose(entity).arm.name for entity in ENTITIES}

    @rule(step=st.integers(-2, 3), asked=routings, full=st.booleans())
    def put(self, step: int, asked: Desired, full: bool) -> None:
        desired = replace(asked, sequence=self.highest + step)
        before, before_on_disk = self.route, self.disk.models.get("toy")
        self.disk.full = full
        try:
            after = asyncio.run(self.control.put("toy", desired))
        except (LedgerConflict, RequestRefused, IntegrityError, OSError):
            assert self.route is before
            assert self.disk.models.get("toy") is before_on_disk
            return
        finally:
            self.disk.full = False
        assert after.desired.same_as(desired)
        assert desired.sequence >= self.highest
        assert sum(desired.weights.values()) <= 1 + 1e-9
        assert self.damaged.isdisjoint(set(desired.needed) - set(before.loaded if before else ()))
        self.highest = desired.sequence
        self.renewed()

    @rule(step=st.integers(-1, 1))
    def renew(self, step: int) -> None:
        try:
            asyncio.run(self.control.renew("toy", self.highest + step))
        except (LedgerConflict, RequestRefused):
            assert step or self.route is None
            return
        assert step == 0
        self.renewed()

    def renewed(self) -> None:
        assert self.route is not None
        if self.route.desired.leased:
            self.lease_ends = max(self.route.lease_until, self.now)

    @rule(seconds=st.sampled_from([0.05, 5.0, 11.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(digest=digests)
    def damage(self, digest: Digest) -> None:
        self.damaged.add(digest)

    @rule()
    def mend(self) -> None:
        self.damaged.clear()

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        del kill  # what is on disk is the same either way
        before = None if self.route is None else self.route.desired
        self.begin()
        asyncio.run(self.control.restore())
        gc.unfreeze()  # the test process goes on
        assert (None if self.route is None else self.route.desired) == before
        self.lease_ends = float("-inf")

    @precondition(lambda self: self.route is not None and self.route.ready)
    @rule(more=st.integers(1, 5000))
    def grow_an_arm(self, more: int) -> None:
        """Growing one arm moves entities from the champion into it, and no other."""
        desired = self.route.desired
        if not desired.challengers or self.damaged & set(desired.needed):
            return
        asyncio.run(self.control.renew("toy", self.highest))
        self.renewed()
        if set(self.route.weights()) != {CHAMPION, *desired.weights}:
            return  # one of them was damaged when the server restarted
        first = desired.challengers[0]
        grown = DesiredChallenger(name=first.name, bundle=first.bundle, weight=first.weight + more / 10_000)
        before = self.assignment()
        self.put_exactly(desired, (grown, *desired.challengers[1:]))
        for entity, arm in self.assignment().items():
            assert arm == before[entity] or (before[entity], arm) == (CHAMPION, first.name)

    def put_exactly(self, desired: Desired, challengers: tuple[DesiredChallenger, ...]) -> None:
        asked = Desired(
            sequence=self.highest + 1, champion=desired.champion, challengers=challengers, lease_s=10.0, since=SINCE
        )
        if asked.problem() is None:
            asyncio.run(self.control.put("toy", asked))
            self.highest += 1
            self.renewed()

    @invariant()
    def the_served_sequence_is_the_highest_accepted_and_is_the_one_on_disk(self) -> None:
        if self.highest:
            assert self.route is not None
            assert self.route.desired.sequence == self.highest
            assert self.disk.models["toy"] == self.route.desired

    @invariant()
    def the_champion_answers_whenever_it_could_be_loaded(self) -> None:
        if self.route is not None:
            assert self.route.ready == (self.route.desired.champion in self.route.loaded)
            assert self.route.ready or self.route.desired.champion in self.route.refused

    @invariant()
    def the_weights_sum_to_one_and_are_those_of_the_buckets(self) -> None:
        if self.route is not None and self.route.ready:
            weights = self.route.weights()
            assert abs(sum(weights.values()) - 1) < 1e-9
            assert abs(sum(arm.weight for arm in self.route.arms) - 1) < 1e-9
            for entity in ENTITIES[:5]:
                choice = self.route.choose(entity)
                assert choice.propensity == weights[choice.arm.name] > 0

    @invariant()
    def without_a_lease_the_champion_alone_answers_what_is_not_forced(self) -> None:
        if self.route is None or not self.route.ready:
            return
        if self.now >= self.lease_ends:
            assert set(self.assignment().values()) == {CHAMPION}
            assert {self.route.choose(None).arm.name for _ in range(10)} == {CHAMPION}
            assert self.route.active_shadows() == ()
        for arm in self.route.arms:
            assert self.route.choose("x", tag=arm.name).arm is arm

    @invariant()
    def everything_asked_for_is_loaded_or_refused_with_a_reason_and_nothing_else_is(self) -> None:
        if self.route is not None:
            wanted = set(self.route.desired.bundles)
            assert set(self.route.loaded) | set(self.route.refused) == wanted
            assert set(self.route.loaded).isdisjoint(self.route.refused)


RoutingMachine.TestCase.settings = settings(max_examples=4, stateful_step_count=12, deadline=None)
TestRouting = pytest.mark.integration(RoutingMachine.TestCase)  # six seconds
