"""Several workers change as one: what each of them refuses, loses or does late, without a process being started."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockgate.core.ids import Digest
from lockgate.errors import BadInput, ConfigError, IntegrityError, LedgerConflict, LockgateError
from lockgate.serving.fleet import messages
from lockgate.serving.fleet.channel import Channel, ChannelBroken
from lockgate.serving.fleet.member import WorkerGone
from lockgate.serving.fleet.routing import FleetRouting
from lockgate.serving.fleet.service_manager import ServiceManager
from lockgate.serving.model.bundle import UnknownBundle
from lockgate.serving.net.listening import inherited, listen, listen_shared
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.routing.desired import Desired, DesiredChallenger, already_served
from lockgate.serving.routing.state import decode_desired, encode_desired
from tests.unit.serving.timeless import Timeless

A, B = Digest("a" * 64), Digest("b" * 64)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def desired(sequence: int, champion: Digest = A, **more: Any) -> Desired:
    return Desired(sequence=sequence, champion=champion, since=NOW, **more)


class Memory:
    """Keeps routing in memory."""

    def __init__(self) -> None:
        self.saved: list[dict[str, Desired]] = []
        self.broken: OSError | None = None

    def load(self) -> dict[str, Desired]:
        return dict(self.saved[-1]) if self.saved else {}

    def save(self, models: Mapping[str, Desired]) -> None:
        if self.broken is not None:
            raise self.broken
        self.saved.append(dict(models))


class FakeWorker:
    """Does what a worker does with a routing, and fails as it is told."""

    def __init__(self, number: int, log: list[str]) -> None:
        self.number, self.joined, self.log = number, True, log
        self.serves: dict[str, Desired] = {}
        self.leases: dict[str, float] = {}
        self.killed = ""
        self.fails: dict[type[messages.Message], Exception] = {}
        self.waits: dict[type[messages.Message], asyncio.Event] = {}
        self.lacks: dict[str, str] = {}
        self.prepared: dict[int, tuple[str, Desired]] = {}

    def kill(self, why: str) -> None:
        self.killed = why

    async def ask(self, message: messages.Message, timeout_s: float) -> msgspec.Raw:
        assert timeout_s > 0
        self.log.append(f"{type(message).__name__} {self.number}")
        if type(message) in self.waits:
            await self.waits[type(message)].wait()
        if type(message) in self.fails:
            raise self.fails[type(message)]
        return msgspec.Raw(msgspec.json.encode(self._do(message)))

    def _do(self, message: messages.Message) -> object:
        match message:
            case messages.Prepare(change=change, model=model, desired=asked):
                wanted, before = decode_desired(asked), self.serves.get(model)
                changes = before is None or not already_served(model, before, wanted)
                wanted = wanted.settled(before)
                self.prepared[change] = (model, wanted)
                return messages.Prepared(changes, encode_desired(wanted))
            case messages.Publish(change=change, until=until):
                model, wanted = self.prepared.pop(change)
                self.serves[model], self.leases[model] = wanted, until
                self.lacks = {}
                return self._account(model)
            case messages.Discard(change=change):
                del self.prepared[change]
                return None
            case messages.Lease(model=model, sequence=sequence, until=until):
                if self.serves[model].sequence != sequence:
                    raise LedgerConflict("another sequence")
                self.leases[model] = until
                return self._account(model)
            case messages.Read():
                return {model: self._account(model) for model in self.serves}
        raise AssertionError(message)

    def _account(self, model: str) -> dict[str, Any]:
        served = self.serves[model]
        told = {"sequence": served.sequence, "champion": served.champion, "refused": self.lacks}
        return {**told, "loaded": [], "lease_left_s": None}


class Scene:
    """Two workers and their routing."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keeper = Memory()
        self.workers = [FakeWorker(1, self.log), FakeWorker(2, self.log)]
        self.now = 100.0
        self.routing = FleetRouting(
            self.keeper, lambda: [each for each in self.workers if each.joined], clock=lambda: self.now
        )

    async def reaches(self, asked: str, times: int) -> None:
        """Wait until a worker has been asked something so often."""
        for _ in range(4000):
            if self.log.count(asked) == times:
                return
            await asyncio.sleep(0.001)
        raise AssertionError(self.log)

    def sequences(self) -> list[int]:
        return [each.serves["toy"].sequence for each in self.workers if "toy" in each.serves]


def run(play: Callable[[Scene], Coroutine[None, None, None]]) -> None:
    async def whole() -> None:
        await play(Scene())

    asyncio.run(asyncio.wait_for(whole(), 60))


