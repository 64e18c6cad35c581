"""A rollout that could never be carried out is refused when its spec is read, not when its release is promoted."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.core.spec import ReleaseSpec
from lockgate.core.spec_sections.rollout import RolloutStrategy
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec

HALF = {"set_weight": 0.5, "bake_s": 600}


def spec(rollout: dict[str, Any]) -> ReleaseSpec:
    return parse_spec(
        {
            "model": {"name": "toy"},
            "task": {"kind": "binary", "classes": ["no", "yes"]},
            "data": {"suite": "toy", "label": "y", "time": "t", "key": ["id"], "numeric": ["a"]},
            "rollout": rollout,
        }
    )


@pytest.mark.parametrize(
    ("rollout", "told"),
    [
        ({"strategy": "a_b", "max_duration_s": 120}, "rollout.max_duration_s is 120 and the bakes take 3600"),
        ({"strategy": "canary", "steps": [HALF], "max_duration_s": 600}, "rollout.max_duration_s is 600"),
        ({"strategy": "canary", "plan": {"looks": [0.5, 0.25, 1.0]}}, "rollout.plan.looks"),
        ({"strategy": "canary", "plan": {"metric": "kpi"}}, "rollout.guardrails.kpi is empty"),
        ({"strategy": "canary", "challengers": 2}, "rollout.strategy is canary"),
        (
            {"strategy": "a_b", "challengers": 7, "steps": [{"set_weight": 0.0005, "bake_s": 60}]},
            "less than a basis point",
        ),
    ],
)
def test_what_could_not_be_carried_out_is_refused_by_its_key(rollout: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        spec(rollout)


@pytest.mark.parametrize("strategy", list(RolloutStrategy))
def test_every_strategy_is_accepted_with_its_defaults(strategy: RolloutStrategy) -> None:
    assert spec({"strategy": strategy.value}).rollout.strategy is strategy


def test_several_challengers_are_accepted_where_they_can_be_compared() -> None:
    assert spec({"strategy": "a_b", "challengers": 7}).rollout.challengers == 7
