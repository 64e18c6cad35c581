"""A server asks itself what it must know: a model that lies, fails or hangs makes it not ready, until it heals."""

import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.http.handling import Request
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.fence import Fence
from lockgate.serving.protocols.v2 import model_ready
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.router import Route, Router
from lockgate.serving.routing.routes import make_route
from lockgate.serving.watch.health import Health
from lockgate.serving.watch.self_probe import SelfProbe
from tests.bundles import contract, graph, probes

A, B, C = (Digest(letter * 64) for letter in "abc")
CHAMPION_ALONE = Desired(sequence=1, champion=A, since=datetime(2026, 1, 2, tzinfo=UTC))
CANARY = (DesiredChallenger(name="canary", bundle=B, weight=0.5),)


class Sick(Fence):
    """Between the data plane and the graph: can bend answers, break, or hold them back."""

    def __init__(self) -> None:
        super().__init__()
        self.add = 0.0
        self.broken = False
        self.go_on = threading.Event()
        self.go_on.set()
        self.third = threading.Event()
        self.running = threading.Event()
        self.runs = 0

    def run(
        self, session: Any, outputs: Sequence[str], feeds: Mapping[str, Any], limit_s: float | None = None
    ) -> list[Any]:
        del limit_s
        self.runs += 1
        self.running.set()
        if self.runs == 3:
            self.third.set()
        assert self.go_on.wait(60)
        if self.broken:
            raise ZeroDivisionError("a bug")
        return [np.asarray(each) + np.float32(self.add) for each in session.run(outputs, feeds)]


def model(digest: Digest = A, task: TaskKind = TaskKind.BINARY) -> tuple[ServedModel, Sick]:
    sick = Sick()
    return ServedModel(digest, contract(task=task), graph(0.0, task), probes=probes(0.0, task), fence=sick), sick


def serving(*models: ServedModel, desired: Desired = CHAMPION_ALONE) -> tuple[Router, Route]:
    router, loaded = Router(), {each.digest: each for each in models}
    route = make_route("toy", desired, loaded, {}).renewed()
    router.publish(route)
    return router, route


def run(probe: SelfProbe, rounds: int = 1) -> None:
    async def several() -> None:
        for _ in range(rounds):
            await probe.probe()

    asyncio.run(several())


@pytest.mark.parametrize("task", TaskKind)
def test_a_right_model_is_right_on_every_one_of_its_probes(task: TaskKind) -> None:
    served, sick = model(task=task)
    router, route = serving(served)
    health = Health(router)
    run(health.self_probe, rounds=7)
    assert sick.runs == 7
    assert health.self_probe.results == {("toy", "right"): 7}
    assert health.problems() == []
    assert health.ready(route)


def test_a_wrong_answer_makes_the_server_not_ready_and_a_right_one_heals_it(caplog: pytest.LogCaptureFixture) -> None:
    served, sick = model()
    router, route = serving(served)
    health = Health(router)
    sick.add = 0.01  # the bounds are 1e-5
    run(health.self_probe, rounds=2)
    assert not health.ready(route)
    (problem,) = health.problems()
    assert "'toy'" in problem
    assert "champion" in problem
    assert A in problem
    assert "golden" in problem
    assert health.wrong_arms() == {("toy", "champion"): 1}
    assert caplog.text.count("answers wrong") == 1  # said once, not at every round
    sick.add = 0.0
    run(health.self_probe)
    assert health.problems() == []
    assert health.wrong_arms() == {("toy", "champion"): 0}
    assert caplog.text.count("answers right again") == 1
    assert health.self_probe.results == {("toy", "wrong"): 2, ("toy", "right"): 1}


def test_a_difference_within_the_bundles_bounds_is_right() -> None:
    served, sick = model()
    router, _ = serving(served)
    health = Health(router)
    sick.add = 5e-6
    run(health.self_probe)
    assert health.problems() == []


def test_a_model_that_fails_is_as_bad_as_a_wrong_one() -> None:
    served, sick = model()
    health = Health(serving(served)[0])
    sick.broken = True
    run(health.self_probe)
    assert "ZeroDivisionError" in health.problems()[0]


def test_a_model_that_hangs_is_found_and_never_takes_a_second_thread() -> None:
    served, sick = model()
    router, _ = serving(served)
    health = Health(router, self_probe=SelfProbe(router, answer_within_s=0.02))
    sick.go_on.clear()

    async def hang_and_heal() -> None:
        await health.self_probe.probe()
        assert await asyncio.to_thread(sick.running.wait, 60)  # a thread may begin late
        for _ in range(3):
            await health.self_probe.probe()
            assert "no answer after 0.02 s" in health.problems()[0]
        assert sick.runs == 1
        sick.go_on.set()
        while health.problems():
            await health.self_probe.probe()

    asyncio.run(hang_and_heal())