def test_all_prepare_before_it_is_saved_and_it_is_saved_before_any_publishes() -> None:
    async def play(scene: Scene) -> None:
        account = await scene.routing.put("toy", desired(1))
        assert scene.log == ["Prepare 1", "Prepare 2", "Publish 1", "Publish 2"]
        assert [each["toy"].sequence for each in scene.keeper.saved] == [1]
        assert {number: each["sequence"] for number, each in account["workers"].items()} == {"1": 1, "2": 1}
        await scene.routing.put("toy", desired(1))
        assert len(scene.keeper.saved) == 1, "what is served already is not saved again"

    run(play)


@pytest.mark.parametrize("error", [IntegrityError("probe"), UnknownBundle("no"), refuse(Reason.MALFORMED, "weight")])
def test_where_one_refuses_nothing_changes_anywhere(error: LockgateError) -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1))
        scene.workers[1].fails[messages.Prepare] = error
        with pytest.raises(type(error)):
            await scene.routing.put("toy", desired(2, B))
        assert scene.sequences() == [1, 1]
        assert len(scene.keeper.saved) == 1
        assert scene.log[-1] == "Discard 1", "what the other one loaded is given up"
        assert not scene.workers[1].killed
        scene.workers[1].fails.clear()
        await scene.routing.put("toy", desired(2, B))
        assert scene.sequences() == [2, 2]

    run(play)


def test_a_disk_that_does_not_take_it_leaves_everything_as_it_was() -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1))
        scene.keeper.broken = OSError(28, "No space left on device")
        with pytest.raises(OSError, match="No space"):
            await scene.routing.put("toy", desired(2, B))
        assert scene.sequences() == [1, 1]
        assert scene.routing.desired["toy"].sequence == 1
        assert scene.log[-2:] == ["Discard 1", "Discard 2"]

    run(play)


def test_a_worker_that_ends_meanwhile_does_not_stand_in_the_way() -> None:
    async def play(scene: Scene) -> None:
        scene.workers[0].fails[messages.Prepare] = WorkerGone("killed")
        account = await scene.routing.put("toy", desired(1))
        assert list(account["workers"]) == ["2"]
        assert scene.workers[0].killed, "one that only did not answer is not left to serve something else"
        assert scene.keeper.saved[-1]["toy"].sequence == 1, "it comes back with it"

    run(play)


def test_a_worker_that_agreed_and_does_not_publish_is_killed() -> None:
    async def play(scene: Scene) -> None:
        scene.workers[1].fails[messages.Publish] = WorkerGone("hangs")
        account = await scene.routing.put("toy", desired(1))
        assert list(account["workers"]) == ["1"]
        assert "not published" in scene.workers[1].killed
        assert not scene.workers[0].killed

    run(play)


def test_workers_that_understand_a_routing_differently_change_nothing() -> None:
    async def play(scene: Scene) -> None:
        rival = DesiredChallenger(name="rival", bundle=B, weight=0.5)
        scene.workers[1].serves["toy"] = desired(1, challengers=(rival,)).settled(None)
        scene.workers[0].serves["toy"] = desired(1).settled(None)
        other = DesiredChallenger(name="third", bundle=B, weight=0.2)
        with pytest.raises(LockgateError, match="different"):
            await scene.routing.put("toy", desired(2, challengers=(other, rival)))
        assert scene.sequences() == [1, 1]
        assert not scene.keeper.saved

    run(play)


def test_without_any_worker_a_change_is_refused_and_to_be_tried_again() -> None:
    async def play(scene: Scene) -> None:
        for each in scene.workers:
            each.joined = False
        for asked in (scene.routing.put("toy", desired(1)), scene.routing.read_all()):
            with pytest.raises(RequestRefused) as refused:
                await asked
            assert refused.value.reason is Reason.NOT_LOADED

    run(play)


def test_a_lease_ends_in_all_workers_at_once() -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1, lease_s=30.0))
        assert [each.leases["toy"] for each in scene.workers] == [130.0, 130.0]
        scene.now = 110.0
        await scene.routing.renew("toy", 1)
        assert [each.leases["toy"] for each in scene.workers] == [140.0, 140.0]
        with pytest.raises(LedgerConflict):
            await scene.routing.renew("toy", 2)
        with pytest.raises(RequestRefused, match="no model 'other'"):
            await scene.routing.renew("other", 1)

    run(play)


def test_a_worker_joins_with_what_all_serve_and_the_lease_they_have() -> None:
    async def play(scene: Scene) -> None:
        first, late = scene.workers
        late.joined = False
        await scene.routing.put("toy", desired(1, lease_s=30.0))
        scene.now = 105.0
        await scene.routing.join(late, messages.Begun(sequences={}, lacks={}))
        assert late.joined
        assert late.serves == first.serves
        assert late.leases == {"toy": 130.0}, "not a lease of its own"
        log = len(scene.log)
        await scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={}))
        assert scene.log[log:] == ["Read 1", "Read 2", "Lease 2"], "what it has loaded already is not loaded again"

    run(play)


