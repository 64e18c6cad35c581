"""Past champions are scored on the present holdout; who cannot be is named, and old models look old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, to_json
from lockgate.core.spec import EvaluationSection
from lockgate.errors import BadInput, IntegrityError
from lockgate.stages.staleness import Opened, PastChampion, staleness_section
from tests.unit.judgement.scenes import (
    NONE_KNOWN,
    binary,
    examined,
    multiclass,
    regression,
    scores_of,
    spec_of,
)

SCENES = {TaskKind.BINARY: binary, TaskKind.MULTICLASS: multiclass, TaskKind.REGRESSION: regression}


def past(
    name: str, ask: Callable[[pd.DataFrame], np.ndarray], *, age: float = 30.0, known: pd.DataFrame = NONE_KNOWN
) -> PastChampion:
    def opened() -> Opened:
        return Opened(ask=ask, threshold=None, known_keys=known, age_days=age)

    return PastChampion(bundle=Digest(name * 64), release=f"toy-{name}", open=opened)


def blurring(good: np.ndarray, share: float) -> Callable[[pd.DataFrame], np.ndarray]:
    mixed = (1 - share) * good + share * good.mean(axis=0)
    return lambda rows: mixed[rows.index.to_numpy()]


def section(kind: TaskKind, champions: list[PastChampion], **evaluation: Any) -> dict[str, Any]:
    frame, good = SCENES[kind]()
    spec = replace(spec_of(kind), evaluation=EvaluationSection(**evaluation))
    found: Any = to_json(staleness_section(examined(spec, frame, scores_of(spec, frame, good)), champions))
    return dict(found)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_older_and_worse_champions_show_a_larger_loss_and_a_sure_gain(kind: TaskKind) -> None:
    _, good = SCENES[kind]()
    found = section(kind, [past("b", blurring(good, 0.3), age=30), past("c", blurring(good, 0.7), age=60)])
    loss = "rmse" if kind is TaskKind.REGRESSION else "log_loss"
    curve = [found["present"], *found["points"]]
    assert [point["age_days"] for point in curve] == [0, 30, 60]
    losses = [point["metrics"][loss]["estimate"] for point in curve]
    assert losses == sorted(losses)
    assert all(point["gain"][loss]["low"] > 0 for point in found["points"])


def test_one_that_cannot_be_scored_is_named_and_stops_nobody() -> None:
    _, good = binary()

    def gone() -> Opened:
        raise IntegrityError("the bundle is not what was signed")

    def refuses(_: pd.DataFrame) -> np.ndarray:
        raise BadInput("column 'y' is missing")

    champions = [
        PastChampion(bundle=Digest("d" * 64), release="toy-d", open=gone),
        past("e", refuses),
        past("f", blurring(good, 0.3)),
    ]
    found = section(TaskKind.BINARY, champions)
    assert [point["release"] for point in found["points"]] == ["toy-f"]
    assert [failure["reason"] for failure in found["failures"]] == [
        "the bundle is not what was signed",
        "column 'y' is missing",
    ]


def test_rows_it_was_fitted_on_are_left_out_and_one_that_knew_all_says_so() -> None:
    frame, good = binary()
    some, everything = frame.loc[:999, ["id"]], frame[["id"]]
    found = section(
        TaskKind.BINARY,
        [past("b", blurring(good, 0.3), known=some), past("c", blurring(good, 0.3), known=everything)],
    )
    assert [point["n"] for point in found["points"]] == [len(frame) - 1000]
    assert "every row of this holdout" in found["failures"][0]["reason"]


def test_more_than_asked_for_are_counted_not_scored() -> None:
    _, good = binary()
    champions = [past(name, blurring(good, 0.3)) for name in "bcdef"]
    found = section(TaskKind.BINARY, champions, past_champions=2)
    assert (len(found["points"]), found["left_out"]) == (2, 3)


def test_without_a_past_there_is_the_present_alone() -> None:
    found = section(TaskKind.BINARY, [])
    assert found["points"] == found["failures"] == []
    assert found["present"]["metrics"]["auc"]["low"] > 0.5
