"""Changing what is served: prepared, kept, published; leases; nothing is left behind."""

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, canonical_json
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.serving.model.bundle import UnknownBundle
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.refusals import Reason, RequestRefused
from lockgate.serving.routing.control import Control
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route, Router
from lockgate.serving.routing.sticky import CHAMPION
from tests.bundles import contract, graph
from tests.server_process import SOURCE

A, B, C, D = (Digest(letter * 64) for letter in "abcd")
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
GRAPH = graph(0.0, TaskKind.BINARY)
ENTITIES = [f"customer-{number}" for number in range(200)]


class Store:
    """Bundles that load from memory; some do not, and some do not end."""

    def __init__(self) -> None:
        self.bad: set[Digest] = set()
        self.unknown: set[Digest] = set()
        self.other: set[Digest] = set()
        self.opened: list[Digest] = []
        self.gate: threading.Event | None = None
        self.made: weakref.WeakSet[ServedModel] = weakref.WeakSet()

    @property
    def alive(self) -> set[Digest]:
        """The models in memory, once the threads that loaded them have ended."""
        for thread in threading.enumerate():
            if thread.name == "load":
                thread.join(60)
        return {model.digest for model in self.made}

    def collect(self) -> None:
        """Free what the errors' tracebacks hold, which the tests' own event loops keep in cycles."""
        assert self.alive
        gc.collect()

    async def reaches(self, opened: int) -> None:
        """Wait, for a while at most, until so many were begun; on a busy machine a thread may begin late."""
        for _ in range(10_000):
            if len(self.opened) >= opened:
                break
            await asyncio.sleep(0.001)

    def open_model(self, model: str, digest: Digest) -> ServedModel:
        assert threading.current_thread() is not threading.main_thread()
        self.opened.append(digest)
        if self.gate is not None:
            self.gate.wait(60)
        if digest in self.unknown:
            raise UnknownBundle(f"no bundle {digest}")
        if digest in self.bad:
            raise IntegrityError(f"bundle {digest}: part model.onnx is damaged")
        task = TaskKind.REGRESSION if digest in self.other else TaskKind.BINARY
        made = ServedModel(digest, contract(model, task), graph(0.0, task) if digest in self.other else GRAPH)
        self.made.add(made)
        return made


class Disk:
    """A routing file in memory, which a test can fill up."""

    def __init__(self) -> None:
        self.models: dict[str, Desired] = {}
        self.full = False

    def load(self) -> dict[str, Desired]:
        return dict(self.models)

    def save(self, models: Mapping[str, Desired]) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.models = dict(models)


class Server:
    """Router and control of one process; `restart` makes the next one on the same disk."""

    def __init__(self, store: Store | None = None, disk: Disk | None = None, *, load_timeout_s: float = 60.0) -> None:
        self.store, self.disk = store or Store(), disk or Disk()
        self.now = 100.0
        self.router = Router()
        self.published: list[int] = []
        self.control = Control(
            self.router,
            self.store.open_model,
            self.disk,
            clock=lambda: self.now,
            on_published=lambda route: self.published.append(route.desired.sequence),
            load_timeout_s=load_timeout_s,
        )

    def wait_longer(self) -> None:
        """Give the bundles that do load from now on the time that they may take on a busy machine."""
        self.control._loader._timeout_s = 60.0

    def put(self, desired: Desired, model: str = "toy") -> Route:
        return asyncio.run(self.control.put(model, desired))

    def renew(self, sequence: int) -> Route:
        return asyncio.run(self.control.renew("toy", sequence))

    def restart(self) -> "Server":
        after = Server(self.store, self.disk)
        asyncio.run(after.control.restore())
        gc.unfreeze()  # the test process goes on
        return after

    @property
    def served(self) -> Route:
        return self.router.table["toy"]

    def arms(self) -> list[str]:
        return [self.served.choose(each).arm.name for each in ENTITIES]


