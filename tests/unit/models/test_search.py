"""The search: what it tries, what it finds, and when its best lies at the edge of what was searched."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from lockgate.core.gates import training
from lockgate.core.ids import Digest, canonical_json
from lockgate.core.spec import Scalar, SearchSection
from lockgate.core.verdict import Verdict
from lockgate.models import trainer_of
from lockgate.models.checkpoint import Checkpoint, nowhere
from lockgate.models.fit_process import _recorded
from lockgate.models.search import Found, edges, search
from tests.unit.models.rows import judged, spec_of
from tests.unit.models.test_training_gate import good

FOREVER = 1e9


def anything(_name: str, _value: Scalar) -> bool:
    return True


def edge_of(choices: tuple[Scalar, ...], value: Scalar) -> str | None:
    found = edges(SearchSection(space={"x": choices}), {"x": value}, anything)
    return str(found[0]["end"]) if found else None


def tries(section: SearchSection, loss: Any, seed: int = 7) -> list[Mapping[str, Any]]:
    return [dict(trial) for trial in search(section, seed, loss, nowhere()).trials]


def test_a_search_finds_the_least_loss() -> None:
    section = SearchSection(space={"x": (-3.0, 3.0)}, trials=30, time_budget_s=FOREVER)
    found = search(section, 7, lambda given: float(given["x"] - 1) ** 2, nowhere())
    assert abs(float(str(found.parameters["x"])) - 1) < 0.3
    assert len(found.trials) == 30


def test_the_seed_decides_what_is_tried() -> None:
    section = SearchSection(space={"x": (-3.0, 3.0), "y": (1, 9)}, trials=12, time_budget_s=FOREVER)

    def tried(seed: int) -> list[Any]:
        return [each["parameters"] for each in tries(section, lambda given: float(given["x"]), seed)]

    assert tried(7) == tried(7) != tried(8)


@pytest.mark.parametrize(("high", "share"), [(1.0, 0.5), (0.01, 0.0)])
def test_a_range_over_a_tenfold_is_searched_on_a_scale_of_sizes(high: float, share: float) -> None:
    low = high / 10_000
    section = SearchSection(space={"x": (low, high)}, trials=40, time_budget_s=FOREVER)
    values = [float(each["parameters"]["x"]) for each in tries(section, lambda _: 1.0)]
    below = sum(value < math.sqrt(low * high) for value in values) / len(values)
    assert 0.2 < below < 0.8, "half of a logarithmic scale lies below the geometric mean; of a linear one, a hundredth"
    assert share <= 1


def test_a_narrow_range_is_searched_evenly() -> None:
    section = SearchSection(space={"x": (1.0, 9.0)}, trials=40, time_budget_s=FOREVER)
    values = [float(each["parameters"]["x"]) for each in tries(section, lambda _: 1.0)]
    assert 0.2 < sum(value < 5 for value in values) / len(values) < 0.8


def test_a_trial_without_a_finite_loss_is_recorded_and_never_the_best() -> None:
    section = SearchSection(space={"x": (0.0, 1.0)}, trials=8, time_budget_s=FOREVER)
    found = search(section, 7, lambda given: math.nan if given["x"] < 0.5 else float(given["x"]), nowhere())
    assert any(each["loss"] is None for each in found.trials)
    assert float(str(found.parameters["x"])) >= 0.5
    nothing = search(section, 7, lambda _: math.nan, nowhere())
    assert (nothing.parameters, len(nothing.trials)) == ({}, 8)


def test_no_trial_is_begun_after_the_time_is_up_and_time_before_a_crash_counts(tmp_path: Any) -> None:
    section = SearchSection(space={"x": (0.0, 1.0)}, trials=5, time_budget_s=10.0)
    checkpoint = Checkpoint(folder=tmp_path, key=Digest("a" * 64))
    spent = {"parameters": {"x": 0.5}, "loss": 0.5, "seconds": 10.0}
    checkpoint.save({"trials": [spent]}, b"")

    def never(_: Mapping[str, Scalar]) -> float:
        raise AssertionError("a trial was begun")

    assert search(section, 7, never, checkpoint).parameters == {"x": 0.5}


# -- edges -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "value", "end"),
    [
        ((2, 8), 2, "low"),
        ((2, 8), 8, "high"),
        ((2, 8), 3, None),
        ((0.5, 1.0), 0.52, "low"),
        ((0.5, 1.0), 0.98, "high"),
        ((0.5, 1.0), 0.75, None),
        ((0.001, 0.1), 0.0011, "low"),  # on a scale of sizes: a fiftieth of the way
        ((0.001, 0.1), 0.005, None),  # a twentieth of a linear scale, a third of this one
        ((3, 3), 3, None),
        (("a", "b"), "a", None),
        ((1, 2, 3), 1, None),
        ((True, False), True, None),
    ],
)
def test_a_best_value_at_an_end_of_its_range_is_an_edge(
    choices: tuple[Scalar, ...], value: Scalar, end: str | None
) -> None:
    assert edge_of(choices, value) == end


def test_an_end_that_nothing_lies_beyond_is_no_edge() -> None:
    section = SearchSection(space={"share": (0.5, 1.0), "depth": (1, 8)})

    def allowed(name: str, value: Scalar) -> bool:
        return {"share": 0 < float(str(value)) <= 1, "depth": float(str(value)) >= 1}[name]

    assert edges(section, {"share": 1.0, "depth": 1}, allowed) == []
    assert [each["end"] for each in edges(section, {"share": 0.5, "depth": 8}, allowed)] == ["low", "high"]


def test_an_edge_is_shown_by_the_training_gate_and_does_not_block() -> None:
    found = edges(SearchSection(space={"max_depth": (2, 8)}), {"max_depth": 8}, anything)
    report = judged(training.GATE, good() | {"search": {"edges": found}})
    shown = next(check for check in report.checks if check.name == "search_at_edge")
    assert (shown.verdict, shown.required, report.verdict) == (Verdict.FAIL, False, Verdict.PASS)
    assert "max_depth (high end)" in shown.reason
    inside = judged(training.GATE, good() | {"search": {"edges": []}})
    assert next(check for check in inside.checks if check.name == "search_at_edge").verdict is Verdict.PASS


def test_without_a_search_there_is_no_such_check() -> None:
    for searched in (None, {}, {"edges": "none"}):
        report = judged(training.GATE, good() | {"search": searched})
        assert "search_at_edge" not in {check.name for check in report.checks}


def test_the_record_of_a_search_holds_every_trial_and_knows_where_the_family_ends() -> None:
    section = SearchSection(space={"subsample": (0.5, 1.0), "max_depth": (2, 8)}, time_budget_s=60.0)
    spec = spec_of(search=section)
    tried: list[dict[str, Any]] = [
        {"parameters": {"subsample": 0.7, "max_depth": 3}, "loss": 0.6, "seconds": 1.0},
        {"parameters": {"subsample": 0.5, "max_depth": 3}, "loss": None, "seconds": 2.0},
        {"parameters": {"subsample": 1.0, "max_depth": 8}, "loss": 0.4, "seconds": 3.0},
    ]
    found = Found(parameters=tried[2]["parameters"], trials=[dict(each) for each in tried], seconds=6.0)
    told: Any = _recorded(found, trainer_of(spec), spec)
    assert [(each["number"], each["loss"]) for each in told["trials"]] == [(0, 0.6), (1, None), (2, 0.4)]
    assert (told["made"], told["failed"], told["budget_s"]) == (3, 1, 60.0)
    assert [each["parameter"] for each in told["edges"]] == ["max_depth"], "no share is above 1; a depth of 9 is"


def test_of_very_many_trials_the_record_keeps_the_best_and_says_how_many_there_were() -> None:
    spec = spec_of(search=SearchSection(space={"max_depth": (2, 8)}))
    many: list[dict[str, Any]] = [
        {"parameters": {"max_depth": 3}, "loss": float(n), "seconds": 1.0} for n in range(900)
    ]
    told: Any = _recorded(
        Found(parameters={"max_depth": 3}, trials=[*reversed(many)], seconds=900.0), trainer_of(spec), spec
    )
    assert told["made"] == 900
    assert max(each["loss"] for each in told["trials"]) == len(told["trials"]) - 1
    assert len(canonical_json(told)) < 100_000
