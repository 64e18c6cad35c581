"""Whole rollouts through the real tally, judges and decision: equal, worse, bursting, slower and half-lost models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from scipy import stats  # type: ignore[import-untyped]  # no stubs installed

from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.stages.calibrating import Ended
from tests.unit.rollout.tally_rollouts import World, rollout
from tests.unit.rollout.whole_rule import (
    BURSTS,
    CLIENTS,
    FIXED,
    GROWING,
    PROMOTING,
    ROWS,
    RUNS,
    found_after_min,
    kept,
    told,
)


def verdicts(ends: Iterable[Ended]) -> Counter[RolloutVerdict]:
    return Counter(end.verdict for end in ends)


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
    assert why in {end.by for end in ends}


def test_a_log_that_loses_the_challengers_requests_promotes_nothing() -> None:
    found = verdicts([rollout(seed, World(lost=0.5), PROMOTING, look_s=30.0) for seed in range(5)])
    assert found == {RolloutVerdict.INCONCLUSIVE: 5}


def test_the_time_to_see_five_times_the_failures_is_minutes() -> None:
    assert found_after_min([rollout(seed, World(risk=5.0), FIXED) for seed in range(9)], 0.5)[0] <= 15


def test_a_quantile_of_the_time_has_ranks_around_it_and_a_run_without_rollback_took_for_ever() -> None:
    found = [Ended(verdict=RolloutVerdict.ROLL_BACK, after_s=60.0 * minute, by="errors") for minute in range(1, 101)]
    lost = [Ended(verdict=RolloutVerdict.PROMOTE, after_s=60.0, by="")] * 100
    assert found_after_min(found, 0.5) == (50.0, 40.0, 61.0)  # ranks 40 and 61 of 100: 96.5 %
    assert found_after_min(found + lost, 0.9) == (float("inf"),) * 3


def test_a_row_goes_on_where_it_stopped_with_the_seeds_that_are_next(tmp_path: Path) -> None:
    name = "failures-1-to-5"
    first = kept(name, tmp_path, 1)
    both = kept(name, tmp_path, 2)
    assert both == list(islice(ROWS[name].run(), 2))
    assert kept(name, tmp_path, 1) == first == both[:1]
    assert told(name, both).startswith(f"{name}: 2 runs")


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ROWS)
def test_of_2000_rollouts_come_the_figures_that_were_wanted(name: str, tmp_path: Path) -> None:
    ends = kept(name, tmp_path, RUNS)
    print(told(name, ends))  # noqa: T201 - the soak's record
    assert ROWS[name].holds(ends)
