"""The planner says before the start what a rollout can see, by the rule that will decide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lockgate.core.online.detection import Bake, Traffic, times_to_detect
from lockgate.core.online.planner import Wanted, forecast

TRAFFIC = Traffic(requests_per_minute=300, entities_per_minute=300, failure_fraction=0.01)
HOUR = [Bake(share=0.1, bake_s=3600)]


def test_ten_minutes_cannot_see_what_an_hour_can() -> None:
    short = forecast(TRAFFIC, [Bake(share=0.1, bake_s=600)], Wanted(failure_fraction=0.02), alpha=0.01, seed=1)
    long = forecast(TRAFFIC, HOUR, Wanted(failure_fraction=0.03), alpha=0.01, seed=1)
    assert "is seen with power" in short.refusals[0]
    assert "until" in short.refusals[0]
    assert long.refusals == ()
    assert long.power_by_step[-1] > 0.95
    assert 10 * 60 < long.median_s < 20 * 60
    assert long.median_s < long.ninety_s < 3600


def test_a_wish_for_speed_that_cannot_be_met_is_refused() -> None:
    found = forecast(TRAFFIC, HOUR, Wanted(failure_fraction=0.03, within_s=300), alpha=0.01, seed=1)
    assert "wanted 5 minutes" in found.refusals[0]


def test_more_traffic_more_harm_and_more_error_are_seen_sooner() -> None:
    def median(traffic: Traffic, rate: float, alpha: float) -> float:
        return float(np.median(times_to_detect(traffic, HOUR, rate, alpha=alpha, runs=400, seed=2)))

    now = median(TRAFFIC, 0.03, 0.01)
    assert median(Traffic(requests_per_minute=900, entities_per_minute=900, failure_fraction=0.01), 0.03, 0.01) < now
    assert median(TRAFFIC, 0.05, 0.01) < now
    assert median(TRAFFIC, 0.03, 0.05) < now


def test_an_equal_challenger_is_seldom_rolled_back_in_the_planners_own_simulation() -> None:
    steps = [Bake(share=share, bake_s=1800) for share in (0.01, 0.05, 0.2, 0.5)]
    times = times_to_detect(TRAFFIC, steps, 0.01, alpha=0.05, runs=2000, seed=3)
    assert np.isfinite(times).mean() <= 0.05


def test_few_entities_run_out_of_first_failures() -> None:
    few = Traffic(requests_per_minute=300, entities_per_minute=300, failure_fraction=0.01, entities=100)
    wanted = Wanted(failure_fraction=0.02)
    assert forecast(few, HOUR, wanted, alpha=0.01, seed=1).power_by_step[-1] < 0.5
    assert forecast(TRAFFIC, HOUR, wanted, alpha=0.01, seed=1).power_by_step[-1] > 0.5


def test_traffic_without_failures_can_still_show_some() -> None:
    clean = Traffic(requests_per_minute=300, entities_per_minute=300, failure_fraction=0.0)
    found = forecast(clean, HOUR, Wanted(failure_fraction=0.01), alpha=0.01, seed=1)
    assert found.power_by_step[-1] > 0.99
    assert found.detectable == (math.inf,)


def test_the_same_seed_gives_the_same_forecast() -> None:
    one, other = (forecast(TRAFFIC, HOUR, Wanted(failure_fraction=0.02), alpha=0.01, runs=200, seed=4) for _ in "ab")
    assert one == other


@pytest.mark.parametrize(
    ("traffic", "steps", "wanted"),
    [
        (Traffic(requests_per_minute=0, entities_per_minute=0, failure_fraction=0.01), HOUR, 0.03),
        (Traffic(requests_per_minute=9, entities_per_minute=math.nan, failure_fraction=0.01), HOUR, 0.03),
        (TRAFFIC, [], 0.03),
        (TRAFFIC, [Bake(share=1.5, bake_s=60)], 0.03),
        (TRAFFIC, [Bake(share=0.1, bake_s=0)], 0.03),
        (TRAFFIC, HOUR, 0.005),
        (TRAFFIC, HOUR, math.nan),
    ],
)
def test_nothing_is_planned_on_nonsense(traffic: Traffic, steps: list[Bake], wanted: float) -> None:
    with pytest.raises(ValueError, match=r"must|nothing"):
        forecast(traffic, steps, Wanted(failure_fraction=wanted), alpha=0.01, seed=1)
