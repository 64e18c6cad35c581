"""Shadows answer copies of requests: off the way, bounded, and harmless whatever they do."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.fence import Fence
from lockgate.serving.routing.desired import Desired, DesiredShadow
from lockgate.serving.routing.router import Choice, Route
from lockgate.serving.routing.routes import make_route
from lockgate.serving.routing.shadow import BATCH_ROWS, ShadowResult, ShadowRunner
from tests.bundles import contract, golden, graph

A, B, C = (Digest(letter * 64) for letter in "abc")
ROW = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}


class Gate(Fence):
    """Holds runs back, and says how many rows each had."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.opened.set()
        self.running = threading.Event()
        self.ended = threading.Event()
        self.runs: list[int] = []
        self.broken = False

    def run(
        self, session: Any, outputs: Sequence[str], feeds: Mapping[str, Any], limit_s: float | None = None
    ) -> list[Any]:
        del limit_s
        self.runs.append(len(next(iter(feeds.values()))))
        self.running.set()
        try:
            assert self.opened.wait(60)
            if self.broken:
                raise ZeroDivisionError("a bug in the shadow")
            return list(session.run(outputs, feeds))
        finally:
            self.ended.set()


class Gated(ServedModel):
    """A model behind such a gate."""

    def __init__(self, digest: Digest, bias: float = 0.0) -> None:
        self.gate = Gate()
        super().__init__(digest, contract(), graph(bias, TaskKind.BINARY), fence=self.gate)


CHAMPION = ServedModel(A, contract(), graph(0.0, TaskKind.BINARY))


def routed(*models: ServedModel, share: float = 1.0) -> Route:
    shadows = tuple(
        DesiredShadow(name=f"dark-{number}", bundle=model.digest, share=share) for number, model in enumerate(models)
    )
    desired = Desired(sequence=1, champion=A, shadows=shadows, since=datetime(2026, 1, 2, tzinfo=UTC))
    return make_route("toy", desired, {A: CHAMPION, **{model.digest: model for model in models}}, {}).renewed()


def columns(**values: object) -> Columns:
    return {name: [value] for name, value in {**ROW, **values}.items()}


class Shadowing:
    """A runner on an event loop, with what it delivered and in which thread."""

    def __init__(self, **options: Any) -> None:
        self.results: list[ShadowResult] = []
        self.threads: set[threading.Thread] = set()
        self.enough = asyncio.Event()
        self.wanted = 0
        self.runner = ShadowRunner(self._deliver, **{"max_rows": 100, "close_s": 30.0, **options})

    def _deliver(self, result: ShadowResult) -> None:
        self.results.append(result)
        self.threads.add(threading.current_thread())
        if len(self.results) >= self.wanted:
            self.enough.set()

    def offer(self, route: Route, *, entity: str | None = None, rows: int = 1, number: int = 0, **values: Any) -> None:
        sent = columns(**values) if rows == 1 else {name: [value] * rows for name, value in ROW.items()}
        self.runner.offer(route, route.choose(entity), sent, prediction_id=f"p{number}", rows=rows)

    async def delivered(self, count: int) -> None:
        self.wanted = count
        self.enough.clear()
        if len(self.results) < count:
            await asyncio.wait_for(self.enough.wait(), 60)


def run(test: Callable[[Shadowing], Any], **options: Any) -> Shadowing:
    async def main() -> Shadowing:
        shadowing = Shadowing(**options)
        try:
            await test(shadowing)
        finally:
            shadowing.runner.close()
        return shadowing

    return asyncio.run(main())


def probability(result: ShadowResult) -> list[float]:
    assert result.answer is not None
    values = result.answer.outputs["probability"]
    assert isinstance(values, np.ndarray)
    return [float(each) for each in values]


def test_a_copy_is_answered_by_the_shadow_and_told_with_the_callers_choice_and_id() -> None:
    route = routed(Gated(B, bias=1.0))

    async def test(shadowing: Shadowing) -> None:
        shadowing.offer(route, entity="x", number=7)
        await shadowing.delivered(1)

    shadowing = run(test)
    (result,) = shadowing.results
    assert probability(result) == pytest.approx(golden(ROW, bias=1.0), abs=1e-5)
    assert (result.model, result.shadow.name, result.prediction_id, result.problem) == ("toy", "dark-0", "p7", "")
    assert (result.choice.arm.name, result.choice.entity, result.columns) == ("champion", "x", columns())
    assert result.seconds > 0
    assert shadowing.threads == {threading.main_thread()}  # the log is appended to from one thread only


def test_copies_that_wait_are_answered_together_each_with_its_own_answer() -> None:
    model = Gated(B)
    route = routed(model)

    async def test(shadowing: Shadowing) -> None:
        model.gate.opened.clear()
        shadowing.offer(route)
        await asyncio.to_thread(model.gate.running.wait, 60)
        for number in range(40):
            shadowing.offer(route, amount=float(number))
        model.gate.opened.set()
        await shadowing.delivered(41)

    shadowing = run(test)
    assert model.gate.runs == [1, BATCH_ROWS, 40 - BATCH_ROWS]
    answered = [probability(result)[0] for result in shadowing.results[1:]]
    assert answered == pytest.approx([golden({**ROW, "amount": number})[0] for number in range(40)], abs=1e-5)


def test_two_shadows_do_not_break_up_each_others_batches() -> None:
    models = Gated(B), Gated(C, bias=1.0)
    route = routed(*models)

    async def test(shadowing: Shadowing) -> None:
        models[0].gate.opened.clear()
        shadowing.offer(route)
        await asyncio.to_thread(models[0].gate.running.wait, 60)
        for _ in range(10):
            shadowing.offer(route)
        models[0].gate.opened.set()
        await shadowing.delivered(22)

    run(test)
    # how the first two copies fall is the threads' affair
    assert [(sum(model.gate.runs), len(model.gate.runs) <= 2) for model in models] == [(11, True), (11, True)]


