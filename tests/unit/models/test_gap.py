"""The overfit gap carries an interval over blocks, and the gate shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.gates import training
from lockgate.models.frames import Rows
from lockgate.models.gap import overfit_gap
from lockgate.models.losses import constant_loss, loss_of
from tests.unit.models.rows import judged, spec_of
from tests.unit.models.test_training_gate import good


def part(days: int, seed: int, *, sure: float) -> tuple[Rows, np.ndarray]:
    """Return rows of some days and answers that are right with the odds given."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), 100)
    odds = rng.normal(0, 1, len(day)) + rng.normal(0, 0.5, days)[day]
    y = (rng.random(len(day)) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    answers = 1 / (1 + np.exp(-odds - sure * (2 * y - 1)))
    return Rows(features=pd.DataFrame(index=range(len(y))), label=y, block=day), answers


def measured(sure: float, *, days: int = 7) -> dict[str, Any]:
    (train, ours), (validation, theirs) = part(40, 1, sure=sure), part(days, 2, sure=0.0)
    parts = {"train": train, "validation": validation}
    found: Any = overfit_gap(parts, {"train": ours, "validation": theirs}, spec_of())
    return {"found": found, "parts": parts, "answers": {"train": ours, "validation": theirs}}


def test_the_gap_is_the_difference_of_the_two_shares() -> None:
    made = measured(1.0)
    shares = {
        name: loss_of(TaskKind.BINARY, made["answers"][name], rows.label)
        / constant_loss(TaskKind.BINARY, rows.label, rows.label, 2)
        for name, rows in made["parts"].items()
    }
    assert made["found"]["estimate"] == pytest.approx(shares["validation"] - shares["train"], rel=1e-9)
    assert made["found"]["blocks"] == {"train": 40, "validation": 7}


def test_a_fit_that_knows_its_rows_has_a_gap_above_zero_and_an_honest_one_has_none_shown() -> None:
    assert measured(1.0)["found"]["low"] > 0
    honest = measured(0.0)["found"]
    assert honest["low"] < 0 < honest["high"]


def test_two_validation_days_give_no_interval() -> None:
    assert np.isnan(measured(1.0, days=2)["found"]["low"])


def test_rows_without_blocks_give_none() -> None:
    made = measured(1.0)
    bare = {name: Rows(features=rows.features, label=rows.label) for name, rows in made["parts"].items()}
    assert overfit_gap(bare, made["answers"], spec_of()) is None


def test_the_gate_shows_the_interval_and_binds_at_the_estimate() -> None:
    gap = {"estimate": 0.07, "low": -0.2, "high": 0.6, "se": 0.1}
    report = judged(training.GATE, good() | {"overfit_gap": gap})
    check = next(each for each in report.checks if each.name == "overfit_gap")
    assert check.interval == (-0.2, 0.6)
    assert check.verdict.value == "PASS"