def test_the_event_loop_turns_while_a_model_is_probed() -> None:
    served, sick = model()
    router, _ = serving(served)
    probe = SelfProbe(router)
    sick.go_on.clear()

    async def meanwhile() -> None:
        probing = asyncio.ensure_future(probe.probe())
        assert await asyncio.to_thread(sick.running.wait, 60)
        sick.go_on.set()  # reached only if the loop turned
        await probing

    asyncio.run(meanwhile())
    assert probe.wrong == {}


def test_a_challenger_that_lies_is_not_asked_until_it_is_right_and_turns_nobody_away() -> None:
    (right, _), (wrong, sick) = model(A), model(B)
    sick.add = 0.5
    health = Health(serving(right, wrong, desired=replace(CHAMPION_ALONE, challengers=CANARY))[0])
    run(health.self_probe)
    assert wrong.breaker.open
    assert not right.breaker.open
    assert health.problems() == []
    assert health.wrong_arms() == {("toy", "champion"): 0, ("toy", "canary"): 1}
    sick.add = 0.0
    run(health.self_probe)
    assert not wrong.breaker.open


def test_a_shadow_is_probed_but_nobody_is_turned_away_for_it() -> None:
    (right, _), (wrong, sick) = model(A), model(C)
    sick.add = 0.5
    desired = replace(CHAMPION_ALONE, shadows=(DesiredShadow(name="dark", bundle=C, share=1.0),))
    health = Health(serving(right, wrong, desired=desired)[0])
    run(health.self_probe)
    assert health.problems() == []
    assert health.wrong_arms() == {("toy", "champion"): 0, ("toy", "dark"): 1}


def test_what_is_served_no_longer_is_forgotten() -> None:
    served, sick = model()
    router, _ = serving(served)
    health = Health(router)
    sick.add = 0.5
    run(health.self_probe)
    other, _ = model(B)
    router.publish(make_route("toy", replace(CHAMPION_ALONE, champion=B), {B: other}, {}))
    assert health.problems() == []
    run(health.self_probe)
    assert health.self_probe.wrong == {}


def test_a_model_that_is_not_loaded_says_why() -> None:
    router = Router()
    route = make_route("toy", CHAMPION_ALONE, {}, {A: "its signature is wrong"})
    router.publish(route)
    health = Health(router)
    assert health.problems() == [f"model 'toy' is routed to {A}, but: its signature is wrong"]
    assert not health.ready(route)


def test_a_server_that_stops_or_uses_too_much_memory_is_not_ready() -> None:
    router, _ = serving(model()[0])
    used = [100_000_000]
    health = Health(router, max_memory_bytes=200_000_000, memory_bytes=lambda: used[0])
    assert health.problems() == []
    used[0] = 200_000_001
    assert health.problems() == ["the process uses 200 MB of memory, more than its 200 MB"]
    health.stopping = True
    assert health.problems()[0] == "the server is stopping"


def test_probing_goes_on_until_it_is_cancelled() -> None:
    served, sick = model()
    probe = SelfProbe(serving(served)[0])

    async def keep() -> None:
        keeping = asyncio.ensure_future(probe.keep(0.001))
        assert await asyncio.to_thread(sick.third.wait, 60)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping

    asyncio.run(keep())


def asked_ready(router: Router, health: Health, version: str | None = None) -> tuple[int, Any]:
    """Return the status and body of a question whether a model, or a version of it, is ready."""
    service: Any = SimpleNamespace(router=router, health=health)
    params = {"model": "toy"} | ({} if version is None else {"version": version})
    answer = asyncio.run(model_ready(service, Request(params, b"", {}, b"", 0.0)))
    return answer.status, json.loads(answer.body)


def test_a_version_that_answers_wrong_is_not_ready_and_says_so_in_the_protocols_form() -> None:
    (champion, sick), (canary, _) = model(), model(B)
    router, _ = serving(champion, canary, desired=replace(CHAMPION_ALONE, challengers=CANARY))
    health = Health(router)
    ready = (200, {"name": "toy", "ready": True})
    for version in (None, A, B):
        assert asked_ready(router, health, version) == ready
    sick.add = 0.1
    run(health.self_probe, 3)
    for version, said in ((None, "arm 'champion'"), (A, f"version {A} of model 'toy' answers wrong: ")):
        status, body = asked_ready(router, health, version)
        assert (status, body["name"], body["ready"]) == (503, "toy", False)
        assert said in body["error"]
    assert asked_ready(router, health, B) == ready


def test_a_model_that_is_not_loaded_is_not_ready_in_any_version() -> None:
    router, _ = serving()
    for version in (None, A, C):
        status, body = asked_ready(router, Health(router), version)
        assert (status, body["name"], body["ready"]) == (503, "toy", False)
        assert "it is not loaded" in body["error"]
