"""Planned before they start: what each of several challengers can be shown of, and what it costs to be many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy
from lockgate.errors import ConfigError
from lockgate.stages.planning_several import forecast_several
from lockgate.stages.recent_traffic import recent_traffic
from lockgate.stages.rollout_forecast import RolloutForecast
from tests.unit.rollout.test_planning_rollout import NO_LABELS, RATE, planned, traffic

SPLIT = RolloutSection(strategy=RolloutStrategy.A_B)
LIVE = traffic()


def several(section: RolloutSection, challengers: int, *, quiet: bool = False) -> RolloutForecast:
    recent = None if quiet else recent_traffic(LIVE)
    return forecast_several(section, recent, RATE, labels=NO_LABELS, now=LIVE[-1].time, seed=1, challengers=challengers)


def test_one_is_planned_as_ever() -> None:
    assert several(replace(SPLIT, challengers=3), 1).content == planned(SPLIT, LIVE).content


def test_each_of_several_has_its_share_a_part_of_the_errors_and_a_later_last_look() -> None:
    alone, three = several(SPLIT, 1), several(SPLIT, 3)

    assert (three.challengers, [step.share for step in three.steps]) == (3, [0.25])
    assert three.alpha == pytest.approx(alone.alpha / 3)
    assert alone.looks[-1].at_s is not None
    assert three.looks[-1].at_s is None or three.looks[-1].at_s > alone.looks[-1].at_s
    assert "each of 3 challengers meets 25 % of entities" in three.warnings[0]
    assert "one challenger alone has it" in three.warnings[0]
    met = [(each.steps[0].challenger_entities, each.steps[0].champion_entities) for each in (alone, three)]
    assert met[1][0] == pytest.approx((met[0][0] or 0.0) / 2, rel=0.05)
    assert met[1][1] == pytest.approx((met[0][1] or 0.0) / 2, rel=0.05)


def test_without_traffic_it_still_says_what_each_is_given() -> None:
    quiet = several(SPLIT, 2, quiet=True)

    assert quiet.refusals
    assert "each of 2 challengers meets 33.3 % of entities" in quiet.warnings[0]


def test_a_strategy_that_takes_one_alone_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.strategy"):
        several(RolloutSection(strategy=RolloutStrategy.CANARY), 2)