def desired(sequence: int, champion: Digest = A, previous: Digest | None = None) -> Desired:
    return Desired(sequence=sequence, champion=champion, previous=previous, since=SINCE)


def rollout(sequence: int, weight: float = 0.5, champion: Digest = A) -> Desired:
    canary = DesiredChallenger(name="canary", bundle=C, weight=weight)
    dark = DesiredShadow(name="dark", bundle=D, share=1.0)
    return replace(desired(sequence, champion, B), challengers=(canary,), shadows=(dark,))


def test_what_is_put_is_loaded_kept_and_served() -> None:
    server = Server()
    route = server.put(rollout(7))
    assert route is server.served
    assert list(route.loaded) == [A, C, D, B]
    assert server.disk.models["toy"] == route.desired
    assert server.published == [7]
    assert set(server.arms()) == {CHAMPION, "canary"}


def test_nothing_is_opened_twice_and_what_is_no_longer_wanted_is_given_up() -> None:
    server = Server()
    server.put(rollout(1))
    server.put(desired(2, C, A))
    assert sorted(server.store.opened) == [A, B, C, D]
    assert list(server.served.loaded) == [C, A]
    assert server.store.alive == {C, A}


@pytest.mark.parametrize("digest", [A, C, D])
def test_a_bundle_that_is_refused_changes_nothing(digest: Digest) -> None:
    server = Server()
    before = server.put(desired(1, B))
    server.store.bad.add(digest)
    with pytest.raises(IntegrityError, match="damaged"):
        server.put(rollout(2))
    server.store.bad.clear()
    server.store.unknown.add(digest)
    with pytest.raises(UnknownBundle):
        server.put(rollout(2))
    assert server.served is before
    assert server.disk.models["toy"].sequence == 1
    server.store.collect()
    assert server.store.alive == {B}


def test_a_previous_bundle_that_is_refused_is_reported_and_stands_in_nobodys_way() -> None:
    server = Server()
    server.store.bad.add(B)
    route = server.put(desired(1, A, B))
    assert (list(route.loaded), "damaged" in route.refused[B]) == ([A], True)


def test_the_same_again_is_no_change_but_mends_what_could_not_be_loaded() -> None:
    server = Server()
    server.store.bad.add(B)
    first = server.put(desired(1, A, B))
    server.store.bad.clear()
    mended = server.put(replace(desired(1, A, B), since=datetime.now(UTC)))
    assert (list(mended.loaded), mended.refused, mended.desired) == ([A, B], {}, first.desired)
    assert server.put(desired(1, A, B)) is mended
    assert server.store.opened == [A, B, B]


def test_a_rule_that_is_broken_or_a_lower_sequence_is_refused_before_anything_is_loaded() -> None:
    server = Server()
    server.put(desired(5))
    for wrong, error in ((rollout(6, weight=2.0), RequestRefused), (rollout(4), LedgerConflict)):
        with pytest.raises(error):
            server.put(wrong)
    assert server.store.opened == [A]


def test_a_challenger_whose_answers_have_another_form_is_refused() -> None:
    server = Server()
    server.store.other.add(C)
    with pytest.raises(
        RequestRefused, match=r"challengers\[0\].bundle c{64}: it answers value, the champion"
    ) as refused:
        server.put(rollout(1))
    assert refused.value.reason is Reason.MALFORMED


def test_a_constant_that_is_no_answer_of_the_model_is_refused() -> None:
    server = Server()
    with pytest.raises(RequestRefused, match=r"fallback\.constant has"):
        server.put(replace(desired(1), constant={"value": 1.0}))
    server.put(replace(desired(1), constant={"probability": 1.0, "label": "yes"}))
    assert server.served.constant == {"probability": 1.0, "label": "yes"}


def test_a_disk_that_is_full_leaves_everything_as_it_was() -> None:
    server = Server()
    before = server.put(desired(1))
    server.disk.full = True
    with pytest.raises(OSError, match="No space"):
        server.put(desired(2, B))
    assert server.served is before
    server.disk.full = False
    assert server.put(desired(2, B)).choose(None).arm.model.digest == B


