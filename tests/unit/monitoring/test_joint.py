"""Features together: a combination that moved is found and named, and months of one law stay quiet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json, ModelName
from lockgate.core.monitoring.findings import Finding, State
from lockgate.core.monitoring.joint import judge_joint
from lockgate.core.spec import DataSection, JointSection, ModelSection, ReleaseSpec, TaskSection
from lockgate.stages.joint import SampledRows, measure_joint, narrowed

MODEL = ModelName("toy")
NUMERIC = ("a", "b", "c", "d")
SPEC = ReleaseSpec(
    model=ModelSection(name=MODEL),
    task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
    data=DataSection(suite="toy", label="y", time="t", key=("id",), numeric=NUMERIC, categorical=("kind",)),
)
SECTION = JointSection()
MEASURED: Mapping[str, Json] = {
    "n": 2000, "reference_n": 2000, "blocks": 28, "reference_blocks": 40,
    "auc": {"estimate": 0.62, "low": 0.6, "high": 0.64, "se": 0.01},
    "alone": {"estimate": 0.5, "low": 0.48, "high": 0.52, "se": 0.01},
    "excess": {"estimate": 0.12, "low": 0.1, "high": 0.14, "se": 0.01},
    "by": [{"feature": "a", "drop": 0.1}],
}  # fmt: skip


def days(
    draw: np.random.Generator, count: int, first: int, *, rows: int, rho: float = 0.0, moved: float = 0.0
) -> SampledRows:
    """Return days whose rows share a weather; every feature has the same margin whatever `rho`."""
    frames = []
    for _ in range(count):
        x = draw.standard_normal((rows, 4))
        x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
        x += 0.3 * draw.standard_normal(4)
        x[:, 2] += moved
        frame = pd.DataFrame(x, columns=list(NUMERIC))
        frame["kind"] = draw.choice(np.array(["red", "green", None], dtype=object), rows)
        frames.append(frame)
    day = np.repeat(np.arange(first, first + count), rows).astype(np.int64)
    return SampledRows(frame=pd.concat(frames, ignore_index=True), day=day)


def looked(seed: int, *, per_day: int = 45, **now: Any) -> Finding:
    draw = np.random.default_rng(seed)
    reference = days(draw, 40, 0, rows=per_day)
    measured = measure_joint(SPEC, reference, days(draw, 28, 100, rows=per_day, **now), seed=3)
    return judge_joint(MODEL, measured, SECTION, {})


def test_a_correlation_that_moved_under_the_same_margins_is_found_and_named() -> None:
    found = looked(1, rho=0.7)
    assert found.state is State.NOISE
    assert {each["feature"] for each in found.evidence["by"][:2]} == {"a", "b"}  # type: ignore[index,union-attr,call-overload]  # JSON by construction
    assert found.reason.startswith(("a, b", "b, a"))
    assert found.harm > 0


def test_an_unchanged_month_raises_none() -> None:
    assert looked(2).state is State.OK


def test_one_feature_that_moved_by_itself_is_left_to_its_own_finding() -> None:
    found = looked(3, moved=1.0)
    assert found.state is State.OK
    assert found.evidence["alone"]["low"] > 0.6  # type: ignore[index,call-overload,operator]  # JSON by construction


def test_rows_at_the_precision_of_the_log_are_no_shift() -> None:
    draw = np.random.default_rng(5)
    reference = days(draw, 20, 0, rows=60)
    reference.frame["a"] = draw.choice(np.array([0.1, 0.2, 0.7]), len(reference.frame))
    now = days(draw, 20, 50, rows=60)
    now.frame["a"] = np.float32(draw.choice(np.array([0.1, 0.2, 0.7]), len(now.frame))).astype(float)
    measured = measure_joint(SPEC, reference, now, seed=3)
    assert judge_joint(MODEL, measured, SECTION, {}).state is State.OK
    assert measured["auc"]["estimate"] < 0.6  # type: ignore[index,call-overload,operator]  # JSON by construction


@pytest.mark.parametrize(
    ("reference", "now", "without", "said"),
    [
        ((40, 60), (9, 200), (), "9 days now and 40 of training; 10 of each are needed"),
        ((9, 200), (28, 60), (), "28 days now and 9 of training"),
        ((40, 60), (28, 5), (), "140 rows of a side; 1000 are needed"),
        ((40, 60), (28, 60), ("b", "c", "d", "kind"), "1 features can be compared; 2 are needed"),
    ],
)
def test_too_little_says_so_and_clears_nothing(
    reference: tuple[int, int], now: tuple[int, int], without: tuple[str, ...], said: str
) -> None:
    draw = np.random.default_rng(6)
    sides = [days(draw, count, first, rows=rows) for (count, rows), first in ((reference, 0), (now, 100))]
    found = judge_joint(MODEL, measure_joint(narrowed(SPEC, without), *sides, seed=3), SECTION, {})
    assert found.state is State.NO_DATA
    assert said in found.reason
    assert found.next


def test_what_combinations_tell_must_pass_the_size_and_the_noise_floor() -> None:
    assert judge_joint(MODEL, MEASURED, SECTION, {}).state is State.NOISE
    wide = {**MEASURED, "excess": {"estimate": 0.12, "low": 0.02, "high": 0.22, "se": 0.05}}
    assert judge_joint(MODEL, wide, SECTION, {}).state is State.OK
    chance = {**MEASURED, "auc": {"estimate": 0.52, "low": 0.49, "high": 0.55, "se": 0.01}}
    assert judge_joint(MODEL, chance, SECTION, {}).state is State.OK
    assert judge_joint(MODEL, MEASURED, replace(SECTION, excess_auc=0.11), {}).state is State.OK


def test_days_that_single_features_give_away_leave_no_room_to_call_it_clear() -> None:
    estimate = {"estimate": 0.96, "low": 0.95, "high": 0.97, "se": 0.005}
    found = judge_joint(MODEL, {**MEASURED, "auc": estimate, "alone": estimate}, SECTION, {})
    assert found.state is State.NO_DATA
    assert "input.<feature>" in found.next


def test_what_answers_lean_on_ranks_higher() -> None:
    light, heavy = (judge_joint(MODEL, MEASURED, SECTION, {"a": weight, "b": 0.5}) for weight in (0.1, 0.9))
    assert heavy.harm > light.harm > 0


def test_an_interval_that_cannot_be_had_is_no_answer() -> None:
    measured = {**MEASURED, "excess": {"estimate": 0.12, "low": float("nan"), "high": float("nan"), "se": float("nan")}}
    assert judge_joint(MODEL, measured, SECTION, {}).state is State.NO_DATA


@pytest.mark.soak
@pytest.mark.parametrize("per_day", [36, 150])
def test_months_of_one_law_are_rarely_called_moved(per_day: int) -> None:
    moved = [looked(seed, per_day=per_day).state is State.NOISE for seed in range(100, 130)]
    assert np.mean(moved) <= 0.05


@pytest.mark.soak
def test_a_correlation_of_a_half_is_found_nearly_always() -> None:
    assert np.mean([looked(seed, rho=0.5).state is State.NOISE for seed in range(200, 220)]) >= 0.9