def test_a_worker_does_not_join_while_a_change_is_put_in_place() -> None:
    async def play(scene: Scene) -> None:
        late = scene.workers[1]
        late.joined = False
        await scene.routing.put("toy", desired(1))
        held = scene.workers[0].waits[messages.Publish] = asyncio.Event()
        changing = asyncio.ensure_future(scene.routing.put("toy", desired(2, B)))
        await scene.reaches("Publish 1", 2)
        joining = asyncio.ensure_future(scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={})))
        await asyncio.sleep(0.01)
        assert not late.joined
        held.set()
        await asyncio.gather(changing, joining)
        assert scene.sequences() == [2, 2]

    run(play)


def test_a_change_that_a_worker_joined_meanwhile_is_prepared_again_with_it() -> None:
    async def play(scene: Scene) -> None:
        early, late = scene.workers
        await scene.routing.put("toy", desired(1))
        late.joined = False
        held = early.waits[messages.Prepare] = asyncio.Event()
        changing = asyncio.ensure_future(scene.routing.put("toy", desired(2, B)))
        await scene.reaches("Prepare 1", 2)
        await scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={}))
        held.set()
        account = await changing
        assert list(account["workers"]) == ["1", "2"]
        assert scene.sequences() == [2, 2]
        assert not any(each.prepared for each in scene.workers), "what was prepared in vain is given up"

    run(play)


def test_a_rollback_waits_for_no_change_that_is_being_prepared() -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1))
        slow = scene.workers[0]
        held = slow.waits[messages.Prepare] = asyncio.Event()
        stuck = asyncio.ensure_future(scene.routing.put("toy", desired(2, B)))
        await scene.reaches("Prepare 2", 2)
        slow.waits.clear()
        await scene.routing.put("toy", desired(3))
        assert not stuck.done()
        assert scene.sequences() == [3, 3]
        held.set()
        with pytest.raises(LedgerConflict):
            await stuck
        assert scene.sequences() == [3, 3]
        assert [each["toy"].sequence for each in scene.keeper.saved] == [1, 3]
        assert not any(each.prepared for each in scene.workers)

    run(play)


def test_a_worker_that_lacks_what_the_others_have_does_not_join() -> None:
    async def play(scene: Scene) -> None:
        rival = DesiredChallenger(name="rival", bundle=B, weight=0.5)
        await scene.routing.put("toy", desired(1, challengers=(rival,)))
        late = scene.workers[1]
        late.joined = False
        begun = messages.Begun(sequences={"toy": 1}, lacks={"toy": {B: "it is gone"}})
        with pytest.raises(IntegrityError, match=r"cannot serve what the others do of model 'toy': bundle b+: it is"):
            await scene.routing.join(late, begun)
        assert not late.joined

    run(play)


@pytest.mark.parametrize("alone", [True, False])
def test_workers_that_lack_the_same_or_begin_alone_join(alone: bool) -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1))
        first, late = scene.workers
        late.joined, first.joined, first.lacks = False, not alone, {A: "it is gone"}
        await scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={"toy": {A: "it is gone"}}))
        assert late.joined
        assert "Prepare 1" not in scene.log[4:], "nobody has what the first one lacks"

    run(play)


def test_who_begins_with_more_than_the_others_have_lets_them_try_again_within_their_lease() -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1, previous=B, lease_s=30.0))
        first, late = scene.workers
        late.joined, first.lacks = False, {A: "it was gone"}
        scene.now = 120.0
        await scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={}))
        assert (first.lacks, first.leases["toy"]) == ({}, 130.0)
        first.lacks = {B: "damaged"}
        log = len(scene.log)
        await scene.routing.join(late, messages.Begun(sequences={"toy": 1}, lacks={}))
        assert "Prepare 1" not in scene.log[log:], "the previous bundle answers nobody"

    run(play)


def test_after_a_restart_there_is_no_lease() -> None:
    async def play(scene: Scene) -> None:
        await scene.routing.put("toy", desired(1, lease_s=30.0))
        again = FleetRouting(scene.keeper, lambda: scene.workers, clock=lambda: scene.now)
        await again.join(scene.workers[0], messages.Begun(sequences={"toy": 1}, lacks={}))
        assert scene.workers[0].leases["toy"] < scene.now

    run(play)


