"""A model that hangs or fails is ended, rests, and is asked again."""

from __future__ import annotations

import threading
import time

import pytest

from lockgate.core.ids import Digest
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.fence import COOL_OFF_S, FAILURES_AT_MOST, Breaker, Fence, ModelFailed, RunTimedOut
from tests.bundles import contract
from tests.graphs import failing_graph, hanging_graph
from tests.server_process import until

ROW = {"amount": [12.5], "colour": ["red"], "age": [41], "shape": ["disc"]}


def test_a_run_that_hangs_is_ended_and_the_model_rests() -> None:
    fence = Fence(0.1)
    model = ServedModel(Digest("ab" * 32), contract(), hanging_graph(50), fence=fence)
    assert model.answer(ROW, 1, 60.0).outputs["probability"][0] == 0.5
    began = time.process_time()  # a run that hangs computes; a machine that stalls does not
    with pytest.raises(RunTimedOut, match=r"did not answer within 0.1 s"):
        model.answer({**ROW, "amount": [99]}, 1)
    assert time.process_time() - began < 5
    assert model.breaker.open
    assert model.answer(ROW, 1, 60.0).outputs["probability"][0] == 0.5  # the session itself is as good as before
    fence.close()


def test_a_limit_of_one_request_goes_before_the_fences_own() -> None:
    fence = Fence(60)
    model = ServedModel(Digest("ab" * 32), contract(), hanging_graph(50), fence=fence)
    with pytest.raises(RunTimedOut, match=r"within 0.05 s"):
        model.answer({**ROW, "amount": [99]}, 1, 0.05)
    fence.close()


def test_closing_ends_a_run_that_still_goes_on_because_the_interpreters_end_must_not_meet_it() -> None:
    fence, ended = Fence(600), threading.Event()
    model = ServedModel(Digest("ab" * 32), contract(), hanging_graph(50), fence=fence)

    def ask() -> None:
        with pytest.raises(RunTimedOut):
            model.answer({**ROW, "amount": [99]}, 1)
        ended.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    until(lambda: fence._running)
    fence.close()
    assert ended.wait(60)
    asking.join()


def test_a_row_that_fails_the_graph_spoils_no_other_row_of_its_run() -> None:
    model = ServedModel(Digest("ab" * 32), contract(), failing_graph(50))
    rows = [model.encoder.encode_row({**ROW, "amount": [amount]}) for amount in (1, 99, 2)]
    good, bad, also_good = model.answer_rows([row for row in rows if row is not None])
    assert isinstance(good, Answer)
    assert isinstance(also_good, Answer)
    assert isinstance(bad, ModelFailed)
    assert "graph failed" in bad.message


def test_a_model_rests_after_failures_in_a_row_and_is_tried_again() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(FAILURES_AT_MOST - 1):
        breaker.failed()
        assert not breaker.open
    breaker.answered()
    for _ in range(FAILURES_AT_MOST - 1):
        breaker.failed()
    assert not breaker.open  # the answer between them began the count anew
    breaker.failed()
    assert breaker.open
    now[0] += COOL_OFF_S
    assert not breaker.open
    breaker.failed()
    assert breaker.open  # a single failure is enough after a rest
    breaker.answered()
    assert not breaker.open


def test_a_model_that_is_told_to_rest_rests_until_it_has_answered() -> None:
    now = [100.0]
    breaker = Breaker(lambda: now[0])
    breaker.rest(60)
    now[0] += 59
    assert breaker.open
    breaker.answered()
    assert not breaker.open