def test_a_bundle_that_hangs_is_given_up_and_keeps_no_other_from_being_served() -> None:
    server = Server(load_timeout_s=0.1)
    server.store.gate = threading.Event()
    with pytest.raises(IntegrityError, match=r"did not load and prove itself within 0\.1 s"):
        server.put(desired(1))
    hanging, server.store.gate = server.store.gate, None
    server.wait_longer()
    server.put(desired(1, B))
    with pytest.raises(IntegrityError, match="hung when it was loaded before"):
        server.put(desired(2))
    hanging.set()


def test_of_two_changes_at_once_the_later_one_stands_and_the_other_came_before_it_or_is_refused() -> None:
    server = Server()

    async def both() -> Sequence[object]:
        changes = (server.control.put("toy", desired(1)), server.control.put("toy", desired(2, B)))
        return await asyncio.gather(*changes, return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(second, Route)
    assert isinstance(first, Route if server.published == [1, 2] else LedgerConflict)
    assert (server.published[-1], server.served.desired.champion) == (2, B)


def test_a_change_that_was_overtaken_by_a_lower_one_is_prepared_again() -> None:
    server = Server()
    server.put(rollout(1, 0.5))

    async def overtaken() -> None:
        server.store.gate = threading.Event()
        later = asyncio.ensure_future(server.control.put("toy", replace(rollout(3, 0.9), previous=Digest("e" * 64))))
        await asyncio.sleep(0)
        await server.control.put("toy", rollout(2, 0.6))  # everything it needs is warm
        server.store.gate.set()
        await later

    asyncio.run(overtaken())
    assert server.published == [1, 2, 3]
    assert server.served.weights() == pytest.approx({CHAMPION: 0.1, "canary": 0.9})


def test_a_rollback_waits_for_no_bundle_that_hangs() -> None:
    server = Server()
    server.put(desired(1, B))
    server.put(desired(2, A, B))

    async def hanging() -> object:
        gate = server.store.gate = threading.Event()
        stuck = asyncio.ensure_future(server.control.put("toy", desired(3, C, A)))
        other = asyncio.ensure_future(server.control.put("other", desired(1, D)))
        await asyncio.sleep(0)
        await server.control.put("toy", desired(4, B, A))
        assert not stuck.done()
        gate.set()
        return (await asyncio.gather(stuck, other, return_exceptions=True))[0]

    assert isinstance(asyncio.run(hanging()), LedgerConflict)
    assert server.served.desired.champion == B
    assert set(server.disk.models) == {"toy", "other"}, "a change of another model is no reason to try again"


def test_bundles_that_hang_are_tried_side_by_side_at_a_start_too() -> None:
    server = Server(load_timeout_s=0.1)
    gate = server.store.gate = threading.Event()
    with pytest.raises(IntegrityError, match=r"did not load and prove itself within 0\.1 s"):
        server.put(rollout(1))
    asyncio.run(server.store.reaches(4))  # none of them ends before the gate opens
    assert sorted(server.store.opened) == [A, B, C, D]
    server.store.opened.clear()
    server.disk.models = {name: rollout(1) for name in ("toy", "other", "third")}

    async def restart() -> None:
        after = Server(server.store, server.disk)
        restoring = asyncio.ensure_future(after.control.restore())
        await server.store.reaches(12)
        assert sorted(server.store.opened) == sorted(3 * [A, B, C, D])
        gate.set()
        await restoring
        gc.unfreeze()
        assert all(route.ready and not route.refused for route in after.router.table.values())

    asyncio.run(restart())


def test_a_bundle_that_hung_is_tried_again_once_that_has_ended() -> None:
    server = Server(load_timeout_s=0.1)
    gate = server.store.gate = threading.Event()
    with pytest.raises(IntegrityError, match="did not load"):
        server.put(desired(1))
    server.wait_longer()
    gate.set()
    assert server.store.alive == set()
    assert server.put(desired(1)).ready


def test_what_was_prepared_before_another_change_is_not_published() -> None:
    server = Server()

    async def overtaken() -> None:
        slow = await server.control.prepare("toy", desired(1))
        await server.control.put("toy", desired(2, B))
        server.control.publish(slow)

    with pytest.raises(LedgerConflict, match="changed meanwhile"):
        asyncio.run(overtaken())
    assert server.served.desired.champion == B


def test_a_lease_that_is_renewed_between_preparing_and_publishing_does_not_stand_in_the_way() -> None:
    server = Server()
    server.put(rollout(1))

    async def renewed() -> Route:
        slow = await server.control.prepare("toy", rollout(2, 0.9))
        await server.control.renew("toy", 1)
        return server.control.publish(slow)

    assert asyncio.run(renewed()).weights() == pytest.approx({CHAMPION: 0.1, "canary": 0.9})


def test_several_bundles_may_be_read_at_once_from_the_first_on(tmp_path: Path) -> None:
    (tmp_path / "contract.json").write_bytes(canonical_json(contract()))
    first_of_eight = f"""
import sys, threading
from lockgate.serving.model.contract_file import parse_contract
data, begin = open({str(tmp_path / "contract.json")!r}, "rb").read(), threading.Barrier(8)
sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=lambda: (begin.wait(), parse_contract(data))) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    ended = subprocess.run([sys.executable, "-c", first_of_eight], env=environment, check=False)
    assert ended.returncode == 0  # a type that two threads learn at once ends the process by a signal


# -- leases and restarts -----------------------------------------------------------------------------------------------


def test_a_lease_ends_by_itself_and_renewing_brings_the_same_entities_back() -> None:
    server = Server()
    server.put(rollout(3))
    before = server.arms()
    server.now += 10
    assert set(server.arms()) == {CHAMPION}
    server.renew(3)
    assert server.arms() == before


def test_only_the_sequence_that_is_served_is_renewed() -> None:
    server = Server()
    with pytest.raises(RequestRefused, match="no model 'toy' is routed"):
        server.renew(3)
    server.put(rollout(3))
    server.now += 60
    for sequence in (2, 4):
        with pytest.raises(LedgerConflict, match=f"at sequence 3, not {sequence}; its lease is not renewed"):
            server.renew(sequence)
    assert set(server.arms()) == {CHAMPION}


def test_the_same_put_again_renews_too() -> None:
    server = Server()
    server.put(rollout(3))
    server.now += 60
    server.put(rollout(3))
    assert set(server.arms()) == {CHAMPION, "canary"}


def test_after_a_restart_the_champion_alone_answers_until_the_lease_is_renewed() -> None:
    server = Server()
    server.put(rollout(3))
    before = server.arms()
    after = server.restart()
    assert list(after.served.loaded) == [A, C, D, B]  # loaded and warm, weight nought
    assert set(after.arms()) == {CHAMPION}
    assert after.served.active_shadows() == ()
    after.renew(3)
    assert after.arms() == before
    assert [each.name for each in after.served.active_shadows()] == ["dark"]


def test_a_challenger_that_does_not_verify_any_more_leaves_its_part_to_the_champion() -> None:
    server = Server()
    server.put(rollout(3))
    server.store.bad.add(C)
    after = server.restart()
    after.renew(3)
    assert after.served.weights() == {CHAMPION: 1.0}
    assert set(after.arms()) == {CHAMPION}
    assert "damaged" in after.served.refused[C]


def test_a_champion_that_does_not_verify_any_more_is_not_ready_and_can_be_replaced() -> None:
    server = Server()
    server.put(desired(3, A, B))
    server.store.bad.add(A)
    after = server.restart()
    assert not after.served.ready
    assert after.put(desired(4, B)).ready


def test_every_weight_of_a_rollout_is_kept_over_a_restart_with_the_entities_it_had() -> None:
    server = Server()
    three = replace(
        desired(1),
        challengers=tuple(
            DesiredChallenger(name=n, bundle=d, weight=w)
            for n, d, w in zip("bcd", (B, C, D), (0.5, 0.2, 0.3), strict=True)
        ),
    )
    server.put(three)
    shrunk = replace(three, sequence=2, challengers=(replace(three.challengers[0], weight=0.1), *three.challengers[1:]))
    server.put(shrunk)
    before = server.arms()
    after = server.restart()
    after.renew(2)
    assert after.arms() == before


def test_a_change_starts_from_the_entities_each_arm_has_not_from_nought() -> None:
    server = Server()
    one, two, three = (
        DesiredChallenger(name=name, bundle=digest, weight=weight)
        for name, digest, weight in (("b", B, 0.6), ("c", C, 0.1), ("d", D, 0.3))
    )
    server.put(replace(desired(1), challengers=(one, two, three)))
    before = server.arms()
    server.put(replace(desired(2), challengers=(replace(one, weight=0.1), two, three)))
    moved = {(old, new) for old, new in zip(before, server.arms(), strict=True) if old != new}
    assert moved == {("b", CHAMPION)}


# -- nothing is left behind --------------------------------------------------------------------------------------------


@contextmanager
def no_collection() -> Iterator[None]:
    """Only reference counts free anything in here; what was alive before is frozen, as in a server."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def swap(server: Server, times: int) -> None:
    digests = [Digest(f"{number:064x}") for number in range(times)]

    async def swapping() -> None:
        first = server.served.desired.sequence if server.router.table else 0
        for number in range(2, times):
            asked = replace(
                desired(first + number, digests[number], digests[number - 1]),
                challengers=(DesiredChallenger(name="canary", bundle=digests[number - 2], weight=0.1),),
            )
            route = await server.control.put("toy", asked)
            route.choose("x").arm.model.answer({"amount": [1], "age": [2], "colour": ["red"], "shape": ["disc"]}, 1)
            assert len(server.store.alive) == 3

    asyncio.run(swapping())


def test_every_swap_frees_what_left_the_table_at_once_by_its_reference_count() -> None:
    server = Server()
    server.put(rollout(1))
    with no_collection():
        swap(server, 30)
        assert server.store.alive == set(server.served.loaded)


@pytest.mark.integration
def test_a_thousand_swaps_leave_no_more_models_alive_than_the_table_has() -> None:
    server = Server()
    with no_collection():
        swap(server, 1002)
    assert server.store.alive == set(server.served.loaded)


def test_a_model_is_freed_when_its_last_request_is_answered_not_before() -> None:
    server = Server()
    server.put(desired(1))
    taken = server.served.choose("x").arm
    with no_collection():
        server.put(desired(2, B))
        assert server.store.alive == {A, B}
        assert taken.model.answer({"amount": [1], "age": [2], "colour": ["red"], "shape": ["disc"]}, 1).rows == 1
        del taken
        assert server.store.alive == {B}


def test_bundles_of_a_change_that_was_refused_are_freed_at_once() -> None:
    server = Server()
    server.put(desired(1))
    server.store.bad.add(D)

    async def refused() -> None:
        try:
            await server.control.put("toy", rollout(2))
        except IntegrityError:
            return
        raise AssertionError

    async def main() -> None:
        with no_collection():
            await refused()
            assert server.store.alive == {A}

    asyncio.run(main())


def test_bundles_of_changes_that_were_refused_are_freed() -> None:
    server = Server()
    server.put(desired(1))
    server.store.bad.add(D)
    with no_collection():
        for sequence in range(2, 6):
            with pytest.raises(IntegrityError):
                server.put(rollout(sequence))
        server.disk.full = True
        with pytest.raises(OSError, match="No space"):
            server.put(desired(9, B))
    server.store.collect()
    assert server.store.alive == {A}
