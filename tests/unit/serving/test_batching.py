"""Rows that share a run: whatever becomes of one answer, the others arrive."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.serving.model.batching import MicroBatches
from lockgate.serving.model.dataplane import Answer, ServedModel
from tests.bundles import contract, golden, graph

ROW: dict[str, Any] = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}


def test_an_answer_that_cannot_be_handed_over_keeps_nobody_else_from_theirs(caplog: pytest.LogCaptureFixture) -> None:
    model = ServedModel(Digest("ab" * 32), contract(), graph(0.0, TaskKind.BINARY))
    row = model.encoder.encode_row({name: [value] for name, value in ROW.items()})
    assert row is not None
    heard: list[Answer | Exception] = []

    def gone(_: Answer | Exception) -> None:
        raise OSError("the connection is gone")

    told = asyncio.Event()

    def hear(answer: Answer | Exception) -> None:
        heard.append(answer)
        told.set()

    async def ask() -> None:
        together = MicroBatches()
        together.submit(model, row, None, gone)
        together.submit(model, row, None, hear)
        await asyncio.wait_for(told.wait(), 60)
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(ask())
    (answer,) = heard
    assert isinstance(answer, Answer)
    assert np.asarray(answer.outputs["probability"]) == pytest.approx(golden(ROW), rel=1e-5)
    assert "could not be handed over" in caplog.text
