"""A planted fault hits the share it should, the same rows whoever stands beside them, for every task."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lockgate.adapters.faulty_bundle import plant
from lockgate.core.contract import TaskKind
from lockgate.core.drills import Fault
from lockgate.core.ids import Digest
from lockgate.serving.model.dataplane import ServedModel
from tests.bundles import contract, graph, probes

ROWS = 2000
GOLDEN = probes(0.0, TaskKind.BINARY)
tasks = pytest.mark.parametrize("task", list(TaskKind))


def columns(rows: int = ROWS) -> dict[str, list[Any]]:
    rng = np.random.default_rng(5)
    return {
        "amount": [None if rng.random() < 0.05 else float(each) for each in rng.uniform(0, 100, rows)],
        "age": rng.integers(0, 90, rows).astype(float).tolist(),
        "colour": rng.choice(["red", "green", "blue", "octarine"], rows).tolist(),
        "shape": rng.choice(["disc", "cube"], rows).tolist(),
    }


def answers(onnx: bytes, task: TaskKind, asked: dict[str, list[Any]]) -> npt.NDArray[np.float32]:
    model = ServedModel(Digest("0" * 64), contract("toy", task), onnx)
    rows = len(asked["amount"])
    return model.scores(asked, rows).reshape(rows, -1)


def planted(fault: Fault, task: TaskKind, share: float = 0.5) -> npt.NDArray[np.float32]:
    return answers(
        plant(graph(0.0, task), contract("toy", task), probes(0.0, task), fault, share, salt=3), task, columns()
    )


@tasks
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_errors_leave_a_share_of_the_rows_without_an_answer_and_the_others_as_they_were(
    task: TaskKind, share: float
) -> None:
    sound, faulty = answers(graph(0.0, task), task, columns()), planted(Fault.ERRORS, task, share)
    hit = np.isnan(faulty).any(axis=1)
    assert np.isnan(faulty[hit]).all()
    assert abs(hit.mean() - share) < 0.05
    np.testing.assert_array_equal(faulty[~hit], sound[~hit])


@tasks
def test_wrong_answers_are_possible_ones_on_a_share_of_the_rows(task: TaskKind) -> None:
    sound, faulty = answers(graph(0.0, task), task, columns()), planted(Fault.WRONG, task)
    other = (np.abs(faulty - sound) > 1e-6).any(axis=1)
    assert abs(other.mean() - 0.5) < 0.05
    assert np.isfinite(faulty).all()
    assert abs(faulty[:, 0].mean() - sound[:, 0].mean()) > 0.15
    if task is not TaskKind.REGRESSION:
        assert ((faulty >= 0) & (faulty <= 1)).all()
    if task is TaskKind.MULTICLASS:
        np.testing.assert_allclose(faulty.sum(axis=1), 1, atol=1e-5)


@tasks
def test_slow_answers_are_the_same_answers(task: TaskKind) -> None:
    np.testing.assert_array_equal(planted(Fault.LATENCY, task), answers(graph(0.0, task), task, columns()))


def test_a_row_is_hit_or_spared_alone_as_among_others() -> None:
    onnx = plant(graph(0.0, TaskKind.BINARY), contract(), GOLDEN, Fault.ERRORS, 0.5, salt=3)
    asked = columns(60)
    together = np.isnan(answers(onnx, TaskKind.BINARY, asked)).ravel()
    alone = [
        np.isnan(answers(onnx, TaskKind.BINARY, {name: [values[at]] for name, values in asked.items()})).item()
        for at in range(12)
    ]
    assert alone == together[:12].tolist()


def test_another_salt_hits_other_rows() -> None:
    hits = [
        np.isnan(
            answers(
                plant(graph(0.0, TaskKind.BINARY), contract(), GOLDEN, Fault.ERRORS, 0.5, salt=salt),
                TaskKind.BINARY,
                columns(),
            )
        )
        for salt in (1, 2)
    ]
    assert 0.3 < (hits[0] != hits[1]).mean() < 0.7
