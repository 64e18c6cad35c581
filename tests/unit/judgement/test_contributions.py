"""The section says what each feature does, by whom it is said, and what it is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import canonical_json
from lockgate.errors import MeasurementError
from lockgate.stages.contributions import contributions_section
from lockgate.stages.examination import Contributions
from tests.unit.judgement.asked_again import answering, examined, holdout, signal, spec_of

KINDS = list(TaskKind)


def by_feature(section: Any) -> dict[str, Any]:
    return {each["feature"]: each for each in section["features"]}


@pytest.mark.parametrize("kind", KINDS)
def test_what_decides_comes_first_and_what_does_nothing_is_named(kind: TaskKind) -> None:
    found: Any = contributions_section(examined(spec_of(kind), holdout(kind), answering(kind)))
    assert found["features"][0]["feature"] == "x"
    assert found["earn_nothing"]["features"] == ["idle"]
    assert found["earn_nothing"]["together"]["estimate"] == 0
    features = by_feature(found)
    assert features["idle"]["share"] == 0
    assert sum(each["share"] for each in features.values()) == pytest.approx(1, abs=1e-5)
    assert features["z"]["null_fraction"] == pytest.approx(0.1, abs=0.03)
    assert features["city"]["distinct"] == 3
    assert found["method"] == "permutation"
    assert found["shift"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_in_another_unit_shows_as_a_shift_against_the_champion(kind: TaskKind) -> None:
    frame = holdout(kind)
    same: Any = contributions_section(examined(spec_of(kind), frame, answering(kind), answering(kind)))
    assert same["shift"] == 0
    in_inches = answering(kind, lambda rows: signal(rows.assign(x=10 + (rows["x"] - 10) / 25.4)))
    changed: Any = contributions_section(examined(spec_of(kind), frame, in_inches, answering(kind)))
    assert changed["shift"] > 0.3
    assert by_feature(changed)["x"]["change"] < -0.3


def linear(frame: pd.DataFrame) -> Contributions:
    """Return the exact contributions of `signal`, whose parts add up."""
    parts = []
    for name in ("x", "z", "idle", "city"):
        others = {"x": np.nan, "z": np.nan, "city": "nowhere"}
        others.pop(name, None)
        parts.append(signal(frame.assign(**others)) if name != "idle" else np.zeros(len(frame)))
    return Contributions(columns=("x", "z", "idle", "city"), added=np.stack(parts, axis=1)[:, :, None])


def test_exact_contributions_are_taken_where_the_family_has_them() -> None:
    frame = holdout()
    model = answering(TaskKind.BINARY)
    found: Any = contributions_section(examined(spec_of(), frame, model, explain=linear))
    assert (found["method"], found["unit"]) == ("shapley_trees", "log odds")
    expected = np.abs(linear(frame).added[:, :, 0]).mean(axis=0)
    shares = by_feature(found)
    assert [shares[name]["share"] for name in ("x", "z", "idle", "city")] == pytest.approx(
        expected / expected.sum(), abs=1e-5
    )


def test_both_are_measured_by_one_method() -> None:
    model = answering(TaskKind.BINARY)
    frame = holdout()
    assert (
        contributions_section(examined(spec_of(), frame, model, model, explain=linear, explain_champion=linear))[
            "method"
        ]
        == "shapley_trees"
    )
    assert contributions_section(examined(spec_of(), frame, model, model, explain=linear))["method"] == "permutation"


def test_a_feature_the_champion_never_had_added_nothing_there() -> None:
    def old(frame: pd.DataFrame) -> Contributions:
        whole = linear(frame)
        return Contributions(columns=whole.columns[1:], added=whole.added[:, 1:])

    model = answering(TaskKind.BINARY)
    found: Any = contributions_section(
        examined(spec_of(), holdout(), model, model, explain=linear, explain_champion=old)
    )
    assert by_feature(found)["x"]["champion_share"] == 0


def test_slices_say_what_is_different_there() -> None:
    def only_in_oslo(frame: pd.DataFrame) -> np.ndarray:
        return np.where(frame["city"] == "oslo", signal(frame), 0.3 * frame["z"].fillna(0))

    found: Any = contributions_section(examined(spec_of(), holdout(), answering(TaskKind.BINARY, only_in_oslo)))
    oslo = next(each for each in found["slices"] if each["slice"] == "city=oslo")
    assert next(each for each in oslo["features"] if each["feature"] == "x")["times_overall"] > 1.0


def test_nothing_is_worth_anything_where_labels_are_noise() -> None:
    frame = holdout()
    rng = np.random.default_rng(1)
    frame["label"] = np.where(rng.random(len(frame)) < 0.5, "yes", "no")  # noise: nothing is worth anything
    found: Any = contributions_section(examined(spec_of(), frame, answering(TaskKind.BINARY)))
    assert {"x", "idle"} <= set(found["earn_nothing"]["features"])
    assert found["earn_nothing"]["together"]["low"] <= 0


def test_a_model_without_an_answer_to_another_rows_value_is_said_to_have_none() -> None:
    def picky(frame: pd.DataFrame) -> np.ndarray:
        if not frame["x"].equals(holdout()["x"]):
            raise ValueError("these are not my rows")
        return signal(frame)

    with pytest.raises(MeasurementError, match="another row's x"):
        contributions_section(examined(spec_of(), holdout(), answering(TaskKind.BINARY, picky)))


def test_the_section_is_small() -> None:
    section = contributions_section(examined(spec_of(), holdout(), answering(TaskKind.BINARY)))
    assert len(canonical_json(section)) < 10_000