def test_a_request_of_many_rows_is_copied_whole() -> None:
    async def test(shadowing: Shadowing) -> None:
        shadowing.offer(routed(Gated(B)), rows=5)
        await shadowing.delivered(1)

    shadowing = run(test)
    assert probability(shadowing.results[0]) == pytest.approx(golden(ROW) * 5, abs=1e-5)
    assert shadowing.runner.queued_rows == 0


def test_what_does_not_fit_into_the_queue_is_dropped_and_counted() -> None:
    model = Gated(B)
    route = routed(model)

    async def test(shadowing: Shadowing) -> None:
        model.gate.opened.clear()
        shadowing.offer(route)
        await asyncio.to_thread(model.gate.running.wait, 60)
        for _ in range(20):
            shadowing.offer(route)
        assert shadowing.runner.queued_rows == 8
        model.gate.opened.set()
        await shadowing.delivered(8)
        shadowing.offer(route, rows=9)

    shadowing = run(test, queue_rows=8)
    assert shadowing.runner.dropped == {("toy", "dark-0"): 13 + 1}
    assert len(shadowing.results) == 8


@pytest.mark.parametrize(
    ("values", "problem"), [({"age": "old"}, "expected a number"), ({"extra": 1}, "'extra'"), ({"age": None}, "null")]
)
def test_a_copy_that_the_shadow_refuses_spoils_nobody_elses(values: Mapping[str, Any], problem: str) -> None:
    model = Gated(B)
    route = routed(model)

    async def test(shadowing: Shadowing) -> None:
        model.gate.opened.clear()
        shadowing.offer(route)
        await asyncio.to_thread(model.gate.running.wait, 60)
        for each in ({}, values, {}):
            shadowing.offer(route, **each)
        model.gate.opened.set()
        await shadowing.delivered(4)

    shadowing = run(test)
    assert [result.answer is not None for result in shadowing.results] == [True, True, False, True]
    assert problem in shadowing.results[2].problem
    assert shadowing.runner.failed == {("toy", "dark-0"): 1}


def test_a_shadow_that_throws_is_counted_and_the_next_is_answered() -> None:
    model = Gated(B)
    route = routed(model, Gated(C))

    async def test(shadowing: Shadowing) -> None:
        model.gate.broken = True
        shadowing.offer(route)
        await shadowing.delivered(2)
        model.gate.broken = False
        shadowing.offer(route)
        await shadowing.delivered(4)

    shadowing = run(test)
    by_shadow = {name: [r.problem for r in shadowing.results if r.shadow.name == name] for name in ("dark-0", "dark-1")}
    assert by_shadow == {"dark-0": ["a bug in the shadow", ""], "dark-1": ["", ""]}
    assert shadowing.runner.failed == {("toy", "dark-0"): 1}


def test_a_shadow_that_rests_after_failures_is_not_asked() -> None:
    model = Gated(B)
    model.breaker.failed(timed_out=True)

    async def test(shadowing: Shadowing) -> None:
        shadowing.offer(routed(model))
        await shadowing.delivered(1)

    assert "not asked for a while" in run(test).results[0].problem
    assert model.gate.runs == []


def test_forced_requests_and_those_without_a_lease_are_copied_to_nobody() -> None:
    model = Gated(B)
    route = routed(model)

    async def test(shadowing: Shadowing) -> None:
        forced = Choice(route.arms[0], 1.0, True, None)
        shadowing.runner.offer(route, forced, columns(), prediction_id="p", rows=1)
        shadowing.offer(replace(route, clock=lambda: route.lease_until))
        assert shadowing.runner.queued_rows == 0

    assert run(test).results == []


def test_a_share_is_copied_of_whole_entities() -> None:
    model = Gated(B)
    route = routed(model, share=0.3)

    async def test(shadowing: Shadowing) -> None:
        for number in range(300):
            for _ in range(2):
                shadowing.offer(route, entity=f"customer-{number}")
        count = shadowing.runner.queued_rows + len(shadowing.results)
        await shadowing.delivered(count)

    seen = [result.choice.entity for result in run(test).results]
    assert len(set(seen)) == pytest.approx(90, abs=40)  # 5 standard deviations
    assert len(seen) == 2 * len(set(seen))


def test_closing_answers_what_waits_and_takes_nothing_more() -> None:
    route = routed(Gated(B))

    async def test(shadowing: Shadowing) -> None:
        for _ in range(100):
            shadowing.offer(route)
        shadowing.runner.close()
        assert len(shadowing.results) == 100
        shadowing.offer(route)
        assert shadowing.runner.queued_rows == 0

    shadowing = run(test)
    assert (len(shadowing.results), shadowing.runner.dropped["toy", "dark-0"]) == (100, 1)


def test_closing_waits_a_while_and_no_longer_for_a_shadow_that_hangs() -> None:
    model = Gated(B)
    route = routed(model)
    model.gate.opened.clear()

    async def test(shadowing: Shadowing) -> None:
        shadowing.offer(route)
        await asyncio.to_thread(model.gate.running.wait, 60)
        shadowing.offer(route)
        shadowing.runner.close()
        assert not model.gate.ended.is_set()

    shadowing = run(test, close_s=0.05)
    model.gate.opened.set()
    assert (shadowing.results, shadowing.runner.dropped["toy", "dark-0"]) == ([], 1)


def test_a_runner_without_shadows_has_no_thread() -> None:
    before = set(threading.enumerate())

    async def test(shadowing: Shadowing) -> None:
        shadowing.offer(routed())
        assert set(threading.enumerate()) <= before

    run(test)
