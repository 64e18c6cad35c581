"""The section finds where planted errors lie, and shows bins instead of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn

from lockgate.core.contract import LogPolicy, TaskKind
from lockgate.core.ids import canonical_json
from lockgate.core.spec import ServingSection
from lockgate.stages.binning import binned
from lockgate.stages.error_analysis import errors_section
from tests.unit.judgement.asked_again import answering, examined, holdout, signal, spec_of

KINDS = list(TaskKind)


def poisoned(frame: pd.DataFrame) -> np.ndarray:
    """Answer the wrong way round where z is above 1, a seventh of the rows."""
    return np.where(frame["z"] > 1, -3.0 * signal(frame) + 1, signal(frame))


@pytest.mark.parametrize("kind", KINDS)
def test_the_bins_with_the_planted_errors_come_first(kind: TaskKind) -> None:
    found: Any = errors_section(examined(spec_of(kind), holdout(kind), answering(kind, poisoned)))
    first = found["bins"][0]
    assert first["feature"] == "z"
    assert first["lift"] > 1.5
    assert first["q_value"] < 0.01
    assert first["excess"]["low"] > 0
    assert found["features"][0]["feature"] == "z"
    assert found["worst"]["loss_fraction"] > 2 * found["worst"]["rows_fraction"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_model_has_no_bin_that_is_surely_in_excess(kind: TaskKind) -> None:
    found: Any = errors_section(examined(spec_of(kind), holdout(kind), answering(kind)))
    assert found["bins_tested"] > 20
    assert [each for each in found["bins"] if each["q_value"] < 0.01] == []
    trend = found["time"]["trend"]
    assert trend["low"] <= 0 <= trend["high"]


def test_the_worst_rows_are_described_by_what_they_share() -> None:
    def jumps(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["z"].isna(), -np.sign(signal(frame)) * 15, signal(frame))

    frame = holdout(rows=200)
    found: Any = errors_section(examined(spec_of(), frame, answering(TaskKind.BINARY, jumps)))
    shared = found["worst"]["shared"][0]
    assert (shared["feature"], shared["bin"]) == ("z", "(missing)")
    assert shared["lift"] > 5


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS])
def test_confusion_by_class_equals_scikit_learn(kind: TaskKind) -> None:
    frame, model = holdout(kind), answering(kind)
    spec = spec_of(kind)
    found: Any = errors_section(examined(spec, frame, model))["confusion"]
    score = model(frame)
    taken = (score >= 0.5).astype(int) if score.ndim == 1 else score.argmax(axis=1)
    decided = np.array(spec.task.classes)[taken]
    labels = list(spec.task.classes)
    assert found["counts"] == sklearn.confusion_matrix(frame["label"], decided, labels=labels).tolist()
    given = {"labels": labels, "zero_division": 0.0}  # a class that is never decided has no precision; ours is null
    precision, recall, _, n = sklearn.precision_recall_fscore_support(frame["label"], decided, **given)
    assert [each["recall"] for each in found["by_class"]] == pytest.approx(recall, abs=1e-5)
    assert [each["precision"] or 0.0 for each in found["by_class"]] == pytest.approx(precision, abs=1e-5)
    assert [each["n"] for each in found["by_class"]] == n.tolist()


def test_errors_that_grow_with_time_have_a_trend() -> None:
    frame = holdout(TaskKind.REGRESSION)
    day = (frame["time"] - frame["time"].min()).dt.days.to_numpy()
    frame["label"] = frame["label"] - 0.5 * day  # answers are too high, by half a unit more each day
    found: Any = errors_section(examined(spec_of(TaskKind.REGRESSION), frame, answering(TaskKind.REGRESSION)))
    trend = found["time"]["trend"]
    assert trend["low"] < 0.5 < trend["high"]
    assert trend["low"] > 0.3
    assert found["time"]["autocorrelation"] > 0.5
    assert found["time"]["blocks"][0]["block"] == "2013-02-01"


def test_calibration_is_by_deciles_of_the_answer() -> None:
    found: Any = errors_section(examined(spec_of(), holdout(), answering(TaskKind.BINARY)))
    assert len(found["calibration"]) == 10
    answered = [each["answered"] for each in found["calibration"]]
    assert answered == sorted(answered)
    assert sum(each["n"] for each in found["calibration"]) == found["n"]


def test_columns_that_may_not_be_logged_are_not_shown() -> None:
    spec = replace(spec_of(), serving=ServingSection(log=LogPolicy(hashed=("city",))))
    found: Any = errors_section(examined(spec, holdout(), answering(TaskKind.BINARY, poisoned)))
    assert found["withheld"] == ["city"]
    assert b"oslo" not in canonical_json(found)


def test_a_category_of_few_rows_and_the_ends_of_a_range_are_nobodys() -> None:
    frame = holdout()
    frame.loc[:4, "city"] = "atlantis"
    frame.loc[0, "x"] = 123.456
    found = errors_section(examined(spec_of(), frame, answering(TaskKind.BINARY)))
    text = canonical_json(found)
    assert b"atlantis" not in text
    assert b"123.4" not in text
    assert len(text) < 30_000


def test_every_row_is_in_one_bin_of_every_feature() -> None:
    frame = holdout()
    frame["idle"] = np.where(np.arange(len(frame)) % 50 == 0, frame["idle"].abs() + 1, 0.0)  # nearly always 0
    for each in binned(spec_of(), frame):
        sizes = np.bincount(each.member, minlength=len(each.bins))
        assert sizes.sum() == len(frame)
        assert len(set(each.bins)) == len(each.bins)
        if each.feature == "idle":
            assert len(each.bins) >= 2


def test_no_rows_are_no_errors_and_no_crash() -> None:
    found = errors_section(examined(spec_of(), holdout().iloc[:0], answering(TaskKind.BINARY)))
    assert found["n"] == 0