@pytest.mark.parametrize(
    "error",
    [
        UnknownBundle("no bundle"),
        IntegrityError("probe", part="model.onnx"),
        LedgerConflict("behind", asked=1, served=2),
        refuse(Reason.MALFORMED, "weight"),
        BadInput("wrong"),
    ],
)
def test_a_refusal_arrives_as_what_it_was_raised_as(error: LockgateError) -> None:
    there = msgspec.json.decode(msgspec.json.encode(messages.failed(3, error)), type=messages.ToParent)
    assert isinstance(there, messages.Failed)
    back = messages.error_of(there, worker=2)
    assert (type(back), back.message, back.data) == (type(error), error.message, error.data)
    if isinstance(error, RequestRefused):
        assert isinstance(back, RequestRefused)
        assert back.reason is Reason.MALFORMED


def test_a_fault_that_was_not_raised_on_purpose_names_the_worker() -> None:
    back = messages.error_of(messages.failed(0, ZeroDivisionError("by nought")), worker=2)
    assert back.message == "worker 2: ZeroDivisionError: by nought"


async def _pair() -> tuple[Channel[messages.ToParent], Channel[messages.ToWorker]]:
    ours, theirs = socket.socketpair()
    return await Channel.open(ours, messages.ToParent), await Channel.open(theirs, messages.ToWorker)


def test_messages_arrive_typed_and_in_order_and_the_end_is_seen() -> None:
    async def play() -> None:
        parent, worker = await _pair()
        asked = messages.Prepare(7, change=1, model="toy", desired=encode_desired(desired(1)))
        parent.send(asked)
        parent.send(messages.Stop())
        got = await worker.receive()
        assert isinstance(got, messages.Prepare)
        assert decode_desired(got.desired) == desired(1)
        assert await worker.receive() == messages.Stop()
        worker.send(messages.Alive())
        worker.close()
        assert await parent.receive() == messages.Alive()
        assert await parent.receive() is None
        parent.close()
        with pytest.raises(ChannelBroken):
            parent.send(messages.Stop())

    asyncio.run(asyncio.wait_for(play(), 60))


@pytest.mark.parametrize("sent", [b"nonsense\n", b'{"type":"Alive","more":1}\n', b'{"type":"Shutdown"}\n', b"[]\n"])
def test_what_is_no_message_breaks_the_channel(sent: bytes) -> None:
    async def play() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            parent: Channel[messages.ToParent] = await Channel.open(ours, messages.ToParent)
            theirs.sendall(sent)
            with pytest.raises(ChannelBroken):
                await parent.receive()
            parent.close()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_a_message_is_bounded_on_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.serving.fleet.channel.LINE_BYTES", 1000)

    async def play() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            parent: Channel[messages.ToParent] = await Channel.open(ours, messages.ToParent)
            with pytest.raises(ChannelBroken, match="too long"):
                parent.send(messages.Leaving(why="x" * 1000))
            theirs.sendall(b"x" * 4000)
            with pytest.raises(ChannelBroken, match="longer than"):
                await parent.receive()
            parent.close()

    asyncio.run(asyncio.wait_for(play(), 60))


def test_sockets_of_one_port_share_it_and_nobody_else_does() -> None:
    sockets = listen_shared("127.0.0.1", 0, "--port", 3)
    port = sockets[0].getsockname()[1]
    assert {each.getsockname()[1] for each in sockets} == {port}
    for other in (lambda: listen("127.0.0.1", port, "--port"), lambda: listen_shared("127.0.0.1", port, "--port", 2)):
        with pytest.raises(BadInput, match="is taken"):
            other()
    for each in sockets:
        each.close()


def test_no_socket_is_inherited_that_was_meant_for_another_process() -> None:
    environment = {"LISTEN_FDS": "2", "LISTEN_PID": "1", "LISTEN_FDNAMES": "data:admin", "PATH": "/bin"}
    assert inherited(environment) == {}
    assert environment == {"PATH": "/bin"}, "children do not take it for theirs"


def test_too_many_inherited_sockets_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most two"):
        inherited({"LISTEN_FDS": "3", "LISTEN_PID": str(os.getpid())})


def test_a_service_manager_is_told_and_children_are_not_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's address has room for 107 characters, and a folder may have more

    async def play(manager: ServiceManager) -> None:
        manager.ready()
        keeping = asyncio.ensure_future(manager.keep())
        await asyncio.sleep(0.05)
        keeping.cancel()
        manager.stopping()

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("notify")
        environment = {"NOTIFY_SOCKET": "notify", "WATCHDOG_USEC": "60000", "PATH": "/bin"}
        manager = ServiceManager(environment)
        assert environment == {"PATH": "/bin"}
        with asyncio.Runner(loop_factory=Timeless) as runner:
            runner.run(play(manager))
        listening.setblocking(False)
        said = [listening.recv(100) for _ in range(5)]
    assert said == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]
    asyncio.run(play(manager))  # nobody listens any more: said in the log, and nothing else
    asyncio.run(play(ServiceManager({})))
