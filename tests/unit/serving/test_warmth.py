"""A model that is asked now and then is run in between, and nobody else's time is spent on it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.fence import Fence, ModelFailed
from lockgate.serving.watch import warmth
from lockgate.serving.watch.warmth import LINGER_S, REST_S, Warmth
from tests.bundles import contract, graph, probes

A = Digest("a" * 64)


class Counting(Fence):
    """Counts what reaches the graph, and can let it fail or be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0
        self.fails = False

    def run(
        self, session: Any, outputs: Sequence[str], feeds: Mapping[str, Any], limit_s: float | None = None
    ) -> list[Any]:
        self.runs += 1
        if self.fails:
            raise ModelFailed("it does not answer")
        return super().run(session, outputs, feeds, limit_s)


def model(task: TaskKind = TaskKind.BINARY) -> tuple[ServedModel, Counting]:
    fence = Counting()
    return ServedModel(A, contract(task=task), graph(0.0, task), probes=probes(0.0, task), fence=fence), fence


def ask(served: ServedModel) -> None:
    row = probes(0.0, served.contract.task).requests[0].row
    encoded = served.encoder.encode_row({name: [row.get(name)] for name in served.encoder.names})
    assert encoded is not None
    (answer,) = served.answer_rows([encoded])
    assert isinstance(answer, Answer)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmth, "DEAR_S", 60.0)  # a stall of this machine is not what is looked at


@pytest.mark.parametrize("task", TaskKind)
def test_a_model_that_was_asked_is_run_until_a_second_has_passed(task: TaskKind) -> None:
    served, fence = model(task)
    warm = Warmth(lambda: [served])
    assert not warm.look(0.0)
    assert fence.runs == 0  # nobody asked
    ask(served)
    assert warm.look(0.004)
    assert fence.runs == 1  # the request itself did it
    assert warm.look(0.008)
    assert warm.look(0.012)
    assert fence.runs == 3
    assert warm.runs == {"toy": 2}
    assert not warm.look(0.004 + LINGER_S)
    assert fence.runs == 3


def test_a_model_that_is_asked_between_any_two_looks_is_left_alone() -> None:
    served, fence = model()
    warm = Warmth(lambda: [served])
    for at in range(20):
        ask(served)
        assert warm.look(0.004 * at)
    assert fence.runs == 20
    assert not sum(warm.runs.values())


def test_its_own_runs_do_not_keep_it_asked() -> None:
    served, _ = model()
    warm = Warmth(lambda: [served])
    ask(served)
    looks = [warm.look(0.1 * at) for at in range(1, 30)]
    assert looks == [True] * 10 + [False] * 19


def test_one_that_has_no_answer_rests_and_its_failure_is_nobodys() -> None:
    served, fence = model()
    warm = Warmth(lambda: [served])
    ask(served)
    warm.look(1.0)
    fence.fails = True
    warm.look(1.1)
    warm.look(1.2)
    assert fence.runs == 2
    assert not served.breaker.resting_until
    fence.fails = False
    ask(served)
    warm.look(1.2 + REST_S)
    warm.look(1.3 + REST_S)
    assert fence.runs == 4  # asked once, run once


def test_one_whose_run_takes_long_is_not_run_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmth, "DEAR_S", 0.0)  # any run takes longer
    served, fence = model()
    warm = Warmth(lambda: [served])
    ask(served)
    for at in range(50):
        warm.look(0.01 * at)
    assert fence.runs == 2


def test_one_that_rests_after_failures_is_not_run() -> None:
    served, fence = model()
    warm = Warmth(lambda: [served])
    ask(served)
    warm.look(0.0)
    served.breaker.rest(60.0)
    warm.look(0.1)
    assert fence.runs == 1


def test_a_model_without_a_golden_request_is_never_run() -> None:
    fence = Counting()
    served = ServedModel(A, contract(), graph(0.0, TaskKind.BINARY), fence=fence)
    warm = Warmth(lambda: [served])
    ask(served)
    assert not warm.look(0.0)
    assert not warm.look(0.1)
    assert fence.runs == 1


def test_what_is_no_longer_served_is_let_go() -> None:
    served, _ = model()
    models = [served]
    warm = Warmth(lambda: models)
    ask(served)
    warm.look(0.0)
    gone = weakref.ref(served)
    models.clear()
    del served
    warm.look(0.1)
    gc.collect()
    assert gone() is None


def test_it_goes_on_by_itself() -> None:
    served, _ = model()
    warm = Warmth(lambda: [served])

    async def for_a_while() -> None:
        keeping = asyncio.ensure_future(warm.keep(0.001))
        end = asyncio.get_running_loop().time() + 30
        while warm.runs["toy"] < 3 and asyncio.get_running_loop().time() < end:
            if not served.turns:
                ask(served)
            await asyncio.sleep(0.01)
        keeping.cancel()

    asyncio.run(for_a_while())
    assert warm.runs["toy"] >= 3
