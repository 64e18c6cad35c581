"""Whole rollouts through the real tally, judges and decision: equal, worse, bursting, slower and half-lost models."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import median

import pytest
from scipy import stats  # type: ignore[import-untyped]  # no stubs installed

from lockgate.core.online.guardrails import RolloutVerdict
from tests.unit.rollout.tally_rollouts import End, World, rollout, section_of

GROWING = section_of((0.1, 0.2, 0.5), 600, 2000.0)
"""200 looks, ten seconds apart."""
FIXED = section_of((0.1,), 3000, 3600.0)
"""30 requests of the canary a minute, beside 270."""
PROMOTING = section_of((0.1, 0.2, 0.5), 600, 3600.0)
CLIENTS = World(entities=3000)
BURSTS = World(entities=3000, failure=0.02, burst=10)


def verdicts(ends: list[End]) -> Counter[RolloutVerdict]:
    return Counter(end.verdict for end in ends)


def found_after_minutes(ends: list[End]) -> float:
    return median(end.after_s if end.verdict is RolloutVerdict.ROLL_BACK else float("inf") for end in ends) / 60


@pytest.mark.parametrize("world", [CLIENTS, BURSTS])
def test_equal_models_are_seldom_rolled_back(world: World) -> None:
    few = replace(world, per_minute=60.0)
    found = verdicts([rollout(seed, few, GROWING, look_s=100.0) for seed in range(8)])
    assert found[RolloutVerdict.ROLL_BACK] <= stats.binom.ppf(0.999, 8, 0.05)


def test_an_equal_model_is_promoted() -> None:
    found = verdicts([rollout(seed, World(), PROMOTING, look_s=60.0) for seed in range(4)])
    assert found[RolloutVerdict.PROMOTE] >= stats.binom.ppf(0.001, 4, 0.9)


@pytest.mark.parametrize(
    ("world", "why"),
    [
        (World(risk=8.0), "errors"),
        (World(slower=4.0), "latency"),
        (World(worse=0.3), "score:up"),
        (World(worse=-0.3), "score:down"),
    ],
)
def test_a_worse_model_is_rolled_back_for_what_is_wrong_with_it(world: World, why: str) -> None:
    ends = [rollout(seed, world, PROMOTING, look_s=30.0) for seed in range(3)]
    assert all(end.verdict is RolloutVerdict.ROLL_BACK for end in ends)
    assert why in {end.reason.split(": ")[0] for end in ends}


def test_a_log_that_loses_the_challengers_requests_promotes_nothing() -> None:
    found = verdicts([rollout(seed, World(lost=0.5), PROMOTING, look_s=30.0) for seed in range(5)])
    assert found == {RolloutVerdict.INCONCLUSIVE: 5}


def test_the_time_to_see_five_times_the_failures_is_minutes() -> None:
    assert found_after_minutes([rollout(seed, World(risk=5.0), FIXED) for seed in range(9)]) <= 15


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("world", [CLIENTS, BURSTS])
def test_of_2000_equal_models_looked_at_200_times_at_most_the_declared_share_is_rolled_back(world: World) -> None:
    found = verdicts([rollout(seed, world, GROWING) for seed in range(2000)])
    print(world, found)  # noqa: T201 - the soak's record
    assert found[RolloutVerdict.ROLL_BACK] <= 0.05 * 2000


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("risk", "within_minutes"), [(3.0, 20.0), (5.0, 8.0)])
def test_harm_is_found_in_the_time_wanted_at_the_split_error(risk: float, within_minutes: float) -> None:
    minutes = found_after_minutes([rollout(seed, World(risk=risk), FIXED) for seed in range(2000)])
    print(risk, minutes)  # noqa: T201 - the soak's record
    assert minutes <= within_minutes


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_of_2000_equal_models_nine_in_ten_are_promoted_within_the_planned_maximum() -> None:
    found = verdicts([rollout(seed, World(), PROMOTING) for seed in range(2000)])
    print(found)  # noqa: T201 - the soak's record
    assert found[RolloutVerdict.PROMOTE] >= 0.9 * 2000
